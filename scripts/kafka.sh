#!/usr/bin/env bash
#
# A real Kafka for tests, benchmarks and trying things out: fetched with Maven, run on 127.0.0.1, several
# instances and versions side by side. `scripts/kafka.sh help` lists the commands.
#
# Everything it makes lives under target/kafka:
#   dist/<version>/lib          the jars
#   dist/<version>/classes.jsa  the broker's classes, parsed ahead: saves 40 % of the CPU time of each start
#   instances/<name>/           one broker: its settings, address, pid, log and data; of a cluster of several
#                               nodes each has a folder N/ in it; ZooKeeper, before Kafka 3, has zookeeper/
#   locks/
#
# Standard output carries answers only (an address, records, offsets); all else goes to standard error.

# shellcheck disable=SC2317 # in the whole file: most functions are called by a computed name
set -euo pipefail
# Messages in English, since some are looked at here, and jars in the same order for every user.
export LC_ALL=C.UTF-8

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly HERE
# Absolute and without symbolic links, since a running broker is known by its folder's name.
ROOT=$(realpath -m -- "${LOGAGENT_KAFKA_DIR:-$HERE/../target/kafka}")
readonly ROOT

readonly KAFKA_4=4.3.1
readonly KAFKA_3=3.9.2
readonly KAFKA_2=2.8.2

# As long as a broker still writes to its log it is on its way; busy machines take their time.
readonly QUIET_SECONDS=90
readonly START_SECONDS=300
readonly STOP_SECONDS=20
readonly MAVEN_RETRY_MINUTES=60
# C1 only and the serial collector: least time to start, fewest threads.
readonly JVM_OPTIONS="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"

usage() {
    cat <<EOF
usage: scripts/kafka.sh COMMAND [ARGUMENTS]

  get [VERSION]                       fetch Kafka; VERSION is 4 ($KAFKA_4, the default), 3.9 ($KAFKA_3),
                                      2.8 ($KAFKA_2, which runs with its ZooKeeper) or exact
  start [--version V] [--brokers N] [--set K=V]... [--node N]
                                      start an instance and print its address; no effect if it runs already.
                                      --brokers: a cluster of that many brokers (from 3.9 on), each of which is
                                      a controller too; with three or more, topics have three replicas and
                                      acks=all takes two.
                                      --set adds or replaces server properties, at the first start only;
                                      {port} and {controller_port} in V stand for the node's ports
  stop [--keep] [--node N]            stop it and remove its data, unless --keep (or --node): then start
                                      brings it back
  kill [--node N]                     end it with SIGKILL, its data stays
  pause [--node N]                    halt it with SIGSTOP: connections stay, nothing is answered
  continue [--node N]                 let it go on, with SIGCONT
  status [--node N]                   a line for each node; exit code 0: all answer, 1: one runs but does not
                                      answer, 3: one is not running
  pid [--node N]                      its process id, or those of all its nodes, one per line
  topic NAME [PARTITIONS] [--config K=V]...   create a topic unless it is there
  delete-topic NAME                   delete a topic if it is there
  offsets TOPIC                       one PARTITION:END-OFFSET per line
  consume TOPIC [OPTIONS]             print the records' values from the beginning; OPTIONS are the console
                                      consumer's: --max-messages N, --timeout-ms MS,
                                      --property print.partition=true ...; --include REGEX instead of TOPIC
                                      reads all topics of such names
  help                                this text

Each command but get takes --instance NAME (default: default). Instances are independent of each other. Their
nodes are called 1, 2, 3 ..., and zookeeper; with --node a command is about that one alone.

environment:
  KAFKA_BROKERS            host:port[,...] of a running Kafka (plaintext) to use; nothing is started or stopped
  LOGAGENT_KAFKA_DIR       where everything is kept, instead of target/kafka
  LOGAGENT_KAFKA_HEAP      each broker's heap, default 512m, or 256m in a cluster of several
  LOGAGENT_KAFKA_JAVA_OPTS replaces '$JVM_OPTIONS' for the broker, which starts fast
                           but compiles lightly: for a benchmark set it to '-XX:+UseParallelGC'
  LOGAGENT_NO_MAVEN=1      do as if Maven's registry were out of reach

A missing Java (17 or later) or Maven is installed, by root on Debian. Exit code 4: Maven's registry is out of
reach, and what is asked for is not here yet.
EOF
}

main() {
    local command=${1:-}
    (($# == 0)) || shift
    case $command in
    get | start | stop | kill | pause | continue | status | pid | topic | delete-topic | offsets | consume)
        "command_${command//-/_}" "$@"
        ;;
    help | -h | --help) usage ;;
    '') usage_error "no command" ;;
    *) usage_error "unknown command '$command'" ;;
    esac
    # Bash reads a script as it goes, and this one may have been changed meanwhile: read no more of it.
    exit
}

