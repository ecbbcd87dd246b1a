#!/usr/bin/env bash
# Makes what is installed, from the static binary: a tar.gz, a Debian package, an image, a list of the crates.
#
#   scripts/release.sh                    build, then into target/release-files
#   scripts/release.sh --binary FILE      with this binary instead of building one
#   scripts/release.sh --out FOLDER       into this folder
#   scripts/release.sh --revision N       revision of the Debian package (1)
#
# logagent-VERSION-MACHINE.tar.gz         binary, conf/, man page, completions, LICENSE, README.md, SHA256SUMS
# logagent_VERSION-REVISION_ARCH.deb      the same with a user, a state folder and a unit; made by tar and ar alone
# logagent-VERSION-ARCH.oci.tar           an image of the binary alone, OCI layout; `docker load`, podman, skopeo and
#                                         containerd take it
# logagent-VERSION.cdx.json               the crates in the binary, CycloneDX 1.5
# SHA256SUMS                              of the files above
#
# The same commit and binary give the same bytes: all times are SOURCE_DATE_EPOCH, the commit's unless set. Needs
# bash, coreutils, tar, gzip, ar and cargo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
binary=
out=${CARGO_TARGET_DIR:-target}/release-files
revision=1
while [ $# -gt 0 ]; do
    case $1 in
    --binary | --out | --revision)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        printf -v "${1#--}" %s "$2"
        shift 2
        ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done
for tool in ar tar gzip sha256sum cargo; do
    command -v "$tool" >/dev/null || { echo "scripts/release.sh needs $tool" >&2; exit 1; }
done
[ -n "$binary" ] || binary=$(scripts/build.sh --quiet)

export LC_ALL=C
umask 022
version=$(sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)
commit=$(git rev-parse --verify HEAD 2>/dev/null || true)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
target=$(rustc -vV | sed -n 's/^host: //p')
machine=${target%%-*}
# The name that Debian and OCI have for it.
case $machine in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$machine ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(realpath "$out")
rm -f "$out"/logagent[-_]* "$out/SHA256SUMS"

# `pack FOLDER [ARGUMENTS...]`: a tar of all that is in the folder, on standard output, whose bytes depend on
# the content alone.
pack() {
    local folder=$1
    shift
    tar --create --directory "$folder" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
        --numeric-owner "$@"
}

archive() {
    local name=logagent-$version-$machine
    local top=$work/archive/$name
    mkdir -p "$top"
    install -m 0755 "$binary" "$top/logagent"
    cp -R conf LICENSE README.md "$top/"
    mkdir "$top/completions"
    "$binary" help --man >"$top/logagent.1"
    for shell in bash zsh fish; do
        "$binary" help --completions $shell >"$top/completions/logagent.$shell"
    done
    # Those are in the package.
    rm -r "$top/conf/debian"
    chmod -R u=rwX,go=rX "$top"
    (cd "$top" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs -d '\n' sha256sum >"$work/sums")
    mv "$work/sums" "$top/SHA256SUMS"
    pack "$work/archive" "$name" | gzip -n >"$out/$name.tar.gz"
}

