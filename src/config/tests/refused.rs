//! Bad inis, each with the full text that a person gets to read.

use super::*;

/// `a.ini` with the given bytes is refused with that text.
fn refused(bytes: impl AsRef<[u8]>, text: &str) {
    let errors = parse_bytes(bytes.as_ref()).expect_err("it is bad");
    assert_eq!(errors.to_string(), text);
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_lines() {
    let text = "\
brokers = a
[agnet]
producers = 0
[kafka]
brokrs = a:1
acks = 2
topic
[log:web]
path = /a
path = /b
[log:web]
key = ${NO}${KEY}
";
    assert_eq!(
        errors(text),
        "\
a.ini:1: key 'brokers' before any section
    sections are [agent], [kafka] and [log:NAME]
a.ini:2: unknown section [agnet]; did you mean [agent]?
a.ini:3: bad value '0' for 'producers' in [agnet]; accepted: a number from 1 to 64
a.ini:5: unknown key 'brokrs' in [kafka]; did you mean 'brokers'?
a.ini:6: bad value '2' for 'acks' in [kafka]; accepted: all, 1, 0
a.ini:7: no '=' after 'topic'
    write key = value, or # before a comment; a value cannot go on in the next line
a.ini:10: duplicate key 'path' in [log:web]; already set on line 9
a.ini:11: duplicate section [log:web]; it begins on line 8
a.ini:12: environment variable 'NO' is not set; 'key' in [log:web] needs it
a.ini:12: environment variable 'KEY' is not set; 'key' in [log:web] needs it"
    );
    let lines: Vec<_> = parse(text)
        .unwrap_err()
        .errors()
        .iter()
        .map(|error| error.line().unwrap())
        .collect();
    assert_eq!(lines, [1, 2, 3, 5, 6, 7, 10, 11, 12, 12]);
}

#[test]
fn a_file_without_settings_is_named_as_such() {
    for text in ["", "\n\n", "# only\n; comments\n  \t\n"] {
        refused(
            text,
            "a.ini: no settings; needs at least [kafka] and one [log:NAME]",
        );
    }
}

#[test]
fn a_byte_order_mark_is_refused_and_hides_nothing_else() {
    refused(
        format!("\u{FEFF}{GOOD}what = ever\n"),
        "\
a.ini:1: a UTF-8 byte order mark stands before the first line
    remove it: sed -i '1s/^\\xEF\\xBB\\xBF//' a.ini
a.ini:6: unknown key 'what' in [log:web]
    keys are path, exclude, rotated, follow_links, topic, key, start_at, max_line_bytes, strip_cr, line_timeout, rotate_wait, ignore_older, container, encoding, multiline, multiline_timeout, keep, drop, drop.NAME, sample, rate_limit, mask, mask.NAME, strip_ansi, parse, time, time_field, time_zone, timestamp, format, json, field.NAME, header.NAME",
    );
    refused(
        b"\xFF\xFE[\0k\0",
        "\
a.ini: text in UTF-16, not in UTF-8
    convert it: iconv -f UTF-16 -t UTF-8 a.ini > utf8.ini",
    );
}

#[test]
fn windows_line_ends_are_refused_once_with_the_remedy() {
    refused(
        GOOD.replace('\n', "\r\n"),
        "\
a.ini:1: Windows line end (CR LF) on this line and on 4 more
    mend the file: sed -i 's/\\r$//' a.ini",
    );
    refused(
        GOOD.replace("t\n", "t\r\n"),
        "\
a.ini:3: Windows line end (CR LF) on this line
    mend the file: sed -i 's/\\r$//' a.ini",
    );
}

#[test]
fn bytes_that_are_no_text_are_found_by_line_and_offset() {
    refused(
        b"[kafka]\n# caf\xE9\nbrokers = a\xFF:1\ntopic = t\n[log:web]\npath = /a\n",
        "\
a.ini:2: byte 0xe9 at offset 13 is not UTF-8
    convert the file: iconv -f LATIN1 -t UTF-8 a.ini > utf8.ini
a.ini:3: byte 0xff at offset 26 is not UTF-8
    convert the file: iconv -f LATIN1 -t UTF-8 a.ini > utf8.ini",
    );
    refused(
        GOOD.replace("= t", "= t\0"),
        "a.ini:3: NUL byte at offset 31",
    );
    refused(
        GOOD.replace("= t", "= \u{1b}[31mt"),
        "a.ini:3: control character U+001B at offset 30",
    );
    refused(
        GOOD.replace("[log", "\r[log"),
        "a.ini:4: control character U+000D at offset 32",
    );
}

#[test]
fn section_headers_are_taken_at_their_word() {
    refused(
        "[kafka\nbrokers = a:1\n",
        "\
a.ini:1: section header '[kafka' without ']'
a.ini: missing section [kafka]
    it needs at least brokers, for example: brokers = localhost:9092
a.ini: missing section [log:NAME]
    each names files to follow, for example [log:web] with path = /var/log/nginx/access.log",
    );
    refused(
        GOOD.replace("[kafka]", "[kafka] # ours"),
        "\
a.ini:1: '# ours' after section header [kafka]
    a comment needs a line of its own",
    );
    refused(
        format!("{GOOD}[]\nkey = k\n"),
        "\
a.ini:6: section header without a name
    sections are [agent], [kafka] and [log:NAME]",
    );
}

#[test]
fn unknown_sections_are_refused_with_the_nearest_name() {
    for (header, nearest) in [
        ("Kafka", "kafka"),
        ("kakfa", "kafka"),
        ("agents", "agent"),
        ("logs:web2", "log:web2"),
        ("Log:web2", "log:web2"),
        ("log.web2", "log:web2"),
        ("log web2", "log:web2"),
    ] {
        let path = if nearest.starts_with("log") {
            "path = /b\n"
        } else {
            ""
        };
        refused(
            format!("{GOOD}[{header}]\n{path}"),
            &format!("a.ini:6: unknown section [{header}]; did you mean [{nearest}]?"),
        );
    }
    refused(
        format!("{GOOD}[output]\nkey = k\n"),
        "\
a.ini:6: unknown section [output]
    sections are [agent], [kafka] and [log:NAME]",
    );
    // Neither is [kafka] missing here, nor its keys unread.
    refused(
        GOOD.replace("[kafka]", "[kafak]").replace("a:1", "a:x"),
        "\
a.ini:1: unknown section [kafak]; did you mean [kafka]?
a.ini:2: bad value 'a:x' for 'brokers' in [kafak]; accepted: HOST:PORT, comma separated; the port may be left out (9092)",
    );
}

#[test]
fn a_log_section_needs_a_name_of_plain_characters() {
    for header in ["log", "log:"] {
        refused(
            GOOD.replace("log:web", header),
            &format!(
                "a.ini:4: section [{header}] has no name\n    write [log:NAME], for example [log:web]"
            ),
        );
    }
    for (header, name) in [
        ("log:my log", "my log"),
        ("log:a/b", "a/b"),
        ("log: web", " web"),
    ] {
        refused(
            GOOD.replace("log:web", header),
            &format!(
                "a.ini:4: bad name '{name}' in [{header}]; accepted: letters, digits, '.', '_' and '-'"
            ),
        );
    }
}

#[test]
fn lines_that_are_no_settings_are_refused() {
    refused(
        GOOD.replace("brokers = a:1", "brokers = a:1,\n    b:1"),
        "\
a.ini:2: bad value 'a:1,' for 'brokers' in [kafka]; accepted: HOST:PORT, comma separated; the port may be left out (9092)
    a comma has nothing before or after it
a.ini:3: no '=' on this line
    write key = value, or # before a comment; a value cannot go on in the next line",
    );
    // What goes on in the next line may be a secret.
    refused(
        GOOD.replace("topic = t", "topic = t\nsasl_password =\n  hunter2"),
        "\
a.ini:5: no '=' on this line
    write key = value, or # before a comment; a value cannot go on in the next line",
    );
    refused(
        GOOD.replace("topic = t", "topic = t\n = x"),
        "a.ini:4: no key before '='",
    );
    // The key was meant, so it is not missing besides.
    for slip in ["brokers ", "brokers: ", "brokers:"] {
        refused(
            GOOD.replace("brokers = ", slip),
            "\
a.ini:2: no '=' after 'brokers'
    write key = value, or # before a comment; a value cannot go on in the next line",
        );
    }
}

#[test]
fn duplicates_name_both_lines() {
    assert_eq!(
        kafka_errors("topic = t"),
        "a.ini:4: duplicate key 'topic' in [kafka]; already set on line 3"
    );
    refused(
        format!("{GOOD}[kafka]\nlinger = 1s\nbrokers = b\n"),
        "\
a.ini:6: duplicate section [kafka]; it begins on line 1
a.ini:8: duplicate key 'brokers' in [kafka]; already set on line 2",
    );
    refused(
        format!("{GOOD}topic = u\n[log:app]\npath = /b,/c, /.//a\n"),
        "a.ini:8: path '/a' is listed already in [log:web] on line 5",
    );
    refused(
        GOOD.replace("/a", "/a, /b, /a"),
        "a.ini:5: path '/a' is listed already on this line",
    );
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_name_or_their_place() {
    assert_eq!(
        kafka_errors("Linger = 1s\nlinger_ms = 1\nbatch-bytes = 1\nplugin_folder = hunter2"),
        "\
a.ini:4: unknown key 'Linger' in [kafka]; did you mean 'linger'?
a.ini:5: unknown key 'linger_ms' in [kafka]; did you mean 'linger'?
a.ini:6: unknown key 'batch-bytes' in [kafka]; did you mean 'batch_bytes'?
a.ini:7: unknown key 'plugin_folder' in [kafka]
    keys are brokers, topic, protocol, acks, compression, compression_level, partitioner, batch_bytes, linger, request_timeout, client_id, idempotence, delivery, commit_interval, transaction_timeout, positions_topic, headers, provenance, tls, tls_ca, tls_cert, tls_key, sasl_mechanism, sasl_username, sasl_password, sasl_password_file, sasl_token_file, sasl_token_url, sasl_client_id, sasl_client_secret, sasl_client_secret_file, sasl_scope, sasl_token_ca"
    );
    assert_eq!(
        log_errors("compression = none"),
        "a.ini:6: unknown key 'compression' in [log:web]; it belongs in [kafka]"
    );
}

#[test]
fn keys_of_later_versions_are_unknown() {
    for key in ["include", "provenance", "tail", "processors"] {
        assert!(log_errors(&format!("{key} = json")).starts_with("a.ini:6: unknown key"));
    }
}

#[test]
fn missing_keys_are_reported_where_they_belong() {
    refused(
        "[kafka]\n\n[log:a]\n[log:b]\ntopic = t\npath = /b\n",
        "\
a.ini:1: missing key 'brokers' in [kafka]
    for example: brokers = localhost:9092
a.ini:3: missing key 'path' in [log:a]
    for example: path = /srv/shop/log/*.log
a.ini:3: missing key 'topic' in [log:a], and [kafka] sets none for all",
    );
    refused(
        "[agent]\n",
        "\
a.ini: missing section [kafka]
    it needs at least brokers, for example: brokers = localhost:9092
a.ini: missing section [log:NAME]
    each names files to follow, for example [log:web] with path = /var/log/nginx/access.log",
    );
}

#[test]
fn bad_values_are_quoted_with_what_is_accepted() {
    let agent = "[agent]\nproducers = two\nmemory_limit = 64MB\nshutdown_timeout = -8s\n\
                 checkpoint_interval = 0s\nstate_dir =\nmetrics_listen = localhost:9787\n";
    assert_eq!(
        errors(&format!("{GOOD}{agent}")),
        "\
a.ini:7: bad value 'two' for 'producers' in [agent]; accepted: a number from 1 to 64
a.ini:8: bad value '64MB' for 'memory_limit' in [agent]; accepted: a size in B, KiB, MiB or GiB, at least 8MiB, or nothing
a.ini:9: bad value '-8s' for 'shutdown_timeout' in [agent]; accepted: a time in ms, s, m or h, 0ms to 24h
a.ini:10: bad value '0s' for 'checkpoint_interval' in [agent]; accepted: a time in ms, s, m or h, 1ms to 24h
a.ini:11: empty value for 'state_dir' in [agent]; accepted: a folder
a.ini:12: bad value 'localhost:9787' for 'metrics_listen' in [agent]; accepted: an IP address of this host and a port, \
such as 127.0.0.1:9787 or [::1]:9787, or nothing"
    );
    assert_eq!(
        kafka_errors(
            "protocol = kafka\nacks = -1\ncompression = lz5\npartitioner = fixed:-1\n\
             batch_bytes = 1MiB\nlinger = 61s\nrequest_timeout = 999ms\nclient_id = my agent\n\
             idempotence = yes\nheaders = host,pth"
        ),
        "\
a.ini:4: bad value 'kafka' for 'protocol' in [kafka]; accepted: native, legacy
a.ini:5: bad value '-1' for 'acks' in [kafka]; accepted: all, 1, 0
a.ini:6: bad value 'lz5' for 'compression' in [kafka]; accepted: lz4, none, gzip, snappy, zstd
a.ini:7: bad value 'fixed:-1' for 'partitioner' in [kafka]; accepted: file, host, key, round_robin, fixed:N with a partition number
a.ini:8: bad value '1MiB' for 'batch_bytes' in [kafka]; accepted: a size in B, KiB, MiB or GiB, 1KiB to 900KiB
a.ini:9: bad value '61s' for 'linger' in [kafka]; accepted: a time in ms, s, m or h, 0ms to 1m
a.ini:10: bad value '999ms' for 'request_timeout' in [kafka]; accepted: a time in ms, s, m or h, 1s to 24h
a.ini:11: bad value 'my agent' for 'client_id' in [kafka]; accepted: 1 to 249 letters, digits, '.', '_' or '-'
a.ini:12: bad value 'yes' for 'idempotence' in [kafka]; accepted: on, off
a.ini:13: bad value 'pth' for 'headers' in [kafka]; accepted: host,path; host; path; none"
    );
    assert_eq!(
        log_errors("topic = a b\nstart_at = start\nmax_line_bytes = 0\nrotate_wait = 5\nexclude = [\nfollow_links = yes"),
        "\
a.ini:6: bad value 'a b' for 'topic' in [log:web]; accepted: 1 to 249 letters, digits, '.', '_' or '-', and not '.' or '..'
a.ini:7: bad value 'start' for 'start_at' in [log:web]; accepted: beginning, end
a.ini:8: bad value '0' for 'max_line_bytes' in [log:web]; accepted: a size in B, KiB, MiB or GiB, 1B to 900KiB
a.ini:9: bad value '5' for 'rotate_wait' in [log:web]; accepted: a time in ms, s, m or h, 0ms to 24h
a.ini:10: bad value '[' for 'exclude' in [log:web]; accepted: globs, comma separated, or nothing; one without / is about file names
    invalid range pattern
a.ini:11: bad value 'yes' for 'follow_links' in [log:web]; accepted: safe, all, none"
    );
    assert_eq!(
        log_errors("follow_link = all\n[agent]\nfollow_links = all"),
        "\
a.ini:6: unknown key 'follow_link' in [log:web]; did you mean 'follow_links'?
a.ini:8: unknown key 'follow_links' in [agent]; it belongs in [log:NAME]"
    );
}

#[test]
fn comments_and_quotes_in_a_value_get_a_hint() {
    assert_eq!(
        kafka_errors("acks = all # safe\nlinger = 1s ; short\nclient_id = \"me\""),
        "\
a.ini:4: bad value 'all # safe' for 'acks' in [kafka]; accepted: all, 1, 0
    a comment needs a line of its own
a.ini:5: bad value '1s ; short' for 'linger' in [kafka]; accepted: a time in ms, s, m or h, 0ms to 1m
    a comment needs a line of its own
a.ini:6: bad value '\"me\"' for 'client_id' in [kafka]; accepted: 1 to 249 letters, digits, '.', '_' or '-'
    values take no quotes"
    );
}

#[test]
fn malformed_references_to_the_environment_are_refused() {
    assert_eq!(
        kafka_errors("client_id = ${HOST"),
        "\
a.ini:4: malformed '${' in 'client_id' of [kafka]
    write ${NAME} for an environment variable, $${ for the two characters themselves"
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    assert_eq!(
        kafka_errors("compression = zstd\nprotocol = legacy"),
        "\
a.ini:4: 'compression = zstd' cannot stand beside 'protocol = legacy' (line 5)
    legacy has none, gzip and snappy"
    );
    assert_eq!(
        kafka_errors("compression_level = 3"),
        "\
a.ini:4: 'compression_level = 3' cannot stand beside 'compression = lz4' (the default)
    only gzip and zstd have levels"
    );
    assert_eq!(
        kafka_errors("compression = gzip\ncompression_level = 10"),
        "\
a.ini:5: 'compression_level = 10' cannot stand beside 'compression = gzip' (line 4)
    the levels of gzip are 1 to 9"
    );
    assert_eq!(
        kafka_errors("compression = gzip\ncompression_level = 1\nprotocol = legacy"),
        "\
a.ini:5: 'compression_level = 1' cannot stand beside 'protocol = legacy' (line 6)
    legacy takes no level"
    );
    assert_eq!(
        kafka_errors("acks = 1\nidempotence = on"),
        "\
a.ini:5: 'idempotence = on' cannot stand beside 'acks = 1' (line 4)
    idempotence needs acks = all"
    );
    assert_eq!(
        kafka_errors(
            "delivery = exactly_once\nacks = 1\nidempotence = off\npartitioner = round_robin"
        ),
        "\
a.ini:4: 'delivery = exactly_once' cannot stand beside 'acks = 1' (line 5)
    transactions need acks = all
a.ini:4: 'delivery = exactly_once' cannot stand beside 'idempotence = off' (line 6)
    transactions need idempotence
a.ini:4: 'delivery = exactly_once' cannot stand beside 'partitioner = round_robin' (line 7)
    the lines of a file must go to one partition"
    );
    assert_eq!(
        kafka_errors("delivery = exactly_once\nprotocol = legacy\nheaders = none"),
        "\
a.ini:4: 'delivery = exactly_once' cannot stand beside 'protocol = legacy' (line 5)
    legacy has no transactions"
    );
    assert_eq!(
        kafka_errors(
            "compression = lz4\nheaders = host\nacks = 0\nidempotence = on\nprotocol = legacy"
        ),
        "\
a.ini:4: 'compression = lz4' cannot stand beside 'protocol = legacy' (line 8)
    legacy has none, gzip and snappy
a.ini:5: 'headers = host' cannot stand beside 'protocol = legacy' (line 8)
    the message format of legacy has no headers
a.ini:7: 'idempotence = on' cannot stand beside 'protocol = legacy' (line 8)
    legacy cannot tell a retry from a new record
a.ini:7: 'idempotence = on' cannot stand beside 'acks = 0' (line 6)
    idempotence needs acks = all"
    );
    assert_eq!(
        kafka_errors("provenance = on\nprotocol = legacy"),
        "\
a.ini:4: 'provenance = on' cannot stand beside 'protocol = legacy' (line 5)
    the message format of legacy has no headers"
    );
    assert_eq!(
        kafka_errors("partitioner = key\n[log:x]\npath = /x\nkey ="),
        "\
a.ini:7: missing key 'key' in [log:x]; 'partitioner = key' (line 4) needs one
a.ini:8: missing key 'key' in [log:web]; 'partitioner = key' (line 4) needs one"
    );
}

#[test]
fn messages_stay_on_their_line_and_do_not_steer_a_terminal() {
    let text = GOOD.replace("= t", &format!("= {}\u{202E}\u{200B}x", "y".repeat(200)));
    let shown = errors(&text);
    assert!(shown.contains(&format!("bad value '{}...' for 'topic'", "y".repeat(100))));
    assert!(errors(&GOOD.replace("= t", "= \u{202E}\u{200B}x")).contains("'\\u{202e}\\u{200b}x'"));
}

#[test]
fn a_file_that_is_no_ini_does_not_flood_the_terminal() {
    let text = "nonsense\n".repeat(500);
    let shown = errors(&text);
    assert!(
        shown.ends_with("a.ini: and 402 more"),
        "500 lines and two missing sections"
    );
    assert_eq!(
        shown
            .lines()
            .filter(|line| line.starts_with("a.ini:"))
            .count(),
        101
    );
}
