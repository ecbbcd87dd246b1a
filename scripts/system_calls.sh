#!/usr/bin/env bash
# Counts the system calls that all threads of the agent make for one line of the everyday load (200 files, 2,000
# lines/s, lz4, acks=1, everything else as it comes), and fails if they are more than a limit.
#
#   scripts/system_calls.sh            the limit is 2.2; 1.8 are counted on an idle machine
#   scripts/system_calls.sh LIMIT      it is this one, for example 2.5
#
# It takes about 20 s and strace, whose slowness is in the figure: a slowed agent is woken for more lines at once.
# The rows program (tests/bench/rows/trickle.rs) makes the load and reads strace's table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

limit=${1:-2.2}
if ! [[ $limit =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
    echo "scripts/system_calls.sh: the limit '$limit' is no number" >&2
    exit 2
fi
if ! command -v strace >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get install -y -qq strace >/dev/null 2>&1 || true
    fi
    command -v strace >/dev/null || {
        echo "THE SYSTEM CALLS WERE NOT COUNTED: strace is not installed" >&2
        [ -z "${CI:-}" ] || exit 1
        exit 0
    }
fi
agent=$(scripts/build.sh --quiet)
# What makes the load need not be fast, and with the profile of the tests most of it is compiled.
cargo build --quiet --locked --example rows
out=${CARGO_TARGET_DIR:-target}
over() { awk -v a="$1" -v b="$limit" 'BEGIN { exit !(a > b) }'; }
# Where other programs run, threads are put to sleep and woken more often: the least of three counts.
found=
for _ in 1 2 3; do
    table=$("$out/debug/examples/rows" --agent "$agent" --work "$out/bench" system-calls)
    count=$(sed -n 's/^| system[^|]*| \([0-9.]*\);.*/\1/p' <<<"$table")
    if [ -z "$count" ]; then
        echo "the system calls could not be counted" >&2
        exit 1
    fi
    found=$(printf '%s\n' "$count" $found | sort -g | head -1)
    over "$found" || break
done
if over "$found"; then
    echo "$found system calls for a line are more than the limit of $limit: find out which came to it" >&2
    exit 1
fi
echo "$found system calls for a line, limit $limit"
