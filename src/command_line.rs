//! The command line: one table of commands and their options, from which `--help` is made.
//!
//! A command's options may stand before its name or behind it; without a name the command is `run`. A new command is
//! a row in `COMMANDS` and a variant of [`Command`].

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use lexopt::Arg;

use crate::nearest::nearest;

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Follow files.
    Run(RunOptions),
    /// Run the cases of a configuration.
    Test(TestOptions),
    /// Hold topics against files.
    Verify(VerifyOptions),
    /// Print a text: help or version.
    Print(String),
}

/// `logagent run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// The ini.
    pub config: PathBuf,
    /// Print instead of sending.
    pub dry_run: bool,
    /// Ship what is there now and end.
    pub once: bool,
}

/// `logagent test`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestOptions {
    /// The ini; `None`: the one beside each file of cases.
    pub config: Option<PathBuf>,
    /// Files of cases; none: the one beside the ini.
    pub files: Vec<PathBuf>,
    /// The section that standard input is given to, instead of cases.
    pub log: Option<String>,
    /// The path that standard input stands for.
    pub path: Option<PathBuf>,
    /// Write what comes out to the files that cases name with `out`.
    pub accept: bool,
    /// A rule that no case tests is a failure.
    pub strict: bool,
}

/// `logagent verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyOptions {
    /// The ini.
    pub config: PathBuf,
    /// The topic; `None`: all of the ini.
    pub topic: Option<String>,
    /// Only records of this time and later, in ms since 1970.
    pub since_ms: Option<i64>,
    /// Only records before this time, in ms since 1970.
    pub until_ms: Option<i64>,
    /// Print one JSON object.
    pub json: bool,
}

