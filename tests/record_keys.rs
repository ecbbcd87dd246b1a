//! Each key for records, through the whole agent: lines in, records out.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::support::broker::Record;
use crate::support::client::java_partition;
use crate::support::env::{Env, SOON, TOPIC, lines};

/// Lines of `[log:app]`, what is in `app.log`, and the records, one a line: `KEY|VALUE|NAME=VALUE,...`, and before it
/// `TOPIC:` if that is another one, `@MS ` if the section tells the time. A newline in a value is shown as `\n`.
struct Case {
    ini: &'static str,
    input: &'static [u8],
    records: &'static str,
}

const fn case(ini: &'static str, input: &'static [u8], records: &'static str) -> Case {
    Case {
        ini,
        input,
        records,
    }
}

/// What arrived in all topics, as a case has it.
fn shown(env: &Env, is_timed: bool, topics: &[&str]) -> String {
    let mut shown = Vec::new();
    for topic in topics {
        let prefix = match *topic {
            TOPIC => String::new(),
            topic => format!("{topic}:"),
        };
        for record in env.broker.records(topic) {
            let time = match is_timed {
                true => format!("@{} ", record.timestamp_ms),
                false => String::new(),
            };
            shown.push(format!("{prefix}{time}{}", show(&record)));
        }
    }
    shown.join("\n")
}

/// A text with what is another one in each run: the host, the folder, the inode of a file.
fn filled(env: &Env, text: &str, file: &str) -> String {
    use std::os::unix::fs::MetadataExt;
    let host = rustix::system::uname();
    let inode = fs::metadata(env.path(file)).unwrap().ino();
    text.replace("HOST", &host.nodename().to_string_lossy())
        .replace("INODE", &inode.to_string())
        .replace("DIR", &env.log_dir().display().to_string())
}

fn show(record: &Record) -> String {
    let key = record
        .key
        .as_deref()
        .map_or("-".into(), String::from_utf8_lossy);
    let header = |(name, value): &(String, Option<Vec<u8>>)| {
        let value = value.as_deref().map_or("-".into(), String::from_utf8_lossy);
        format!("{name}={value}")
    };
    let headers: Vec<String> = record.headers.iter().map(header).collect();
    let value = without_time_of_reading(&record.text());
    format!("{key}|{}|{}", value.replace('\n', "\\n"), headers.join(","))
}

/// The time that a record was read at is another one in each run.
fn without_time_of_reading(value: &str) -> String {
    let year = "\"@timestamp\":\"20";
    let Some(at) = value.find(year).map(|at| at + year.len()) else {
        return value.to_owned();
    };
    match value[at..].split_once('"') {
        // Times in the cases are of 2021.
        Some((time, rest)) if !time.starts_with("21-") => {
            format!("{}READ\"{rest}", &value[..at - 2])
        }
        _ => value.to_owned(),
    }
}

/// Runs a case; returns what is wrong with it.
fn try_case(case: &Case) -> Option<String> {
    let mut env = Env::new();
    env.set("kafka", "headers", "none");
    for line in case.ini.lines() {
        let (key, value) = line.split_once(" = ").unwrap();
        let value = value.replace("DIR/", &env.path(""));
        let section = if key == "partitioner" {
            "kafka"
        } else {
            "log:app"
        };
        env.set(section, key, &value);
    }
    env.append("app.log", case.input);
    let mut command = env.command(&["--once"]);
    command.env("REGION", "north").env("TZ", "UTC");
    let ended = crate::support::agent::Agent::spawn(command).wait_exit(SOON);
    env.broker.assert_clean();
    let is_timed = case.ini.contains("timestamp = line");
    let topics: BTreeSet<&str> = case.records.lines().filter_map(topic_of).collect();
    let topics: Vec<&str> = [TOPIC].into_iter().chain(topics).collect();
    let shown = shown(&env, is_timed, &topics);
    let is_right = ended.code == Some(0) && shown == filled(&env, case.records, "app.log");
    (!is_right).then(|| {
        let Case { ini, records, .. } = case;
        format!(
            "---- {ini}\nexpected:\n{records}\ngot:\n{shown}\n{}\n",
            ended.stderr
        )
    })
}

