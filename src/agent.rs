//! The agent: builds the channels, spawns the threads, supervises them, and stops them in order.
//!
//! ```text
//!                 Found, Exited                     stop: tailers, then producers, then registrar
//! watch, all ------------------> main (Agent::run) -------------------------------------------->
//!
//! main --Message--> scheduler <--Message, Tailer--> tail:<path>, one for each file that is not quiet
//!
//! tail:<path> --Batch (bounded, one channel per producer)--> producer-<k> --Progress--> registrar
//!      \------------------------------------ Progress (opened, finished) ------------------^
//! ```
//! There is no cycle of bounded channels: tailers wait for producers, producers wait for the
//! registrar, the registrar waits for nobody.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};
use thiserror::Error;

use crate::batch::{Batch, Destination, Route};
use crate::budget::{Budget, RouteShare};
use crate::buffer::BufferPool;
use crate::checkpoint::{self, Registrar, Store, StoreError};
use crate::config::{Config, LogConfig, Protocol};
use crate::kafka::producer::NativeOutput;
use crate::metrics::Metrics;
use crate::once::ProgressBar;
use crate::output::legacy::LegacyOutput;
use crate::output::stdout::StdoutOutput;
use crate::output::{Output, Worker, WorkerEnd};
use crate::progress::{Progress, Saved};
use crate::shown::ShownPath;
use crate::stop::Deadline;
use crate::tail::deleted::DeletedFiles;
use crate::tail::discover::{Discovery, Found};
use crate::tail::folder_index::FolderIndex;
use crate::tail::lanes::Lanes;
use crate::tail::registry::FileRegistry;
use crate::tail::scheduler::{Crowd, Ended, Message, Scheduler};
use crate::tail::turns::Turns;
use crate::tail::watch::{FirstLook, WatchTable, Watcher};
use crate::tail::{self, End, Shared, Tailer};
use crate::thread_panic::panic_message;
use crate::wake::Waker;

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mode {
    /// Print instead of sending; no checkpoint is moved.
    pub dry_run: bool,
    /// Ship what is there now and end.
    pub once: bool,
}

/// Why the agent could not start or had to stop.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The state folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread could not be started, or inotify's doorbell not be made.
    #[error("thread '{name}' cannot be started: {error}")]
    Start {
        /// The thread's name.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A thread panicked: a defect of this program.
    #[error("thread '{name}' panicked: {message}")]
    Panicked {
        /// The thread's name.
        name: String,
        /// What it said.
        message: String,
    },
    /// Standard output takes nothing any more (`--dry-run`).
    #[error("standard output: {0}")]
    Output(io::Error),
    /// `--once`, and there is no file to ship.
    #[error("no file matches a 'path' of the ini: there is nothing to ship")]
    NothingMatched,
    /// `--once`, and Kafka will never take some records.
    #[error("{} refused by Kafka: see the log and the folder 'dead-letter' below [agent] state_dir", records(*.0))]
    Refused(u64),
    /// The stop's deadline passed, or `--once` could not deliver everything.
    #[error("not everything is delivered; a later start sends the rest")]
    Unfinished,
}

/// What a thread's end tells the main thread.
#[derive(Debug)]
struct Exited {
    name: String,
    role: Role,
    outcome: Outcome,
}

#[derive(Debug)]
enum Role {
    /// What it followed.
    Tailer(Arc<Path>),
    Scheduler,
    Producer,
    Registrar,
    Watcher,
}

#[derive(Debug)]
enum Outcome {
    /// As asked; false: something was left undone.
    Done(bool),
    Output(WorkerEnd),
    Panicked(String),
}

impl From<bool> for Outcome {
    fn from(done: bool) -> Self {
        Outcome::Done(done)
    }
}

impl From<WorkerEnd> for Outcome {
    fn from(end: WorkerEnd) -> Self {
        Outcome::Output(end)
    }
}

