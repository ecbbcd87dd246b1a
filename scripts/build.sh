#!/usr/bin/env bash
# Builds the release binary, static, and leaves it in target/logagent. Arguments go to cargo.
#
#   scripts/build.sh --instructions    builds, in the same way, what scripts/instructions.sh runs: target/instructions
#
# The C library is linked in (crt-static) on the toolchain's own gnu target, so nothing has to be
# downloaded for it. A target is named because otherwise the flag would reach build scripts and macros, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v cargo >/dev/null || { echo "scripts/build.sh needs cargo: install Rust 1.88 or later" >&2; exit 1; }
command -v cc >/dev/null || { echo "scripts/build.sh needs cc: install a C compiler" >&2; exit 1; }
program=logagent
if [ "${1:-}" = --instructions ]; then
    program=instructions
    shift
fi
target=$(rustc -vV | sed -n 's/^host: //p')
# What is inlined above that size makes a line cheaper by 1 % (gzip by 4), and takes 350 KB.
flags="-C target-feature=+crt-static -C llvm-args=-inline-threshold=45"
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || true)
at_least() { [[ $libc == glibc\ * ]] && printf '%s\n%s\n' "$1" "${libc#glibc }" | sort -VC; }
# The agent looks names up by itself (src/resolve); the crate of the legacy output has the C library do it, for the
# names that brokers give each other. Whatever nsswitch.conf says, that must load no module of the host's other C
# library: these two services are part of glibc.
mkdir -p target
if at_least 2.34; then
    cc -O2 -x c -c - -o target/files_dns.o <<'C'
extern int __nss_configure_lookup(const char *database, const char *services);

__attribute__((constructor)) static void files_dns(void) {
    __nss_configure_lookup("hosts", "files dns");
}
C
    flags+=" -C link-arg=target/files_dns.o"
fi
# Relocations in their packed form are 120 KB smaller; glibc applies them since 2.36.
if at_least 2.36; then
    flags+=" -C link-arg=-Wl,-z,pack-relative-relocs"
fi
# Functions whose code is the same are there once, where the linker can do that (rustc has used its own since 1.90):
# 50 KB. Nothing here tells functions apart by their addresses.
if rustc --edition 2024 --crate-name probe -o target/probe -C link-arg=-Wl,--icf=all - <<<'fn main() {}' 2>/dev/null
then
    flags+=" -C link-arg=-Wl,--icf=all"
fi
# Nothing unwinds (src/panics.rs), so nobody looks up where the tables for that are; where the linker can leave them
# out, the binary is 480 KB smaller.
flags+=" -C link-arg=-Wl,--no-eh-frame-hdr"
echo 'SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) } } INSERT AFTER .text;' >target/no_unwind.ld
without="-C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,target/no_unwind.ld"
# shellcheck disable=SC2086
if rustc --edition 2024 --crate-name probe -o target/probe -C target-feature=+crt-static $without - <<<'fn main() {}' \
    2>/dev/null && target/probe
then
    flags+=" -C link-arg=-Wl,-T,target/no_unwind.ld"
fi
# zstd is unpacked only where a rotated file was compressed: one way to do it, the smaller one, is enough, and
# 60 KB less. No panic goes through C, so that needs no unwind tables.
# The searches of its levels above 12 take another 80 KB and more time than a log shipper has: there it packs as at 12.
for search in BTLAZY2 BTOPT BTULTRA; do
    CFLAGS="${CFLAGS:-} -DZSTD_EXCLUDE_${search}_BLOCK_COMPRESSOR"
done
export CFLAGS="${CFLAGS:-} -DHUF_FORCE_DECOMPRESS_X1=1 -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT=1 -fno-asynchronous-unwind-tables -fno-unwind-tables"
# What `logagent --version` says of the commit: its hash, a + where files differ from it, its day. Nothing else of
# when and where it is built goes into the binary.
if [ -z "${LOGAGENT_COMMIT+set}" ] && commit=$(git rev-parse --verify HEAD 2>/dev/null); then
    [ -z "$(git status --porcelain --untracked-files=no)" ] || changed=+
    day=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%d)
    export LOGAGENT_COMMIT="${commit:0:12}${changed:-} $day"
fi
RUSTFLAGS="${RUSTFLAGS:-} $flags" cargo build --release --locked --target "$target" --package "$program" --bin "$program" "$@" >&2
out=${CARGO_TARGET_DIR:-target}
install -D "$out/$target/release/$program" "$out/$program"
echo "$out/$program"