/// `TOPIC:` at the beginning of a record.
fn topic_of(record: &str) -> Option<&str> {
    let (topic, _) = record.split_once('|')?.0.split_once(':')?;
    topic.starts_with("t.").then_some(topic)
}

fn try_all(cases: &[Case]) {
    let wrong: Vec<String> = cases.iter().filter_map(try_case).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lines_become_events() {
    const TRACE: &[u8] = b"2021-01-01 10:00:00 ERROR no\njava.lang.E: x\n\tat a.B.c(B.java:1)\n2021-01-01 10:00:01 ok\n";
    const JOINED: &str = "-|2021-01-01 10:00:00 ERROR no\\njava.lang.E: x\\n\tat a.B.c(B.java:1)|\n-|2021-01-01 10:00:01 ok|";
    try_all(&[
        case("multiline = timestamp", TRACE, JOINED),
        case("multiline = auto", TRACE, JOINED),
        case("multiline = trace", b"java.lang.E: x\n\tat a.B.c(B.java:1)\nnext\n", "-|java.lang.E: x\\n\tat a.B.c(B.java:1)|\n-|next|"),
        case("multiline = indent", b"one\n  two\nthree\n", "-|one\\n  two|\n-|three|"),
        case("multiline = start:^\\[", b"[1] a\nb\n[2] c\n", "-|[1] a\\nb|\n-|[2] c|"),
        case("multiline = continue:^\\+", b"a\n+b\nc\n", "-|a\\n+b|\n-|c|"),
        case("multiline = end:;$", b"a\nb;\nc;\n", "-|a\\nb;|\n-|c;|"),
        case("multiline = off", b"a\n b\n", "-|a|\n-| b|"),
        case(
            "container = cri\nheader.from = {stream}",
            b"2021-01-01T00:00:00.5Z stdout P one \n2021-01-01T00:00:00.6Z stderr F bad\n2021-01-01T00:00:00.7Z stdout F two\nforeign\n",
            "-|one two|from=stdout\n-|bad|from=stderr\n-|foreign|",
        ),
        case(
            "container = docker\ntimestamp = line",
            b"{\"log\":\"a \\\"b\\\"\\n\",\"stream\":\"stdout\",\"time\":\"2021-01-01T00:00:00.25Z\"}\n",
            "@1609459200250 -|a \"b\"|",
        ),
        case("container = auto\nmultiline = auto", b"2021-01-01T00:00:00Z stderr F E: x\n2021-01-01T00:00:00Z stderr F  at y\n", "-|E: x\\n at y|"),
        case("encoding = gbk", b"\xc4\xe3\xba\xc3\n", "-|\u{4f60}\u{597d}|"),
        case("encoding = utf-16", b"\xff\xfea\0\n\0b\0\n\0", "-|a|\n-|b|"),
        case("encoding = latin1", b"caf\xe9\n", "-|caf\u{e9}|"),
    ]);
}

#[test]
fn some_events_go_and_others_do_not() {
    try_all(&[
        case(
            "keep = ERR|WARN",
            b"ERR a\nINFO b\nWARN c\n",
            "-|ERR a|\n-|WARN c|",
        ),
        case("drop = ^#", b"#a\nb\n", "-|b|"),
        case(
            "drop = ^#\ndrop.health = GET /health\ndrop.x = x$",
            b"#a\nGET /health\nbox\nok\n",
            "-|ok|",
        ),
        case("keep = E\ndrop = no", b"E\nE no\nother\n", "-|E|"),
        case(
            "multiline = indent\ndrop = secret",
            b"one\n secret\ntwo\n",
            "-|two|",
        ),
        case("rate_limit = 2/s drop", b"1\n2\n3\n4\n", "-|1|\n-|2|"),
        case("sample = 1/1", b"1\n2\n", "-|1|\n-|2|"),
        case("sample = 1/1000000000 debug", b"debug\nother\n", "-|other|"),
    ]);
}

#[test]
fn secrets_and_escape_sequences_do_not_leave() {
    try_all(&[
        case(
            "mask = card",
            b"pay 4111 1111 1111 1111 now, order 12345678901234567\n",
            "-|pay *** now, order 12345678901234567|",
        ),
        case(
            "mask = email, bearer, password",
            b"a@b.example Authorization: Bearer abc.def password=hunter2\n",
            "-|*** Authorization: Bearer *** password=***|",
        ),
        case(
            "mask.token = ([?&]token=)[^& ]+ => $1***",
            b"GET /?a=1&token=xyz&b=2\n",
            "-|GET /?a=1&token=***&b=2|",
        ),
        case("mask.digits = \\d+", b"a1b22\n", "-|a***b***|"),
        case(
            "mask = password\nformat = json\nparse = json\njson = merge\nkey = {json.user}",
            b"{\"user\":\"u\",\"password\":\"p\"}\n",
            "u|{\"@timestamp\":\"READ\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"user\":\"u\",\"password\":\"***\"}|",
        ),
        case(
            "strip_ansi = on",
            b"\x1b[31mred\x1b[0m \x1b]0;title\x07x\n",
            "-|red x|",
        ),
        case("strip_ansi = off", b"\x1b[31mred\n", "-|\u{1b}[31mred|"),
    ]);
}

#[test]
fn values_are_made_of_what_a_line_says() {
    try_all(&[
        case("format = raw", b"a\n", "-|a|"),
        case(
            "format = json",
            b"a \"b\"\t\n",
            "-|{\"@timestamp\":\"READ\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"message\":\"a \\\"b\\\"\\t\"}|",
        ),
        case(
            "format = json\njson = nest",
            b"{\"a\":1.50}\nno\n",
            "-|{\"@timestamp\":\"READ\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"json\":{\"a\":1.50}}|\n-|{\"@timestamp\":\"READ\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"message\":\"no\"}|",
        ),
        case(
            "format = json\njson = merge\nfield.host = other",
            b"{\"a\":12345678901234567890,\"a\":2}\n{\"path\":\"own\"}\n",
            "-|{\"@timestamp\":\"READ\",\"host\":\"other\",\"path\":\"DIR/app.log\",\"a\":12345678901234567890,\"a\":2}|\n-|{\"@timestamp\":\"READ\",\"host\":\"other\",\"path\":\"own\"}|",
        ),
        case(
            "format = ecs\nfield.labels.env = prod",
            b"a\n",
            "-|{\"@timestamp\":\"READ\",\"ecs.version\":\"8.11.0\",\"host.name\":\"HOST\",\"log.file.path\":\"DIR/app.log\",\"log.offset\":0,\"labels.env\":\"prod\",\"message\":\"a\"}|",
        ),
        case(
            "format = json\nparse = regex:^(?<level>\\w+) (?<user>\\w+)?\nkey = {user:nobody}",
            b"INFO ann x\nWARN \n--\n",
            "ann|{\"@timestamp\":\"READ\",\"level\":\"INFO\",\"user\":\"ann\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"message\":\"INFO ann x\"}|\nnobody|{\"@timestamp\":\"READ\",\"level\":\"WARN\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"message\":\"WARN \"}|\nnobody|{\"@timestamp\":\"READ\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"message\":\"--\"}|",
        ),
        case(
            "format = json\nfield.a = {offset}\nfield.b = {file}\nfield.c = {json.x:none}\nparse = json",
            b"{\"x\":7}\n{}\n",
            "-|{\"@timestamp\":\"READ\",\"a\":\"0\",\"b\":\"app.log\",\"c\":\"7\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"message\":\"{\\\"x\\\":7}\"}|\n-|{\"@timestamp\":\"READ\",\"a\":\"8\",\"b\":\"app.log\",\"c\":\"none\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"message\":\"{}\"}|",
        ),
        case(
            "timestamp = line\ntime = rfc3339",
            b"2021-03-04T05:06:07.089+01:00 a\n",
            "@1614830767089 -|2021-03-04T05:06:07.089+01:00 a|",
        ),
        case(
            "timestamp = line\ntime = %d/%b/%Y:%H:%M:%S %z",
            b"1.2.3.4 - - [04/Mar/2021:05:06:07 +0000] x\n",
            "@1614834367000 -|1.2.3.4 - - [04/Mar/2021:05:06:07 +0000] x|",
        ),
        case(
            "timestamp = line\ntime = %Y-%m-%d %H:%M:%S,%f\ntime_zone = +08:00",
            b"2021-03-04 05:06:07,089 a\n",
            "@1614805567089 -|2021-03-04 05:06:07,089 a|",
        ),
        case(
            "timestamp = line\ntime = %Y-%m-%d %H:%M:%S\ntime_zone = local",
            b"2021-03-04 05:06:07 a\n",
            "@1614834367000 -|2021-03-04 05:06:07 a|",
        ),
        case(
            "timestamp = line\ntime = epoch\nparse = json\ntime_field = t.at",
            b"{\"t\":{\"at\":1614834367.5}}\n",
            "@1614834367500 -|{\"t\":{\"at\":1614834367.5}}|",
        ),
        case(
            "timestamp = line\ntime = epoch_ms\nparse = regex:at=(?<time>\\d+)",
            b"x at=1614834367089\n",
            "@1614834367089 -|x at=1614834367089|",
        ),
        case(
            "format = json\ntime = rfc3339\nparse = json\njson = merge",
            b"{\"time\":\"2021-03-04T05:06:07.123456Z\"}\n",
            "-|{\"@timestamp\":\"2021-03-04T05:06:07.123456Z\",\"host\":\"HOST\",\"path\":\"DIR/app.log\",\"time\":\"2021-03-04T05:06:07.123456Z\"}|",
        ),
    ]);
}

#[test]
fn where_records_go_is_made_of_the_file_and_the_event() {
    try_all(&[
        case("key = constant", b"a\n", "constant|a|"),
        case(
            "key = {json.id:-}\nparse = json\nheader.n = {json.a.b}",
            b"{\"id\":1,\"a\":{\"b\":true}}\n{}\nx\n",
            "1|{\"id\":1,\"a\":{\"b\":true}}|n=true\n-|{}|\n-|x|",
        ),
        case(
            "topic = t.{json.tenant:other}\nparse = json",
            b"{\"tenant\":\"a/b\"}\n{}\n{\"tenant\":\"c\"}\n",
            "t.a_b:-|{\"tenant\":\"a/b\"}|\nt.c:-|{\"tenant\":\"c\"}|\nt.other:-|{}|",
        ),
        case(
            "header.log = {log}\nheader.file = {file}\nheader.dir = {dir}\nheader.region = {env.REGION}\nheader.zone = {env.NO_SUCH:none}\nheader.brace = {{x}}",
            b"a\n",
            "-|a|log=app,file=app.log,dir=DIR,region=north,zone=none,brace={x}",
        ),
        case(
            "header.at = {offset}\nheader.path = {path}",
            b"a\nbc\n",
            "-|a|path=DIR/app.log,at=0\n-|bc|path=DIR/app.log,at=2",
        ),
        case(
            "path = DIR/{app}.log\ntopic = t.{app}\nkey = {app}-1\nheader.app = {app}",
            b"a\n",
            "t.app:app-1|a|app=app",
        ),
        case(
            "topic = t.{level:none}\nparse = regex:^(?<level>[A-Z]+) ",
            b"INFO a\nb\n",
            "t.INFO:-|INFO a|\nt.none:-|b|",
        ),
    ]);
}

/// Has a file look as if it was last written so long ago.
fn age(env: &Env, name: &str, age: Duration) {
    let file = File::options().write(true).open(env.path(name)).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_file_that_was_not_written_for_long_is_begun_when_it_is_written_again() {
    let mut env = Env::new();
    env.set("log:app", "ignore_older", "1d");
    env.append("old.log", "old 1\n");
    env.append("app.log", "line 0\n");
    age(&env, "old.log", 2 * DAY);
    env.start();
    env.wait_for_log(
        "old.log' is left out until it is written to: ignore_older",
        SOON,
    );
    env.expect_lines(&lines(0..1));
    env.wait_for_checkpoint_at_the_end_of("app.log");
    assert_eq!(env.positions().len(), 1, "it has no position");
    assert_eq!(env.agent().count_log(&["is left out"]), 1);
    env.append("old.log", "old 2\n");
    let told = env.wait_for_records(3);
    let told: Vec<String> = told[1..].iter().map(Record::text).collect();
    assert_eq!(told, ["old 1", "old 2"]);
    env.stop();
    assert_eq!(env.broker.count(TOPIC), 3);
}

#[test]
fn a_file_that_was_begun_is_finished_however_old_it_is() {
    let mut env = Env::new();
    env.set("log:app", "ignore_older", "1d");
    env.write_lines("app.log", 0..1);
    env.start();
    env.wait_for_records(1);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.stop();
    env.write_lines("app.log", 1..2);
    env.rename("app.log", "app.log.1");
    age(&env, "app.log.1", 3 * DAY);
    // What nobody has begun is not, be it rotated away or not.
    env.append("app.log", "never\n");
    age(&env, "app.log", 2 * DAY);
    env.start();
    env.wait_for_log("is left out", Duration::from_secs(60));
    env.stop_and_expect_lines(&lines(0..2));
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("app.log' is left out").count(), 1);
    assert_eq!(env.broker.count(TOPIC), 2);
}

#[test]
fn a_file_that_is_left_out_begins_where_start_at_says() {
    let mut env = Env::new();
    env.set("log:app", "ignore_older", "1d")
        .set("log:app", "start_at", "end");
    env.append("app.log", "old\n");
    age(&env, "app.log", 2 * DAY);
    env.start();
    env.wait_for_log("is left out", SOON);
    env.append("app.log", "line 0\n");
    env.stop_and_expect_lines(&lines(0..1));
}

/// Text, `part` and `parts` of each record.
fn parts(env: &Env) -> Vec<(String, Option<String>, Option<String>)> {
    let records = env.broker.records(TOPIC);
    let part = |record: &Record| (record.text(), record.header("part"), record.header("parts"));
    records.iter().map(part).collect()
}

fn part(text: &str, part: &str, parts: Option<&str>) -> (String, Option<String>, Option<String>) {
    (
        text.to_owned(),
        Some(part.to_owned()),
        parts.map(str::to_owned),
    )
}

#[test]
fn a_last_line_goes_without_its_newline_and_its_rest_is_a_part_also_after_a_restart() {
    for extra in ["", "drop = never", "multiline = indent"] {
        let mut env = Env::new();
        env.set("log:app", "line_timeout", "50ms");
        if let Some((key, value)) = extra.split_once(" = ") {
            env.set("log:app", key, value);
        }
        env.append("app.log", "beg");
        env.start();
        env.wait_for_records(1);
        env.append("app.log", "inn");
        env.wait_for_records(2);
        env.append("app.log", "ing\nwhole\n");
        env.append("app.log", "x\nbefore");
        env.wait_for_records(6);
        env.wait_for_checkpoint_at_the_end_of("app.log");
        env.kill();
        env.append("app.log", " after\nlast\n.\n");
        env.start();
        env.wait_for_records(8);
        env.stop();
        let whole = |text: &str| (text.to_owned(), None, None);
        let mut expected = vec![
            part("beg", "1", None),
            part("inn", "2", None),
            part("ing", "3", Some("3")),
            whole("whole"),
            whole("x"),
            part("before", "1", None),
            part(" after", "2", Some("2")),
            whole("last"),
        ];
        let found = parts(&env);
        expected.extend(found.get(8).cloned());
        assert_eq!(found, expected, "{extra}");
        env.broker.assert_clean();
    }
}

#[test]
fn what_has_to_wait_for_an_event_s_end_waits_no_longer_than_told() {
    let mut env = Env::new();
    env.set("log:app", "multiline", "timestamp")
        .set("log:app", "multiline_timeout", "200ms");
    env.append("app.log", "2021-01-01 10:00:00 a\nb\n");
    env.start();
    env.wait_for_records(1);
    env.append("app.log", "2021-01-01 10:00:01 c\n");
    env.wait_for_records(2);
    env.stop();
    assert_eq!(
        env.broker.values(TOPIC),
        ["2021-01-01 10:00:00 a\nb", "2021-01-01 10:00:01 c"]
    );
}

/// CPU time of a process, in ticks.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn what_is_beyond_the_rate_waits_in_the_file_without_a_spin_and_a_stop_comes_through() {
    let mut env = Env::new();
    env.set("log:app", "rate_limit", "20/s");
    env.write_lines("app.log", 0..200);
    let begun = Instant::now();
    env.start();
    env.wait_for_records(20);
    let pid = env.agent().pid();
    let before = cpu_ticks(pid);
    env.wait_for_records(50);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(1400),
        "30 beyond the first 20: {took:?}"
    );
    let allowed = 20 + took.as_millis() as usize / 50 + 4;
    assert!(
        env.broker.count(TOPIC) <= allowed,
        "{} of {allowed}",
        env.broker.count(TOPIC)
    );
    let spent = cpu_ticks(pid) - before;
    assert!(spent < 40, "{spent} ticks of 10 ms in {took:?}");
    env.stop();
    let sent = env.broker.count(TOPIC);
    assert!(sent < 200, "the rest waits");
    assert_eq!(env.broker.values(TOPIC), lines(0..sent));
    env.unset("log:app", "rate_limit");
    env.start();
    env.stop_and_expect_lines(&lines(0..200));
}

