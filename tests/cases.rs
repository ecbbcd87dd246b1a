//! `logagent test` as a program: screens, exit codes, standard input. What it finds is tested beside the code.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::support::agent::{Agent, Ended};
use crate::support::env::SOON;

const INI: &str = "[kafka]
brokers = localhost:1
headers = path
[log:shop]
path = /srv/shop/log/*.log
topic = app_log
multiline = timestamp
drop.debug = DEBUG
mask.token = (token=)\\S+ => $1***
";

const CASES: &str = "[test:a trace is one record]
log = shop
< 2026-11-26 22:30:54 ERROR a token=abc
< \tat b
> 2026-11-26 22:30:54 ERROR a token=***
| \tat b
= topic app_log
";

/// Runs `logagent` in a folder.
fn logagent(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Agent::command();
    command.current_dir(folder).args(arguments);
    Agent::spawn(command).wait_exit(SOON)
}

/// A folder with `conf/logagent.ini` and its cases.
fn folder(ini: &str, cases: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("conf");
    fs::create_dir(&conf).unwrap();
    fs::write(conf.join("logagent.ini"), ini).unwrap();
    fs::write(conf.join("logagent.test.ini"), cases).unwrap();
    folder
}

#[test]
fn cases_that_come_out_end_with_0() {
    let folder = folder(INI, CASES);
    for arguments in [
        &["test"][..],
        &["test", "conf/logagent.test.ini"],
        &["--config", "conf/logagent.ini", "test"],
        &["test", "--config", "conf/logagent.ini"],
    ] {
        let ended = logagent(folder.path(), arguments);
        assert_eq!(
            ended.stdout, "ok    a trace is one record\n1 case, 0 failed\n",
            "{}",
            ended.stderr
        );
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    }
}

#[test]
fn a_case_that_fails_ends_with_1() {
    let folder = folder(&INI.replace("(token=)", "(key=)"), CASES);
    let ended = logagent(folder.path(), &["test"]);
    let screen = "\
FAIL  a trace is one record                         logagent.test.ini:5
      record 1, line 1, at character 35
      expected  ...54 ERROR a token=***
      got       ...54 ERROR a token=abc
      drop.debug (logagent.ini:8) did not match anything in this case
      mask.token (logagent.ini:9) did not match anything in this case
1 case, 1 failed
";
    assert_eq!(ended.stdout, screen);
    assert_eq!((ended.code, &*ended.stderr), (Some(1), ""));
}

#[test]
fn a_rule_that_no_case_tests_fails_a_strict_test() {
    let folder = folder(INI, CASES);
    let ended = logagent(folder.path(), &["test", "--strict"]);
    let screen = "\
ok    a trace is one record
FAIL  drop.debug of [log:shop] is tested by no case  logagent.ini:8
1 case, 0 failed, 1 rule not tested
";
    assert_eq!(ended.stdout, screen);
    assert_eq!(ended.code, Some(1));
}

#[test]
fn what_is_refused_ends_with_2_and_all_of_it() {
    let folder = folder(INI, "[test:a]\nlog = shpo\n< a\n[test:b]\nlgo = shop\n");
    let ended = logagent(folder.path(), &["test"]);
    let said = "\
conf/logagent.test.ini:2: no section [log:shpo]; did you mean 'shop'? in conf/logagent.ini
conf/logagent.test.ini:5: unknown key 'lgo'; did you mean 'log'?
";
    assert_eq!((ended.code, &*ended.stderr), (Some(2), said));
    assert_eq!(ended.stdout, "");
    let ended = logagent(folder.path(), &["test", "none.test.ini"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.starts_with("none.test.ini: no such file\n"),
        "{}",
        ended.stderr
    );
    let ended = logagent(folder.path(), &["test", "--config", "none.ini"]);
    assert_eq!(ended.code, Some(2));
    for (arguments, said) in [
        (
            &["tets"][..],
            "unknown command 'tets'; did you mean 'test'?",
        ),
        (
            &["test", "--once"],
            "'logagent test' has no option '--once'",
        ),
    ] {
        let ended = logagent(folder.path(), arguments);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

/// What `logagent test --log shop` prints of `input`, and its exit code.
fn shown(folder: &Path, input: &[u8]) -> (String, Option<i32>) {
    let mut command = Agent::command();
    command.current_dir(folder).args(["test", "--log", "shop"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.code(),
    )
}

#[test]
fn standard_input_is_shown_as_records_and_masked() {
    let folder = folder(INI, CASES);
    let input = b"2026-11-26 22:30:54 DEBUG a\n2026-11-26 22:30:54 ERROR b token=abc\n\tat b";
    let screen = "\
line 1 is dropped by drop.debug
app_log  path=/srv/shop/log/x.log
  2026-11-26 22:30:54 ERROR b token=***
  \tat b
3 lines, 1 record, 1 dropped
";
    assert_eq!(shown(folder.path(), input), (screen.to_owned(), Some(0)));
    assert_eq!(
        shown(folder.path(), b""),
        ("0 lines, 0 records\n".to_owned(), Some(0))
    );
}

#[test]
fn a_screen_that_nobody_takes_ends_with_1_and_a_word() {
    let folder = folder(INI, CASES);
    let (_, closed) = std::io::pipe().unwrap();
    let mut command = Agent::command();
    command.current_dir(folder.path()).arg("test");
    let output = command
        .stdin(Stdio::null())
        .stdout(closed)
        .stderr(Stdio::piped());
    let output = output.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with("logagent: standard output: "),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn the_cases_that_are_shipped_pass_and_test_every_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ended = logagent(root, &["test", "--strict"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    for log in ["nginx", "shop", "pods", "billing", "tenants", "audit"] {
        let name = format!("ok    {log}: ");
        assert!(ended.stdout.contains(&name), "{name}\n{}", ended.stdout);
    }
}

#[test]
fn run_is_what_happens_without_a_command() {
    let folder = folder("[kafka]\nbroker = x\n", "");
    let alone = logagent(folder.path(), &[]);
    let run = logagent(folder.path(), &["run"]);
    // As a line of the log, since nobody sees it on a terminal.
    let said = [&alone, &run].map(|ended| {
        let lines = ended.stderr.lines();
        let lines = lines.map(|line| line.split_once("Z ERROR ").expect(line).1);
        lines.collect::<Vec<_>>().join("\n")
    });
    assert_eq!((alone.code, &said[0]), (Some(2), &said[1]));
    assert!(said[0].starts_with("conf/logagent.ini:2: "), "{}", said[0]);
}
