#!/usr/bin/env bash
# Measures the release binary and prints a table.
#
#   scripts/bench.sh                all rows (about an hour, up to 28 GiB in target/bench)
#   scripts/bench.sh ROW...         only these; scripts/bench.sh --help names them
#   scripts/bench.sh --runs N ...   medians of N runs instead of 5
#   scripts/bench.sh --small ...    a sixteenth of the data or half of the time, to see that everything works
#   scripts/bench.sh profile        where the time goes in a backlog: target/bench/profile.*
#
# The agent is compared, in turn and in one run, with a program that does the least work possible
# (tests/bench/rows/limit.rs) against a broker that keeps nothing (sink.rs), and with kcat and rsyslog
# (imfile, omkafka) if they are installed; KCAT, RSYSLOGD and RSYSLOG_MODULES name them where they are not in
# their places. The rows 'kafka' and 'exactly-once' need a real one, which scripts/kafka.sh fetches; KAFKA_BROKERS
# names another. The row 'fleet' needs three brokers and root's rights: 200 agents, each with a host name of its own.
# The rows trickle-20, trickle-200 and trickle-1000 are the everyday load: so many files, to which 500, 2,000 and
# 1,000 lines a second are written in all. They take the agent with its defaults, with linger = 0ms, and with one
# partition for all files and zstd, and rsyslog with its defaults and with linger.ms=0 (else lz4; acks=1, 6 partitions for
# all). System calls for a line: scripts/system_calls.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
out=${CARGO_TARGET_DIR:-target}
work=$out/bench

say() { printf '%s\n' "$*" >&2; }

# What measures is built with the flags of scripts/build.sh, so that both sides come from one compiler.
build_rows() {
    scripts/build.sh --example rows >/dev/null
}

# A backlog of 256 MiB under a profiler. Names of functions need a binary that is not stripped, and who called
# whom is found by frame pointers.
profile() {
    command -v perf >/dev/null || command -v valgrind >/dev/null || {
        say "scripts/bench.sh profile needs perf or valgrind"
        exit 1
    }
    CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
        RUSTFLAGS="${RUSTFLAGS:-} -C force-frame-pointers=yes" \
        CARGO_TARGET_DIR="$out/profile" scripts/build.sh >/dev/null
    build_rows
    local agent="$out/profile/logagent" rows="$out/$target/release/examples/rows" here
    # CARGO_TARGET_DIR may be absolute.
    mkdir -p "$work"
    agent=$(realpath "$agent") here=$(realpath "$work")
    # What starts the agent under the profiler takes the place of the agent.
    local wrapper="$work/profiled"
    if command -v perf >/dev/null; then
        printf '#!/bin/sh\nexec perf record -q -F 4999 -g -o "%s" -- "%s" "$@"\n' \
            "$here/profile.perf" "$agent" >"$wrapper"
    else
        printf '#!/bin/sh\nexec valgrind -q --tool=callgrind --callgrind-out-file="%s" "%s" "$@"\n' \
            "$here/profile.callgrind" "$agent" >"$wrapper"
    fi
    chmod +x "$wrapper"
    "$rows" --agent "$wrapper" --work "$work" --small load >&2
    # sed, not head: what is cut off must be read, or its writer ends with SIGPIPE.
    if command -v perf >/dev/null; then
        perf script -i "$work/profile.perf" 2>/dev/null | fold_stacks >"$work/profile.folded"
        draw_flames "$work/profile.folded" >"$work/profile.svg"
        perf report -i "$work/profile.perf" --no-children --sort symbol --stdio -g none 2>/dev/null |
            sed -e '/^#/d; /^$/d; s/[ -]*$//' | sed -n 1,40p >"$work/profile.txt"
        say "flame graph: $work/profile.svg; the functions with most samples: $work/profile.txt"
    else
        callgrind_annotate "$work/profile.callgrind" | sed -n 1,60p >"$work/profile.txt"
        say "instructions by function: $work/profile.txt; for kcachegrind: $work/profile.callgrind"
    fi
}