/// Why the arguments cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// An option without its value, or with one that it has not.
    #[error(transparent)]
    Option(#[from] lexopt::Error),
    /// A first word that is no command.
    #[error("unknown command '{name}'{}", .nearest.map_or_else(String::new, |name| format!("; did you mean '{name}'?")))]
    Command {
        /// The word.
        name: String,
        /// The command that was probably meant.
        nearest: Option<&'static str>,
    },
    /// An option that the command has not.
    #[error("'logagent {command}' has no option '--{option}'")]
    Foreign {
        /// The command.
        command: &'static str,
        /// The option.
        option: &'static str,
    },
    /// A word that the command has no use for.
    #[error("'logagent {command}' takes no argument '{argument}'")]
    Argument {
        /// The command.
        command: &'static str,
        /// The word.
        argument: String,
    },
    /// Two things that cannot be asked for together.
    #[error("{0}")]
    Conflict(&'static str),
}

/// One command.
struct Row {
    name: &'static str,
    /// What may follow on its name.
    operands: &'static str,
    help: &'static str,
    options: &'static [OptionRow],
    /// Makes the command of what was given.
    make: fn(Given) -> Result<Command, UsageError>,
}

/// One option.
struct OptionRow {
    long: &'static str,
    short: Option<char>,
    /// The name of its value; empty: it has none.
    value: &'static str,
    help: &'static str,
}

const COMMANDS: &[Row] = &[
    Row {
        name: "run",
        operands: "",
        help: "follow files until a signal stops it; what 'logagent' alone does",
        options: &[
            OptionRow {
                long: "dry-run",
                short: None,
                value: "",
                help: "print topic, key and line of what would be sent; needs no Kafka, moves no checkpoint",
            },
            OptionRow {
                long: "once",
                short: None,
                value: "",
                help: "ship what is there now, then exit; with --dry-run, print it and exit",
            },
        ],
        make: make_run,
    },
    Row {
        name: "test",
        operands: "[CASES...]",
        help: "run the cases of a configuration, NAME.test.ini beside NAME.ini; needs no Kafka",
        options: &[
            OptionRow {
                long: "accept",
                short: None,
                value: "",
                help: "write the records to the files that cases name with 'out'",
            },
            OptionRow {
                long: "strict",
                short: None,
                value: "",
                help: "a rule (keep, drop, sample, mask) that no case tests is a failure",
            },
            OptionRow {
                long: "log",
                short: None,
                value: "NAME",
                help: "print what [log:NAME] makes of standard input, instead of cases",
            },
            OptionRow {
                long: "path",
                short: None,
                value: "PATH",
                help: "the file that standard input stands for, for placeholders",
            },
        ],
        make: make_test,
    },
    Row {
        name: "verify",
        operands: "",
        help: "whether the topics hold the bytes of the files, each once; needs provenance = on",
        options: &[
            OptionRow {
                long: "topic",
                short: None,
                value: "TOPIC",
                help: "this topic alone, and not all of the settings",
            },
            OptionRow {
                long: "since",
                short: None,
                value: "TIME",
                help: "records from then on: 2026-11-27T10:00:00Z, or 2h for two hours ago",
            },
            OptionRow {
                long: "until",
                short: None,
                value: "TIME",
                help: "records before then",
            },
            OptionRow {
                long: "json",
                short: None,
                value: "",
                help: "print one JSON object",
            },
        ],
        make: make_verify,
    },
];

/// Options of every command.
const COMMON: &[OptionRow] = &[
    OptionRow {
        long: "config",
        short: Some('c'),
        value: "FILE",
        help: "settings (default: conf/logagent.ini)",
    },
    OptionRow {
        long: "help",
        short: Some('h'),
        value: "",
        help: "this text",
    },
    OptionRow {
        long: "version",
        short: Some('V'),
        value: "",
        help: "the version",
    },
];

/// Where the ini is if nobody says.
pub const DEFAULT_CONFIG: &str = "conf/logagent.ini";

/// What stands behind the tables in `--help`.
const MORE: &str = "
SIGINT, SIGTERM or SIGHUP stops: what is in flight is waited for up to [agent] shutdown_timeout. A
second one stops at once, with exit code 1. Log lines go to standard error; RUST_LOG=debug shows more of them.
Exit codes: 0 clean, 1 failure while running, a case that failed or a difference found, 2 usage or configuration,
or that it cannot be told.
";

/// What stands on the command line, taken apart.
#[derive(Debug, Default)]
struct Given {
    /// Options without values, and with them.
    options: Vec<(&'static str, Option<OsString>)>,
    operands: Vec<OsString>,
}

impl Command {
    /// Reads the arguments of this process.
    pub fn from_env() -> Result<Command, UsageError> {
        Self::parse(lexopt::Parser::from_env())
    }

    fn parse(mut parser: lexopt::Parser) -> Result<Command, UsageError> {
        let mut given = Given::default();
        let mut command: Option<&Row> = None;
        while let Some(argument) = parser.next()? {
            let row = match argument {
                Arg::Value(word) => {
                    match command {
                        None => command = Some(find_command(word)?),
                        Some(_) => given.operands.push(word),
                    }
                    continue;
                }
                Arg::Long(name) => all_options().find(|row| row.long == name),
                Arg::Short(letter) => all_options().find(|row| row.short == Some(letter)),
            };
            let Some(row) = row else {
                return Err(argument.unexpected().into());
            };
            match row.long {
                "help" => return Ok(Command::Print(help())),
                "version" => return Ok(Command::Print(version())),
                _ => {}
            }
            let value = match row.value {
                "" => None,
                _ => Some(parser.value()?),
            };
            given.options.push((row.long, value));
        }
        let command = command.unwrap_or(&COMMANDS[0]);
        let own = |long: &str| {
            command
                .options
                .iter()
                .chain(COMMON)
                .any(|row| row.long == long)
        };
        match given.options.iter().find(|(long, _)| !own(long)) {
            Some(&(option, _)) => Err(UsageError::Foreign {
                command: command.name,
                option,
            }),
            None => (command.make)(given),
        }
    }
}

impl Given {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|(long, _)| *long == option)
    }

    /// The value of an option; of several, the last one.
    fn value(&self, option: &str) -> Option<OsString> {
        let mut options = self.options.iter().rev();
        options.find(|(long, _)| *long == option)?.1.clone()
    }

    fn config(&self) -> Option<PathBuf> {
        self.value("config").map(PathBuf::from)
    }
}

fn make_run(given: Given) -> Result<Command, UsageError> {
    if let Some(argument) = given.operands.first() {
        return Err(UsageError::Argument {
            command: "run",
            argument: argument.to_string_lossy().into_owned(),
        });
    }
    Ok(Command::Run(RunOptions {
        config: given.config().unwrap_or_else(|| DEFAULT_CONFIG.into()),
        dry_run: given.has("dry-run"),
        once: given.has("once"),
    }))
}

fn make_test(given: Given) -> Result<Command, UsageError> {
    let log = given.value("log");
    let options = TestOptions {
        config: given.config(),
        log: log.map(|log| log.to_string_lossy().into_owned()),
        path: given.value("path").map(PathBuf::from),
        accept: given.has("accept"),
        strict: given.has("strict"),
        files: given.operands.into_iter().map(PathBuf::from).collect(),
    };
    let has_cases = options.accept || options.strict || !options.files.is_empty();
    match (&options.log, &options.path) {
        (Some(_), _) if has_cases => Err(UsageError::Conflict(
            "'--log NAME' reads standard input: cases, --accept and --strict do not go with it",
        )),
        (None, Some(_)) => Err(UsageError::Conflict("'--path PATH' needs '--log NAME'")),
        _ => Ok(Command::Test(options)),
    }
}

