//! The `logagent` program: arguments, logger, signals, exit code.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};
use logagent::agent::{Agent, Mode};
use logagent::config::Config;
use logagent::log_writer::LogWriter;

const USAGE: &str = "\
logagent follows log files and delivers every line to Apache Kafka.

Usage: logagent [--config FILE] [--dry-run] [--once]

  --config FILE   settings (default: conf/logagent.ini)
  --dry-run       print topic, key and line of what would be sent; needs no Kafka, moves no checkpoint
  --once          ship what is there now, then exit; with --dry-run, print it and exit
  --help          this text
  --version       the version

SIGINT, SIGTERM or SIGHUP stops: what is in flight is waited for up to [agent] shutdown_timeout. A
second one stops at once, with exit code 1. Log lines go to standard error; RUST_LOG=debug shows more of them.
Exit codes: 0 clean, 1 failure while running, 2 usage or configuration.
";

const SAME_REQUEST: Duration = Duration::from_millis(300);
/// How long the end waits for standard error to take what the log still has.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let log = match LogWriter::to_standard_error() {
        Ok(log) => log,
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "logagent: a thread cannot be started: {error}"
            );
            return ExitCode::FAILURE;
        }
    };
    log.take_panics();
    // The log has the words of a panic; its exit code is one of those that are promised.
    let code = catch_unwind(|| run(&log)).unwrap_or(ExitCode::FAILURE);
    log.flush_within(LAST_LINES);
    code
}

fn run(log: &LogWriter) -> ExitCode {
    let (config, mode) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            log.say(&format!("logagent: {error}\ntry 'logagent --help'"));
            return ExitCode::from(2);
        }
    };
    start_logger(log);
    let config = match Config::load(&config) {
        Ok(config) => config,
        Err(errors) => {
            log.say(&errors.to_string());
            return ExitCode::from(2);
        }
    };
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    let signals = match catch_signals(log) {
        Ok(signals) => signals,
        Err(error) => {
            log.say(&format!("logagent: signals cannot be caught: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match Agent::run(config, mode, &signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.say(&format!("logagent: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// `None`: there is nothing more to do.
fn arguments() -> Result<Option<(PathBuf, Mode)>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut config = PathBuf::from("conf/logagent.ini");
    let mut mode = Mode::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('c') | Long("config") => config = parser.value()?.into(),
            Long("dry-run") => mode.dry_run = true,
            Long("once") => mode.once = true,
            Short('h') | Long("help") => {
                print(USAGE);
                return Ok(None);
            }
            Short('V') | Long("version") => {
                print(concat!("logagent ", env!("CARGO_PKG_VERSION"), "\n"));
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some((config, mode)))
}

/// Whoever does not take it does not want it: `print!` would panic.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn start_logger(log: &LogWriter) {
    let environment = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(environment)
        .target(env_logger::Target::Pipe(Box::new(log.clone())))
        .format(|out, record| {
            writeln!(
                out,
                "{} {:<5} {}",
                humantime::format_rfc3339_millis(SystemTime::now()),
                record.level(),
                record.args()
            )
        })
        .init();
}

/// The first signal asks for a stop, a later one ends the process at once. Some senders signal a process
/// and then its group (timeout(1) does), so repeats within a moment are the same request.
fn catch_signals(log: &LogWriter) -> Result<Receiver<()>, ctrlc::Error> {
    let log = log.clone();
    let (sender, signals) = bounded(1);
    ctrlc::set_handler(move || {
        static ASKED: OnceLock<Instant> = OnceLock::new();
        let mut is_first = false;
        let asked = ASKED.get_or_init(|| {
            is_first = true;
            Instant::now()
        });
        if is_first {
            let _ = sender.try_send(());
        } else if asked.elapsed() > SAME_REQUEST {
            log.say("logagent: stopped at once by a second signal");
            log.flush_within(LAST_LINES);
            std::process::exit(1);
        }
    })?;
    Ok(signals)
}