#[test]
fn a_rate_in_bytes_is_kept_and_once_ends_when_all_is_sent() {
    let mut env = Env::new();
    // 16 bytes each.
    let text = |n| format!("line number {n:03}\n");
    let all: String = (0..3000).map(text).collect();
    env.append("app.log", &all);
    env.set("log:app", "rate_limit", "32KiB/s");
    let begun = Instant::now();
    let ended = env.spawn(&["--once"]).wait_exit(Duration::from_secs(30));
    let took = begun.elapsed();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(env.broker.count(TOPIC), 3000);
    assert!(took >= Duration::from_millis(400), "{took:?}");
    // Events of several lines are not counted before they are read: little is read at once.
    let mut env = Env::new();
    env.write_lines("app.log", 0..2500);
    env.set("log:app", "rate_limit", "1000/s")
        .set("log:app", "multiline", "indent");
    let begun = Instant::now();
    assert_eq!(env.run(&["--once"]).code, Some(0));
    let took = begun.elapsed();
    assert_eq!(env.broker.values(TOPIC), lines(0..2500));
    assert!(took >= Duration::from_millis(900), "{took:?}");
    // What is read to its end owes nothing to anybody.
    let mut env = Env::new();
    env.append("app.log", &all);
    env.set("log:app", "rate_limit", "1B/s");
    env.set("log:app", "max_line_bytes", "900KiB");
    env.remove("app.log");
    env.append("app.log", "one line\n");
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(env.broker.values(TOPIC), ["one line"]);
}

