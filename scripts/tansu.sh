# shellcheck shell=bash
#
# The stand-in broker for kafka.sh, which sources this file: tansu, for a machine that reaches cargo's registry
# but not Maven's. It speaks Kafka's protocol and keeps everything in memory. Its own consumer prints nothing
# but JSON values, so records are read here by a small consumer in Perl, which every Debian has.

readonly TANSU=0.6.0

# DIR, ROOT, VERSION, BROKERS, BROKER_COUNT, CONFIGS, SETS and the functions not defined here are kafka.sh's.
# shellcheck disable=SC2153

obtain_tansu() {
    local home=$ROOT/tansu
    [[ ! -x $home/bin/tansu ]] || return 0
    command -v cargo >/dev/null || fail "Maven's registry is out of reach, and there is no cargo to build tansu instead"
    lock tansu
    if [[ ! -x $home/bin/tansu ]]; then
        note "building tansu $TANSU instead of Kafka; that takes 5 minutes or more, see $ROOT/tansu.log"
        # An unoptimised build without debug information: what takes least time. The project's own build
        # settings are not for it. cargo moves the program to its place when all is done.
        if ! env -u RUSTFLAGS -u CARGO_BUILD_TARGET -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=false \
            cargo install tansu --version "$TANSU" --features dynostore --debug --locked --root "$home" \
            >"$ROOT/tansu.log" 2>&1 </dev/null; then
            tail -n 15 "$ROOT/tansu.log" >&2
            fail "cannot build tansu, see $ROOT/tansu.log"
        fi
    fi
    unlock
}

