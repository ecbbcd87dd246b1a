#!/usr/bin/env bash
# From a checkout to lines in a real Kafka: builds the agent, starts a broker on loopback, lets the agent
# follow a demo log through a rotation, and shows what the console consumer reads back.
#
# Everything it starts it stops again. With KAFKA_BROKERS set, that broker is used and topic web_log is
# written there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ $# != 0 ]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    case $1 in -h | --help) exit 0 ;; esac
    exit 2
fi

lines=1000
run="demo-$(date +%s)-$$"
instance="quickstart-$$"
work=$(mktemp -d "${TMPDIR:-/tmp}/logagent-quickstart.XXXXXX")
agent_pid=
broker_pid=

say() { printf '\n== %s\n' "$*"; }
stop_all() {
    if [ -n "$agent_pid" ]; then
        kill -TERM "$agent_pid" 2>/dev/null && wait "$agent_pid" || true
    fi
    if [ -n "$broker_pid" ]; then
        kill -TERM "$broker_pid" 2>/dev/null && wait "$broker_pid" || true
    else
        scripts/kafka.sh stop --instance "$instance" >&2 || true
    fi
    rm -rf "$work"
}
trap stop_all EXIT
fail() {
    echo "quickstart: $*" >&2
    echo "-- the agent's log:" >&2
    cat "$work/agent.log" >&2 || true
    exit 1
}

say "building logagent (the first build takes a few minutes)"
agent=$(scripts/build.sh --quiet)
ls -l "$agent"

# Where no Kafka can be had: the broker of the tests, which prints what it stores.
start_stand_in() {
    say "NO KAFKA CAN BE FETCHED HERE: the in-process broker of the tests stands in for it (a build of a minute)"
    cargo build --quiet --locked --example broker >&2
    "${CARGO_TARGET_DIR:-target}/debug/examples/broker" web_log >"$work/stored" &
    broker_pid=$!
    for ((tries = 0; tries < 200; tries++)); do
        [ ! -s "$work/stored" ] || break
        sleep 0.05
    done
    broker=$(head -n 1 "$work/stored")
    [ -n "$broker" ] || fail "the stand-in does not start"
}

say "starting Kafka"
code=0
broker=$(scripts/kafka.sh start --instance "$instance") || code=$?
case $code in
0)
    # Kafka warns of the underscore in the name; it does no harm.
    scripts/kafka.sh topic web_log --instance "$instance" 2>&1 | grep -v "metric names" >&2 || true
    ;;
4) start_stand_in ;;
*) exit "$code" ;;
esac
echo "a broker answers at $broker"

log="$work/access.log"
cat >"$work/logagent.ini" <<INI
[agent]
state_dir = $work/state

[kafka]
brokers = $broker
topic = web_log
compression = lz4

[log:web]
path = $log
INI
say "the configuration"
cat "$work/logagent.ini"

say "starting logagent, writing $lines lines to a log, rotating it in the middle"
"$agent" --config "$work/logagent.ini" 2>"$work/agent.log" &
agent_pid=$!
for ((n = 1; n <= lines; n++)); do
    printf '%s line %04d of %d GET /item/%d HTTP/1.1 200\n' "$run" "$n" "$lines" $((n * 7919 % 1000)) >>"$log"
    if ((n == 1)); then
        # What is rotated away before an agent has ever seen it is none of that agent's.
        for ((tries = 0; tries < 600; tries++)); do
            ! grep -qF "'$log': device" "$work/agent.log" || break
            sleep 0.05
        done
        ((tries < 600)) || fail "the agent does not follow $log"
    fi
    if ((n == lines / 2)); then
        mv "$log" "$log.1"
        echo "mv access.log access.log.1 after line $n"
    fi
done

say "what the console consumer reads from topic web_log"
if [ -z "$broker_pid" ]; then
    # A broker of one's own holds these lines only; on another one there may be more, from earlier runs.
    scripts/kafka.sh consume web_log --instance "$instance" --timeout-ms 8000 >"$work/consumed" 2>"$work/consumer.log" || true
else
    : >"$work/consumer.log"
    for ((tries = 0; tries < 200; tries++)); do
        tail -n +2 "$work/stored" >"$work/consumed"
        [ "$(wc -l <"$work/consumed")" -lt "$lines" ] || break
        sleep 0.05
    done
fi
grep -F "$run " "$work/consumed" >"$work/read" || fail "the consumer read none of the lines: $(tail -n 5 "$work/consumer.log")"
head -n 3 "$work/read"
echo "..."
sed -n "$((lines / 2 - 1)),$((lines / 2 + 2))p" "$work/read"
echo "..."
tail -n 3 "$work/read"

cat "$log.1" "$log" >"$work/written"
cmp "$work/written" "$work/read" >&2 || fail "wrote $(wc -l <"$work/written") lines, read $(wc -l <"$work/read"), and they differ"
echo "all $(wc -l <"$work/read") lines are there, in order, each once"

say "stopping logagent"
kill -TERM "$agent_pid"
code=0
wait "$agent_pid" || code=$?
agent_pid=
[ "$code" = 0 ] || fail "logagent exited with $code"
cat "$work/agent.log"

say "what next"
cat <<TEXT
Edit conf/logagent.ini: set [kafka] brokers to your Kafka and [log:web] path to your log. Then look at what
would be sent, and run it:

    $agent --config conf/logagent.ini --dry-run --once
    $agent --config conf/logagent.ini

Positions are kept in [agent] state_dir (/var/lib/logagent unless set), so that folder must be writable.
TEXT
