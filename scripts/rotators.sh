#!/usr/bin/env bash
# What rotates files in the tests: real logrotate, multilog, svlogd, log4j2 and logback.
#
#   scripts/rotators.sh get     install the programs where that may be done, fetch the libraries, say what is missing
#   scripts/rotators.sh jars    print the class path of log4j2, logback and tests/loggers/Logging.java; exit code 1:
#                               they are not there
#
# The libraries come from Maven (scripts/loggers.xml) and lie in target/loggers. What cannot be had is named; the
# tests that need it say so too, and fail where CI is set, except those of multilog and svlogd.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'rotators.sh: %s\n' "$*" >&2; }

jars() {
    local all=(target/loggers/*.jar)
    [ -e target/loggers/Logging.class ] || return 1
    local IFS=:
    echo "$PWD/target/loggers:${all[*]/#/$PWD/}"
}

get() {
    local pair missing=()
    PATH=$PATH:/usr/sbin:/sbin
    for pair in logrotate:logrotate multilog:daemontools svlogd:runit python3:python3-minimal; do
        command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "installing ${missing[*]}"
            apt-get -q update >/dev/null 2>&1 || say "apt-get update failed, trying without"
            # One by one: what one release lacks keeps none of the others away.
            for package in "${missing[@]}"; do
                DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$package" \
                    >/dev/null 2>&1 </dev/null || say "MISSING: $package"
            done
        else
            say "MISSING: ${missing[*]} (Debian: apt-get install ${missing[*]})"
        fi
    fi
    # Both change with the tests.
    if [ ! target/loggers/Logging.class -nt tests/loggers/Logging.java ] ||
        [ ! target/loggers/Logging.class -nt scripts/loggers.xml ]; then
        fetch_jars || say "MISSING: log4j2 and logback, see target/loggers.log"
    fi
}

fetch_jars() {
    command -v mvn >/dev/null && command -v java >/dev/null || return 1
    # Into a temporary folder first: the final name exists only when all of it is there.
    local fetched=target/.loggers
    rm -rf "$fetched"
    mkdir -p "$fetched"
    say "fetching log4j2 and logback"
    mvn -q -B -U -Dstyle.color=never -f scripts/loggers.xml \
        org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$PWD/$fetched" >target/loggers.log 2>&1 </dev/null || return 1
    java -jar "$fetched"/ecj-*.jar -17 -nowarn -cp "$(echo "$fetched"/*.jar | tr ' ' :)" -d "$fetched" \
        tests/loggers/Logging.java >>target/loggers.log 2>&1 || return 1
    rm -rf target/loggers
    mv -T "$fetched" target/loggers
}

case ${1:-} in
get) get ;;
jars) jars ;;
*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