/// The running agent, owned by the main thread.
#[derive(Debug)]
pub struct Agent {
    config: Arc<Config>,
    mode: Mode,
    host: String,
    shared: Arc<Shared>,
    table: Arc<WatchTable>,
    /// One channel per producer; gone when stopping.
    batches: Vec<Sender<Batch>>,
    progress: Option<Sender<Progress>>,
    /// Disconnected to stop the tailers.
    stop_tailers: Option<Sender<()>>,
    tailers_stop: Receiver<()>,
    /// To the scheduler, which gives tailers their threads.
    scheduler: Sender<Message<Tailer>>,
    /// Where parked tailers are woken.
    parked_woken: Sender<u64>,
    exits: Sender<Exited>,
    exited: Receiver<Exited>,
    found: Receiver<Found>,
    /// The paths that have a tailer.
    tailers: HashSet<Arc<Path>>,
    /// By the name of the section.
    routes: HashMap<String, (Arc<Route>, Arc<RouteShare>)>,
    budget: Arc<Budget>,
    producers: usize,
    has_registrar: bool,
    deadline: Deadline,
    failure: Option<AgentError>,
    left_undone: bool,
    /// Records that Kafka will never take.
    refused: u64,
    interrupted: bool,
}

impl Agent {
    /// Runs the agent on the calling thread until `signals` delivers a first message (a stop), a
    /// thread panics, or, with `--once`, everything is delivered.
    pub fn run(config: Config, mode: Mode, signals: &Receiver<()>) -> Result<(), AgentError> {
        let config = Arc::new(config);
        let descriptors = raise_descriptor_limit();
        let (store, saved) = if mode.dry_run {
            // Somebody else's positions are no reason not to look.
            let load = checkpoint::store::load(&config.agent.state_dir);
            (
                None,
                load.inspect_err(|e| log::warn!("{e}")).unwrap_or_default(),
            )
        } else {
            let store = Store::open(&config.agent.state_dir)?;
            let saved = store.load()?;
            (Some(store), saved)
        };
        let known = saved.checkpoints.len();
        let known_paths: HashSet<Arc<Path>> = saved
            .checkpoints
            .iter()
            .map(|checkpoint| checkpoint.path.clone())
            .collect();
        let (found_sender, found) = unbounded();
        let (exits, exited) = unbounded();
        let discovery = Discovery::new(&config.logs, &config.agent.state_dir);
        let lanes = lanes(exits.clone());
        // What does not answer at the start is followed later, except with --once, where there is no later.
        let patience = (!mode.once).then_some(FIRST_LOOK);
        let start_error = |name: &str, error| AgentError::Start {
            name: name.to_owned(),
            error,
        };
        let (watcher, first_look) = Watcher::new(
            discovery,
            lanes.clone(),
            found_sender,
            known_paths,
            patience,
        )
        .map_err(|e| start_error("watch", e))?;
        let table = watcher.table();
        let metrics = Arc::<Metrics>::default();
        let (turns, crowd) = (Turns::new(descriptors), Arc::<Crowd>::default());
        let shared = Arc::new(Shared {
            registry: FileRegistry::new(&saved),
            folders: FolderIndex::new(),
            watches: table.clone(),
            pool: BufferPool::new(),
            turns: turns.clone(),
            crowd: crowd.clone(),
            deleted: DeletedFiles::new(config.agent.deleted_bytes_limit),
            metrics: metrics.clone(),
            once: mode.once,
        });
        let (stop_tailers, tailers_stop) = bounded(0);
        let (scheduler, scheduled) = unbounded();
        let (parked_woken, woken) = unbounded();
        let (progress, progress_taken) = bounded(PROGRESS_QUEUE);
        let deadline = Deadline::default();
        let mut agent = Agent {
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            config: config.clone(),
            mode,
            shared,
            table,
            batches: Vec::new(),
            progress: Some(progress.clone()),
            stop_tailers: Some(stop_tailers),
            tailers_stop: tailers_stop.clone(),
            scheduler: scheduler.clone(),
            parked_woken,
            exits: exits.clone(),
            exited,
            found,
            tailers: HashSet::new(),
            routes: HashMap::new(),
            budget: Budget::new(config.agent.memory_limit_bytes),
            producers: 0,
            has_registrar: false,
            deadline: deadline.clone(),
            failure: None,
            left_undone: false,
            refused: 0,
            interrupted: false,
        };
        let interval = config.agent.checkpoint_interval;
        let registrar = Registrar::new(
            store,
            Saved {
                sections: Some(config.logs.iter().map(|log| log.name.clone()).collect()),
                ..saved
            },
            progress_taken,
            interval,
            deadline.clone(),
            metrics.clone(),
        );
        agent.spawn("registrar".into(), Role::Registrar, move || {
            registrar.run();
            true
        })?;
        agent.has_registrar = true;
        // All of them, so that the first to be busy leaves the others their part.
        for log in &config.logs {
            agent.route(log);
        }
        agent.spawn_producers(&progress)?;
        drop(progress);
        let report = move |Ended { path, how, .. }| {
            let name = format!("tail:{}", ShownPath(&path));
            let outcome = match how {
                Ok(end) => Outcome::Done(end != End::Unread),
                Err(panic) => Outcome::Panicked(panic),
            };
            let role = Role::Tailer(path);
            let _ = exits.send(Exited {
                name,
                role,
                outcome,
            });
        };
        let messages = (scheduler, scheduled);
        let calls = (woken, tailers_stop);
        let scheduler = Scheduler::new(messages, calls, crowd, turns, lanes, report);
        agent.spawn("scheduler".into(), Role::Scheduler, move || {
            scheduler.run();
            true
        })?;
        agent.spawn("watch".into(), Role::Watcher, move || {
            watcher.run();
            true
        })?;
        if let Some(first) = agent.wait_for_first_look(signals, &first_look) {
            agent.say_what_is_followed(&first, known, descriptors);
            if mode.once && first.found.is_empty() {
                agent.failure = Some(AgentError::NothingMatched);
            }
            for found in first.found {
                agent.follow(found);
            }
        }
        if mode.once {
            agent.table.stop();
        }
        let bar = mode.once.then(|| ProgressBar::start(metrics));
        if !agent.interrupted {
            agent.supervise(signals);
        }
        agent.stop(signals);
        drop(bar);
        match agent.failure.take() {
            Some(failure) => Err(failure),
            None if mode.once && (agent.left_undone || agent.interrupted) => {
                Err(AgentError::Unfinished)
            }
            None if mode.once && agent.refused > 0 => Err(AgentError::Refused(agent.refused)),
            None => Ok(()),
        }
    }