fn make_verify(given: Given) -> Result<Command, UsageError> {
    if let Some(argument) = given.operands.first() {
        return Err(UsageError::Argument {
            command: "verify",
            argument: argument.to_string_lossy().into_owned(),
        });
    }
    let topic = given.value("topic");
    let time = |option| match given.value(option) {
        None => Ok(None),
        Some(value) => parse_time(&value.to_string_lossy(), SystemTime::now())
            .map(Some)
            .ok_or(UsageError::Conflict(
                "a TIME is 2026-11-27T10:00:00Z, or 2h for two hours ago",
            )),
    };
    Ok(Command::Verify(VerifyOptions {
        config: given.config().unwrap_or_else(|| DEFAULT_CONFIG.into()),
        topic: topic.map(|topic| topic.to_string_lossy().into_owned()),
        since_ms: time("since")?,
        until_ms: time("until")?,
        json: given.has("json"),
    }))
}

/// A time, or how long ago that is, in ms since 1970.
fn parse_time(text: &str, now: SystemTime) -> Option<i64> {
    let time = match humantime::parse_rfc3339_weak(text) {
        Ok(time) => time,
        Err(_) => now.checked_sub(humantime::parse_duration(text).ok()?)?,
    };
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

fn find_command(word: OsString) -> Result<&'static Row, UsageError> {
    let name = word.to_string_lossy().into_owned();
    let found = COMMANDS.iter().find(|row| row.name == name);
    found.ok_or_else(|| UsageError::Command {
        nearest: nearest(&name, COMMANDS.iter().map(|row| row.name)),
        name,
    })
}

fn all_options() -> impl Iterator<Item = &'static OptionRow> {
    let own = COMMANDS.iter().flat_map(|row| row.options);
    COMMON.iter().chain(own)
}

/// `logagent 0.1.0 (COMMIT DATE)`; without the brackets where it was not built by `scripts/build.sh` from a commit.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("LOGAGENT_COMMIT") {
        Some(commit) if !commit.is_empty() => format!("logagent {version} ({commit})\n"),
        _ => format!("logagent {version}\n"),
    }
}

fn help() -> String {
    let mut text = "\
logagent follows log files and delivers every line to Apache Kafka.

Usage: logagent [COMMAND] [--config FILE] [OPTION...]
"
    .to_owned();
    for command in COMMANDS {
        let usage = format!("{} {}", command.name, command.operands);
        push_row(
            &mut text,
            &format!("\n  {:<WIDTH$}", usage.trim_end()),
            command.help,
        );
        push_options(&mut text, command.options);
    }
    text.push('\n');
    push_options(&mut text, COMMON);
    text.push_str(MORE);
    text
}

fn push_options(text: &mut String, rows: &[OptionRow]) {
    for row in rows {
        let option = format!("--{} {}", row.long, row.value);
        push_row(
            text,
            &format!("    {:<1$}", option.trim_end(), WIDTH - 2),
            row.help,
        );
    }
}

fn push_row(text: &mut String, head: &str, help: &str) {
    let _ = writeln!(text, "{head}{help}");
}

/// Characters from the beginning of a command to its help.
const WIDTH: usize = 18;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
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
        assert!(parse(&["verify", "--since", "yesterday"]).is_err());
        assert!(parse(&["test", "--log", "a", "--accept"]).is_err());
        assert!(parse(&["test", "--log"]).is_err());
    }

    #[test]
    fn a_time_is_one_of_a_clock_or_one_ago() {
        let now = UNIX_EPOCH + std::time::Duration::from_secs(86_400 * 2);
        let parse = |text| parse_time(text, now);
        assert_eq!(parse("1970-01-02T00:00:01Z"), Some(86_401_000));
        assert_eq!(parse("1970-01-02 00:00:01"), Some(86_401_000));
        assert_eq!(parse("1d"), Some(86_400_000));
        assert_eq!(parse("10d"), None);
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn help_names_every_command_and_option() {
        let text = help();
        for row in COMMANDS {
            assert!(text.contains(&format!("\n  {}", row.name)), "{}", row.name);
        }
        for row in all_options() {
            assert!(text.contains(&format!("--{}", row.long)), "{}", row.long);
        }
    }
}
