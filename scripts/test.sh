#!/usr/bin/env bash
# Format, lints, docs, the static binary as users get it, all tests, those against a real Kafka included, the count
# of instructions that a line takes (scripts/instructions.sh), what is released (scripts/test_release.sh), and the quickstart.
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
# What is compiled here is compiled once, and nobody looks into it with a debugger.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none

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
instance_4="test-$$"
instance_3="test39-$$"
instance_2="test28-$$"
declare -A jobs
clean_up() {
    for job in "${jobs[@]}"; do
        kill -- "-$job" 2>/dev/null || true
    done
    for instance in "$instance_4" "$instance_3" "$instance_2"; do
        scripts/kafka.sh stop --instance "$instance" >&2 || true
    done
    rm -rf "$work"
}
trap clean_up EXIT

# `beside NAME COMMAND...` goes on beside what follows, until `await NAME`, which gives its exit code. What it prints
# is in the files NAME.out and NAME.log.
beside() {
    local name=$1
    shift
    # A process group of its own, which ends with all that it has started.
    set -m
    "$@" >"$work/$name.out" 2>"$work/$name.log" </dev/null &
    set +m
    jobs[$name]=$!
}
await() {
    local code=0
    wait "${jobs[$1]}" || code=$?
    unset "jobs[$1]"
    return "$code"
}

# Fetches and starts what the tests run against, and prints where it is, as far as it can be had.
fetch() {
    local kafka root
    if scripts/kafka.sh get >&2; then
        kafka=$(scripts/kafka.sh start --instance "$instance_4")
        echo "LOGAGENT_TEST_KAFKA=$kafka"
        kafka=$(env -u KAFKA_BROKERS scripts/kafka.sh start --instance "$instance_3" --version 3.9)
        echo "LOGAGENT_TEST_KAFKA_3=$kafka"
        kafka=$(env -u KAFKA_BROKERS scripts/kafka.sh start --instance "$instance_2" --version 2.8)
        echo "LOGAGENT_TEST_KAFKA_2=$kafka"
    fi
    scripts/rotators.sh get
    if [ "$(id -u)" = 0 ] && root=$(scripts/roots.sh); then
        echo "LOGAGENT_TEST_ROOT=$root"
    fi
}

# `tests THREADS NAME ARGUMENTS...`: runs a test binary. Cargo would wait for whatever else compiles.
tests() {
    local threads=$1 name=$2 binary
    shift 2
    binary=$(sed -n "s|^ *Executable .*/$name\.rs (\(.*\))\$|\1|p" "$work/compiled")
    printf '\n== %s, %s at a time (after %d s)\n' "$name $*" "$threads" "$SECONDS"
    "$binary" --test-threads "$threads" "${skip[@]}" "$@" 2>&1
}
# What measures, and therefore runs alone; what is many programs by itself, one test at a time; what computes, as many
# as there are cores; what has a load of its own, some. All others wait most of the time. What runs the static binary
# waits for it. What sits through the pauses between attempts begins first.
alone=(isolation::)
static=(static_binary::)
large=(real_kafka_cluster:: real_kafka_loggers:: real_kafka_logrotate_matrix::)
paced=(real_kafka_kill:: real_kafka_many:: limits:: lost::of_2000_lines_a_second)
compute=(model:: real_kafka_matrix::)
slow=(error_codes::)
loaded=(real_kafka_chaos:: hanging::)
# Two lines of tests side by side, and what runs the static binary: where one waits another computes.
first_line() {
    local code=0 name others=()
    for name in "${alone[@]}" "${static[@]}" "${large[@]}" "${paced[@]}" "${compute[@]}" "${loaded[@]}" "${slow[@]}"; do
        others+=(--skip "$name")
    done
    tests 4 integration "${slow[@]}" >"$work/slow.out" &
    local slow_job=$!
    tests 8 lib || code=1
    tests 2 replay || code=1
    tests 2 allocations || code=1
    wait "$slow_job" || code=1
    cat "$work/slow.out"
    tests 8 integration "${others[@]}" || code=1
    tests 2 integration "${paced[@]}" || code=1
    return "$code"
}
second_line() {
    local code=0
    tests 1 integration "${large[@]}" || code=1
    tests 2 integration "${compute[@]}" || code=1
    tests 4 integration "${loaded[@]}" || code=1
    return "$code"
}

beside fetch fetch
# Linking takes one core for a minute.
beside binary scripts/build.sh --quiet
say "format"
cargo fmt --all --check
say "compiling the tests"
# The examples are linted, and built by the scripts that run them.
CARGO_TERM_COLOR=never cargo test --no-run --lib --tests 2>&1 | tee "$work/compiled" >&2

skip=()
missing=()
say "real Kafka, and what rotates files"
await fetch || { cat "$work/fetch.log" >&2; exit 1; }
cat "$work/fetch.log" "$work/fetch.out" >&2
while IFS= read -r setting; do
    export "${setting?}"
