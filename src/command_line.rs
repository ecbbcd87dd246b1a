//! The command line: one table of commands and their options (`table`), from which `--help`, the man page and the
//! completions of shells are made (`pages`).
//!
//! A command's options may stand before its name or behind it; without a name the command is `run`. A new command is
//! a row of the table, a variant of [`Command`] and the function that makes it.

mod options;
mod pages;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use lexopt::{Arg, ValueExt};

pub use self::options::{
    AdoptOptions, CheckOptions, RewindOptions, RunOptions, StatusOptions, TapOptions, TestOptions,
    To, VerifyOptions,
};
use crate::config::{self, default_config};
use crate::nearest::nearest;
use table::{COMMANDS, COMMON, OptionRow, Row};

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Follow files.
    Run(RunOptions),
    /// Run the cases of a configuration.
    Test(TestOptions),
    /// Look whether everything is as the agent needs it.
    Check(CheckOptions),
    /// Have the running agent read its ini again.
    Reload(PathBuf),
    /// Ask the running agent how it stands.
    Status(StatusOptions),
    /// Show records of the running agent.
    Tap(TapOptions),
    /// Set the position of a file, while no agent runs.
    Rewind(RewindOptions),
    /// Take an agent id away from another machine.
    Adopt(AdoptOptions),
    /// Hold topics against files.
    Verify(VerifyOptions),
    /// Print a text: help or version.
    Print(String),
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
    /// A word that the command cannot do without.
    #[error("'logagent {command}' needs an argument: {operands}")]
    Missing {
        /// The command.
        command: &'static str,
        /// What may follow on its name.
        operands: &'static str,
    },
    /// A key of the ini that there is not.
    #[error("unknown key '{name}'{}", .nearest.map_or_else(String::new, |name| format!("; did you mean '{name}'?")))]
    Key {
        /// The word.
        name: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Two things that cannot be asked for together.
    #[error("{0}")]
    Conflict(&'static str),
}

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
        let mut command: Option<&'static Row> = None;
        while let Some(argument) = parser.next()? {
            let row = match argument {
                Arg::Value(word) => {
                    match command {
                        None => command = Some(find_command(&word)?),
                        Some(_) => given.operands.push(word),
                    }
                    continue;
                }
                Arg::Long(name) => find_option(command, |row| row.long == name),
                Arg::Short(letter) => {
                    match COMMANDS.iter().find(|row| row.letter == Some(letter)) {
                        Some(row) if command.is_none() => {
                            command = Some(row);
                            continue;
                        }
                        _ => find_option(command, |row| row.letter == Some(letter)),
                    }
                }
            };
            let Some(row) = row else {
                return Err(argument.unexpected().into());
            };
            let value = match row.value {
                "" => None,
                _ => Some(parser.value()?),
            };
            given.options.push((row.long, value));
        }
        if given.has("help") {
            return Ok(Command::Print(
                command.map_or_else(pages::overview, pages::command),
            ));
        }
        if given.has("version") {
            return Ok(Command::Print(version()));
        }
        made(command.unwrap_or(&COMMANDS[0]), given)
    }
}

fn made(command: &Row, given: Given) -> Result<Command, UsageError> {
    let own = |long: &str| command.all_options().any(|row| row.long == long);
    if let Some(&(option, _)) = given.options.iter().find(|(long, _)| !own(long)) {
        return Err(UsageError::Foreign {
            command: command.name,
            option,
        });
    }
    if let Some(argument) = given.operands.get(command.most_operands) {
        return Err(UsageError::Argument {
            command: command.name,
            argument: argument.to_string_lossy().into_owned(),
        });
    }
    // What can be left out stands in brackets.
    if given.operands.is_empty() && command.operands.starts_with(|first: char| first != '[') {
        return Err(UsageError::Missing {
            command: command.name,
            operands: command.operands,
        });
    }
    (command.make)(given)
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

    /// The same as text.
    fn text(&self, option: &str) -> Option<String> {
        self.value(option).map(shown)
    }

    /// The values of all options of that name as text, in their order.
    fn texts(&self, option: &str) -> Vec<String> {
        let options = self.options.iter().filter(|(long, _)| *long == option);
        let values = options.filter_map(|(_, value)| value.clone());
        values.map(shown).collect()
    }

    /// The ini, if it is said which.
    fn config(&self) -> Option<PathBuf> {
        self.value("config").map(PathBuf::from)
    }

    /// The ini.
    fn config_or_default(&self) -> PathBuf {
        self.config().unwrap_or_else(default_config)
    }
}

fn shown(word: OsString) -> String {
    word.to_string_lossy().into_owned()
}

fn make_run(given: Given) -> Result<Command, UsageError> {
    Ok(Command::Run(RunOptions {
        config: given.config_or_default(),
        dry_run: given.has("dry-run"),
        once: given.has("once"),
    }))
}

fn make_check(given: Given) -> Result<Command, UsageError> {
    Ok(Command::Check(CheckOptions {
        config: given.config_or_default(),
        offline: given.has("offline"),
        json: given.has("json"),
        no_test: given.has("no-test"),
    }))
}

