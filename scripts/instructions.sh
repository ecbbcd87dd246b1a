#!/usr/bin/env bash
# Counts the instructions that one line takes on the hot path (lines found, record made of it where a key asks for
# that, record batch written, compressed, signed), in the code that users get, and compares them with those recorded in
# tests/bench/instructions/recorded.txt.
#
#   scripts/instructions.sh            fails if a case differs by more than 10 %
#   scripts/instructions.sh --record   writes the file anew
#
# The figures are those of valgrind's processor, which is the same on every machine, so they do not depend
# on what else runs. They do depend on the compiler: its version is recorded too, and when it is another one
# that is said, and the comparison is made all the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

record=tests/bench/instructions/recorded.txt
limit_percent=10

if ! command -v valgrind >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get install -y -qq valgrind >/dev/null 2>&1 || true
    fi
    command -v valgrind >/dev/null || {
        echo "THE INSTRUCTIONS WERE NOT COUNTED: valgrind is not installed" >&2
        [ -z "${CI:-}" ] || exit 1
        exit 0
    }
fi
# The code that users get: optimised across crates, as the release binary is.
program=$(scripts/build.sh --instructions --quiet)

# Instructions of a run, and the lines it handled.
run() {
    local out
    out=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1)
    echo "$(sed -n 's/.*Collected : //p' <<<"$out") $(grep -E '^[0-9]+$' <<<"$out")"
}

# The difference of two runs: what is done once, at the start and at the end, falls out.
per_line() {
    local few many
    read -r -a few <<<"$(run "$1" 2)"
    read -r -a many <<<"$(run "$1" 6)"
    awk -v i="$((many[0] - few[0]))" -v n="$((many[1] - few[1]))" 'BEGIN { printf "%.1f\n", i / n }'
}

compiler=$(rustc --version)
if [ "${1:-}" = --record ]; then
    {
        echo "# Instructions for each line of about 208 bytes; written by scripts/instructions.sh --record."
        echo "compiler $compiler"
        for case in plain headers lz4 zstd filters json merge timestamp; do echo "$case $(per_line "$case")"; done
    } >"$record.new"
    mv "$record.new" "$record"
    cat "$record"
    exit
fi

recorded_with=$(sed -n 's/^compiler //p' "$record")
if [ "$recorded_with" != "$compiler" ]; then
    echo "NOTE: the instructions were recorded with $recorded_with, this is $compiler;" >&2
    echo "a difference may be the compiler's. If it is, record them anew with it." >&2
fi
failed=no
while read -r case expected; do
    case $case in '#' | compiler) continue ;; esac
    found=$(per_line "$case")
    percent=$(awk -v a="$found" -v b="$expected" 'BEGIN { printf "%+.1f", (a / b - 1) * 100 }')
    echo "$case: $found instructions for each line, recorded $expected ($percent %)" >&2
    if awk -v p="$percent" -v l="$limit_percent" 'BEGIN { exit !(p > l || p < -l) }'; then
        failed=yes
    fi
done <"$record"
if [ "$failed" = yes ]; then
    echo "a case differs by more than $limit_percent %: find out why, or, if it is meant so, run" >&2
    echo "scripts/instructions.sh --record and say in the commit what it gained or cost" >&2
    exit 1
fi
