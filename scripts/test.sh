#!/usr/bin/env bash
# Format, lints, docs, the static binary as users get it, all tests, those against a real Kafka included, the count
# of instructions that a line takes (scripts/instructions.sh), and the quickstart.
#
#   scripts/test.sh            everything
#   scripts/test.sh FILTER     only the tests whose names contain FILTER
#
# A Kafka 4, a Kafka 3.9 and a Kafka 2.8 with its ZooKeeper are fetched, started on loopback and stopped
# again. With KAFKA_BROKERS set, the broker there is used instead of the Kafka 4. Where no real Kafka can be
# had, the other tests run, the missing ones are named, and the exit code is 1 when CI is set. The same goes
# for the static binary in root file systems, which takes root's rights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The binary that users get is no larger.
most_bytes=7000000

say() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS" >&2; }

for tool in cargo cc; do
    command -v "$tool" >/dev/null || {
        echo "scripts/test.sh needs $tool; install Rust (1.88 or later, with rustfmt and clippy) and a C compiler" >&2
        exit 1
    }
done

work=$(mktemp -d)
log=$work/tests.log
instance_4="test-$$"
instance_3="test39-$$"
instance_2="test28-$$"
build_pid=
count_pid=
clean_up() {
    for pid in $build_pid $count_pid; do
        kill -- "-$pid" 2>/dev/null || true
    done
    for instance in "$instance_4" "$instance_3" "$instance_2"; do
        scripts/kafka.sh stop --instance "$instance" >&2 || true
    done
    rm -rf "$work"
}
trap clean_up EXIT

# Linking takes one core for minutes, so it goes on beside what follows.
setsid scripts/build.sh --quiet >"$work/binary" 2>"$work/build.log" &
build_pid=$!

say "format"
cargo fmt --check
say "lints"
cargo clippy --quiet --all-targets -- -D warnings
say "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --document-private-items

skip=()
missing=()
say "real Kafka"
if scripts/kafka.sh get >&2; then
    LOGAGENT_TEST_KAFKA=$(scripts/kafka.sh start --instance "$instance_4")
    LOGAGENT_TEST_KAFKA_3=$(env -u KAFKA_BROKERS scripts/kafka.sh start --instance "$instance_3" --version 3.9)
    LOGAGENT_TEST_KAFKA_2=$(env -u KAFKA_BROKERS scripts/kafka.sh start --instance "$instance_2" --version 2.8)
    export LOGAGENT_TEST_KAFKA LOGAGENT_TEST_KAFKA_3 LOGAGENT_TEST_KAFKA_2
    echo "Kafka 4 at $LOGAGENT_TEST_KAFKA, Kafka 3.9 at $LOGAGENT_TEST_KAFKA_3," \
        "Kafka 2.8 at $LOGAGENT_TEST_KAFKA_2" >&2
else
    skip+=(--skip real_kafka)
    missing+=("THE TESTS AGAINST A REAL KAFKA DID NOT RUN: no real Kafka could be fetched or reached (Maven, Java 17).")
fi

say "what rotates files"
scripts/rotators.sh get

say "the static binary"
wait "$build_pid" || { cat "$work/build.log" >&2; exit 1; }
build_pid=
LOGAGENT_TEST_STATIC=$(realpath "$(cat "$work/binary")")
export LOGAGENT_TEST_STATIC
bytes=$(stat -c %s "$LOGAGENT_TEST_STATIC")
echo "$LOGAGENT_TEST_STATIC has $bytes bytes; $most_bytes are the most" >&2
[ "$bytes" -le "$most_bytes" ] || exit 1
if [ "$(id -u)" != 0 ]; then
    skip+=(--skip static_binary)
    missing+=("THE STATIC BINARY DID NOT RUN IN ROOT FILE SYSTEMS: that takes root's rights.")
elif LOGAGENT_TEST_ROOT=$(scripts/roots.sh); then
    export LOGAGENT_TEST_ROOT
else
    skip+=(--skip static_binary_finds --skip static_binary_survives)
    missing+=("THE STATIC BINARY DID NOT MEET ANOTHER GLIBC: no package of one could be had (scripts/roots.sh).")
fi

# What valgrind counts does not depend on what else runs.
if [ $# = 0 ]; then
    setsid scripts/instructions.sh >"$work/instructions.log" 2>&1 &
    count_pid=$!
fi

failed=no
# `tests THREADS ARGUMENTS...`: most tests wait, so many of them run at once; those with a load of their own, fewer;
# those that compute, as many as there are cores; those that measure, alone.
tests() {
    local threads=$1
    shift
    cargo test --no-fail-fast "$@" --test-threads "$threads" "${skip[@]}" 2>&1 | tee -a "$log" || failed=yes
}
say "tests"
if [ $# = 0 ]; then
    alone=(isolation:: real_kafka_cluster:: real_kafka_loggers:: real_kafka_logrotate_matrix::)
    compute=(model:: real_kafka_kill:: real_kafka_many:: real_kafka_matrix:: limits::)
    loaded=(real_kafka_chaos:: hanging:: own_log::)
    others=()
    for name in "${alone[@]}" "${compute[@]}" "${loaded[@]}"; do
        others+=(--skip "$name")
    done
    tests 2 --lib --bins --test replay --test allocations --
    tests 8 --test integration -- "${others[@]}"
    tests 4 --test integration -- "${loaded[@]}"
    tests 2 --test integration -- "${compute[@]}"
    tests 1 --test integration -- "${alone[@]}"
else
    tests 2 -- "$@"
fi

count() { grep -cE "^test .*$1.* \.\.\. $2\$" "$log" || true; }
passed=$(count '' ok)
against_kafka=$(count real_kafka ok)
ignored=$(count '' 'ignored.*')
if [ $# = 0 ]; then
    say "instructions of the hot path"
    wait "$count_pid" || failed=yes
    count_pid=
    cat "$work/instructions.log"
    say "quickstart"
    scripts/quickstart.sh >"$work/quickstart.log" 2>&1 || { cat "$work/quickstart.log" >&2; failed=yes; }
    grep -E '^all .* lines are there' "$work/quickstart.log" || failed=yes
fi
say "summary"
echo "$passed tests passed, $against_kafka of them against a real Kafka; $ignored ignored"
for words in "${missing[@]}"; do
    echo "$words" >&2
done
[ ${#missing[@]} -eq 0 ] || [ -z "${CI:-}" ] || failed=yes
[ "$failed" = no ]
