#!/usr/bin/env bash
# Installs, runs and removes what scripts/release.sh makes, and checks what is in conf/ for those who operate.
#
#   scripts/test_release.sh            build the binary
#   scripts/test_release.sh BINARY     with this one
#
# The package goes into a copy of this host's file system (an overlay) under a systemd of its own, in name spaces, never
# into the host; that takes root's rights and a Debian. supervisord is downloaded by apt and
# unpacked, not installed. What cannot be had is named, and fails where CI is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

passed=0 failed=0 missing=()
say() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS"; }
# `check SENTENCE COMMAND...`
check() {
    local sentence=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then
        passed=$((passed + 1))
        echo "ok    $sentence"
    else
        failed=$((failed + 1))
        printf 'FAIL  %s: %s\n%s\n' "$sentence" "$*" "$output"
    fi
}
eventually() {
    local tries
    for ((tries = 0; tries < 150; tries++)); do
        ! "$@" 2>/dev/null || return 0
        sleep 0.1
    done
    echo "not within 15 s"
    return 1
}
no() { ! "$@"; }
same() { [ "$1" = "$2" ] || { printf 'is        %s\nshould be %s\n' "$1" "$2"; return 1; }; }

# A log, and an ini whose broker never answers, so that a stop ends without it: `furnish ROOT STATE`, paths as seen from the root.
furnish() {
    mkdir -p "$1/var/log" "$1/etc/logagent"
    echo "a line" >"$1/var/log/followed.log"
    cat >"$1/etc/logagent/logagent.ini" <<INI
[agent]
state_dir = $2
shutdown_timeout = 100ms
[kafka]
brokers = 127.0.0.1:1
topic = t
[log:followed]
path = /var/log/followed.log
INI
}