prepare_tansu() {
    [[ ${BROKER_COUNT:-1} == 1 ]] || fail "tansu runs as one broker only, not as $BROKER_COUNT"
    ((${#SETS[@]} == 0)) || note "tansu knows no server properties, --set has no effect"
    echo "$TANSU" >"$DIR/version"
    echo "127.0.0.1:$(free_port)" >"$DIR/address"
    random_cluster_id >"$DIR/cluster"
}

launch_tansu() {
    local url
    url=tcp://$(<"$DIR/address")
    note "this is tansu $TANSU, not Kafka: without TLS and SASL, records in memory only"
    # Its arguments do not name the folder by which is_running knows it, so its name does.
    detach "$DIR/tansu" "$ROOT/tansu/bin/tansu" broker --silent --cluster-id "$(<"$DIR/cluster")" \
        --listener-url "$url" --advertised-listener-url "$url" --storage-engine memory://tansu/
}

topic_tansu() {
    local options=() config answer
    for config in ${CONFIGS[@]+"${CONFIGS[@]}"}; do
        options+=(--config "$config")
    done
    if ! answer=$("$ROOT/tansu/bin/tansu" topic create "$1" --broker "tcp://${BROKERS%%,*}" \
        --partitions "${2:-1}" ${options[@]+"${options[@]}"} 2>&1); then
        [[ $answer == *"already exists"* ]] || fail "cannot create topic '$1': $answer"
    fi
}

delete_topic_tansu() {
    local answer
    if ! answer=$("$ROOT/tansu/bin/tansu" topic delete "$1" --broker "tcp://${BROKERS%%,*}" 2>&1); then
        [[ $answer == *"does not host this topic"* ]] || fail "cannot delete topic '$1': $answer"
    fi
}

offsets_tansu() {
    records_tansu offsets "$1"
}

# Takes the console consumer's most common options.
consume_tansu() {
    local topic=$1 options=() name value
    shift
    while (($# > 0)); do
        name=${1%%=*}
        case $name in
        --from-beginning)
            shift
            continue
            ;;
        --max-messages | --timeout-ms | --partition | --offset | --property | --formatter-property) ;;
        *) usage_error "consume: tansu's consumer does not know '$name'" ;;
        esac
        if [[ $1 == *=* ]]; then
            value=${1#*=}
        else
            (($# >= 2)) || usage_error "consume: $name needs a value"
            value=$2
            shift
        fi
        shift
        case $name in
        *property) options+=("$value") ;;
        *) options+=("${name#--}=$value") ;;
        esac
    done
    records_tansu consume "$topic" ${options[@]+"${options[@]}"}
}

# `records_tansu consume|offsets TOPIC [OPTION=VALUE]...`: a consumer for one broker that leads all partitions.
# It asks with the oldest requests for the current record format, see the message and record batch chapters of
# the Kafka protocol guide: Metadata 2, ListOffsets 1, Fetch 4.
records_tansu() {
    exec perl - "$BROKERS" "$@" <<'PERL'
use strict;
use warnings;
use IO::Socket::INET;
use POSIX ();

my ($brokers, $mode, $topic, @options) = @ARGV;
my %option = ("key.separator" => "\t", map { split /=/, $_, 2 } @options);
sub on { ($option{$_[0]} // "") eq "true" }
sub seconds { (POSIX::times())[0] / 100 } # Time::HiRes is not part of a minimal Perl
sub fail { print STDERR "kafka.sh: @_\n"; exit 1 }

my ($address) = split /,/, $brokers;
my $socket = IO::Socket::INET->new(PeerAddr => $address, Timeout => 5) or fail "$address: $@";
my ($answer, $position, $correlation) = ("", 0, 0);

# Reading from the answer.
sub take {
    my $bytes = shift;
    fail "the broker's answer ends too early" if $bytes < 0 || $position + $bytes > length $answer;
    $position += $bytes;
    return substr $answer, $position - $bytes, $bytes;
}
sub int8   { unpack "c",  take(1) }
sub int16  { unpack "s>", take(2) }
sub int32  { unpack "l>", take(4) }
sub int64  { unpack "q>", take(8) }
sub string { my $length = int16(); $length < 0 ? undef : take($length) }
sub varint {
    my ($value, $shift, $byte) = (0, 0);
    do { $byte = unpack "C", take(1); $value |= ($byte & 127) << $shift; $shift += 7 } while $byte & 128;
    return ($value >> 1) ^ -($value & 1);
}
# `>>` and `^` are unsigned in Perl: a varint that can be negative is a length, and -1 means null.
sub bytes { my $length = unpack "q", pack "Q", varint(); $length < 0 ? undef : take($length) }

sub receive {
    my ($bytes, $data) = (shift, "");
    while ($bytes > length $data) {
        read $socket, $data, $bytes - length $data, length $data or fail "the broker has hung up";
    }
    return $data;
}
sub request {
    my ($key, $version, $body) = @_;
    $socket->print(pack "N/a*", pack("n n N n/a*", $key, $version, ++$correlation, "kafka.sh") . $body);
    $socket->flush;
    $answer = receive(unpack "N", receive(4));
    $position = 0;
    int32() == $correlation or fail "the broker's answer is not for our request";
}

sub partitions {
    request(3, 2, pack "N n/a*", 1, $topic);
    for (1 .. int32()) { int32(); string(); int32(); string() }
    string();
    int32();
    my @partitions;
    for (1 .. int32()) {
        my $error = int16();
        string();
        int8();
        for (1 .. int32()) {
            int16();
            push @partitions, int32();
            int32();
            for (1, 2) { take(4 * int32()) }
        }
        return () if $error;
    }
    return sort { $a <=> $b } @partitions;
}

# The offset of each partition at a time: -1 the end, -2 the beginning.
sub offsets_at {
    my ($time, @partitions) = @_;
    my %offset;
    request(2, 1, pack("l> N n/a* N", -1, 1, $topic, scalar @partitions)
        . join "", map { pack "N q>", $_, $time } @partitions);
    for (1 .. int32()) {
        string();
        for (1 .. int32()) {
            my ($partition, $error) = (int32(), int16());
            int64();
            $offset{$partition} = int64();
            fail "$topic-$partition: error $error" if $error;
        }
    }
    return %offset;
}

my ($seen, $last) = (0, seconds());
sub finish { STDOUT->flush; print STDERR "Processed a total of $seen messages\n"; exit 0 }
sub idle {
    STDOUT->flush;
    finish() if defined $option{"timeout-ms"} && (seconds() - $last) * 1000 >= $option{"timeout-ms"};
    select undef, undef, undef, 0.05;
}

sub show {
    my ($partition, $offset, $timestamp, $key, $value, @headers) = @_;
    my @fields;
    push @fields, "CreateTime:$timestamp" if on("print.timestamp");
    push @fields, "Partition:$partition" if on("print.partition");
    push @fields, "Offset:$offset" if on("print.offset");
    push @fields, @headers ? join ",", @headers : "NO_HEADERS" if on("print.headers");
    push @fields, $key // "null" if on("print.key");
    push @fields, $value // "null" unless ($option{"print.value"} // "") eq "false";
    print join($option{"key.separator"}, @fields), "\n";
    $last = seconds();
    finish() if ++$seen >= ($option{"max-messages"} // 9e15);
}

sub decompressed {
    my ($codec, $data) = @_;
    my $command = (undef, "gzip", undef, "lz4", "zstd")[$codec]
        or fail "a batch is compressed with snappy, which is not read here";
    open my $file, "+>", undef or fail "no temporary file: $!";
    print $file $data;
    $file->flush;
    seek $file, 0, 0;
    my $child = open(my $pipe, "-|") // fail "fork: $!";
    if (!$child) {
        open STDIN, "<&", $file;
        exec $command, "-dc" or fail "a batch is compressed: the command $command is needed to read it";
    }
    binmode $pipe;
    local $/;
    $data = <$pipe>;
    close $pipe or exit 1;
    return $data;
}

# What the broker has from these offsets on, as [partition, whole batches], each batch as
# [offset, offset after it, first timestamp, attributes, number of records, records].
sub fetch {
    my ($wait_ms, %from) = @_;
    my @fetched;
    request(1, 4, pack("l> N N N C N n/a* N", -1, $wait_ms, 1, 50 << 20, 0, 1, $topic, scalar keys %from)
        . join "", map { pack "N q> N", $_, $from{$_}, 10 << 20 } sort { $a <=> $b } keys %from);
    int32();
    for (1 .. int32()) {
        string();
        for (1 .. int32()) {
            my ($partition, $error) = (int32(), int16());
            int64();
            int64();
            my $aborted = int32();
            take(16 * $aborted) if $aborted > 0;
            my $size = int32();
            push @fetched, [$partition, batches($size > 0 ? take($size) : "")];
            fail "$topic-$partition: error $error" if $error;
        }
    }
    return @fetched;
}

sub batches {
    my $data = shift;
    my @batches;
    while (length $data >= 61) {
        my ($base, $size, $attributes, $last_delta, $time, $count) =
            unpack "q> N x4 x1 x4 n N q> x8 x8 x2 x4 N", $data;
        last if 12 + $size > length $data; # the broker cuts off where the limit is
        push @batches, [$base, $base + $last_delta + 1, $time, $attributes, $count, substr $data, 61, $size - 49];
        $data = substr $data, 12 + $size;
    }
    return @batches;
}

# tansu says where the last batch begins, not where it ends.
sub end_offsets {
    my %end = offsets_at(-1, @_);
    for my $partition (grep { $end{$_} > 0 } keys %end) {
        my ($fetched) = fetch(0, $partition, $end{$partition} - 1);
        my (undef, @batches) = @$fetched;
        $end{$partition} = $batches[-1][1] if @batches && $batches[-1][1] > $end{$partition};
    }
    return %end;
}

sub show_batch {
    my ($partition, $from, $batch) = @_;
    my ($base, undef, $first_time, $attributes, $count, $records) = @$batch;
    return if $attributes & 32; # a transaction's end
    ($answer, $position) = ($attributes & 7 ? decompressed($attributes & 7, $records) : $records, 0);
    for (1 .. $count) {
        varint();
        int8();
        my $timestamp = $first_time + unpack "q", pack "Q", varint();
        my $offset = $base + varint();
        my ($key, $value) = (bytes(), bytes());
        my @headers = map { bytes() . ":" . (bytes() // "null") } 1 .. varint();
        show($partition, $offset, $timestamp, $key, $value, @headers) if $offset >= $from;
    }
}

binmode STDOUT;
my @partitions = partitions();
if ($mode eq "offsets") {
    @partitions or fail "there is no topic '$topic'";
    my %end = end_offsets(@partitions);
    print "$_:$end{$_}\n" for sort { $a <=> $b } keys %end;
    exit 0;
}
while (!@partitions) {
    idle();
    @partitions = partitions();
}
if (defined $option{partition}) {
    @partitions = grep { $_ == $option{partition} } @partitions or fail "$topic has no partition $option{partition}";
}
my $start = $option{offset} // "earliest";
my %from = $start eq "latest" ? end_offsets(@partitions) : map { $_ => $start eq "earliest" ? 0 : $start } @partitions;
# Of a batch tansu gives all or, asked for an offset inside, nothing: so it is asked for all, from the beginning.
my %next = $start eq "latest" ? %from : offsets_at(-2, @partitions);
while (1) {
    my $before = $seen;
    for my $fetched (fetch(250, %next)) {
        my ($partition, @batches) = @$fetched;
        for my $batch (@batches) {
            show_batch($partition, $from{$partition}, $batch);
            $next{$partition} = $batch->[1] if $batch->[1] > $next{$partition};
        }
    }
    if ($seen == $before) { idle() } else { STDOUT->flush }
}
PERL
}