#[test]
fn a_sample_thins_out_what_it_is_about_and_picks_the_same_again() {
    let mut env = Env::new();
    env.set("log:app", "sample", "1/10 debug");
    let text: String = (0..2000)
        .map(|n| format!("{} {n}\n", ["debug", "error"][n % 2]))
        .collect();
    env.append("app.log", text);
    assert_eq!(env.run(&["--once"]).code, Some(0));
    let first = env.broker.values(TOPIC);
    let debug = first
        .iter()
        .filter(|line| line.starts_with("debug"))
        .count();
    assert!((60..160).contains(&debug), "{debug} of 1,000");
    assert_eq!(first.len() - debug, 1000);
    fs::remove_file(env.checkpoints()).unwrap();
    assert_eq!(env.run(&["--once"]).code, Some(0));
    let both = env.broker.values(TOPIC);
    assert_eq!(both[first.len()..], first[..]);
}

#[test]
fn each_key_goes_to_the_partition_that_the_java_client_gives_it() {
    let mut env = Env::with_partitions(7);
    env.set("kafka", "partitioner", "key")
        .set("log:app", "parse", "json")
        .set("log:app", "key", "{json.id:-}");
    let text: String = (0..500)
        .map(|n| format!("{{\"id\":\"user-{}\",\"n\":{n}}}\n", n % 37))
        .collect();
    env.append("app.log", text + "{}\n");
    let ended = env.run(&["--once"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records = env.broker.records(TOPIC);
    assert_eq!(records.len(), 501);
    let mut used = BTreeSet::new();
    for record in &records {
        let key = record.key.clone().unwrap();
        assert_eq!(
            record.partition,
            java_partition(&key, 7),
            "{}",
            record.text()
        );
        used.insert(record.partition);
    }
    assert_eq!(used.len(), 7);
    env.broker.assert_clean();
}

/// An example of `conf/examples/`, the files that it follows, and the records in each topic.
struct Example {
    name: &'static str,
    files: &'static [(&'static str, &'static [u8])],
    topics: &'static [(&'static str, &'static str)],
}

/// Runs `conf/examples/NAME.ini` with all of its paths below the folder of `env`.
fn run_example(example: &Example) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples");
    let text = fs::read_to_string(folder.join(example.name).with_extension("ini")).unwrap();
    let mut env = Env::new();
    env.unset_section("log:app").set("kafka", "headers", "none");
    let mut section = "";
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        let (key, value) = line.split_once('=').unwrap();
        let (key, value) = (key.trim(), value.trim());
        match key {
            "brokers" => {}
            "path" | "exclude" => drop(env.set(section, key, &env.path(&value[1..]))),
            _ => drop(env.set(section, key, value)),
        }
    }
    for (name, bytes) in example.files {
        env.make_folder(name.rsplit_once('/').unwrap().0);
        env.append(name, bytes);
    }
    let ended = env.run(&["--once"]);
    env.broker.assert_clean();
    let all: Vec<String> = example
        .topics
        .iter()
        .map(|(topic, _)| shown(&env, false, &[topic]))
        .collect();
    let expected: Vec<String> = example
        .topics
        .iter()
        .map(|(topic, records)| {
            let prefixed = records.lines().map(|record| format!("{topic}:{record}"));
            let file = example.files[0].0;
            filled(&env, &prefixed.collect::<Vec<_>>().join("\n"), file)
        })
        .collect();
    let is_right = ended.code == Some(0) && all == expected;
    let name = example.name;
    (!is_right).then(|| format!("---- {name}\n{expected:#?}\n{all:#?}\n{}", ended.stderr))
}