# perf script's stacks, innermost first, as "outer;inner count".
fold_stacks() {
    awk '
        /^[^ \t]/ { stack = ""; next }
        /^[ \t]+[0-9a-f]+ / {
            name = $2
            for (n = 3; n < NF; n++) name = name " " $n
            sub(/\+0x[0-9a-f]+$/, "", name)
            gsub(/;/, ":", name)
            stack = stack == "" ? name : name ";" stack
            next
        }
        /^$/ { if (stack != "") count[stack]++; stack = "" }
        END {
            if (stack != "") count[stack]++
            for (stack in count) print stack, count[stack]
        }' | sort
}

# A flame graph: each box is a function, as wide as its share of the samples, on top of its caller.
draw_flames() {
    awk '
        {
            samples = $NF
            stack = $0
            sub(/ [0-9]+$/, "", stack)
            depth = split(stack, frames, ";")
            path = ""
            for (n = 1; n <= depth; n++) {
                path = path ";" frames[n]
                if (!(path in width)) { start[path] = total; name[path] = frames[n]; level[path] = n }
                width[path] += samples
            }
            total += samples
            if (depth > deepest) deepest = depth
        }
        function escape(text) {
            gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
            gsub(/"/, "\\&quot;", text)
            return text
        }
        END {
            height = (deepest + 1) * 17
            printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1400\" height=\"%d\" font-family=\"monospace\" font-size=\"11\">\n", height
            for (path in width) {
                w = width[path] / total * 1400
                if (w < 0.5) continue
                x = start[path] / total * 1400
                y = height - level[path] * 17
                shade = 90 + level[path] * 37 % 120
                text = name[path]
                short = substr(text, 1, int(w / 6.7))
                printf "<g><title>%s: %.1f %%</title><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"16\" fill=\"rgb(240,%d,60)\"/>", escape(text), width[path] / total * 100, x, y, w, shade
                if (length(short) > 2) printf "<text x=\"%.1f\" y=\"%d\">%s</text>", x + 2, y + 12, escape(short)
                print "</g>"
            }
            print "</svg>"
        }' "$1"
}

# `wants ROW ARGUMENTS`: whether that row is to be measured.
wants() {
    local argument rows=0 wanted=$1 named=0 takes_value=0
    shift
    for argument in "$@"; do
        if [ "$takes_value" = 1 ]; then
            takes_value=0
            continue
        fi
        case $argument in
        --runs) takes_value=1 ;;
        -*) ;;
        "$wanted") named=1 rows=1 ;;
        *) rows=1 ;;
        esac
    done
    [ "$rows" = 0 ] || [ "$named" = 1 ]
}

if [ "${1:-}" = profile ]; then
    profile
    exit
fi
build_rows
instances=()
stop_kafka() {
    local instance
    for instance in ${instances[@]+"${instances[@]}"}; do
        scripts/kafka.sh stop --instance "$instance" >&2 || true
    done
}
trap stop_kafka EXIT
if [ "${1:-}" != --help ] && { wants kafka "$@" || wants exactly-once "$@"; }; then
    instance="bench-$$"
    instances+=("$instance")
    if scripts/kafka.sh get >&2 && KAFKA=$(scripts/kafka.sh start --instance "$instance"); then
        export KAFKA
    else
        say "no real Kafka can be had: the rows 'kafka' and 'exactly-once' are left out"
    fi
fi
if [ "${1:-}" != --help ] && [ -z "${KAFKA_BROKERS:-}" ] && wants fleet "$@"; then
    instance="fleet-$$"
    instances+=("$instance")
    if scripts/kafka.sh get >&2 &&
        KAFKA_FLEET=$(scripts/kafka.sh start --instance "$instance" --brokers 3 --set num.partitions=30); then
        KAFKA_FLEET_PIDS=$(scripts/kafka.sh pid --instance "$instance" | tr '\n' ' ')
        export KAFKA_FLEET KAFKA_FLEET_PIDS
    else
        say "no Kafka of three brokers can be had: the row 'fleet' is left out"
    fi
fi
"$out/$target/release/examples/rows" --agent "$out/logagent" --work "$work" "$@"
for peer in "${KCAT:-kcat}" "${RSYSLOGD:-rsyslogd}"; do
    if command -v "$peer" >/dev/null; then
        "$peer" "-$([[ $peer == *kcat ]] && echo V || echo v)" 2>&1 |
            sed -n 's/^Version/kcat/p; s/^\(rsyslogd  *[0-9.]*\).*/\1/p'
    fi
done
"$out/logagent" --version
rustc --version