# In the copy of the file system, under its systemd: what a package does. Arguments: two packages.
in_root() {
    local first=$1 second=$2 agent by_hand kept
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
    modes() { stat -c '%a %U:%G' "$@"; }
    main() { systemctl show --property MainPID --value logagent; }
    status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(main)/status"; }
    is() { same "$(systemctl show --property ActiveState --value logagent)" "$1"; }
    follows() { grep -q followed.log /var/lib/logagent/checkpoints; }
    another() { is active >/dev/null && [ "$(main)" != "$agent" ]; }

    check "the package installs" dpkg --install "$first"
    check "the binary runs" /usr/bin/logagent --version
    check "binary: mode and owner" same "$(modes /usr/bin/logagent)" "755 root:root"
    check "ini: root writes it, the agent reads it, nobody else does" \
        same "$(modes /etc/logagent/logagent.ini)" "640 root:logagent"
    check "state folder: the agent's alone" same "$(modes /var/lib/logagent)" "700 logagent:logagent"
    check "the user is in group adm" same "$(id -nG logagent)" "logagent adm"
    check "the user has no shell" grep -q '^logagent:.*:/var/lib/logagent:/usr/sbin/nologin$' /etc/passwd
    check "files are those of the package" dpkg --verify logagent
    check "a first install starts nothing" is inactive
    check "the unit is right" systemd-analyze verify /usr/lib/systemd/system/logagent.service
    check "the unit is well kept in" systemd-analyze security --offline=yes --threshold=20 --no-pager \
        /usr/lib/systemd/system/logagent.service
    systemd-analyze security --offline=yes --no-pager /usr/lib/systemd/system/logagent.service | tail -n 1 || true

    furnish "" /var/lib/logagent
    chmod 600 /var/log/followed.log
    check "systemd starts it" systemctl enable --now logagent
    check "it reads a log that only root may read, and writes its positions" eventually follows
    check "it runs as its user" same "$(status Uid)" "$(id -u logagent | sed 's/.*/&\t&\t&\t&/')"
    check "it may read any file, and nothing else" same "$(status CapEff)" "0000000000000004"
    check "its system calls are filtered" same "$(status Seccomp) $(status NoNewPrivs)" "2 1"
    check "it does not see the passwords of the host" no test -s "/proc/$(main)/root/etc/shadow"
    agent=$(main)
    kill -KILL "$agent"
    check "systemd starts it again after a SIGKILL" eventually another
    agent=$(main)
    check "an upgrade installs over a changed ini" dpkg --install --force-confold "$second"
    check "it is the new version" same "$(dpkg-query -W -f '${Status} ${Version}' logagent)" \
        "install ok installed $(dpkg-deb -f "$second" Version)"
    check "an upgrade keeps the ini and its rights" same \
        "$(modes /etc/logagent/logagent.ini) $(grep brokers /etc/logagent/logagent.ini)" \
        "640 root:logagent brokers = 127.0.0.1:1"
    check "an upgrade restarts what ran" eventually another
    check "it stops" systemctl stop logagent
    check "it stopped by itself, with 0" same \
        "$(systemctl show --property Result,ExecMainStatus logagent | paste -sd' ')" "Result=success ExecMainStatus=0"
    kept=$(cd /var/lib/logagent && sha256sum ./*)
    check "an upgrade of what did not run" dpkg --install --force-confold "$second"
    check "it keeps the positions" same "$(cd /var/lib/logagent && sha256sum ./*)" "$kept"
    check "it starts nothing" is inactive
    sed 's/^brokers/brokrs/' -i.well /etc/logagent/logagent.ini
    systemctl start logagent || true
    check "a refused ini is not tried again" eventually is failed
    mv /etc/logagent/logagent.ini.well /etc/logagent/logagent.ini
    check "the mended one starts" systemctl start logagent

    # One that systemd knows nothing of.
    sed 's|^state_dir.*|state_dir = /run/by-hand|' /etc/logagent/logagent.ini >/run/by-hand.ini
    /usr/bin/logagent --config /run/by-hand.ini 2>/run/by-hand.log &
    by_hand=$!
    eventually test -s /run/by-hand/checkpoints >/dev/null || true
    agent=$(main)
    check "removal" dpkg --remove logagent
    check "removal leaves nothing running" no kill -0 "$agent" "$by_hand"
    check "removal disables the unit" no test -L /etc/systemd/system/multi-user.target.wants/logagent.service
    check "removal keeps the positions and the ini" test -s /var/lib/logagent/checkpoints -a \
        -s /etc/logagent/logagent.ini
    check "purge" dpkg --purge logagent
    check "purge takes state, ini and user" no eval \
        'ls -d /var/lib/logagent /etc/logagent || getent passwd logagent || getent group logagent'
    echo "$passed $failed" >/run/result/package.count
}

# A control group of version 2, for the systemd there; nothing where none can be made.
control_group() {
    local mounted
    mounted=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    mounted+=$(sed -n 's/^0:://p' /proc/self/cgroup)/logagent-test-$$
    mkdir "$mounted" 2>/dev/null && echo "$mounted"
}

# `packages_in_a_root FIRST SECOND`: boots the host's systemd with an empty set of units in a copy of the host's file
# system, and has it run in_root. Process 1 of the name space ends with all that it has started.
packages_in_a_root() {
    mkdir -p "$work/root" "$work/result"
    timeout --kill-after 5 120 bash -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' - "$group" \
        unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net bash -c '
        set -euo pipefail
        mount -t tmpfs -o mode=755 root "$1"
        mkdir "$1/upper" "$1/work" "$1/root"
        mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" logagent-test "$1/root"
        cd "$1/root"
        mount -t proc proc proc
        mount --bind proc/sys proc/sys
        mount -o remount,ro,bind proc/sys
        mount -t sysfs -o ro sysfs sys
        mount -t cgroup2 cgroup2 sys/fs/cgroup
        mount -t tmpfs -o mode=755 run run
        mount -t tmpfs tmp tmp
        mount -t tmpfs -o mode=755 dev dev
        mkdir dev/pts dev/shm run/result tmp/release
        mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
        ln -s pts/ptmx dev/ptmx
        ln -s /proc/self/fd dev/fd
        for device in null zero full random urandom tty; do
            touch "dev/$device"
            mount --bind "/dev/$device" "dev/$device"
        done
        mount --bind "$2" run/result
        cp "$3" "$4" "$5" tmp/release/
        units=usr/lib/systemd/system
        rm -rf "$units"/* etc/systemd/system/* usr/lib/systemd/system-generators
        for name in sysinit basic shutdown multi-user network-online; do
            printf "[Unit]\nDefaultDependencies=no\n" >"$units/$name.target"
        done
        printf "%s\n" "[Unit]" DefaultDependencies=no SuccessAction=exit-force FailureAction=exit-force \
            "[Service]" Type=oneshot StandardOutput=file:/run/result/said StandardError=inherit \
            "ExecStart=/bin/bash /tmp/release/${5##*/} --in-root /tmp/release/${3##*/} /tmp/release/${4##*/}" \
            >"$units/trial.service"
        exec chroot . /usr/bin/env -i container=logagent-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            /lib/systemd/systemd --system --unit=trial.service --show-status=0
    ' - "$work/root" "$work/result" "$1" "$2" "$PWD/scripts/test_release.sh" || echo "systemd ended with $?"
    find "$group" -depth -type d -exec rmdir {} \;
    cat "$work/result/said"
    cp "$work/result/package.count" "$work/"
}

# The image's only layer, on a read-only root, as user 65532.
image_in_a_root() {
    local root=$work/image layout=$work/layout layer
    mkdir -p "$root" "$layout"
    tar -xf "$1" -C "$layout"
    check "image: every blob is what its name says" bash -c \
        'cd "$1/blobs/sha256" && for f in *; do echo "$f  $f"; done | sha256sum -c --quiet' - "$layout"
    layer=$(grep -o '"Layers":\["[^"]*' "$layout/manifest.json" | sed 's/.*"//')
    tar -xzf "$layout/$layer" -C "$root" --same-owner --same-permissions
    check "image: the binary alone" same "$(find "$root" -type f -printf '%P %m\n')" "logagent 755"
    check "image: the state folder is its user's" same "$(stat -c '%a %u:%g' "$root/var/lib/logagent")" "700 65532:65532"
    # Only the two mounts that its users make.
    mkdir -p "$work/logs" "$work/ini" "$root/var/log"
    furnish "$work/mounts" /var/lib/logagent
    in_image() {
        unshare --mount --pid --fork --kill-child bash -c '
            set -e
            root=$1 mounts=$2
            shift 2
            mount --bind "$root" "$root"
            mount --bind "$mounts/etc/logagent" "$root/etc/logagent"
            mount --bind "$mounts/var/log" "$root/var/log"
            mount -t tmpfs -o uid=65532,gid=65532,mode=700 state "$root/var/lib/logagent"
            mount -o remount,ro,bind "$root"
            exec 2>&1
            if [ "$1" = --stop ]; then
                chroot --userspec=65532:65532 --groups= "$root" /logagent --config /etc/logagent/logagent.ini &
                for ((tries = 0; tries < 100; tries++)); do
                    ! grep -qs followed "$root/var/lib/logagent/checkpoints" || break
                    sleep 0.1
                done
                grep -qs followed "$root/var/lib/logagent/checkpoints"
                ! touch "$root/written" 2>/dev/null
                kill -TERM $!
                wait $!
            else
                chroot --userspec=65532:65532 --groups= "$root" /logagent "$@"
            fi
        ' - "$root" "$work/mounts" "$@"
    }
    check "image: reads a log as user 65532 on a read-only root" bash -c 'grep -q "a line" <<<"$1"' - \
        "$(in_image --config /etc/logagent/logagent.ini --dry-run --once)"
    check "image: writes its positions, stops with 0" in_image --stop
}

# A supervisord of its own in $folder, for the programs of its *.conf.
supervisord_conf() {
    cat >"$folder/supervisord.main" <<CONF
[unix_http_server]
file=$folder/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
logfile=$folder/supervisord.log
pidfile=$folder/pid
nodaemon=true
[supervisorctl]
serverurl=unix://$folder/sock
[include]
files=$folder/*.conf
CONF
}
supervisor() {
    PYTHONPATH=$tools/usr/lib/python3/dist-packages /usr/bin/python3 -W ignore -m "supervisor.$1" \
        -c "$folder/supervisord.main" "${@:2}"
}

# The shipped file under a real supervisord: only its paths are others.
supervisord_file() {
    local folder=$work/supervisor daemon
    mkdir -p "$folder"
    furnish "$folder" "$folder/state"
    sed -i "s|/var/log/|$folder/var/log/|" "$folder/etc/logagent/logagent.ini"
    sed "s|/usr/local/bin/logagent|$binary|; s|/etc/logagent|$folder/etc/logagent|; s|/var/log/|$folder/|" \
        conf/supervisord/logagent.conf >"$folder/logagent.conf"
    supervisord_conf
    supervisor supervisord >"$folder/out" 2>&1 &
    daemon=$!
    # Its exit code is that of the state.
    state() { grep -qE "$1" <<<"$(supervisor supervisorctl status logagent)"; }
    pid() { supervisor supervisorctl pid logagent; }
    check "supervisord starts the agent with the shipped file" eventually state RUNNING
    check "the agent has written its positions" eventually grep -q followed "$folder/state/checkpoints"
    local before
    before=$(pid)
    kill -KILL "$before"
    restarted() { [ "$(pid)" != "$before" ] && state RUNNING; }
    check "supervisord starts it again after a SIGKILL" eventually restarted
    check "supervisorctl stop ends it" supervisor supervisorctl stop logagent
    check "it ended by itself, with 0" eventually grep -q 'stopped: logagent (exit status 0)' "$folder/supervisord.log"
    sed -i 's/^brokers/brokrs/' "$folder/etc/logagent/logagent.ini"
    supervisor supervisorctl start logagent >/dev/null 2>&1 || true
    # EXITED where supervisord has seen the end of it later than startsecs.
    check "a refused ini is given up" eventually state 'FATAL|EXITED'
    check "stderr_logfile says why" grep -q "did you mean 'brokers'" "$folder/logagent.err"
    # $daemon is the shell that waits for it.
    supervisor supervisorctl shutdown >/dev/null
    wait "$daemon" || true
}

# Two agents with one id, which supervisord starts at the same time and would start again: they fight for a moment only.
supervisord_pair() {
    local folder=$work/pair name daemon id=pair-$$-$RANDOM before winner loser
    mkdir -p "$folder/log"
    seq -f 'before %.0f' 1000 >"$folder/log/a.log"
    for name in one two; do
        cat >"$folder/$name.ini" <<INI
[agent]
id = $id
state_dir = $folder/$name.state
[kafka]
brokers = $LOGAGENT_TEST_KAFKA
topic = $id
delivery = exactly_once
provenance = on
[log:a]
path = $folder/log/*.log
INI
        sed "s|program:logagent|program:$name|; s|/usr/local/bin/logagent|$binary|; s|/etc/logagent/logagent|$folder/$name|
            s|/var/log/logagent|$folder/$name|" conf/supervisord/logagent.conf >"$folder/$name.conf"
    done
    supervisord_conf
    supervisor supervisord >"$folder/out" 2>&1 &
    daemon=$!
    # Its exit code is that of the states.
    states() { supervisor supervisorctl status || true; }
    settled() { [ "$(grep -c RUNNING <<<"$(states)")" = 1 ] && grep -qE 'EXITED|FATAL' <<<"$(states)"; }
    starts() { grep -c 'INFO spawned' "$folder/supervisord.log"; }
    has_all() { "$binary" --config "$folder/$winner.ini" verify >"$folder/verify" 2>&1; }
    check "of two agents with one id supervisord has one running and one that has ended" eventually settled
    before=$(starts)
    seq -f 'after %.0f' 1000 >>"$folder/log/a.log"
    sleep 5
    check "they do not start again and again" same "$(starts)" "$before"
    check "and it stays so" settled
    winner=$(states | sed -n 's/ *RUNNING.*//p') loser=one
    [ "$winner" != one ] || loser=two
    check "the other one has ended with 3" grep -q "exited: $loser (exit status 3;" "$folder/supervisord.log"
    check "and says who has the id" grep -q \
        "agent has taken over the transactional ids of '$id' (process $(supervisor supervisorctl pid "$winner") " "$folder/$loser.err"
    check "no line is missing or there twice" eventually has_all || cat "$folder/verify"
    supervisor supervisorctl shutdown >/dev/null
    wait "$daemon" || true
}

# The manifest's form, what its parts call each other, and that its ini loads.
manifest() {
    python3 - conf/kubernetes/daemonset.yaml >"$work/pods.ini" <<'PY'
import sys, yaml
parts = {d["kind"]: d for d in yaml.safe_load_all(open(sys.argv[1]))}
assert set(parts) == {"Namespace", "ConfigMap", "ServiceAccount", "DaemonSet"}, parts.keys()
assert all(p["apiVersion"] == ("apps/v1" if k == "DaemonSet" else "v1") for k, p in parts.items())
name = parts["Namespace"]["metadata"]["name"]
assert all(p["metadata"]["namespace"] == name for k, p in parts.items() if k != "Namespace")
spec = parts["DaemonSet"]["spec"]
pod = spec["template"]["spec"]
assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
assert pod["serviceAccountName"] == parts["ServiceAccount"]["metadata"]["name"]
volumes = {v["name"]: v for v in pod["volumes"]}
container, = pod["containers"]
assert {m["name"] for m in container["volumeMounts"]} == set(volumes)
assert volumes["config"]["configMap"]["name"] == parts["ConfigMap"]["metadata"]["name"]
security = container["securityContext"]
assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}
print(parts["ConfigMap"]["data"]["logagent.ini"], end="")
PY
}
manifest_loads() {
    local code=0
    # There is no such folder here, so that it ends with 1; a refused ini ends with 2.
    NODE_NAME=n "$binary" --config "$work/pods.ini" --dry-run --once || code=$?
    [ "$code" -lt 2 ]
}
# The user in it is one of its readers'.
logrotate_reads() {
    sed 's/ shop adm$/ root adm/' conf/logrotate/logagent-example >"$work/stanza"
    /usr/sbin/logrotate --debug --state "$work/none" "$work/stanza"
}