# ---------------------------------------------------------------------------------------------------------
# Commands

command_get() {
    parse_arguments "" "$@"
    ((${#WORDS[@]} <= 1)) || usage_error "get takes one version"
    VERSION=$(exact_version "${WORDS[0]:-$KAFKA_4}")
    obtain_kafka
    if [[ ! -e $ROOT/dist/$VERSION/classes.jsa ]]; then
        lock get
        archive_classes
    fi
}

command_start() {
    parse_arguments "--instance --version --brokers --set --node" "$@"
    no_words start
    if [[ -n ${KAFKA_BROKERS:-} ]]; then
        answers_external || fail "KAFKA_BROKERS=$KAFKA_BROKERS: no broker answers (plaintext only)"
        echo "$KAFKA_BROKERS"
        return
    fi

    lock "instance-$INSTANCE"
    if [[ -e $DIR/ready ]]; then
        local has
        has=$(<"$DIR/version")
        [[ -z $VERSION || $VERSION == "$has" ]] ||
            fail "instance '$INSTANCE' is Kafka $has, not $VERSION; stop it first, or name another --instance"
        ((${#SETS[@]} == 0)) || note "instance '$INSTANCE' exists already, --set has no effect"
        [[ -z $BROKER_COUNT ]] || note "instance '$INSTANCE' exists already, --brokers has no effect"
        { launch_missing && await_all; } || start_failed
    else
        [[ -z $NODE ]] || fail "instance '$INSTANCE' does not exist; start it without --node first"
        first_start || start_failed
    fi
    cat "$DIR/address"
}

command_stop() {
    parse_arguments "--instance --keep --node" "$@"
    no_words stop
    [[ -z ${KAFKA_BROKERS:-} ]] || return 0
    lock "instance-$INSTANCE"
    if [[ -n $KEEP || -n $NODE ]]; then
        terminate
        return
    fi
    # The last node of a cluster would wait for the others in vain, and there is nothing to be put in order.
    (($(nodes | wc -l) == 1)) || for_nodes send_signal KILL
    terminate
    rm -rf "$DIR"
}

command_kill() {
    signal_nodes kill KILL "$@"
    for_nodes gone_after_kill
}

command_pause() {
    signal_nodes pause STOP "$@"
}

command_continue() {
    signal_nodes continue CONT "$@"
}

# `signal_nodes COMMAND SIGNAL ARGUMENTS`
signal_nodes() {
    local command=$1 signal=$2
    shift 2
    parse_arguments "--instance --node" "$@"
    no_words "$command"
    [[ -z ${KAFKA_BROKERS:-} ]] || fail "KAFKA_BROKERS is set: that broker is not ours to $command"
    for_nodes send_signal "$signal"
}

send_signal() {
    ! is_running || kill "-$1" "$PID"
}

gone_after_kill() {
    await_exit 5 || fail "process $PID survives SIGKILL"
    rm -f "$NODE_DIR/pid"
}

command_status() {
    parse_arguments "--instance --node" "$@"
    no_words status
    if [[ -n ${KAFKA_BROKERS:-} ]]; then
        answers_external || {
            echo "external: $KAFKA_BROKERS does not answer"
            return 3
        }
        echo "external: $KAFKA_BROKERS answers"
        return
    fi
    local worst=0
    for_nodes node_status
    return "$worst"
}

# Prints a line and raises `worst`.
node_status() {
    local name=$INSTANCE address
    [[ $NODE_DIR == "$DIR" ]] || name+=" ${NODE_DIR##*/}"
    if ! is_running; then
        echo "$name: not running"
        worst=3
        return
    fi
    address=$(<"$NODE_DIR/address")
    if answers; then
        echo "$name: kafka $(<"$DIR/version") answers at $address, pid $PID"
    else
        echo "$name: pid $PID runs but does not answer at $address"
        ((worst > 1)) || worst=1
    fi
}

command_pid() {
    parse_arguments "--instance --node" "$@"
    no_words pid
    [[ -z ${KAFKA_BROKERS:-} ]] || fail "KAFKA_BROKERS is set: that broker is not ours"
    local stopped=""
    for_nodes node_pid
    [[ -z $stopped ]] || return 3
}

# Prints it, or sets `stopped`.
node_pid() {
    # ZooKeeper is no broker: it is named when it is asked for.
    [[ -n $NODE || $NODE_DIR != "$DIR/zookeeper" ]] || return 0
    if is_running; then
        echo "$PID"
    else
        note "instance '$INSTANCE' is not running"
        stopped=yes
    fi
}

command_topic() {
    parse_arguments "--instance --config" "$@"
    ((${#WORDS[@]} == 1 || ${#WORDS[@]} == 2)) || usage_error "topic takes a name and a number of partitions"
    local partitions=${WORDS[1]:-}
    [[ $partitions =~ ^[0-9]*$ ]] || usage_error "'$partitions' is not a number of partitions"
    use_tools
    create_topic "${WORDS[0]}" "$partitions" >&2
}

command_delete_topic() {
    parse_arguments "--instance" "$@"
    one_word delete-topic "a topic"
    use_tools
    delete_topic "${WORDS[0]}" >&2
}

command_offsets() {
    parse_arguments "--instance" "$@"
    one_word offsets "a topic"
    use_tools
    offsets "${WORDS[0]}"
}

command_consume() {
    local topic="" include="" options=()
    INSTANCE=default NODE=""
    while (($# > 0)); do
        case $1 in
        --instance)
            (($# >= 2)) || usage_error "--instance needs a value"
            INSTANCE=$2
            shift
            ;;
        --instance=*) INSTANCE=${1#*=} ;;
        --include)
            (($# >= 2)) || usage_error "--include needs a value"
            include=$2
            shift
            ;;
        --include=*) include=${1#*=} ;;
        *) if [[ -z $topic && -z $include && $1 != -* ]]; then topic=$1; else options+=("$1"); fi ;;
        esac
        shift
    done
    [[ -n $topic || -n $include ]] || usage_error "consume takes a topic first, then options"
    locate_instance
    use_tools
    consume "$topic" ${include:+"--include=$include"} ${options[@]+"${options[@]}"}
}

# ---------------------------------------------------------------------------------------------------------
# Arguments

# Fills WORDS and what the options set; `allowed` lists the options this command knows.
parse_arguments() {
    local allowed=" $1 " option value
    shift
    WORDS=() SETS=() CONFIGS=() INSTANCE=default VERSION="" KEEP="" NODE="" BROKER_COUNT=""
    while (($# > 0)); do
        option=$1
        shift
        if [[ $option != -* ]]; then
            WORDS+=("$option")
            continue
        fi
        [[ $allowed == *" ${option%%=*} "* ]] || usage_error "unknown option '${option%%=*}'"
        if [[ $option == --keep ]]; then
            KEEP=yes
            continue
        fi
        if [[ $option == --*=* ]]; then
            value=${option#*=}
            option=${option%%=*}
        else
            (($# > 0)) || usage_error "$option needs a value"
            value=$1
            shift
        fi
        case $option in
        --instance) INSTANCE=$value ;;
        --version) VERSION=$(exact_version "$value") ;;
        --brokers)
            [[ $value =~ ^[1-9]$ ]] || usage_error "'$value' is not a number of brokers from 1 to 9"
            BROKER_COUNT=$value
            ;;
        --node) NODE=$value ;;
        --set | --config)
            [[ $value == ?*=* ]] || usage_error "$option $value: expected key=value"
            if [[ $option == --set ]]; then SETS+=("$value"); else CONFIGS+=("$value"); fi
            ;;
        *) usage_error "$option takes no value" ;;
        esac
    done
    locate_instance
}

locate_instance() {
    [[ $INSTANCE =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]*$ ]] || usage_error "'$INSTANCE' is not a name for an instance"
    DIR=$ROOT/instances/$INSTANCE
    if [[ -n $NODE ]] && ! grep -qxF -- "$NODE" <(nodes); then
        fail "instance '$INSTANCE' has no node '$NODE'; it has: $(nodes | paste -sd ' ')"
    fi
}

# The names of the instance's nodes, in the order to start them.
nodes() {
    cat "$DIR/nodes" 2>/dev/null || echo 1
}

# `for_nodes COMMAND ARGUMENTS`: runs it for the node of --node, or for each, with NODE_DIR set to the node's
# folder. The folder of the only broker is the instance's own.
for_nodes() {
    local node NODE_DIR
    while read -r node <&4; do
        [[ -z $NODE || $NODE == "$node" ]] || continue
        NODE_DIR=$DIR
        [[ ! -d $DIR/$node ]] || NODE_DIR=$DIR/$node
        "$@"
    done 4< <(nodes)
}

no_words() {
    ((${#WORDS[@]} == 0)) || usage_error "$1: unexpected '${WORDS[0]}'"
}

one_word() {
    ((${#WORDS[@]} == 1)) || usage_error "$1 takes $2"
}

exact_version() {
    case $1 in
    4) echo "$KAFKA_4" ;;
    3 | 3.9) echo "$KAFKA_3" ;;
    2 | 2.8) echo "$KAFKA_2" ;;
    *)
        [[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || usage_error "'$1' is not a version; 4, 3.9, 2.8 and $KAFKA_4 are"
        echo "$1"
        ;;
    esac
}

# ---------------------------------------------------------------------------------------------------------
# Fetching

# Makes sure that Kafka VERSION is here, or ends the script with 4.
obtain_kafka() {
    [[ ! -d $ROOT/dist/$VERSION ]] || return 0
    if ! maven_is_out; then
        lock get
        if [[ -d $ROOT/dist/$VERSION ]] || fetch_kafka; then
            unlock
            return
        fi
        unlock
    fi
    note "Maven's registry is out of reach: no Kafka $VERSION"
    exit 4
}

# Without the memory of a failure each start would wait for Maven's time-outs again.
maven_is_out() {
    [[ ${LOGAGENT_NO_MAVEN:-} == 1 ]] ||
        [[ -n $(find "$ROOT/maven-unreachable" -mmin "-$MAVEN_RETRY_MINUTES" 2>/dev/null) ]]
}

# Returns 1 if the registry is out of reach; any other failure ends the script.
fetch_kafka() {
    local dist=$ROOT/dist fetched log=$ROOT/get.log
    need java:default-jre-headless mvn:maven
    if [[ ! $(java -version 2>&1) =~ version\ \"([0-9]+) ]] || ((BASH_REMATCH[1] < 17)); then
        fail "Kafka needs Java 17 or later, and java is: $(java -version 2>&1 | head -n 1)"
    fi

    # Into a temporary folder first: the final name exists only when all of it is there.
    fetched=$dist/.$VERSION
    rm -rf "$fetched"
    mkdir -p "$fetched" || fail "cannot write to $ROOT"
    note "fetching Kafka $VERSION"
    # -U: what Maven failed to reach some time ago is asked for again. The plugin by its full name: by its short
    # name Maven hides why it cannot load it.
    if ! mvn -q -B -U -Dstyle.color=never -f "$HERE/pom.xml" \
        org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies \
        -Dkafka.version="$VERSION" -DincludeScope=runtime -DoutputDirectory="$fetched/lib" >"$log" 2>&1 </dev/null; then
        rm -rf "$fetched"
        grep -m 1 ERROR "$log" >&2 || tail -n 5 "$log" >&2
        # "Could not find" is the registry's own answer: no such version. It is not a reason to fall back.
        if ! grep -q 'Could not find artifact' "$log" &&
            grep -qE 'Could not transfer|could not be resolved|Unknown host|Connection (refused|timed out)' "$log"; then
            touch "$ROOT/maven-unreachable"
            note "Maven cannot reach its registry"
            return 1
        fi
        fail "cannot fetch Kafka $VERSION, see $log"
    fi
    [[ -e $fetched/lib/kafka_2.13-$VERSION.jar ]] || fail "Maven copied no kafka_2.13-$VERSION.jar, see $log"
    mv -T "$fetched" "$dist/$VERSION" || fail "cannot write to $dist"
    rm -f "$ROOT/maven-unreachable"
    archive_classes
}

# Class-data sharing: a broker is started and stopped once, and the JVM writes down its classes as it leaves.
# The tools use most of the same classes, so one archive serves them too. It speeds up starts and nothing
# else: if there is none, or it does not fit (another Java, a moved checkout), the JVM goes on without.
archive_classes() {
    local archive=$ROOT/dist/$VERSION/classes.jsa
    local INSTANCE=.archive DIR=$ROOT/instances/.archive NODE="" BROKER_COUNT=1 SETS=() ARCHIVE_OPTION=-XX:ArchiveClassesAtExit=$archive.new
    note "preparing its fast start"
    trap 'terminate; exit 1' INT TERM
    if first_start 2>/dev/null; then
        terminate
    fi
    trap - INT TERM
    rm -rf "$DIR"
    mv "$archive.new" "$archive" 2>/dev/null || note "that did not work; it only starts more slowly"
}

# ---------------------------------------------------------------------------------------------------------
# Starting and stopping

# A new instance, or 1 if it does not answer. Another process can take a port between our look and the broker's
# bind; then others are tried.
first_start() {
    local attempt
    VERSION=${VERSION:-$KAFKA_4}
    obtain_kafka
    # what an interrupted start has left
    terminate
    for attempt in 1 2 3; do
        rm -rf "$DIR"
        mkdir -p "$DIR" || exit 1
        prepare
        if launch_missing && await_all; then
            touch "$DIR/ready"
            return
        fi
        cat "$DIR"/server.log "$DIR"/*/server.log 2>/dev/null | grep 'Address already in use' >/dev/null || break
        note "attempt $attempt: a port was taken meanwhile"
        terminate
    done
    return 1
}

start_failed() {
    for_nodes show_failed_start
    terminate
    exit 1
}

show_failed_start() {
    # shellcheck disable=SC2015 # as it should be: whatever is not there or does not answer is shown
    is_running && answers && return
    note "instance '$INSTANCE' did not start; what $NODE_DIR/server.log has of warnings and errors, and its end:"
    grep -E ' (WARN|ERROR|FATAL) |Exception' "$NODE_DIR/server.log" | cut -c 1-300 | tail -n 25 >&2 || true
    tail -n 25 "$NODE_DIR/server.log" >&2
}

# Writes the settings and formats the storage.
prepare() {
    local brokers=${BROKER_COUNT:-1} node cluster voters="" replicas in_sync ports=() controller_ports=() addresses=()
    echo "$VERSION" >"$DIR/version"
    if [[ $VERSION == [12].* ]]; then
        ((brokers == 1)) || fail "a cluster of several brokers takes Kafka 3.9 or later"
        prepare_with_zookeeper
        return
    fi
    cluster=$(random_cluster_id)
    echo "$cluster" >"$DIR/cluster"
    for ((node = 1; node <= brokers; node++)); do
        ports[node]=$(free_port "${ports[@]}" "${controller_ports[@]}")
        controller_ports[node]=$(free_port "${ports[@]}" "${controller_ports[@]}")
        addresses+=("127.0.0.1:${ports[node]}")
        voters+=${voters:+,}$node@127.0.0.1:${controller_ports[node]}
    done
    if ((brokers > 1)); then
        seq "$brokers" >"$DIR/nodes"
        # shellcheck disable=SC2046 # numbers
        (cd "$DIR" && mkdir $(<nodes))
    fi
    replicas=$((brokers < 3 ? brokers : 3))
    in_sync=$((brokers < 3 ? 1 : 2))
    (IFS=, && echo "${addresses[*]}") >"$DIR/address"
    for_nodes prepare_node
}

# Writes the settings of one node and formats its storage; sees prepare's variables.
prepare_node() {
    local port=${ports[node]} controller_port=${controller_ports[node]}
    echo "127.0.0.1:$port" >"$NODE_DIR/address"
    {
        cat <<EOF
process.roles=broker,controller
node.id=$node
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
controller.quorum.voters=$voters
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
# after a SIGKILL the controller refuses the broker until its old session is over, by default 9 s
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
EOF
        common_settings
        instance_settings
    } >"$NODE_DIR/server.properties"
    if ! (
        cd "$NODE_DIR"
        exec_java_tool kafka.tools.StorageTool format --cluster-id "$cluster" --config server.properties
    ) >"$NODE_DIR/format.log" 2>&1 </dev/null; then
        tail -n 15 "$NODE_DIR/format.log" >&2
        fail "cannot format the storage of instance '$INSTANCE'"
    fi
}

# The settings that both ways to run Kafka know.
common_settings() {
    cat <<EOF
# in the node's folder, where all is run: a property file cannot hold every path
log.dirs=data
num.partitions=1
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
# a consumer gets going at once: no wait for further members, no 50 partitions to create first
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
# small: little heap, a disk shared with other things
log.segment.bytes=67108864
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
# records with any timestamp stay
log.retention.ms=-1
EOF
}

# What --set asks for. Of two lines with the same key the last one counts.
instance_settings() {
    local sets=(${SETS[@]+"${SETS[@]//\{port\}/$port}"})
    ((${#sets[@]} == 0)) || printf '%s\n' '# --set' "${sets[@]//\{controller_port\}/$controller_port}"
}

# Before Kafka 3 the controller keeps its state in ZooKeeper, a process of its own.
prepare_with_zookeeper() {
    local port controller_port replicas=1 in_sync=1
    port=$(free_port)
    controller_port=$(free_port "$port")
    printf '%s\n' zookeeper 1 >"$DIR/nodes"
    mkdir "$DIR/zookeeper"
    echo "127.0.0.1:$controller_port" >"$DIR/zookeeper/address"
    echo "127.0.0.1:$port" >"$DIR/address"
    cat >"$DIR/zookeeper/server.properties" <<EOF
dataDir=data
clientPort=$controller_port
clientPortAddress=127.0.0.1
admin.enableServer=false
maxClientCnxns=0
tickTime=1000
EOF
    {
        cat <<EOF
broker.id=1
zookeeper.connect=127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$port
advertised.listeners=PLAINTEXT://127.0.0.1:$port
# after a SIGKILL the broker is refused until its old session is over, by default 18 s
zookeeper.session.timeout.ms=5000
EOF
        common_settings
        instance_settings
    } >"$DIR/server.properties"
}

# Launches the nodes that do not run; ZooKeeper is waited for, since a broker looks for it once.
launch_missing() {
    for_nodes launch_node || return 1
}

launch_node() {
    is_running || launch
    [[ $NODE_DIR != "$DIR/zookeeper" ]] || await_answer
}

launch() {
    local log=org.slf4j.simpleLogger classes heap=512m archive program
    VERSION=$(<"$DIR/version")
    need java:default-jre-headless
    classes=$(class_path) || exit 1
    [[ $NODE_DIR == "$DIR" ]] || heap=256m
    program=(kafka.Kafka)
    archive=${ARCHIVE_OPTION:-}
    if [[ $NODE_DIR == "$DIR/zookeeper" ]]; then
        # It would look for log4j otherwise.
        program=(-Dzookeeper.jmx.log4j.disable=true org.apache.zookeeper.server.quorum.QuorumPeerMain)
        archive=""
    fi
    # These would print a page of settings at each start.
    # shellcheck disable=SC2086 # options are words
    detach java java "${archive:--XX:SharedArchiveFile=$ROOT/dist/$VERSION/classes.jsa}" \
        -Xmx"${LOGAGENT_KAFKA_HEAP:-$heap}" ${LOGAGENT_KAFKA_JAVA_OPTS:-$JVM_OPTIONS} \
        -D$log.showDateTime=true "-D$log.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS" \
        -D$log.log.org.apache.kafka.common.config.AbstractConfig=warn -D$log.log.kafka.server.KafkaConfig=warn \
        -cp "$classes" "${program[@]}" "$NODE_DIR/server.properties"
}

# `detach NAME PROGRAM ARGUMENTS`: runs a broker that outlives this script, in a session of its own, so that no
# Ctrl-C or hang-up reaches it. It keeps none of our descriptors: the caller may be waiting for the end of file
# on one of them, and others are locks. setsid does not fork here, so the pid is that of the broker.
detach() {
    (
        cd "$NODE_DIR"
        # shellcheck disable=SC2016 # expanded by the inner shell
        exec setsid bash -c '
            for fd in /proc/self/fd/*; do
                fd=${fd##*/}
                ((fd <= 2)) || eval "exec $fd>&-"
            done
            exec -a "$0" "$@"' "$@"
    ) >>"$NODE_DIR/server.log" 2>&1 </dev/null &
    PID=$!
    echo "$PID" >"$NODE_DIR/pid"
}

await_all() {
    for_nodes await_answer || return 1
}

await_answer() {
    local deadline=$((SECONDS + START_SECONDS)) quiet=$((SECONDS + QUIET_SECONDS)) size=0
    PID=$(<"$NODE_DIR/pid")
    # Asking takes processes; while it starts, a connection that is refused is enough to know.
    while ! takes_connections || ! answers; do
        if [[ $(stat -c %s "$NODE_DIR/server.log") != "$size" ]]; then
            size=$(stat -c %s "$NODE_DIR/server.log") quiet=$((SECONDS + QUIET_SECONDS))
        fi
        ((SECONDS < deadline && SECONDS < quiet)) || return 1
        # not is_running: right after the fork the process does not bear its folder's name yet
        if ! kill -0 "$PID" 2>/dev/null; then
            # ZooKeeper holds the session of a broker that was killed for some seconds, and a broker gives up at once.
            tail -n 100 "$NODE_DIR/server.log" | grep -q 'KeeperErrorCode = NodeExists' || return 1
            launch
        fi
        sleep 0.1
    done
}

# Ends the instance or the node, politely first: all brokers together, and ZooKeeper when they are gone.
terminate() {
    for_nodes ask_broker_to_end
    for_nodes await_end_of_broker
    for_nodes end_zookeeper
}

ask_broker_to_end() {
    [[ $NODE_DIR != "$DIR/zookeeper" ]] || return 0
    ask_to_end
}

await_end_of_broker() {
    [[ $NODE_DIR != "$DIR/zookeeper" ]] || return 0
    await_end
}

end_zookeeper() {
    [[ $NODE_DIR == "$DIR/zookeeper" ]] || return 0
    ask_to_end
    await_end
}

ask_to_end() {
    if is_running; then
        kill -TERM "$PID"
        # it may be paused
        kill -CONT "$PID"
    fi
}

await_end() {
    if ! await_exit "$STOP_SECONDS"; then
        note "instance '$INSTANCE' ignores SIGTERM, killing it"
        kill -KILL "$PID"
        await_exit 5 || fail "process $PID survives SIGKILL"
    fi
    rm -f "$NODE_DIR/pid"
}

await_exit() {
    local deadline=$((SECONDS + $1))
    while is_running; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# Sets PID. A pid alone proves nothing: it may have been given to another process since. Ours names its folder.
is_running() {
    PID=$(cat "$NODE_DIR/pid" 2>/dev/null) || return 1
    grep -qsF -- "$NODE_DIR/" "/proc/$PID/cmdline"
}

# 16 random bytes in base64url, what Kafka's `random-uuid` prints, without a JVM. It must not start with '-', which
# would look like an option.
random_cluster_id() {
    echo "A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)"
}

# A port nobody listens on, below the kernel's range for outgoing connections; none of those given.
free_port() {
    local port
    while :; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        [[ " $* " != *" $port "* ]] || continue
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# ---------------------------------------------------------------------------------------------------------
# Does it answer?

# True if the node serves requests: it counts itself among the live brokers, and its cluster id is the one
# we gave it, so it is not another broker that got hold of the port. ZooKeeper takes connections when it is ready.
answers() {
    local address answer cluster
    address=$(<"$NODE_DIR/address")
    if [[ $NODE_DIR == "$DIR/zookeeper" ]]; then
        takes_connections
        return
    fi
    # With ZooKeeper it is the broker that chooses it.
    cluster=$(cat "$DIR/cluster" 2>/dev/null || sed -n 's/^cluster.id=//p' "$NODE_DIR/data/meta.properties" 2>/dev/null) || return 1
    answer=$(metadata "$address") && [[ -n $cluster && $answer == *"$(printf %s "$cluster" | hex)"* ]]
}

takes_connections() {
    local address
    address=$(<"$NODE_DIR/address")
    (exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>/dev/null
}

answers_external() {
    local address
    for address in ${KAFKA_BROKERS//,/ }; do
        ! metadata "$address" >/dev/null || return 0
    done
    return 1
}

# Asks for the cluster's metadata, version 2, without topics, and prints the answer in hex. A command-line tool
# would take a JVM and a second for it. Fails unless there is an answer with at least one broker in it.
# Request: size, key 3, version 2, correlation id 1, client id, no topics.
# Answer: size, correlation id, number of brokers, the brokers, cluster id ...
metadata() {
    local answer
    # shellcheck disable=SC2016 # expanded by the inner shell, which exists for the time-out
    answer=$(timeout 5 bash -c '
        exec 3<>"/dev/tcp/$1/$2"
        printf "\0\0\0\x16\0\x03\0\x02\0\0\0\x01\0\x08logagent\0\0\0\0" >&3
        size=$((16#$(head -c 4 <&3 | od -An -v -tx1 | tr -d " \n")))
        ((size < 1000000)) || exit 1
        head -c "$size" <&3' metadata "$(tr -d '[]' <<<"${1%:*}")" "${1##*:}" 2>/dev/null | hex)
    [[ $answer =~ ^00000001([0-9a-f]{8}) && ${BASH_REMATCH[1]} != 00000000 ]] || return 1
    echo "$answer"
}

hex() {
    od -An -v -tx1 | tr -d ' \n'
}

# ---------------------------------------------------------------------------------------------------------
# Topics and records, with Kafka's own tools

# Sets VERSION, which is also that of the tools, and BROKERS.
use_tools() {
    if [[ -n ${KAFKA_BROKERS:-} ]]; then
        BROKERS=$KAFKA_BROKERS VERSION=$KAFKA_4
        obtain_kafka
    else
        [[ -n $(for_nodes running_node) ]] ||
            fail "instance '$INSTANCE' is not running; start it with: scripts/kafka.sh start --instance $INSTANCE"
        BROKERS=$(<"$DIR/address") VERSION=$(<"$DIR/version")
    fi
}

running_node() {
    ! is_running || echo "$NODE_DIR"
}

# `tool NAME`: the class of a command-line tool; most have moved since 2.8.
tool() {
    case $VERSION/$1 in
    [12].*/TopicCommand) echo kafka.admin.TopicCommand ;;
    [12].*) echo "kafka.tools.$1" ;;
    */ConsoleConsumer) echo org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    *) echo "org.apache.kafka.tools.$1" ;;
    esac
}

create_topic() {
    local options=() config
    [[ -z $2 ]] || options+=(--partitions "$2")
    for config in ${CONFIGS[@]+"${CONFIGS[@]}"}; do
        options+=(--config "$config")
    done
    java_tool "$(tool TopicCommand)" --bootstrap-server "$BROKERS" \
        --create --if-not-exists --topic "$1" ${options[@]+"${options[@]}"}
}

# The tools take a topic as a regular expression, except to create one.
delete_topic() {
    java_tool "$(tool TopicCommand)" --bootstrap-server "$BROKERS" \
        --delete --if-exists --topic "${1//./\\.}"
}

offsets() {
    local server=--bootstrap-server topic=${1//./\\.}
    if [[ $VERSION == [12].* ]]; then
        server=--broker-list topic=$1
    fi
    java_tool "$(tool GetOffsetShell)" "$server" "$BROKERS" --topic "$topic" |
        cut -d : -f 2- | sort -n
}

# The console consumer takes this script's place, so that a signal to the one reaches the other.
consume() {
    local topic=$1 option options=()
    shift
    [[ " $* " == *" --offset"* || " $* " == *" --from-beginning "* ]] || options+=(--from-beginning)
    # 4.2 renamed options, and says so on standard output, amid the records. Both names work here.
    for option in "$@"; do
        if [[ $VERSION =~ ^([123]\.|4\.[01]\.) ]]; then
            case $option in
            --formatter-property*) option=${option/formatter-property/property} ;;
            --command-property*) option=${option/command-property/consumer-property} ;;
            --command-config*) option=${option/command-config/consumer.config} ;;
            --include=*) [[ $VERSION != [12].* ]] || option=${option/include/whitelist} ;;
            esac
        else
            case $option in
            --property*) option=${option/property/formatter-property} ;;
            --consumer-property*) option=${option/consumer-property/command-property} ;;
            --consumer.config*) option=${option/consumer.config/command-config} ;;
            esac
        fi
        options+=("$option")
    done
    exec_java_tool "$(tool ConsoleConsumer)" --bootstrap-server "$BROKERS" \
        ${topic:+--topic "$topic"} ${options[@]+"${options[@]}"}
}

# `java_tool CLASS ARGUMENTS`: runs a command-line tool of Kafka VERSION.
java_tool() {
    (exec_java_tool "$@")
}

exec_java_tool() {
    local classes
    need java:default-jre-headless
    classes=$(class_path) || exit 1
    # What the JVM has to say, about an archive that does not fit, is not amid the records.
    # shellcheck disable=SC2086 # options are words
    exec java -Xlog:disable -Xlog:all=warning:stderr \
        -XX:SharedArchiveFile="$ROOT/dist/$VERSION/classes.jsa" $JVM_OPTIONS -Xmx256m \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classes" "$@"
}

# In a fixed order: the class archive is good for this very path only.
class_path() {
    local jars=("$ROOT/dist/$VERSION/lib"/*.jar)
    [[ -e ${jars[0]} ]] || fail "$ROOT/dist/$VERSION is gone; run: scripts/kafka.sh get $VERSION"
    local IFS=:
    echo "${jars[*]}"
}

# ---------------------------------------------------------------------------------------------------------
# What the machine lacks

# `need COMMAND:PACKAGE...`: installs what is missing, where it may.
need() {
    local pair missing=() packages=()
    for pair in "$@"; do
        if ! command -v "${pair%:*}" >/dev/null; then
            missing+=("${pair%:*}")
            packages+=("${pair#*:}")
        fi
    done
    ((${#missing[@]} > 0)) || return 0
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        fail "missing: ${missing[*]}; on Debian: apt-get install ${packages[*]}"
    fi
    note "installing ${packages[*]}"
    {
        apt-get -q update || note "apt-get update failed, trying without"
        DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${packages[@]}"
    } >&2 </dev/null || fail "apt-get cannot install ${packages[*]}, which brings ${missing[*]}"
    for pair in "${missing[@]}"; do
        command -v "$pair" >/dev/null || fail "$pair is missing still, though ${packages[*]} is installed"
    done
}

# ---------------------------------------------------------------------------------------------------------
# Small things

# `lock NAME`: held until unlock, or until this shell ends.
lock() {
    mkdir -p "$ROOT/locks"
    exec {LOCK}>"$ROOT/locks/$1"
    if ! flock -n "$LOCK"; then
        note "waiting for another kafka.sh"
        flock "$LOCK"
    fi
}

unlock() {
    exec {LOCK}>&-
}

note() {
    echo "kafka.sh: $*" >&2
}

fail() {
    note "$*"
    exit 1
}

usage_error() {
    note "$*"
    usage >&2
    exit 2
}

main "$@"
