//! Cases from their text to the screen.

use std::fs;
use std::path::Path;

use super::errors::{CasesError, Errors};
use super::feed::{Fate, Feed, Growth, Outcome};
use super::file::{At, Case, Claim, Expected, ExpectedRecord, Input, Output, parse, parse_output};
use super::{Ending, preview, run, runner, section};
use crate::command_line::TestOptions;
use crate::config::Config;

fn parsed(text: &str) -> Vec<Case> {
    let mut errors = Errors::of("x.test.ini".as_ref());
    let cases = parse(text.as_bytes(), &mut errors);
    assert_eq!(errors.to_string(), "");
    cases
}

fn errors_of(text: &str) -> String {
    let mut errors = Errors::of("x.test.ini".as_ref());
    parse(text.as_bytes(), &mut errors);
    errors.to_string()
}

fn at<T>(value: T, line: usize) -> At<T> {
    At { value, line }
}

#[test]
fn a_case_is_read_with_the_lines_that_its_parts_stand_on() {
    let cases = parsed(
        "# comment\n[test:one]\nlog = shop\npath = /srv/a.log\n; comment\n<  two blanks \n<\n> a\n| b\n= header team x y\n= dropped health\n",
    );
    let expected = Case {
        name: "one".to_owned(),
        line: 2,
        config: None,
        log: at("shop".to_owned(), 3),
        path: Some(at("/srv/a.log".into(), 4)),
        input: Input::Lines(vec![at(b" two blanks ".to_vec(), 6), at(Vec::new(), 7)]),
        output: Output::Here(vec![
            Expected::Record(ExpectedRecord {
                lines: vec![at(b"a".to_vec(), 8), at(b"b".to_vec(), 9)],
                claims: vec![at(Claim::Header("team".to_owned(), b"x y".to_vec()), 10)],
            }),
            Expected::Dropped(at("health".to_owned(), 11)),
        ]),
    };
    assert_eq!(cases, [expected]);
}

#[test]
fn files_stand_for_lines() {
    let cases = parsed("[test:a]\nlog = x\nin = a.log\nout = a.out\nconfig = b.ini\n");
    assert_eq!(cases[0].input, Input::File(at("a.log".into(), 3)));
    assert_eq!(cases[0].output, Output::File(at("a.out".into(), 4)));
    assert_eq!(cases[0].config, Some(at("b.ini".into(), 5)));
}

#[test]
fn all_that_is_wrong_is_said_at_once_with_its_line() {
    let said = errors_of(
        "log = x\n[tset:a]\n[test:a]\nlgo = x\n< a\n| b\n= topic t\n= tpoic t\n= header\n= dropped\nwhat\nlog =\n\
         [test:b]\nlog = x\n< a\nin = f\nout = o\n> a\n[test:b]\nlog = x\nlog = y\n",
    );
    let expected = "\
x.test.ini:1: 'log = x' before any section
    sections are [test:NAME], NAME being what the case shows
x.test.ini:2: unknown section '[tset:a]'
    sections are [test:NAME], NAME being what the case shows
x.test.ini:4: unknown key 'lgo'; did you mean 'log'?
x.test.ini:6: '| b' goes on a record, and there is none above: its first line has '>'
x.test.ini:7: '= topic t' is about a record, and there is none above
x.test.ini:8: '= tpoic t' says nothing that is known; did you mean '= topic'?
x.test.ini:9: '= header' names no header: = header NAME VALUE
x.test.ini:10: '= dropped' names no rule: = dropped NAME
x.test.ini:11: 'what' is neither a key with a value nor a mark
    marks are '<' a line in, '>' a record, '|' a further line of it, '=' something of it
x.test.ini:12: empty value for 'log'
x.test.ini:15: 'in' (line 16) says where the lines are
x.test.ini:18: 'out' (line 17) says what comes out
x.test.ini:19: no line goes in
    write '< LINE', or 'in = FILE'
x.test.ini:21: duplicate key 'log'; already set on line 20";
    assert_eq!(said, expected);
    let said = errors_of("[test:b]\nlog = x\n< a\n[test:b]\nlog = x\n< a\n[test:c]\n< a\n");
    let expected = "\
x.test.ini:4: duplicate case 'b'; it begins on line 1
x.test.ini:7: missing key 'log'
    for example: log = web";
    assert_eq!(said, expected);
}

