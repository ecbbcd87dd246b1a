#!/usr/bin/env bash
# Feeds mutated bytes to everything that reads bytes from outside (src/fuzz.rs), with libFuzzer.
#
#   scripts/fuzz.sh                    every target for 60 seconds, one after the other
#   scripts/fuzz.sh SECONDS            every target for so long
#   scripts/fuzz.sh SECONDS TARGET...  only these
#
# It begins with tests/fuzz/corpus/TARGET.bin and puts there, made as small as it can be, what reached new code; a
# normal test replays that. Input that does harm is left in target/fuzz/TARGET, and the exit code is 1.
# Besides Rust, stable will do, it needs a C++ compiler. Nothing leaves this host.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
case $seconds in
'' | *[!0-9]*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
shift || true

for tool in cargo c++; do
    command -v "$tool" >/dev/null || {
        echo "scripts/fuzz.sh needs $tool; install Rust (1.88 or later) and a C++ compiler" >&2
        exit 1
    }
done

# More input does not reach more code.
most_bytes=65536
# What a reader may reserve at once, and what the process may have.
malloc_mb=64
memory_mb=1024

work=$PWD/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz passes too, but for the address sanitizer: it needs nightly, and this is safe Rust.
# With a target named, build scripts are built without it.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
RUSTFLAGS=$flags cargo build --quiet --release --target "$host" \
    --manifest-path tests/fuzz/Cargo.toml --target-dir "$work/build" >&2
fuzzer=$work/build/$host/release/logagent-fuzz
rustc --edition 2024 -O tests/fuzz/corpus.rs -o "$work/corpus"

# An ini with `tls = on` would read all of the system's certificates, for each input. (Not before the build,
# which may have to fetch a package.)
export SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nonexistent

if [ $# -eq 0 ]; then
    mapfile -t targets < <(sed -n '/^pub const TARGETS/,/^];/s/^ *("\([a-z_]*\)".*/\1/p' src/fuzz.rs)
    set -- "${targets[@]}"
fi

failed=()
for target; do
    packed=tests/fuzz/corpus/$target.bin
    corpus=$work/$target/known
    found=$work/$target/corpus
    rm -rf "$corpus"
    mkdir -p "$corpus" "$found"
    [ ! -e "$packed" ] || "$work/corpus" unpack "$packed" "$corpus"
    rm -f "$work/$target"/{crash,oom,timeout,slow-unit,leak}-*
    log=$work/$target/log
    options=(-max_len="$most_bytes" -malloc_limit_mb="$malloc_mb" -rss_limit_mb="$memory_mb"
        -timeout=20 -artifact_prefix="$work/$target/" -print_final_stats=1)
    # Those that read text know its words.
    case $target in checkpoints | ini | scram) options+=(-dict=tests/fuzz/words.dict) ;; esac
    if FUZZ_TARGET=$target "$fuzzer" "${options[@]}" -max_total_time="$seconds" "$found" "$corpus" 2>"$log"; then
        result=fine
    else
        result="HARM: see $log"
        failed+=("$target")
    fi
    # Of what was found the least that reaches the same code; of that, no file larger than 4 KiB, and the
    # smallest ones up to 96 KiB.
    small=$work/$target/small
    rm -rf "$small"
    mkdir "$small"
    FUZZ_TARGET=$target "$fuzzer" -merge=1 -max_len=4096 -rss_limit_mb="$memory_mb" "$small" \
        "$corpus" "$found" 2>"$work/$target/merge.log" || failed+=("$target-merge")
    rm -rf "$corpus"
    mkdir "$corpus"
    find "$small" -type f -printf '%s %p\n' | sort -n | awk '(sum += $1) <= 98304 {print $2}' |
        xargs -r cp -t "$corpus"
    "$work/corpus" pack "$corpus" "$packed"
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\).*/\1 edges, \2 features/p' "$log" | tail -1)
    peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
    echo "$target: ${runs:-no} runs, ${coverage:-no coverage}, ${peak:-?} MiB at most," \
        "$(find "$corpus" -type f | wc -l) files of $(du -sb "$corpus" | cut -f1) bytes kept: $result"
done
[ ${#failed[@]} -eq 0 ] || {
    echo "harm was done to: ${failed[*]}" >&2
    exit 1
}