    fn spawn_producers(&mut self, progress: &Sender<Progress>) -> Result<(), AgentError> {
        let count = if self.mode.dry_run {
            1
        } else {
            self.config.agent.producers
        };
        for k in 0..count {
            let (sender, batches) = bounded(BATCH_QUEUE);
            self.batches.push(sender);
            if self.mode.dry_run {
                self.spawn_producer(k, StdoutOutput::new(progress.clone()), batches)?;
                continue;
            }
            let kafka = Arc::new(self.config.kafka.clone());
            match self.config.kafka.protocol {
                Protocol::Native => {
                    let dead_letters = self.config.agent.state_dir.join("dead-letter");
                    let output = NativeOutput::new(k, kafka, progress.clone(), Some(dead_letters));
                    self.spawn_producer(k, output, batches)?;
                }
                Protocol::Legacy => {
                    self.spawn_producer(k, LegacyOutput::new(kafka, progress.clone()), batches)?;
                }
            }
        }
        Ok(())
    }

    fn spawn_producer<O>(
        &mut self,
        k: usize,
        output: O,
        batches: Receiver<Batch>,
    ) -> Result<(), AgentError>
    where
        O: Output + Send + 'static,
    {
        let worker = Worker::new(output, batches, self.deadline.clone());
        self.spawn(format!("producer-{k}"), Role::Producer, move || {
            worker.run()
        })?;
        self.producers += 1;
        Ok(())
    }

    fn spawn<B: Into<Outcome>>(
        &self,
        name: String,
        role: Role,
        body: impl FnOnce() -> B + Send + 'static,
    ) -> Result<(), AgentError> {
        spawn(self.exits.clone(), name, role, body)
    }

    /// What is there at the start; `None` if a signal comes first.
    fn wait_for_first_look(
        &mut self,
        signals: &Receiver<()>,
        first_look: &Receiver<FirstLook>,
    ) -> Option<FirstLook> {
        select! {
            recv(signals) -> _ => {
                log::info!("stopping");
                self.interrupted = true;
                None
            }
            // Without an answer the watcher has panicked, which is reported as well.
            recv(first_look) -> first => first.ok(),
        }
    }