/// `logagent help [COMMAND]`, `logagent help config [KEY]`.
fn make_help(given: Given) -> Result<Command, UsageError> {
    let text = match given.text("completions") {
        Some(shell) => pages::completions(&shell).ok_or(UsageError::Conflict(
            "'--completions SHELL' knows bash, zsh and fish",
        ))?,
        None if given.has("man") => pages::man(),
        None => match given.operands.as_slice() {
            [] => pages::overview(),
            [config] if config == "config" => config::reference(),
            [config, key] if config == "config" => {
                let key = shown(key.clone());
                match config::help(&key) {
                    Ok(text) => text,
                    Err(nearest) => return Err(UsageError::Key { name: key, nearest }),
                }
            }
            [_, second, ..] => {
                return Err(UsageError::Argument {
                    command: "help",
                    argument: shown(second.clone()),
                });
            }
            [name] => pages::command(find_command(name)?),
        },
    };
    Ok(Command::Print(text))
}

fn make_reload(given: Given) -> Result<Command, UsageError> {
    Ok(Command::Reload(given.config_or_default()))
}

fn make_status(given: Given) -> Result<Command, UsageError> {
    Ok(Command::Status(StatusOptions {
        config: given.config_or_default(),
        watch: given.has("watch"),
        json: given.has("json"),
        all: given.has("all"),
        only: given.operands.into_iter().next().map(shown),
    }))
}

fn make_top(mut given: Given) -> Result<Command, UsageError> {
    given.options.push(("watch", None));
    make_status(given)
}

fn make_tap(given: Given) -> Result<Command, UsageError> {
    let count = given.value("count").map(|count| {
        count.parse_with(|text| match text.parse() {
            Ok(0) | Err(_) => Err("a number from 1 on is wanted"),
            Ok(count) => Ok(count),
        })
    });
    Ok(Command::Tap(TapOptions {
        config: given.config_or_default(),
        count: count.transpose()?,
        wait: given.has("wait"),
        headers: given.has("headers"),
        log: given
            .operands
            .into_iter()
            .next()
            .map(shown)
            .unwrap_or_default(),
    }))
}

fn make_rewind(given: Given) -> Result<Command, UsageError> {
    let (config, yes) = (given.config_or_default(), given.has("yes"));
    let to = given.value("to").map(|to| {
        to.parse_with(|text| match text {
            "end" => Ok(To::End),
            offset => offset
                .parse()
                .map(To::Offset)
                .map_err(|_| "0, end or an offset is wanted"),
        })
    });
    let to = to.transpose()?;
    match (<[OsString; 1]>::try_from(given.operands), to) {
        (Ok([path]), Some(to)) => Ok(Command::Rewind(RewindOptions {
            config,
            path: path.into(),
            to,
            yes,
        })),
        _ => Err(UsageError::Conflict(
            "'logagent rewind' takes one path and a place: rewind PATH --to 0, --to end or --to OFFSET",
        )),
    }
}

fn make_adopt(given: Given) -> Result<Command, UsageError> {
    Ok(Command::Adopt(AdoptOptions {
        config: given.config_or_default(),
        yes: given.has("yes"),
    }))
}

fn make_test(given: Given) -> Result<Command, UsageError> {
    let options = TestOptions {
        config: given.config(),
        log: given.text("log"),
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
    let time = |option| match given.text(option) {
        None => Ok(None),
        Some(text) => parse_time(&text, SystemTime::now())
            .map(Some)
            .ok_or(UsageError::Conflict(
                "a TIME is 2026-11-27T10:00:00Z, or 2h for two hours ago",
            )),
    };
    Ok(Command::Verify(VerifyOptions {
        config: given.config_or_default(),
        topics: topics_of(&given)?,
        since_ms: time("since")?,
        until_ms: time("until")?,
        json: given.has("json"),
    }))
}

/// The topics of all options `--topic`, each once. No topic has a comma in its name, so that one option may name several.
fn topics_of(given: &Given) -> Result<Vec<String>, UsageError> {
    let mut topics = Vec::new();
    for word in given.texts("topic") {
        for topic in word.split(',').map(str::trim) {
            if topic.is_empty() {
                return Err(UsageError::Conflict(
                    "a topic without a name: --topic a --topic b, or --topic a,b",
                ));
            }
            if !topics.iter().any(|known| known == topic) {
                topics.push(topic.to_owned());
            }
        }
    }
    Ok(topics)
}

/// A time, or how long ago that is, in ms since 1970.
fn parse_time(text: &str, now: SystemTime) -> Option<i64> {
    let time = match humantime::parse_rfc3339_weak(text) {
        Ok(time) => time,
        Err(_) => now.checked_sub(humantime::parse_duration(text).ok()?)?,
    };
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

fn find_command(word: &OsString) -> Result<&'static Row, UsageError> {
    let name = word.to_string_lossy().into_owned();
    let found = COMMANDS.iter().find(|row| row.name == name);
    found.ok_or_else(|| UsageError::Command {
        nearest: nearest(&name, COMMANDS.iter().map(|row| row.name)),
        name,
    })
}

/// An option of `command`, or of any command while it is not named yet.
fn find_option(
    command: Option<&'static Row>,
    is_it: impl Fn(&OptionRow) -> bool,
) -> Option<&'static OptionRow> {
    let own = command.into_iter().flat_map(Row::all_options);
    let others = COMMANDS.iter().flat_map(|row| row.options);
    own.chain(COMMON).chain(others).find(|row| is_it(row))
}

/// `logagent 0.1.0 (COMMIT DATE)`; without the brackets where it was not built by `scripts/build.sh` from a commit.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("LOGAGENT_COMMIT") {
        Some(commit) if !commit.is_empty() => format!("logagent {version} ({commit})\n"),
        _ => format!("logagent {version}\n"),
    }
}
