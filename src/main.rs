//! The `logagent` program: arguments, logger, signals, exit code.

#![forbid(unsafe_code)]

use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use logagent::agent::{Adopt, AdoptError, Agent, AgentError, Mode};
use logagent::cases::{self, CasesError, Ending};
use logagent::check::{self, CheckError};
use logagent::checkpoint::rewind::{Rewind, RewindError};
use logagent::checkpoint::store;
use logagent::command_line::{AdoptOptions, Command, RewindOptions, RunOptions, UsageError};
use logagent::config::{Config, ConfigErrors};
use logagent::control::{self, AskError, Health, Inbox, Request};
use logagent::log_writer::LogWriter;
use logagent::panics;
use logagent::privileges::{become_owner, become_user, make_folder};
use logagent::rewinds;
use logagent::verify::{self, VerifyError};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};

/// Enough for what a signal asks for.
const SIGNAL_STACK_BYTES: usize = 128 << 10;
const SAME_REQUEST: Duration = Duration::from_millis(300);
/// How long the end waits for standard error to take what the log still has.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    panics::end_the_process();
    let command = Command::from_env();
    let is_agent = matches!(command, Ok(Command::Run(_)));
    let prepared = command.map_err(Failure::from).and_then(prepare);
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
    let run = || run(prepared?, &log);
    let code = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            // An agent that is run by something else has one form of lines, from the first one on.
            match is_agent && !io::stderr().is_terminal() {
                true => log.say_as_lines(&failure.to_string()),
                false => log.say(&failure.to_string()),
            }
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
    Check(#[from] CheckError),
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
    #[error("logagent: {0}")]
    Ask(#[from] AskError),
    #[error("logagent: {0}")]
    Rewind(#[from] RewindError),
    #[error("logagent: {0}")]
    Adopt(#[from] AdoptError),
    #[error(
        "logagent: standard input is no terminal to ask back at: nothing was changed; say --yes"
    )]
    NotAsked,
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Cases(CasesError::Output(_)) => ExitCode::FAILURE,
            Failure::Ask(AskError::Output(_) | AskError::Refused(_)) => ExitCode::FAILURE,
            Failure::Agent(error) if error.needs_a_person() => ExitCode::from(3),
            Failure::Check(CheckError::Output(_)) => ExitCode::FAILURE,
            Failure::Usage(_)
            | Failure::Check(_)
            | Failure::Config(_)
            | Failure::Cases(_)
            | Failure::Ask(_)
            | Failure::Rewind(_)
            | Failure::Adopt(_)
            | Failure::Verify(_)
            | Failure::NotAsked => ExitCode::from(2),
            Failure::Signals(_) | Failure::Output(_) | Failure::Agent(_) => ExitCode::FAILURE,
        }
    }
}

/// What is asked for, and the ini of `logagent run`.
struct Prepared {
    command: Command,
    config: Option<Config>,
}

/// Reads the ini, and becomes the user that it names: before any thread is started, since each has
/// credentials of its own.
fn prepare(command: Command) -> Result<Prepared, Failure> {
    let read = match &command {
        Command::Run(options) => Some((&options.config, Config::load(&options.config)?)),
        // What is wrong with it is a part of what is found.
        Command::Check(options) => {
            let config = Config::load(&options.config).ok();
            config.map(|config| (&options.config, config))
        }
        Command::Rewind(RewindOptions { config, .. })
        | Command::Adopt(AdoptOptions { config, .. }) => {
            // The agent has to read what is written. If that fails, root goes on as root.
            let _ = become_owner(&Config::state_dir(config));
            None
        }
        _ => None,
    };
    if let Some((ini, config)) = &read
        && let Some(user) = &config.agent.user
    {
        if let Command::Run(RunOptions { dry_run: false, .. }) = command {
            // If that fails, the state folder is found missing, with the reason.
            let _ = make_folder(&config.agent.state_dir, user);
        }
        become_user(user).map_err(|error| Config::user_refused(ini, &error))?;
    }
    let config = read.map(|(_, config)| config);
    Ok(Prepared { command, config })
}