    fn say_what_is_followed(&self, first: &FirstLook, checkpoints: usize, descriptors: u64) {
        self.shared.turns.follows(first.found.len());
        log::info!(
            "logagent {} follows {}, {} of them from a known position ({}), {} to {}; {descriptors} descriptors, {} \
             of them not for files",
            env!("CARGO_PKG_VERSION"),
            counted(first.found.len(), "file"),
            first.known,
            counted(checkpoints, "checkpoint"),
            counted(self.producers, "producer"),
            if self.mode.dry_run {
                "standard output".to_owned()
            } else {
                brokers(&self.config)
            },
            Turns::reserve(descriptors)
        );
    }

    /// Starts a tailer for a path, unless it has one.
    fn follow(&mut self, found: Found) {
        let Some(progress) = self.progress.clone() else {
            return;
        };
        let Found {
            path,
            log,
            look,
            is_first,
        } = found;
        if !self.tailers.insert(path.clone()) {
            return;
        }
        self.shared.turns.follows(self.tailers.len());
        // By its name, so that a file that comes back meets the producer that may still have lines of it.
        let producer = crc32c::crc32c(path.as_os_str().as_bytes()) as usize % self.batches.len();
        let waker = Waker::new(self.parked_woken.clone());
        self.table.follow_path(path.clone(), waker.clone());
        let (route, share) = self.route(&log);
        let destination = Arc::new(Destination {
            route,
            path: path.clone(),
        });
        let registry = &self.shared.registry;
        let is_of_section = |path: &Path| tail::follows(&log, path);
        let honours_start_at = is_first && !registry.knows_section(&log.name, is_of_section);
        let tailer = Tailer::new(
            path,
            log,
            destination,
            self.shared.clone(),
            share.account(waker.clone()),
            waker,
            self.batches[producer].clone(),
            progress,
            self.tailers_stop.clone(),
            honours_start_at,
            look,
        );
        let device = look.map(|look| look.inode.device);
        // Without a scheduler the process is about to end.
        let _ = self
            .scheduler
            .send(Message::Start(Box::new(tailer), device));
    }

    /// The route of a section and its share of the memory budget, one for all its files.
    fn route(&mut self, log: &LogConfig) -> (Arc<Route>, Arc<RouteShare>) {
        if let Some(route) = self.routes.get(&log.name) {
            return route.clone();
        }
        let route = Arc::new(tail::route(log, &self.host, self.config.kafka.headers));
        let route = (route, self.budget.route());
        self.routes.insert(log.name.clone(), route.clone());
        route
    }

    /// Until it is time to stop.
    fn supervise(&mut self, signals: &Receiver<()>) {
        loop {
            if self.failure.is_some() || (self.mode.once && self.tailers.is_empty()) {
                return;
            }
            select! {
                recv(signals) -> _ => {
                    log::info!("stopping");
                    self.interrupted = true;
                    return;
                }
                recv(self.found) -> found => match found {
                    Ok(found) => self.follow(found),
                    // The watcher has ended: with `--once` it is not needed any more.
                    Err(_) => self.found = never(),
                },
                recv(self.exited) -> exited => if let Ok(exited) = exited {
                    self.take(exited);
                },
            }
        }
    }

    fn take(&mut self, exited: Exited) {
        let Exited {
            name,
            role,
            outcome,
        } = exited;
        match &role {
            Role::Tailer(path) => {
                self.tailers.remove(path);
                self.table.forget_path(path);
            }
            Role::Producer => self.producers -= 1,
            Role::Registrar => self.has_registrar = false,
            Role::Watcher | Role::Scheduler => {}
        }
        match outcome {
            Outcome::Panicked(message) => {
                log::error!("thread '{name}' panicked: {message}; stopping");
                self.failure
                    .get_or_insert(AgentError::Panicked { name, message });
            }
            Outcome::Done(done) => self.left_undone |= !done,
            Outcome::Output(end) => {
                self.left_undone |= !end.is_complete;
                self.refused += end.refused;
                if let Some(error) = end.failure {
                    self.failure.get_or_insert(AgentError::Output(error));
                }
            }
        }
        // The file may have come back between the tailer's last look and now.
        if let Role::Tailer(path) = role
            && self.stop_tailers.is_some()
            && !self.mode.once
        {
            self.table.reconsider(path);
        }
    }