#[test]
fn a_file_of_records_has_marks_alone() {
    let mut errors = Errors::of("x.out".as_ref());
    let expected = parse_output(b"# written\n> a\n| b\n\nc\n", &mut errors);
    assert_eq!(expected.len(), 1);
    assert_eq!(
        errors.to_string(),
        "x.out:5: 'c' is no line of a record; each begins with '>', '|' or '='"
    );
}

/// The ini of OPERATION.md's screen: what it masks is no `token`.
const INI: &str = "[kafka]
brokers = localhost:9092
headers = path

[log:nginx]
path        = /var/log/nginx/access.log
topic       = web_log
format      = json
json        = merge
parse       = json
time        = rfc3339
time_field  = time_iso8601
field.env   = prod
drop.health = \"uri\":\"/(health|ready)\"
mask.token  = ([?&]key=)[^&\"]+ => $1***

[log:shop]
path      = /srv/shop/log/*.log
topic     = app_log
multiline = timestamp
drop.debug = DEBUG

[log:plain]
path = /srv/plain.log
topic = plain
";

const CASES: &str = "[test:a stack trace is one record]
log  = shop
path = /srv/shop/log/app.log
< 2026-11-26 22:30:54,116 ERROR order 7 failed
< java.lang.IllegalStateException: no stock
< \tat c.e.Stock.take(Stock.java:12)
< 2026-11-26 22:30:54,120 INFO next
> 2026-11-26 22:30:54,116 ERROR order 7 failed
| java.lang.IllegalStateException: no stock
| \tat c.e.Stock.take(Stock.java:12)
= topic app_log
= header path /srv/shop/log/app.log
> 2026-11-26 22:30:54,120 INFO next

[test:health checks are dropped, tokens masked]
log = nginx
< {\"time_iso8601\":\"2026-11-26T22:30:54+01:00\",\"uri\":\"/health\"}
= dropped health
< {\"time_iso8601\":\"2026-11-26T22:30:55+01:00\",\"uri\":\"/a?token=abc\",\"id\":9007199254740993}
> {\"@timestamp\":\"2026-11-26T21:30:55.000Z\",*\"uri\":\"/a?token=***\",\"id\":9007199254740993}

[test:lines without any key are records]
log = plain
< a
<
> a
>
";

/// A folder with an ini and its cases.
fn folder(ini: &str, cases: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("logagent.ini"), ini).unwrap();
    fs::write(folder.path().join("logagent.test.ini"), cases).unwrap();
    folder
}

fn options(folder: &Path) -> TestOptions {
    TestOptions {
        config: Some(folder.join("logagent.ini")),
        ..TestOptions::default()
    }
}

/// The ending and the screen.
fn screen(options: &TestOptions) -> (Ending, String) {
    let mut out = Vec::new();
    let ending = run(options, &mut out).unwrap();
    (ending, String::from_utf8(out).unwrap())
}

/// What is said instead of a screen, without the folder.
fn refusal(ini: &str, cases: &str) -> String {
    let folder = folder(ini, cases);
    let error = run(&options(folder.path()), &mut Vec::new()).unwrap_err();
    let prefix = format!("{}/", folder.path().display());
    error.to_string().replace(&prefix, "")
}

#[test]
fn the_screen_shows_where_a_record_differs_and_which_rule_did_nothing() {
    let folder = folder(INI, CASES);
    let (ending, text) = screen(&options(folder.path()));
    assert_eq!(ending, Ending::Failed);
    let expected = "\
ok    a stack trace is one record
FAIL  health checks are dropped, tokens masked      logagent.test.ini:20
      record 1, at character 161
      expected  ...*\"uri\":\"/a?token=***\",\"id\":9007199254740993}
      got       ...,\"uri\":\"/a?token=abc\",\"id\":9007199254740993}
      mask.token (logagent.ini:15) did not match anything in this case
ok    lines without any key are records
3 cases, 1 failed
";
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn cases_that_come_out_as_expected_end_well_and_strict_names_what_none_tests() {
    let folder = folder(&INI.replace("[?&]key=", "[?&]token="), CASES);
    let mut options = options(folder.path());
    let (ending, text) = screen(&options);
    assert_eq!(ending, Ending::Good, "{text}");
    assert!(text.ends_with("\n3 cases, 0 failed\n"), "{text}");
    options.strict = true;
    let (ending, text) = screen(&options);
    assert_eq!(ending, Ending::Failed);
    let end = "\
FAIL  drop.debug of [log:shop] is tested by no case  logagent.ini:21
3 cases, 0 failed, 1 rule not tested
";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn accept_writes_what_comes_out_and_leaves_the_time_open() {
    let cases = "[test:real lines]\nlog = nginx\nin = nginx.log\nout = nginx.out\n";
    let folder = folder(INI, cases);
    let lines = "no JSON\n{\"time_iso8601\":\"2026-11-26T22:30:55Z\",\"uri\":\"/a?key=x\"}\n";
    fs::write(folder.path().join("nginx.log"), lines).unwrap();
    let mut options = options(folder.path());
    let error = run(&options, &mut Vec::new()).unwrap_err().to_string();
    assert!(
        error.contains("logagent.test.ini:4: out = nginx.out: "),
        "{error}"
    );
    options.accept = true;
    let (ending, text) = screen(&options);
    assert_eq!(
        text,
        "new   real lines (2 lines, 2 records)\n1 case, 0 failed\n"
    );
    assert_eq!(ending, Ending::Good);
    let written = fs::read_to_string(folder.path().join("nginx.out")).unwrap();
    let mut written = written.lines().skip(1);
    let first = written.next().unwrap();
    assert!(first.starts_with("> {\"@timestamp\":\"*"), "{first}");
    assert!(first.ends_with(",\"message\":\"no JSON\"}"), "{first}");
    let second = written.next().unwrap();
    assert!(
        second.starts_with("> {\"@timestamp\":\"2026-11-26T22:30:55.000Z\""),
        "{second}"
    );
    assert!(second.ends_with("\"uri\":\"/a?key=***\"}"), "{second}");
    for accept in [true, false] {
        options.accept = accept;
        let (_, text) = screen(&options);
        assert_eq!(
            text,
            "ok    real lines (2 lines, 2 records)\n1 case, 0 failed\n"
        );
    }
    fs::write(folder.path().join("nginx.log"), "other\n").unwrap();
    let (ending, text) = screen(&options);
    assert_eq!(ending, Ending::Failed);
    assert!(text.starts_with("FAIL  real lines "), "{text}");
    assert!(text.contains("  nginx.out:2\n"), "{text}");
}

#[test]
fn what_a_case_names_and_is_not_there_is_refused_with_its_line() {
    let said = refusal(
        INI,
        "[test:a]\nlog = shpo\n< a\n[test:b]\nlog = shop\npath = /x\n< a\n[test:c]\nlog = shop\n< a\n\
         = dropped heath\n= dropped rate_limit\n[test:d]\nlog = shop\nin = none\n",
    );
    let expected = "\
logagent.test.ini:2: no section [log:shpo]; did you mean 'shop'? in logagent.ini
logagent.test.ini:6: [log:shop] does not follow '/x'
logagent.test.ini:11: [log:shop] has no rule 'heath' that drops
logagent.test.ini:12: [log:shop] has no rule 'rate_limit' that drops
    what it drops hangs on the clock, and no clock runs here
logagent.test.ini:15: in = none: No such file or directory (os error 2)";
    assert_eq!(said, expected);
}

#[test]
fn an_ini_that_is_wrong_is_refused_as_at_the_start() {
    let said = refusal(&INI.replace("parse ", "prase "), CASES);
    assert!(
        said.starts_with("logagent.ini:10: unknown key 'prase'"),
        "{said}"
    );
}

#[test]
fn names_of_a_path_need_one_that_the_section_follows() {
    let ini = "[kafka]\nbrokers = x:1\n[log:t]\npath = /srv/{tenant}/*.log\nexclude = b.*\ntopic = t.{tenant}\n";
    let said = refusal(
        ini,
        "[test:a]\nlog = t\n< a\n[test:b]\nlog = t\npath = /srv/x/b.log\n< a\n",
    );
    let expected = "\
logagent.test.ini:1: missing key 'path': [log:t] has {tenant} of it in its records
logagent.test.ini:6: [log:t] does not follow '/srv/x/b.log'";
    assert_eq!(said, expected);
}

#[test]
fn a_file_of_cases_belongs_to_the_ini_of_its_name() {
    let of = |file: &str| super::ini_of(file.as_ref()).display().to_string();
    assert_eq!(of("conf/logagent.test.ini"), "conf/logagent.ini");
    assert_eq!(of("a/web.test.ini"), "a/web.ini");
    assert_eq!(of("a/cases.txt"), "a/logagent.ini");
    let cases = |ini: &str| super::cases_of(ini.as_ref()).display().to_string();
    assert_eq!(cases("conf/logagent.ini"), "conf/logagent.test.ini");
    assert_eq!(cases("agent.conf"), "agent.conf.test.ini");
}

#[test]
fn standard_input_is_shown_as_the_records_that_a_section_makes_of_it() {
    let folder = folder(INI, "");
    let shown = |log: &str, input: &str| {
        let mut out = Vec::new();
        preview(&options(folder.path()), log, input.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let input = "2026-11-26 22:30:54 DEBUG x\n2026-11-26 22:30:55 ERROR a\u{1b}[2J\n\tat b";
    let expected = "\
line 1 is dropped by drop.debug
app_log  path=/srv/shop/log/x.log
  2026-11-26 22:30:55 ERROR a\\u{1b}[2J
  \tat b
3 lines, 1 record, 1 dropped
";
    assert_eq!(shown("shop", input), expected);
    assert_eq!(
        shown("plain", "a\n"),
        "plain  path=/srv/plain.log\n  a\n1 line, 1 record\n"
    );
    let error = preview(&options(folder.path()), "shpo", b"", &mut Vec::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("no section [log:shpo]; did you mean 'shop'?"),
        "{error}"
    );
}

#[test]
fn lines_are_written_in_the_encoding_of_their_section() {
    for (encoding, text) in [
        ("gbk", "订单 7"),
        ("utf-16", "žluť"),
        ("utf-16be", "žluť"),
        ("shift_jis", "注文"),
        ("iso-8859-1", "größe"),
        ("koi8-r", "заказ"),
    ] {
        let ini = format!(
            "[kafka]\nbrokers = x:1\n[log:a]\npath = /a\ntopic = t\nencoding = {encoding}\n"
        );
        let cases = format!("[test:a]\nlog = a\n< {text}\n< b\n> {text}\n> b\n");
        let folder = folder(&ini, &cases);
        let (ending, text) = screen(&options(folder.path()));
        assert_eq!(ending, Ending::Good, "{text}");
    }
    let ini = "[kafka]\nbrokers = x:1\n[log:a]\npath = /a\ntopic = t\nencoding = koi8-r\n";
    let said = refusal(ini, "[test:a]\nlog = a\n< 订单\n");
    assert_eq!(
        said,
        "logagent.test.ini:3: the line has what its encoding cannot write"
    );
}

#[test]
fn after_a_restart_the_time_of_a_container_is_no_time_of_its_lines() {
    let ini = "[kafka]\nbrokers = x:1\n[log:a]\npath = /a\ntopic = t\ncontainer = auto\nmultiline = auto\n";
    let line = |number| format!("2026-11-26T22:30:5{number}.116000000Z stdout F ready {number}\n");
    let cases = "[test:a]\nlog = a\nin = a.log\n> ready 1\n> ready 2\n> ready 3\n";
    let folder = folder(ini, cases);
    fs::write(
        folder.path().join("a.log"),
        [line(1), line(2), line(3)].concat(),
    )
    .unwrap();
    let (ending, text) = screen(&options(folder.path()));
    assert_eq!(ending, Ending::Good, "{text}");
}

#[test]
fn however_the_bytes_come_the_records_are_the_same() {
    let keys = [
        "",
        "multiline = auto",
        "multiline = timestamp\nkeep = ERROR\nmask = card, password\nmax_line_bytes = 64",
        "multiline = start:ERROR\nkeep = ERROR\nmask = card, password",
        "multiline = trace\nformat = json\ndrop.a = order\nfield.at = {offset}",
        "container = auto\nmultiline = auto\nheader.s = {stream}",
        "encoding = utf-16le\nmultiline = indent\nsample = 1/2 at",
        "strip_cr = on\nmax_line_bytes = 9\nkey = {offset}",
    ];
    let lines = [
        "2026-11-26 22:30:54,116 ERROR order 7 failed",
        "java.lang.IllegalStateException: no stock",
        "\tat c.e.Stock.take(Stock.java:12)",
        "2026-11-26T22:30:54.116000000Z stdout F ready",
        "2026-11-26T22:30:54.117000000Z stderr P half, password=secret",
        "",
        "x\r",
        "password=hunter2 and 4111 1111 1111 1111, all of it on a line that is longer than most",
    ];
    for (number, keys) in keys.iter().enumerate() {
        let ini = format!("[kafka]\nbrokers = x:1\n[log:a]\npath = /a\ntopic = t\n{keys}\n");
        let config = Config::parse(&ini, "x.ini".as_ref(), &|_| None).unwrap();
        let log = &config.logs[0];
        let counters = log.record.as_ref().map(|record| record.counters());
        let feed = Feed {
            log,
            destination: section::destination(&config, log, "/a".as_ref()),
            now_ns: 1,
            counters: counters.unwrap_or_default().into(),
        };
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let some = (0..random.usize(..12)).map(|_| lines[random.usize(..lines.len())]);
            let text = some.collect::<Vec<_>>().join("\n") + ["", "\n"][random.usize(..2)];
            let bytes = match keys.contains("utf-16") {
                true => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                false => text.clone().into_bytes(),
            };
            let whole = feed.outcomes(&bytes, Growth::Whole);
            for growth in [Growth::Bytewise, Growth::Restarts] {
                // A restart between two pieces of an event of several lines does not know of the first one.
                if growth == Growth::Restarts && keys.contains("timestamp") {
                    continue;
                }
                let other = feed.outcomes(&bytes, growth);
                let difference = runner::other_than(&whole, &other, "then");
                assert_eq!(difference, None, "{number}, {growth:?}: {text:?}");
            }
        }
    }
}

fn dropped(start: u64) -> Outcome {
    Outcome {
        start,
        fate: Fate::Dropped(0),
    }
}

#[test]
fn another_record_at_another_time_fails_a_case() {
    let said = runner::other_than(
        &[dropped(0), dropped(1)],
        &[dropped(0)],
        "in chunks of one byte",
    );
    let words = [
        "in chunks of one byte, event 2 is another one",
        "at once   dropped",
        "then      nothing",
    ];
    assert_eq!(said.unwrap(), words);
}

#[test]
fn a_screen_that_nobody_takes_is_an_error() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let folder = folder(INI, CASES);
    let error = run(&options(folder.path()), &mut Closed).unwrap_err();
    assert!(matches!(error, CasesError::Output(_)), "{error}");
}