debian_package() {
    local root=$work/deb/root control=$work/deb/control parts=$work/deb script
    local doc=$root/usr/share/doc/logagent
    mkdir -p "$root"/usr/{bin,lib/systemd/system} "$root/etc/logagent" "$doc/examples" "$control"
    install -m 0755 "$binary" "$root/usr/bin/logagent"
    sed 's|/usr/local/bin/|/usr/bin/|' conf/logagent.service >"$root/usr/lib/systemd/system/logagent.service"
    install -m 0640 conf/logagent.ini "$root/etc/logagent/logagent.ini"
    mkdir -p "$root"/usr/share/{man/man1,bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
    "$binary" help --man | gzip -n9 >"$root/usr/share/man/man1/logagent.1.gz"
    "$binary" help --completions bash >"$root/usr/share/bash-completion/completions/logagent"
    "$binary" help --completions zsh >"$root/usr/share/zsh/vendor-completions/_logagent"
    "$binary" help --completions fish >"$root/usr/share/fish/vendor_completions.d/logagent.fish"
    install -m 0644 README.md "$doc/README.md"
    cp -R conf/examples conf/grafana conf/kubernetes conf/logrotate conf/prometheus conf/supervisord "$doc/examples/"
    sed -i 's|/usr/local/bin/|/usr/bin/|' "$doc"/examples/supervisord/*
    cat >"$doc/copyright" <<'TEXT'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: logagent

Files: *
Copyright: the authors of logagent
License: Apache-2.0
 The full text is in /usr/share/common-licenses/Apache-2.0.
TEXT
    chmod -R u=rwX,go=rX "$root/usr" "$doc"
    cat >"$control/control" <<TEXT
Package: logagent
Version: $version-$revision
Architecture: $arch
Maintainer: the authors of logagent <root@localhost>
Installed-Size: $(find "$root" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
Depends: passwd
Section: admin
Priority: optional
Description: follows log files and delivers every line to Apache Kafka
 One static binary that follows log files through rotation, truncation and
 outages, and remembers how far Kafka has acknowledged each.
TEXT
    echo /etc/logagent/logagent.ini >"$control/conffiles"
    (cd "$root" && find . -type f ! -path './etc/*' -printf '%P\n' | sort | xargs -d '\n' md5sum) >"$control/md5sums"
    for script in postinst prerm postrm; do
        install -m 0755 "conf/debian/$script" "$control/$script"
    done
    echo 2.0 >"$parts/debian-binary"
    pack "$control" . | gzip -n >"$parts/control.tar.gz"
    pack "$root" . | gzip -n >"$parts/data.tar.gz"
    # dpkg wants them in this order.
    (cd "$parts" && ar rcD "$out/logagent_$version-${revision}_$arch.deb" debian-binary control.tar.gz data.tar.gz)
}

# `blob FILE`: puts the file among the image's blobs and prints its digest and size.
blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d ' ' -f 1)
    mkdir -p "$work/image/blobs/sha256"
    mv "$1" "$work/image/blobs/sha256/$digest"
    echo "$digest $(stat -c %s "$work/image/blobs/sha256/$digest")"
}

image() {
    local layer=$work/layer state=$work/state plain digest size config config_size manifest manifest_size
    mkdir -p "$layer/etc/logagent" "$state/var/lib/logagent" "$work/image"
    install -m 0755 "$binary" "$layer/logagent"
    # The state folder alone belongs to the image's user: a new volume takes owner and mode from it.
    chmod 0700 "$state/var/lib/logagent"
    pack "$layer" etc logagent >"$work/layer.tar"
    pack "$state" --owner=65532 --group=65532 var/lib/logagent >"$work/state.tar"
    tar --concatenate --file "$work/layer.tar" "$work/state.tar"
    plain=$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)
    gzip -n "$work/layer.tar"
    read -r digest size < <(blob "$work/layer.tar.gz")
    cat >"$work/config" <<JSON
{"created":"$created","architecture":"$arch","os":"linux","config":{"User":"65532:65532","WorkingDir":"/","Entrypoint":["/logagent"],"Cmd":["--config","/etc/logagent/logagent.ini"],"StopSignal":"SIGTERM","Volumes":{"/var/lib/logagent":{}},"Labels":{"org.opencontainers.image.title":"logagent","org.opencontainers.image.version":"$version","org.opencontainers.image.revision":"$commit","org.opencontainers.image.licenses":"Apache-2.0"}},"rootfs":{"type":"layers","diff_ids":["sha256:$plain"]},"history":[{"created":"$created","created_by":"scripts/release.sh"}]}
JSON
    read -r config config_size < <(blob "$work/config")
    cat >"$work/manifest" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$config_size},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$digest","size":$size}]}
JSON
    read -r manifest manifest_size < <(blob "$work/manifest")
    echo '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
    cat >"$work/image/index.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$manifest","size":$manifest_size,"platform":{"architecture":"$arch","os":"linux"},"annotations":{"io.containerd.image.name":"docker.io/library/logagent:$version","org.opencontainers.image.ref.name":"$version"}}]}
JSON
    # For a Docker that does not know the OCI layout yet (before 25).
    cat >"$work/image/manifest.json" <<JSON
[{"Config":"blobs/sha256/$config","RepoTags":["logagent:$version"],"Layers":["blobs/sha256/$digest"]}]
JSON
    pack "$work/image" blobs index.json manifest.json oci-layout >"$out/logagent-$version-$arch.oci.tar"
}

# The crates whose code is in the binary: not those of tests, build scripts and macros. The C library is linked in.
crates() {
    local libc
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p' || true)
    cargo tree --locked --quiet --target "$target" --edges normal,no-proc-macro --prefix none --format '{p}|{l}' |
        sed 's/ (\*)$//' | sort -u | awk -v version="$version" -v created="$created" -v libc="$libc" '
        # The checksums of the crates.
        FNR == NR {
            if ($1 == "name") name = $3
            if ($1 == "version") at = $3
            if ($1 == "checksum") { gsub(/"/, "", name); gsub(/"/, "", at); gsub(/"/, "", $3); sum[name " " at] = $3 }
            next
        }
        {
            split($0, half, "|"); split(half[1], word, " "); name = word[1]; at = substr(word[2], 2)
            if (name == "logagent") next
            gsub(/\//, " OR ", half[2])
            line = sprintf("{\"type\":\"library\",\"name\":\"%s\",\"version\":\"%s\",\"purl\":\"pkg:cargo/%s@%s\"", \
                name, at, name, at)
            if (half[2] != "") line = line sprintf(",\"licenses\":[{\"expression\":\"%s\"}]", half[2])
            if ((name " " at) in sum) line = line sprintf(",\"hashes\":[{\"alg\":\"SHA-256\",\"content\":\"%s\"}]", sum[name " " at])
            lines[++n] = line "}"
        }
        END {
            if (libc != "") lines[++n] = sprintf("{\"type\":\"library\",\"name\":\"glibc\",\"version\":\"%s\"}", libc)
            print "{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,"
            printf "\"metadata\":{\"timestamp\":\"%s\",\"component\":{\"type\":\"application\",\"name\":\"logagent\",\"version\":\"%s\"}},\n", created, version
            print "\"components\":["
            for (i = 1; i <= n; i++) print lines[i] (i < n ? "," : "")
            print "]}"
        }' Cargo.lock - >"$out/logagent-$version.cdx.json"
}

archive
debian_package
image
crates
(cd "$out" && sha256sum logagent[-_]* >SHA256SUMS)
"$binary" --version >&2
(cd "$out" && stat -c '%9s %n' logagent[-_]*) >&2
echo "$out"