operators_files() {
    if python3 -c 'import yaml' 2>/dev/null; then
        check "the manifest has the right form" manifest
        check "the manifest's ini loads" manifest_loads
    fi
    [ ! -x /usr/sbin/logrotate ] || check "logrotate reads the stanza" logrotate_reads
}

# `begin NAME FUNCTION...`: its checks go on beside what follows; `end_all` waits for all of them and counts.
declare -A jobs
begin() {
    local name=$1
    shift
    (
        passed=0 failed=0
        "$@"
        [ -e "$work/$name.count" ] || echo "$passed $failed" >"$work/$name.count"
    ) >"$work/$name.said" 2>&1 </dev/null &
    jobs[$name]=$!
}
end_all() {
    local name more worse
    for name in "${!jobs[@]}"; do
        wait "${jobs[$name]}" || true
        say "$name"
        cat "$work/$name.said"
        # What ended before it had counted has failed.
        read -r more worse <"$work/$name.count" || more=0 worse=1
        passed=$((passed + more)) failed=$((failed + worse))
    done 2>/dev/null
}

if [ "${1:-}" = --in-root ]; then
    in_root "$2" "$3"
    exit 0
fi
case ${1:-} in -*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
binary=$(realpath "${1:-$(scripts/build.sh --quiet)}")

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/release-tools")
download() {
    (cd "$tools/debs" && apt-get download -qq -o APT::Sandbox::User=root supervisor python3-pkg-resources)
}
if [ ! -e "$tools/done" ] && command -v apt-get >/dev/null; then
    say "fetching supervisord"
    mkdir -p "$tools/debs"
    # A new machine has no lists yet, or old ones.
    if download 2>/dev/null || { apt-get -qq update && download; }; then
        for package in "$tools"/debs/*.deb; do
            dpkg-deb -x "$package" "$tools"
        done
        touch "$tools/done"
    fi
    rm -rf "$tools/debs"
fi

# They wait most of the time, so they go on side by side.
if [ -e "$tools/done" ]; then
    begin supervisord supervisord_file
    if [ -n "${LOGAGENT_TEST_KAFKA:-}" ]; then
        begin pair supervisord_pair
    else
        missing+=("TWO AGENTS WITH ONE ID WERE NOT TRIED: no real Kafka (scripts/test.sh starts one).")
    fi
else
    missing+=("THE SUPERVISORD FILE WAS NOT TRIED: apt gave no supervisor.")
fi
begin conf operators_files
python3 -c 'import yaml' 2>/dev/null || missing+=("THE MANIFEST WAS NOT READ: python3 has no yaml (Debian: python3-yaml).")
[ -x /usr/sbin/logrotate ] || missing+=("THE LOGROTATE STANZA WAS NOT READ: no logrotate.")
say "what is released, twice"
scripts/release.sh --binary "$binary" --out "$work/again" >/dev/null 2>&1 &
again=$!
scripts/release.sh --binary "$binary" --out "$work/second" --revision 2 >/dev/null 2>&1 &
second=$!
scripts/release.sh --binary "$binary" --out "$work/first" 2>"$work/release.log" >&2 || { cat "$work/release.log"; exit 1; }
wait "$again" "$second"
cat "$work/release.log"
check "the same bytes twice" diff -r "$work/first" "$work/again"
check "SHA256SUMS" bash -c 'cd "$1" && sha256sum -c --quiet SHA256SUMS' - "$work/first"
mkdir "$work/archive"
tar -xzf "$work"/first/logagent-*.tar.gz -C "$work/archive" --strip-components=1
check "SHA256SUMS of the archive" bash -c 'cd "$1" && sha256sum -c --quiet SHA256SUMS && ./logagent --version' - "$work/archive"
check "the list of crates is JSON and has each crate" bash -c \
    'python3 -m json.tool "$1" >/dev/null && grep -q pkg:cargo/rustls@ "$1"' - "$work/first"/logagent-*.cdx.json

if [ "$(id -u)" = 0 ]; then
    begin image image_in_a_root "$work"/first/*.oci.tar
else
    missing+=("THE IMAGE WAS NOT TRIED: that takes root's rights.")
fi
if [ "$(id -u)" = 0 ] && command -v dpkg >/dev/null && [ -x /lib/systemd/systemd ] && group=$(control_group); then
    begin package packages_in_a_root "$work"/first/*.deb "$work"/second/*.deb
else
    missing+=("THE PACKAGE WAS NOT TRIED: that takes root's rights, dpkg, systemd and a control group of version 2.")
fi
end_all
say "summary"
printf '%s\n' "${missing[@]}"
echo "$passed passed, $failed failed"
[ ${#missing[@]} -eq 0 ] || [ -z "${CI:-}" ] || exit 1
[ "$failed" = 0 ]
