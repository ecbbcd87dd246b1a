#!/usr/bin/env bash
# Format, lints, docs and all tests, those against a real Kafka included, and the count of instructions that
# a line takes (scripts/instructions.sh).
#
#   scripts/test.sh            everything
#   scripts/test.sh FILTER     only the tests whose names contain FILTER
#
# A Kafka 4, a Kafka 3.9 and a Kafka 2.8 with its ZooKeeper are fetched, started on loopback and stopped
# again. With KAFKA_BROKERS set, the broker there is used instead of the Kafka 4. Where no real Kafka can be
# had, the other tests run, the missing ones are named, and the exit code is 1 when CI is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*" >&2; }

for tool in cargo cc; do
    command -v "$tool" >/dev/null || {
        echo "scripts/test.sh needs $tool; install Rust (1.88 or later, with rustfmt and clippy) and a C compiler" >&2
        exit 1
    }
done

say "format"
cargo fmt --check
say "lints"
cargo clippy --quiet --all-targets -- -D warnings
say "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --document-private-items

instance_4="test-$$"
instance_3="test39-$$"
instance_2="test28-$$"
stop_brokers() {
    scripts/kafka.sh stop --instance "$instance_4" >&2 || true
    scripts/kafka.sh stop --instance "$instance_3" >&2 || true
    scripts/kafka.sh stop --instance "$instance_2" >&2 || true
}
trap stop_brokers EXIT

real=yes
say "real Kafka"
kind=$(scripts/kafka.sh get >&2 && scripts/kafka.sh kind) || kind=none
if [ "$kind" = kafka ] || [ "$kind" = external ]; then
    LOGAGENT_TEST_KAFKA=$(scripts/kafka.sh start --instance "$instance_4")
    LOGAGENT_TEST_KAFKA_3=$(env -u KAFKA_BROKERS scripts/kafka.sh start --instance "$instance_3" --version 3.9)
    LOGAGENT_TEST_KAFKA_2=$(env -u KAFKA_BROKERS scripts/kafka.sh start --instance "$instance_2" --version 2.8)
    export LOGAGENT_TEST_KAFKA LOGAGENT_TEST_KAFKA_3 LOGAGENT_TEST_KAFKA_2
    echo "Kafka 4 at $LOGAGENT_TEST_KAFKA, Kafka 3.9 at $LOGAGENT_TEST_KAFKA_3," \
        "Kafka 2.8 at $LOGAGENT_TEST_KAFKA_2" >&2
else
    real=no
fi

say "what rotates files"
scripts/rotators.sh get

say "tests"
log=$(mktemp)
trap 'stop_brokers; rm -f "$log"' EXIT
skip=()
[ "$real" = yes ] || skip=(--skip real_kafka)
cargo test --no-fail-fast -- "${skip[@]}" "$@" 2>&1 | tee "$log"

count() { grep -cE "^test .*$1.* \.\.\. $2\$" "$log" || true; }
passed=$(count '' ok)
against_kafka=$(count real_kafka ok)
ignored=$(count '' 'ignored.*')
if [ $# = 0 ]; then
    say "instructions of the hot path"
    scripts/instructions.sh
fi
say "summary"
echo "$passed tests passed, $against_kafka of them against a real Kafka; $ignored ignored"
if [ "$real" = no ]; then
    echo "THE TESTS AGAINST A REAL KAFKA DID NOT RUN: no real Kafka could be fetched or reached (Maven, Java 17)." >&2
    [ -z "${CI:-}" ] || exit 1
fi