#[test]
fn the_examples_make_the_records_that_they_are_for() {
    const EXAMPLES: &[Example] = &[
        Example {
            name: "nginx",
            files: &[("var/log/nginx/access.log", b"{\"time_iso8601\":\"2021-03-04T05:06:07+00:00\",\"uri\":\"/a?token=s3cret&b=1\",\"status\":200}\n{\"time_iso8601\":\"2021-03-04T05:06:08+00:00\",\"uri\":\"/health\",\"status\":200}\nno json\n")],
            topics: &[("web_log", "-|{\"@timestamp\":\"2021-03-04T05:06:07.000Z\",\"env\":\"prod\",\"host\":\"HOST\",\"path\":\"DIR/var/log/nginx/access.log\",\"time_iso8601\":\"2021-03-04T05:06:07+00:00\",\"uri\":\"/a?token=***&b=1\",\"status\":200}|\n-|{\"@timestamp\":\"READ\",\"env\":\"prod\",\"host\":\"HOST\",\"path\":\"DIR/var/log/nginx/access.log\",\"message\":\"no json\"}|")],
        },
        Example {
            name: "java",
            files: &[("srv/shop/log/shop.log", b"2021-03-04 05:06:07 ERROR no order\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:7)\n2021-03-04 05:06:08 DEBUG x\n2021-03-04 05:06:09 INFO ok\n")],
            topics: &[("app_log", "HOST|2021-03-04 05:06:07 ERROR no order\\njava.lang.IllegalStateException: no\\n\tat a.B.c(B.java:7)|team=shop\nHOST|2021-03-04 05:06:09 INFO ok|team=shop")],
        },
        Example {
            name: "kubernetes",
            files: &[
                ("var/log/pods/shop_cart-api-5c_0a-1b/cart/0.log", b"2021-03-04T05:06:07.1Z stderr F Traceback (most recent call last):\n2021-03-04T05:06:07.1Z stdout F ok\n2021-03-04T05:06:07.1Z stderr F   File \"a.py\", line 1, in <module>\n2021-03-04T05:06:07.1Z stderr F KeyError: 'k'\n"),
                ("var/log/pods/kube-system_dns_1/dns/0.log", b"2021-03-04T05:06:07.1Z stdout F not followed\n"),
            ],
            topics: &[("k8s.shop", "cart-api-5c|Traceback (most recent call last):\\n  File \"a.py\", line 1, in <module>\\nKeyError: 'k'|pod=cart-api-5c,container=cart,stream=stderr\ncart-api-5c|ok|pod=cart-api-5c,container=cart,stream=stdout"), ("k8s.kube-system", "")],
        },
        Example {
            name: "gbk",
            files: &[("data/billing/logs/a.txt", b"[2021-03-04 05:06:07,089] \xd5\xcb\xb5\xa5\r\n  \xd3\xe0\xb6\xee\r\n[2021-03-04 05:06:08,000] ok\r\n")],
            topics: &[("billing_log", "-|{\"@timestamp\":\"2021-03-03T21:06:07.089Z\",\"host\":\"HOST\",\"path\":\"DIR/data/billing/logs/a.txt\",\"message\":\"[2021-03-04 05:06:07,089] \u{8d26}\u{5355}\\n  \u{4f59}\u{989d}\"}|\n-|{\"@timestamp\":\"2021-03-03T21:06:08.000Z\",\"host\":\"HOST\",\"path\":\"DIR/data/billing/logs/a.txt\",\"message\":\"[2021-03-04 05:06:08,000] ok\"}|")],
        },
        Example {
            name: "tenants",
            files: &[
                ("srv/acme/log/api.log", b"one\n"),
                ("srv/beta/log/2021/03/jobs.log", b"two\n"),
            ],
            topics: &[("tenant.acme", "acme-api|one|tenant=acme"), ("tenant.beta", "beta-jobs|two|tenant=beta")],
        },
        Example {
            name: "audit",
            files: &[("var/log/audit/audit.log", b"user=/home/ann_1/x password=hunter2 card 4111111111111111\n")],
            topics: &[("audit", "-|{\"@timestamp\":\"READ\",\"host\":\"HOST\",\"path\":\"DIR/var/log/audit/audit.log\",\"message\":\"user=/home/***/x password=*** card ***\"}|ce_specversion=1.0,ce_type=log.audit,ce_source=HOSTDIR/var/log/audit/audit.log,ce_id=HOST-INODE-0")],
        },
    ];
    let wrong: Vec<String> = EXAMPLES.iter().filter_map(run_example).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