    /// Stops the tailers, lets the producers send what they have, then has the checkpoints written.
    fn stop(&mut self, signals: &Receiver<()>) {
        let mut signals = signals.clone();
        let mut until = None;
        if !self.mode.once || !self.tailers.is_empty() {
            until = Some(self.set_deadline());
            signals = never();
        }
        self.table.stop();
        self.stop_tailers = None;
        self.table.wake_all();
        self.batches.clear();
        while !self.tailers.is_empty() || self.producers > 0 {
            // With --once the producers take as long as they need, until somebody has enough.
            let timeout = until.map_or(never(), crossbeam_channel::at);
            select! {
                recv(self.exited) -> exited => if let Ok(exited) = exited {
                    self.take(exited);
                },
                recv(signals) -> _ => {
                    log::info!("stopping");
                    until = Some(self.set_deadline());
                    signals = never();
                }
                recv(timeout) -> _ => {
                    self.left_undone = true;
                    break;
                }
            }
        }
        self.progress = None;
        if self.left_undone {
            // The registrar must not wait for senders that hang.
            self.deadline.set(Instant::now());
            log::warn!(
                "not everything that was read is acknowledged; the next start sends the rest, of files that are \
                 still there"
            );
        }
        let last = Instant::now() + LAST_WRITE;
        while self.has_registrar {
            match self.exited.recv_deadline(last) {
                Ok(exited) => self.take(exited),
                Err(_) => {
                    log::error!("the checkpoints could not be written in time");
                    return;
                }
            }
        }
        let acked = self.shared.metrics.acked_bytes.value();
        if self.mode.dry_run {
            log::info!("stopped; {acked} bytes would have been sent");
        } else {
            log::info!("stopped; {acked} bytes were delivered by this run");
        }
    }

    fn set_deadline(&self) -> Instant {
        let at = Instant::now() + self.config.agent.shutdown_timeout;
        self.deadline.set(at);
        at
    }
}

/// Each followed file takes a descriptor: asks for as many as the hard limit allows, and returns how
/// many that are.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!("the limit of open files stays: {error}");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn brokers(config: &Config) -> String {
    let all: Vec<String> = config
        .kafka
        .brokers
        .iter()
        .map(ToString::to_string)
        .collect();
    all.join(",")
}

/// Starts a thread whose end, a panic included, is reported on `exits`.
fn spawn<B: Into<Outcome>>(
    exits: Sender<Exited>,
    name: String,
    role: Role,
    body: impl FnOnce() -> B + Send + 'static,
) -> Result<(), AgentError> {
    let thread_name = name.clone();
    let run = move || {
        let outcome = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(done) => done.into(),
            Err(panic) => Outcome::Panicked(panic_message(&*panic)),
        };
        let _ = exits.send(Exited {
            name,
            role,
            outcome,
        });
    };
    thread::Builder::new()
        .name(thread_name.clone())
        .stack_size(STACK_BYTES)
        .spawn(run)
        .map(drop)
        .map_err(|error| AgentError::Start {
            name: thread_name,
            error,
        })
}

/// The threads that ask file systems.
fn lanes(exits: Sender<Exited>) -> Lanes {
    Lanes::new(move |message| {
        let _ = exits.send(Exited {
            name: "scan".into(),
            role: Role::Watcher,
            outcome: Outcome::Panicked(message),
        });
    })
}

fn records(count: u64) -> String {
    match count {
        1 => "1 record was".to_owned(),
        count => format!("{count} records were"),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// How long the start waits for file systems that do not answer.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// Batches that may wait for a producer; their bytes are bounded by the memory budget anyway.
const BATCH_QUEUE: usize = 64;
/// Messages that may wait for the registrar while it writes.
const PROGRESS_QUEUE: usize = 4096;
/// Enough for every thread here, and untouched pages cost nothing.
const STACK_BYTES: usize = 512 << 10;
/// How long the last write of the checkpoints may take on top of the shutdown's deadline.
const LAST_WRITE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_thread_is_reported_with_its_words() {
        let (exits, exited) = unbounded();
        let body = || -> bool { panic!("no {} here", "bread") };
        spawn(exits, "watch".into(), Role::Watcher, body).expect("starts");
        let Exited { name, outcome, .. } = exited.recv().expect("ends");
        assert_eq!(name, "watch");
        assert!(matches!(outcome, Outcome::Panicked(words) if words == "no bread here"));
    }
}
