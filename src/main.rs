//! The `logagent` program: arguments, logger, signals, exit code.

#![forbid(unsafe_code)]

use std::io::{self, BufWriter, Write};
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};
use logagent::agent::{Agent, AgentError, Mode};
use logagent::cases::{self, CasesError, Ending};
use logagent::command_line::{Command, RunOptions, UsageError};
use logagent::config::{Config, ConfigErrors};
use logagent::log_writer::LogWriter;
use logagent::verify::{self, VerifyError};
use signal_hook::consts::{SIGALRM, SIGUSR1, SIGUSR2};

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
    let code = match catch_unwind(|| run(&log)) {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            log.say(&failure.to_string());
            failure.exit_code()
        }
        Err(_) => ExitCode::FAILURE,
    };
    log.flush_within(LAST_LINES);
    code
}

/// Why the program ends with another exit code than 0.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("logagent: {0}\ntry 'logagent --help'")]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Cases(#[from] CasesError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("logagent: signals cannot be caught: {0}")]
    Signals(#[from] SignalError),
    /// Help, version or a screen could not be printed, to a closed pipe as well.
    #[error("logagent: standard output: {0}")]
    Output(#[from] io::Error),
    #[error("logagent: {0}")]
    Agent(#[from] AgentError),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Cases(CasesError::Output(_)) => ExitCode::FAILURE,
            Failure::Agent(error) if error.needs_a_person() => ExitCode::from(3),
            Failure::Usage(_) | Failure::Config(_) | Failure::Cases(_) => ExitCode::from(2),
            Failure::Verify(_) => ExitCode::from(2),
            Failure::Signals(_) | Failure::Output(_) | Failure::Agent(_) => ExitCode::FAILURE,
        }
    }
}

fn run(log: &LogWriter) -> Result<ExitCode, Failure> {
    match Command::from_env()? {
        Command::Run(options) => follow(&options, log),
        Command::Test(options) => {
            let mut out = BufWriter::new(io::stdout().lock());
            let ending = cases::run(&options, &mut out)?;
            out.flush()?;
            Ok(match ending {
                Ending::Good => ExitCode::SUCCESS,
                Ending::Failed => ExitCode::FAILURE,
            })
        }
        Command::Verify(options) => {
            start_logger_at(log, "warn");
            let mut out = BufWriter::new(io::stdout().lock());
            let code = verify::run(&options, &mut out)?;
            out.flush()?;
            Ok(ExitCode::from(code))
        }
        Command::Print(text) => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `logagent run`.
fn follow(options: &RunOptions, log: &LogWriter) -> Result<ExitCode, Failure> {
    start_logger(log);
    let config = Config::load(&options.config)?;
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    let signals = catch_signals(log)?;
    let mode = Mode {
        dry_run: options.dry_run,
        once: options.once,
    };
    Agent::run(config, mode, &signals)?;
    Ok(ExitCode::SUCCESS)
}

fn start_logger(log: &LogWriter) {
    start_logger_at(log, "info");
}

fn start_logger_at(log: &LogWriter, level: &str) {
    let environment = env_logger::Env::default().default_filter_or(level.to_owned());
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
fn catch_signals(log: &LogWriter) -> Result<Receiver<()>, SignalError> {
    let log = log.clone();
    // Any of these would end the process where it stands. SIGPIPE is ignored by Rust's start already.
    for signal in [SIGUSR1, SIGUSR2, SIGALRM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
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

#[derive(Debug, thiserror::Error)]
enum SignalError {
    #[error(transparent)]
    Handler(#[from] io::Error),
    #[error(transparent)]
    Thread(#[from] ctrlc::Error),
}
