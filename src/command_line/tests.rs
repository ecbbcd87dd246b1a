//! What the arguments are understood as, and what is made of the table.

use super::*;

fn parse(arguments: &[&str]) -> Result<Command, String> {
    let parser = lexopt::Parser::from_args(arguments.iter().copied());
    Command::parse(parser).map_err(|error| error.to_string())
}

fn run(config: &str, dry_run: bool, once: bool) -> Result<Command, String> {
    Ok(Command::Run(RunOptions {
        config: config.into(),
        dry_run,
        once,
    }))
}

#[test]
fn without_a_command_files_are_followed() {
    assert_eq!(parse(&[]), run("conf/logagent.ini", false, false));
    assert_eq!(parse(&["run"]), parse(&[]));
    assert_eq!(parse(&["--once"]), run("conf/logagent.ini", false, true));
    assert_eq!(
        parse(&["-c", "x.ini", "--dry-run"]),
        run("x.ini", true, false)
    );
}

#[test]
fn options_stand_before_a_command_or_behind_it() {
    let expected = run("x.ini", false, true);
    assert_eq!(parse(&["run", "--once", "--config", "x.ini"]), expected);
    assert_eq!(parse(&["--config", "x.ini", "run", "--once"]), expected);
    assert_eq!(parse(&["--once", "run", "--config=x.ini"]), expected);
    let test = Command::Test(TestOptions {
        config: Some("x.ini".into()),
        files: vec!["a".into(), "b".into()],
        strict: true,
        ..TestOptions::default()
    });
    assert_eq!(
        parse(&["--strict", "test", "a", "-c", "x.ini", "b"]),
        Ok(test)
    );
}

#[test]
fn an_unknown_command_is_refused_with_the_nearest_name() {
    let error = "unknown command 'tset'; did you mean 'test'?";
    assert_eq!(parse(&["tset"]), Err(error.to_owned()));
    assert_eq!(parse(&["fly"]), Err("unknown command 'fly'".to_owned()));
    assert_eq!(parse(&["x.ini"]), Err("unknown command 'x.ini'".to_owned()));
}

#[test]
fn what_a_command_does_not_have_is_refused() {
    for (arguments, error) in [
        (
            &["test", "--once"][..],
            "'logagent test' has no option '--once'",
        ),
        (&["--strict"], "'logagent run' has no option '--strict'"),
        (&["run", "x"], "'logagent run' takes no argument 'x'"),
        (&["--bogus"], "invalid option '--bogus'"),
        (
            &["test", "--path", "/x"],
            "'--path PATH' needs '--log NAME'",
        ),
    ] {
        assert_eq!(parse(arguments), Err(error.to_owned()), "{arguments:?}");
    }
    assert!(parse(&["test", "--log", "a", "--accept"]).is_err());
    assert!(parse(&["test", "--log"]).is_err());
}

