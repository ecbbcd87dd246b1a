//! The `logagent` program: arguments, logger, signals, exit code.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};
use logagent::agent::{Agent, Mode};
use logagent::config::Config;

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

fn main() -> ExitCode {
    let (config, mode) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("logagent: {error}\ntry 'logagent --help'");
            return ExitCode::from(2);
        }
    };
    start_logger();
    let config = match Config::load(&config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(2);
        }
    };
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    let signals = match catch_signals() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("logagent: signals cannot be caught: {error}");
            return ExitCode::FAILURE;
        }
    };
    match Agent::run(config, mode, &signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("logagent: {error}");
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
                print!("{USAGE}");
                return Ok(None);
            }
            Short('V') | Long("version") => {
                println!("logagent {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some((config, mode)))
}

fn start_logger() {
    let environment = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(environment)
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
fn catch_signals() -> Result<Receiver<()>, ctrlc::Error> {
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
            eprintln!("logagent: stopped at once by a second signal");
            std::process::exit(1);
        }
    })?;
    Ok(signals)
}
