#!/usr/bin/env bash
# Runs the agent against a real Kafka through rotations, kills and outages, and prints what became of every line.
#
#   scripts/chaos.sh              all scenarios, about four minutes
#   scripts/chaos.sh SCENARIO     those whose names begin so: rename_storm, kills, broker_down ...
#   scripts/chaos.sh --list       their names
#   scripts/chaos.sh matrix       real logrotate: 576 cells, about nine minutes (tests/real_kafka_logrotate_matrix);
#                                 LOGAGENT_MATRIX=product: 1,728; LOGAGENT_MATRIX_CELL and _SEED: one again
#
# Each row must show nothing missing, corrupt or out of order; only SIGKILL may make lines arrive twice, and at most as
# many as the row says; bytes that were truncated away unread must be reported, to the byte. Otherwise the exit
# code is 1. A Kafka 4 is fetched, started on loopback and stopped again; with KAFKA_BROKERS set, the broker there is
# used, except where a scenario has to take one down.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scenarios=real_kafka_chaos::
case ${1:-} in
matrix)
    scripts/rotators.sh get >&2
    if [ -z "${LOGAGENT_MATRIX_CELL:-}" ]; then
        export LOGAGENT_MATRIX=${LOGAGENT_MATRIX:-all}
    fi
    mkdir -p target
    passed=yes
    # CI: what cannot run is a failure here.
    CI=${CI:-1} cargo test --test integration real_kafka_logrotate_matrix::every -- --nocapture \
        >target/matrix.log 2>&1 || passed=no
    grep -E '^(matrix|wrong) \|' target/matrix.log || tail -n 40 target/matrix.log >&2
    [ "$passed" = yes ] || {
        echo "what failed, with folders and logs: target/matrix.log" >&2
        exit 1
    }
    exit
    ;;
--list)
    cargo test --quiet --test integration "$scenarios" -- --list | sed -n "s/^$scenarios\(.*\): test$/\1/p"
    exit
    ;;
-*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

instance="chaos-$$"
log=$(mktemp)
finish() {
    scripts/kafka.sh stop --instance "$instance" >&2 || true
    rm -f "$log"
}
trap finish EXIT
trap 'exit 130' INT TERM

cargo test --test integration --no-run
kind=$(scripts/kafka.sh get >&2 && scripts/kafka.sh kind) || kind=none
if [ "$kind" != kafka ] && [ "$kind" != external ]; then
    echo "scripts/chaos.sh needs a real Kafka, and none could be fetched or reached (Maven, Java 17)" >&2
    exit 1
fi
LOGAGENT_TEST_KAFKA=$(scripts/kafka.sh start --instance "$instance")
export LOGAGENT_TEST_KAFKA

passed=yes
cargo test --test integration "$scenarios${1:-}" -- --nocapture >"$log" 2>&1 || passed=no

# The rows come as 'chaos | scenario | ...', amid what the test runner says.
rows() {
    echo "scenario | lines written | missing | duplicate | corrupt | out of order | lost bytes reported"
    grep -o 'chaos | .*' "$log" | cut -c 9- | sort
}
if ! grep -q 'chaos | ' "$log"; then
    tail -n 40 "$log" >&2
    echo "no scenario has run to its end" >&2
    exit 1
fi
rows | awk -F ' [|] ' '
    {
        for (i = 1; i <= NF; i++) {
            cell[NR, i] = $i
            if (length($i) > width[i]) width[i] = length($i)
        }
    }
    END {
        for (row = 1; row <= NR; row++) {
            for (i = 1; i <= NF; i++) printf i == 1 ? "%-*s" : "  %*s", width[i], cell[row, i]
            print ""
        }
    }'
if [ "$passed" = no ]; then
    {
        echo
        echo "NOT AS EXPECTED:"
        grep -E '^test .*FAILED|panicked at|, reported as lost|^waited ' -A 1 "$log" | cut -c 1-300
    } >&2
    exit 1
fi
