//! What a record says, through the whole agent: events, encodings, masks, JSON, with kills and a broker that is away.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::env::{Env, SOON, TOPIC, assert_same_lines};

const LONG: Duration = Duration::from_secs(60);

/// The events of each case.
fn case_events() -> Vec<Vec<String>> {
    let text = include_str!("cases/multiline.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let events = |case: &serde_json::Value| {
        let events = case["events"].as_array().unwrap().iter();
        events
            .map(|event| event.as_str().unwrap().to_owned())
            .collect()
    };
    cases.iter().map(events).collect()
}

/// How many lines a long test takes: a few for each commit, or as the variable says.
fn line_count(usual: usize) -> usize {
    let set = std::env::var("LOGAGENT_TEST_LINES").ok();
    set.and_then(|set| set.parse().ok()).unwrap_or(usual)
}

/// An agent that makes events of several lines.
fn of_events(timeout: &str) -> Env {
    let mut env = Env::new();
    env.set("log:app", "multiline", "auto")
        .set("log:app", "multiline_timeout", timeout);
    env
}

#[test]
fn a_kill_after_every_few_lines_repeats_events_and_changes_none() {
    // A variable of 1 kills it after every line.
    let step = line_count(8).min(64);
    for events in case_events() {
        let mut env = of_events("1h");
        let text = events.join("\n") + "\n";
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut ends = Vec::new();
        for event in &events {
            ends.push(ends.last().copied().unwrap_or(0) + event.len() + 1);
        }
        let mut written = 0;
        for lines in lines.chunks(step) {
            let lines = lines.concat();
            written += lines.len();
            env.append("app.log", lines);
            env.start();
            env.agent().wait_until_it_follows(SOON);
            // The last one is pending, and what is known of the one before it may hang on what follows.
            let whole = ends.iter().filter(|end| **end <= written).count();
            env.broker
                .wait_for_count(TOPIC, whole.saturating_sub(2), SOON);
            env.kill();
        }
        // What is pending at the end goes without waiting.
        let ended = env.run(&["--once"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let values = env.broker.values(TOPIC);
        let count = |of: &[String], event: &String| of.iter().filter(|one| *one == event).count();
        for event in &events {
            assert!(
                count(&values, event) >= count(&events, event),
                "missing: {event:?}"
            );
        }
        for value in &values {
            assert!(events.contains(value), "no event: {value:?}");
        }
    }
}

#[test]
fn events_are_whole_where_a_backlog_is_read_while_the_broker_is_away() {
    let mut env = of_events("10ms");
    env.set("agent", "memory_limit", "64MiB");
    env.broker.down(1);
    let mut expected = Vec::new();
    let mut text = String::new();
    let rounds = line_count(20_000) / 10;
    for number in 0..rounds {
        let event = format!(
            "2026-11-26 22:30:54,{:03} ERROR order {number} failed\njava.lang.IllegalStateException: x\n{}Caused by: y",
            number % 1000,
            "\tat Shop.load(Shop.java:4)\n".repeat(7)
        );
        text += &event;
        text.push('\n');
        expected.push(event);
    }
    env.append("app.log", &text);
    env.start();
    env.agent().wait_until_it_follows(SOON);
    env.broker.up(1);
    env.broker.wait_for_count(TOPIC, rounds, LONG);
    env.stop();
    assert_same_lines(&expected, &env.broker.values(TOPIC));
}

#[test]
fn an_event_that_waits_goes_after_its_time_and_a_later_line_is_another() {
    let mut env = of_events("300ms");
    env.append("app.log", "2026-11-26 22:30:54 failed\n  at a\n");
    env.start();
    env.wait_for_records(1);
    env.append("app.log", "  at b\n2026-11-26 22:30:55 next\n");
    env.wait_for_records(3);
    env.stop();
    let values = env.broker.values(TOPIC);
    assert_eq!(values[0], "2026-11-26 22:30:54 failed\n  at a");
    assert_eq!(values.len(), 3);
}

#[test]
fn a_file_that_is_rotated_away_ends_its_last_event() {
    let mut env = of_events("1h");
    env.append("app.log", "2026-11-26 22:30:54 failed\n  at a\n");
    env.start();
    env.agent().wait_until_it_follows(SOON);
    env.append("app.log", "  at b");
    env.rename("app.log", "app.log.1");
    env.append(
        "app.log",
        "2026-11-26 22:30:55 next\n2026-11-26 22:30:56 last\n",
    );
    env.wait_for_records(2);
    env.stop();
    let values = env.broker.values(TOPIC);
    assert_eq!(
        values[..2],
        [
            "2026-11-26 22:30:54 failed\n  at a\n  at b",
            "2026-11-26 22:30:55 next"
        ]
    );
}

/// `text` as `iconv` writes it.
fn iconv(from: &str, to: &str, text: &[u8]) -> Vec<u8> {
    let mut child = Command::new("iconv")
        .args(["-c", "-f", from, "-t", to])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(text).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

#[test]
fn lines_of_each_encoding_arrive_as_iconv_makes_of_them() {
    let count = line_count(1_000);
    for (encoding, iconv_name, words) in [
        ("utf-16", "UTF-16LE", ["order", "订单", "💩", "заказ"]),
        ("utf-16le", "UTF-16LE", ["order", "订单", "ਊ", "заказ"]),
        ("utf-16be", "UTF-16BE", ["order", "注文", "Ċ", "💩"]),
        ("gbk", "GBK", ["order", "订单", "失败", "重试"]),
        ("gb18030", "GB18030", ["order", "订单", "💩", "café"]),
        ("big5", "BIG5", ["order", "訂單", "失敗", "重試"]),
        ("shift_jis", "CP932", ["order", "注文", "失敗", "ｶﾅ"]),
        ("euc-jp", "EUC-JP", ["order", "注文", "失敗", "再"]),
        ("euc-kr", "CP949", ["order", "주문", "실패", "다시"]),
        ("iso-8859-1", "ISO-8859-1", ["order", "café", "ÿ", "ß"]),
        ("windows-1251", "CP1251", ["order", "заказ", "ошибка", "№"]),
        ("windows-1252", "CP1252", ["order", "café", "€", "ß"]),
        ("koi8-r", "KOI8-R", ["order", "заказ", "ошибка", "ё"]),
    ] {
        let mut random = fastrand::Rng::with_seed(7);
        let mut text = String::new();
        for number in 0..count {
            text += &format!("line {number}");
            for _ in 0..random.usize(..8) {
                text.push(' ');
                text += words[random.usize(..words.len())];
            }
            text.push('\n');
        }
        let mut bytes = iconv("UTF-8", iconv_name, text.as_bytes());
        let back = iconv(iconv_name, "UTF-8", &bytes);
        if encoding == "utf-16" {
            bytes.splice(..0, *b"\xff\xfe");
        }
        let expected: Vec<String> = String::from_utf8(back)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(expected.len(), count, "{encoding}");
        let mut env = Env::new();
        env.set("log:app", "encoding", encoding);
        // Restarts at random places, in the middle of a character too.
        let restarts = (count / 500).clamp(3, 200);
        let mut cuts: Vec<usize> = (0..restarts).map(|_| random.usize(..bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            env.append("app.log", &bytes[pair[0]..pair[1]]);
            env.start();
            env.stop();
        }
        env.start();
        env.broker.wait_for_count(TOPIC, count, LONG);
        env.stop();
        assert_same_lines(&expected, &env.broker.values(TOPIC));
    }
}

#[test]
fn nothing_secret_is_in_records_dead_letters_the_dry_run_or_the_log() {
    let secrets = [
        "4111 1111 1111 1111",
        "ann.smith@example.com",
        "hunter2-horse",
        "sk_live_0123456789",
    ];
    let mut text = String::new();
    for number in 0..200 {
        let filler = "x ".repeat(number % 90);
        text += &format!(
            "{number} {filler}card {} mail {} password={} key {} {filler}\n",
            secrets[0], secrets[1], secrets[2], secrets[3]
        );
    }
    // Beyond what the topic takes: a dead letter.
    let large = format!("password={} {}\n", secrets[2], "y ".repeat(3000));
    let mut env = Env::new();
    env.set("log:app", "mask", "card, email, bearer, password")
        .set("log:app", "mask.key", r"sk_live_\w+")
        .set("log:app", "topic", "t.{json.password:none}")
        .set("log:app", "parse", "json")
        .set("log:app", "max_line_bytes", "4KiB");
    env.append("app.log", text + &large);
    let shown = env.run(&["--dry-run", "--once"]);
    assert!(shown.stdout.contains("***"), "{}", shown.stdout);
    env.broker.auto_create(Some(1));
    env.broker.max_message_bytes(3000);
    let ended = env.run(&["--once"]);
    let mut all = vec![shown.stdout, shown.stderr, ended.stderr, env.all_logs()];
    all.extend(env.broker.values("t.none"));
    for entry in walk(&env.state_dir()) {
        all.push(String::from_utf8_lossy(&entry).into_owned());
    }
    assert!(env.broker.count("t.none") >= 200);
    for text in &all {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// What all files below `folder` hold.
fn walk(folder: &std::path::Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(walk(&path)),
            false => all.push(std::fs::read(path).unwrap()),
        }
    }
    all
}