done <"$work/fetch.out"
if [ -z "${LOGAGENT_TEST_KAFKA:-}" ]; then
    skip+=(--skip real_kafka)
    missing+=("THE TESTS AGAINST A REAL KAFKA DID NOT RUN: no real Kafka could be fetched or reached (Maven, Java 17).")
fi

if [ "$(id -u)" != 0 ]; then
    skip+=(--skip static_binary)
    missing+=("THE STATIC BINARY DID NOT RUN IN ROOT FILE SYSTEMS: that takes root's rights.")
elif [ -z "${LOGAGENT_TEST_ROOT:-}" ]; then
    skip+=(--skip static_binary_finds --skip static_binary_survives)
    missing+=("THE STATIC BINARY DID NOT MEET ANOTHER GLIBC: no package of one could be had (scripts/roots.sh).")
fi

# In version 1 of control groups below the group of this process, in version 2 below the root.
groups=/sys/fs/cgroup
if own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup) && [ -n "$own" ]; then
    groups=$groups/memory$own
fi
if mkdir "$groups/logagent-test-$$" 2>/dev/null; then
    rmdir "$groups/logagent-test-$$"
else
    skip+=(--skip control_group)
    missing+=("THE LIMITS OF CONTROL GROUPS WERE NOT TESTED: none can be made below $groups.")
fi

# Lints and docs.
lints() {
    cargo clippy --quiet --workspace --all-targets -- -D warnings &&
        RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --document-private-items
}
# Waits for the static binary, which is no larger than it may be.
static_binary() {
    await binary || { cat "$work/binary.log" >&2; exit 1; }
    LOGAGENT_TEST_STATIC=$(realpath "$(cat "$work/binary.out")")
    export LOGAGENT_TEST_STATIC
    local bytes
    bytes=$(stat -c %s "$LOGAGENT_TEST_STATIC")
    say "the static binary"
    echo "$LOGAGENT_TEST_STATIC has $bytes bytes; $most_bytes are the most" >&2
    [ "$bytes" -le "$most_bytes" ] || exit 1
}

# What failed, by name.
failed=()
if [ $# = 0 ]; then
    # What clippy finds, and what valgrind counts, does not depend on what else runs, and tests wait most of the time.
    beside lints lints
    renice -n 19 -g "${jobs[lints]}" >/dev/null || true
    say "tests"
    beside second second_line
    beside first first_line
    # Linking it goes on meanwhile.
    static_binary
    beside count nice -n 19 scripts/instructions.sh
    tests 3 integration "${static[@]}" | tee "$work/static.out" || failed+=("static binary")
    beside release scripts/test_release.sh "$LOGAGENT_TEST_STATIC"
    say "quickstart"
    scripts/quickstart.sh >"$work/quickstart.log" 2>&1 || { cat "$work/quickstart.log" >&2; failed+=("quickstart"); }
    grep -E '^all .* lines are there' "$work/quickstart.log" || failed+=("lines of the quickstart")
    # What system_calls.sh needs, while tests wait.
    beside rows nice -n 19 cargo build --quiet --locked --example rows
    for line in first second; do
        await "$line" || failed+=("tests, $line line")
        cat "$work/$line.out"
    done
    say "instructions of the hot path"
    await count || failed+=("instructions")
    cat "$work/count.log"
    say "lints and docs"
    await lints || failed+=("lints and docs")
    cat "$work/lints.log"
    await rows || failed+=("build of the bench")
    say "what is released"
    await release || failed+=("what is released")
    grep -E '^(FAIL|THE |[0-9]+ passed)' "$work/release.out" || cat "$work"/release.{out,log}
    tests 1 integration "${alone[@]}" | tee "$work/alone.out" || failed+=("tests alone")
    say "system calls for a line"
    scripts/system_calls.sh || failed+=("system calls")
    cat "$work"/{static,first,second,alone}.out >"$work/tests.log"
else
    say "lints and docs"
    lints
    static_binary
    cargo test --no-fail-fast -- "$@" --test-threads 2 "${skip[@]}" 2>&1 | tee "$work/tests.log" || failed+=("tests")
fi

count() { grep -cE "^test .*$1.* \.\.\. $2\$" "$work/tests.log" || true; }
passed=$(count '' ok)
against_kafka=$(count real_kafka ok)
ignored=$(count '' 'ignored.*')
if grep -qE '^test .* \.\.\. FAILED$' "$work/tests.log"; then
    say "what failed"
    sed -n '/^---- .* stdout ----$/,/^failures:$/p' "$work/tests.log"
    grep -E '^test .* \.\.\. FAILED$' "$work/tests.log"
fi
say "summary"
echo "$passed tests passed, $against_kafka of them against a real Kafka; $ignored ignored"
for words in "${missing[@]}"; do
    echo "$words" >&2
done
[ ${#missing[@]} -eq 0 ] || [ -z "${CI:-}" ] || failed+=("tests that did not run")
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