/// What is printed for these arguments.
fn printed(arguments: &[&str]) -> String {
    match parse(arguments) {
        Ok(Command::Print(text)) => text,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

#[test]
fn one_letter_stands_for_check() {
    let check = Command::Check(CheckOptions {
        config: "x.ini".into(),
        offline: true,
        ..CheckOptions::default()
    });
    assert_eq!(
        parse(&["-t", "-c", "x.ini", "--offline"]),
        Ok(check.clone())
    );
    assert_eq!(parse(&["-c", "x.ini", "--offline", "check"]), Ok(check));
}

#[test]
fn help_has_every_command_and_that_of_a_command_every_option_of_it() {
    let text = printed(&["--help"]);
    assert_eq!(printed(&["help"]), text);
    for row in COMMANDS {
        assert!(text.contains(&format!("\n  {} ", row.name)), "{}", row.name);
        let own = printed(&["help", row.name]);
        assert_eq!(printed(&[row.name, "-h"]), own);
        for option in row.all_options() {
            let name = format!("--{}", option.long);
            assert!(own.contains(&name), "{name} is not in:\n{own}");
        }
        for line in text.lines().chain(own.lines()) {
            assert!(line.len() <= 79, "{line}");
        }
    }
}

#[test]
fn an_option_of_one_name_means_the_same_wherever_it_is() {
    let all = || COMMANDS.iter().flat_map(Row::all_options);
    for one in all() {
        for other in all().filter(|other| other.long == one.long) {
            assert_eq!(
                (one.letter, one.value),
                (other.letter, other.value),
                "{}",
                one.long
            );
        }
    }
}

#[test]
fn the_man_page_and_the_completions_have_every_command_and_option() {
    let man = printed(&["help", "--man"]);
    for line in man.lines() {
        let is_macro = [".TH ", ".SH ", ".SS ", ".TP", ".PP", ".B "];
        let starts = is_macro.iter().any(|start| line.starts_with(start));
        assert!(starts || !line.starts_with(['.', '\'']), "{line}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let text = printed(&["help", "--completions", shell]);
        for row in COMMANDS {
            assert!(text.contains(row.name), "{shell}: {}", row.name);
            assert!(man.contains(&format!(".SS {}", row.name)), "{}", row.name);
            for option in row.all_options() {
                assert!(text.contains(option.long), "{shell}: {}", option.long);
                let name = format!("\\-\\-{}", option.long.replace('-', "\\-"));
                assert!(man.contains(&name), "{name}");
            }
        }
    }
    assert!(parse(&["help", "--completions", "tcsh"]).is_err());
}

#[test]
fn help_is_had_for_a_key_of_the_ini() {
    let text = printed(&["help", "config", "linger"]);
    assert!(text.starts_with("linger in [kafka]\n"), "{text}");
    assert!(text.contains("  default:  250ms\n"), "{text}");
    let restart = "\n  reload:   a change needs a restart\n";
    assert!(!text.contains(restart));
    for key in ["state_dir", "metrics_listen", "protocol"] {
        let text = printed(&["help", "config", key]);
        assert_eq!(text.matches(restart).count(), 1, "{text}");
    }
    assert!(printed(&["help", "config"]).contains("\n#linger = 250ms\n"));
    let error = "unknown key 'lnger'; did you mean 'linger'?";
    assert_eq!(parse(&["help", "config", "lnger"]), Err(error.to_owned()));
    let error = "'logagent help' takes no argument 'x'";
    assert_eq!(parse(&["help", "test", "x"]), Err(error.to_owned()));
}

#[test]
fn a_rewind_takes_one_path_and_a_place() {
    let rewind = |to, yes| {
        Ok(Command::Rewind(RewindOptions {
            config: "x.ini".into(),
            path: "/a".into(),
            to,
            yes,
        }))
    };
    let zero = ["rewind", "/a", "--to", "0", "-c", "x.ini"];
    assert_eq!(parse(&zero), rewind(To::Offset(0), false));
    let end = ["rewind", "-y", "--to=end", "/a", "-c", "x.ini"];
    assert_eq!(parse(&end), rewind(To::End, true));
    for wrong in [
        &["rewind", "/a"][..],
        &["rewind", "/a", "--to", "-1"],
        &["rewind", "--to", "0"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    let said = parse(&["rewind", "/a", "--to", "zero"]).map_err(|error| error.to_string());
    assert!(
        said.as_ref().is_err_and(|said| said.contains("zero")),
        "{said:?}"
    );
}

#[test]
fn verify_takes_several_topics_and_each_once() {
    let topics = |words: &[&str]| match parse(&[&["verify"], words].concat()) {
        Ok(Command::Verify(options)) => Some(options.topics),
        _ => None,
    };
    let both = Some(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(topics(&["--topic", "a", "--topic", "b"]), both);
    assert_eq!(topics(&["--topic", "a,b", "--topic=a"]), both);
    assert_eq!(topics(&[]), Some(Vec::new()));
    assert_eq!(topics(&["--topic", "a,"]), None);
    assert_eq!(topics(&["--topic", ""]), None);
}

#[test]
fn a_time_is_one_of_a_clock_or_one_ago() {
    let now = UNIX_EPOCH + std::time::Duration::from_secs(86_400 * 2);
    let parse_then = |text| parse_time(text, now);
    assert_eq!(parse_then("1970-01-02T00:00:01Z"), Some(86_401_000));
    assert_eq!(parse_then("1970-01-02 00:00:01"), Some(86_401_000));
    assert_eq!(parse_then("1d"), Some(86_400_000));
    assert_eq!(parse_then("10d"), None);
    assert_eq!(parse_then("soon"), None);
    assert!(parse(&["verify", "--since", "yesterday"]).is_err());
}
