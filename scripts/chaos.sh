#!/usr/bin/env bash
# Runs the agent against a real Kafka through rotations, kills and outages, and prints what became of every line.
#
#   scripts/chaos.sh              all scenarios, about four minutes
#   scripts/chaos.sh SCENARIO     those whose names begin so: rename_storm, kills, broker_down ...
#   scripts/chaos.sh --list       their names
#   scripts/chaos.sh matrix       real logrotate: 576 cells, about nine minutes (tests/real_kafka_logrotate_matrix);
#                                 LOGAGENT_MATRIX=product: 1,728; LOGAGENT_MATRIX_CELL and _SEED: one again
#   scripts/chaos.sh loggers      programs that rotate by themselves: 132 runs, about five minutes
#                                 (tests/real_kafka_loggers); LOGAGENT_LOGGERS=NAME: those whose names begin so
#   scripts/chaos.sh cluster      three brokers that fail one after the other and all at once, for long: four minutes
#
# Each row must show nothing missing, corrupt or out of order; only SIGKILL may make lines arrive twice, and at most as
# many as the row says; bytes that were truncated away unread must be reported, to the byte. Otherwise the exit
# code is 1. A Kafka 4 is fetched, started on loopback and stopped again; with KAFKA_BROKERS set, the broker there is
# used, except where a scenario has to take one down.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# `judged NAME TEST`: runs one test that judges by what lies on the disk, and prints its sums and what is wrong.
judged() {
    local log=target/$1.log passed=yes
    mkdir -p target
    # CI: what cannot run is a failure here.
    CI=${CI:-1} cargo test --test integration "$2" -- --nocapture >"$log" 2>&1 || passed=no
    grep -E "^($1|wrong) \\|" "$log" || tail -n 40 "$log" >&2
    if [ "$passed" = no ]; then
        echo "what failed, with folders and logs: $log" >&2
        return 1
    fi
}

scenarios=real_kafka_chaos::
case ${1:-} in
matrix | loggers)
    scripts/rotators.sh get
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
if [ "${1:-}" = matrix ]; then
    # It starts a broker of its own, with a proxy for each of its agents.
    [ -n "${LOGAGENT_MATRIX_CELL:-}" ] || export LOGAGENT_MATRIX=${LOGAGENT_MATRIX:-all}
    judged matrix real_kafka_logrotate_matrix::every
    exit
fi
if [ "${1:-}" = cluster ]; then
    LOGAGENT_CLUSTER=long cargo test --test integration real_kafka_cluster:: -- --nocapture
    exit
fi
if [ -z "${KAFKA_BROKERS:-}" ] && ! scripts/kafka.sh get >&2; then
    echo "scripts/chaos.sh needs a real Kafka, and none could be fetched or reached (Maven, Java 17)" >&2
    exit 1
fi
LOGAGENT_TEST_KAFKA=$(scripts/kafka.sh start --instance "$instance")
export LOGAGENT_TEST_KAFKA
if [ "${1:-}" = loggers ]; then
    export LOGAGENT_LOGGERS=${LOGAGENT_LOGGERS:-all}
    judged loggers real_kafka_loggers::every
    exit
fi

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
