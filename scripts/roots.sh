#!/usr/bin/env bash
# Makes a root file system with another glibc than this host's and the NSS modules that distributions put into
# nsswitch.conf, for tests/static_binary.rs to chroot into, and prints its folder.
#
#   scripts/roots.sh         into target/roots
#
# Debian's packages are downloaded by apt, with a configuration of its own, and unpacked; nothing is installed.
# They are those of the next release that has another glibc. Where only this release's can be had, it
# takes them and says so. Exit code 1: there is no apt, or no package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ $# != 0 ]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    case $1 in -h | --help) exit 0 ;; esac
    exit 2
fi

say() { echo "scripts/roots.sh: $*" >&2; }
for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || { say "needs $tool, so a host with Debian's packages"; exit 1; }
done

work=${CARGO_TARGET_DIR:-$PWD/target}/roots
root=$work/root
packages=(libc6 libcap2 libnss-mdns libnss-myhostname libnss-resolve libnss-mymachines)
modules=(mdns4_minimal myhostname resolve mymachines)
own=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //')

is_whole() {
    local module
    for module in "${modules[@]}"; do
        compgen -G "$root/usr/lib/*/libnss_$module.so.2" >/dev/null || return 1
    done
}
if is_whole; then
    echo "$root"
    exit 0
fi

rm -rf "$work"
mkdir -p "$work"/{etc/apt.conf.d,etc/preferences.d,etc/sources.list.d,state/lists/partial,cache/archives/partial,debs,root}
keys=/usr/share/keyrings/debian-archive-keyring.gpg
# The mirror that the host has been set up with.
mirror=$(apt-get indextargets --format '$(SITE) $(REPO_URI)' | awk '$2 ~ /\/debian\/?$/ {print $2; exit}')
cat >"$work/apt.conf" <<CONF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc "$work/etc";
Dir::State "$work/state";
Dir::State::status "/dev/null";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
APT::Sandbox::User "root";
CONF
# How the host reaches its mirror.
apt-config dump Acquire | grep -E '^Acquire::(http|https|ftp)(::|:)' >>"$work/apt.conf" || true

with_other_glibc() { # SUITE
    [ -n "$mirror" ] && [ -f "$keys" ] || return 1
    echo "deb [signed-by=$keys] $mirror $1 main" >"$work/etc/sources.list"
    APT_CONFIG=$work/apt.conf apt-get update -qq >&2 || return 1
    local version
    version=$(APT_CONFIG=$work/apt.conf apt-cache show --no-all-versions libc6 | sed -n 's/^Version: *//p')
    case $version in '' | "$own"-*) return 1 ;; esac
    (cd "$work/debs" && APT_CONFIG=$work/apt.conf apt-get download -qq "${packages[@]}" >&2)
}
suite=
for next in trixie forky sid; do
    if with_other_glibc "$next"; then
        suite=$next
        break
    fi
done
if [ -z "$suite" ]; then
    say "NO OTHER GLIBC CAN BE HAD: the modules of this host's own release are used"
    (cd "$work/debs" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}" >&2) || {
        say "no package can be had"
        exit 1
    }
fi
for package in "$work"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --exclude=./usr/share --exclude=./etc
done
rm -rf "$work"/{state,cache,debs}
# Where the modules look for each other.
for folder in lib lib64; do
    [ -e "$root/$folder" ] || ln -s "usr/$folder" "$root/$folder"
done
is_whole || { say "a module is missing in $root"; exit 1; }
say "glibc of ${suite:-this release}: $(basename "$(compgen -G "$root/usr/lib/*/libc.so.6")") beside this host's $own"
echo "$root"