fn run(Prepared { command, config }: Prepared, log: &LogWriter) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(options) => follow(&options, config, log),
        Command::Test(options) => {
            let mut out = BufWriter::new(io::stdout().lock());
            let ending = cases::run(&options, &mut out)?;
            out.flush()?;
            Ok(match ending {
                Ending::Good => ExitCode::SUCCESS,
                Ending::Failed => ExitCode::FAILURE,
            })
        }
        Command::Status(options) => {
            let health = control::status(&options, &mut io::stdout().lock())?;
            Ok(match health {
                Health::Well => ExitCode::SUCCESS,
                Health::Wrong => ExitCode::FAILURE,
            })
        }
        Command::Tap(options) => {
            control::tap(&options, &mut io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(options) => {
            let level = check::run(&options, &mut io::stdout().lock())?;
            Ok(ExitCode::from(level as u8))
        }
        Command::Reload(ini) => {
            let answer = control::reload(&ini)?;
            io::stdout().write_all(answer.text.as_bytes())?;
            Ok(match answer.is_ok {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            })
        }
        Command::Rewind(options) => rewind(&options),
        Command::Adopt(options) => adopt(&options),
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

/// `logagent rewind`.
fn rewind(options: &RewindOptions) -> Result<ExitCode, Failure> {
    let state_dir = Config::state_dir(&options.config);
    let rewind = Rewind::prepare(&state_dir, &options.path, options.to)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{rewind}")?;
    if !options.yes && !is_wanted(&mut out)? {
        return Ok(ExitCode::FAILURE);
    }
    let before = store::load(&state_dir);
    rewind.apply()?;
    // Without it 'verify' would take what comes again for a fault.
    if let (Ok(before), Ok(now)) = (before, store::load(&state_dir))
        && let Err(error) = rewinds::note(&state_dir, &before, &now, SystemTime::now())
    {
        writeln!(out, "logagent verify will not know of it: {error}")?;
    }
    writeln!(out, "done: the agent goes on there when it is started")?;
    Ok(ExitCode::SUCCESS)
}

/// `logagent adopt`.
fn adopt(options: &AdoptOptions) -> Result<ExitCode, Failure> {
    let config = Config::load(&options.config)?;
    let adopt = Adopt::prepare(config)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{adopt}")?;
    if !adopt.is_needed() {
        return Ok(ExitCode::SUCCESS);
    }
    if !options.yes && !is_wanted(&mut out)? {
        return Ok(ExitCode::FAILURE);
    }
    adopt.apply()?;
    writeln!(out, "done: the agent takes over when it is started")?;
    Ok(ExitCode::SUCCESS)
}

/// Asks back.
fn is_wanted(out: &mut impl Write) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::NotAsked);
    }
    write!(out, "Do it? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    let is_yes = ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str());
    if !is_yes {
        writeln!(out, "nothing was changed")?;
    }
    Ok(is_yes)
}

/// `logagent run`.
fn follow(
    options: &RunOptions,
    config: Option<Config>,
    log: &LogWriter,
) -> Result<ExitCode, Failure> {
    start_logger(log);
    let config = config.expect("it is read before anything else");
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    let inbox = Inbox::new();
    let signals = catch_signals(log, options, &inbox)?;
    let mode = Mode {
        dry_run: options.dry_run,
        once: options.once,
    };
    Agent::run(config, mode, &signals, inbox)?;
    Ok(ExitCode::SUCCESS)
}

fn start_logger(log: &LogWriter) {
    start_logger_at(log, "info");
}

fn start_logger_at(log: &LogWriter, level: &str) {
    let environment = env_logger::Env::default().default_filter_or(level.to_owned());
    let writer = log.clone();
    env_logger::Builder::from_env(environment)
        .target(env_logger::Target::Pipe(Box::new(log.clone())))
        .format(move |out, record| {
            writeln!(
                out,
                "{}{} {:<5} {}",
                writer.prefix(record.level()),
                humantime::format_rfc3339_millis(SystemTime::now()),
                record.level(),
                record.args()
            )
        })
        .init();
}

/// SIGINT and SIGTERM ask for a stop, SIGHUP for a reload; with `--once` it asks for a stop too, since there nothing is
/// reloaded.
fn catch_signals(
    log: &LogWriter,
    options: &RunOptions,
    inbox: &Inbox,
) -> Result<Receiver<()>, SignalError> {
    // Any of these would end the process where it stands. SIGPIPE is ignored by Rust's start already.
    for signal in [SIGUSR1, SIGUSR2, SIGALRM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let (sender, signals) = bounded(1);
    let stop = Stop {
        log: log.clone(),
        sender,
        asked: Arc::default(),
    };
    let interrupted = stop.clone();
    ctrlc::set_handler(move || interrupted.ask())?;
    // The flag is set before the pipe is written to.
    let (write, pipe) = UnixStream::pair()?;
    let [terminated, hung_up] = [SIGTERM, SIGHUP].map(|_| Arc::new(AtomicBool::new(false)));
    for (signal, flag) in [(SIGTERM, &terminated), (SIGHUP, &hung_up)] {
        signal_hook::flag::register(signal, flag.clone())?;
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    let (requests, once) = (inbox.sender(), options.once);
    let act = move || {
        let is_hung_up = hung_up.swap(false, Ordering::Relaxed);
        if terminated.swap(false, Ordering::Relaxed) || (is_hung_up && once) {
            stop.ask();
        } else if is_hung_up {
            // The log says what becomes of it.
            let _ = requests.try_send(Request::Reload(bounded(1).0));
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread
        .stack_size(SIGNAL_STACK_BYTES)
        .spawn(move || wait_for_signals(pipe, act))?;
    Ok(signals)
}

/// Runs on the `signals` thread, until the process ends: calls `act` when something was written to `pipe`.
fn wait_for_signals(mut pipe: UnixStream, act: impl Fn()) {
    loop {
        match pipe.read(&mut [0; 64]) {
            Ok(1..) => act(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// The first request asks for a stop, a later one ends the process at once. Some senders signal a process and then its
/// group (timeout(1) does), so repeats within a moment are the same request.
#[derive(Clone)]
struct Stop {
    log: LogWriter,
    sender: Sender<()>,
    asked: Arc<OnceLock<Instant>>,
}

impl Stop {
    fn ask(&self) {
        let mut is_first = false;
        let asked = self.asked.get_or_init(|| {
            is_first = true;
            Instant::now()
        });
        if is_first {
            let _ = self.sender.try_send(());
        } else if asked.elapsed() > SAME_REQUEST {
            self.log.say("logagent: stopped at once by a second signal");
            self.log.flush_within(LAST_LINES);
            std::process::exit(1);
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum SignalError {
    #[error(transparent)]
    Handler(#[from] io::Error),
    #[error(transparent)]
    Thread(#[from] ctrlc::Error),
}
