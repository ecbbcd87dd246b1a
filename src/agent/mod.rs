//! The agent: builds the channels, spawns the threads, supervises them, and stops them in order.
//!
//! ```text
//!             FoundPath, ThreadExit             stop: tailers, then producers, then registrar
//! watch, all ------------------> main (Agent::run) -------------------------------------------->
//!
//! control --Request--> main --Progress::Asked--> registrar --Positions--> main --Snapshot--> whoever asked
//!
//! main --Message--> scheduler <--Message, Tailer--> tail:<path>, one for each file that is not quiet
//!
//! tail:<path> --Batch (bounded, one channel per producer)--> producer-<k> --Progress--> registrar
//!      \------------------------------------ Progress (opened, closed)   ------------------^
//! ```
//! There is no cycle of bounded channels: tailers wait for producers, producers wait for the
//! registrar, the registrar waits for nobody.

mod adopt;
mod awaited_taps;
mod changed_topics;
mod config_watch;
mod control_group;
mod cut_off;
mod exactly_once;
mod memory_limit;
mod rates;
mod reach;
mod reload;
mod rotated;
mod run_before;
mod sight;
mod standing;
mod summary;
mod supervisor;
mod threads;
mod troubled;
mod unfollowed;
mod wiring;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};
use thiserror::Error;

pub use self::adopt::{Adopt, AdoptError};
use self::awaited_taps::HeldBack;
use self::changed_topics::ChangedTopics;
pub(crate) use self::exactly_once::agent_id;
pub(crate) use self::memory_limit::MemoryLimit;
use self::reach::Reach;
use self::reload::Reloading;
use self::sight::Sight;
use self::standing::{Followed, Standing};
use self::threads::ThreadExit;
use self::troubled::Former;
use self::wiring::Started;
use crate::batch::{Batch, Destination, Route};
use crate::budget::{Budget, RouteShare};
use crate::checkpoint::positions::producer_of;
use crate::checkpoint::{RunMark, StoreError};
use crate::config::{Config, KafkaConfig, LogConfig};
use crate::control::{Control, Inbox};
use crate::deadline::Deadline;
use crate::kafka::owner::Owner;
use crate::kafka::takeover::TakeoverError;
use crate::progress::Progress;
use crate::progress_bar::{BYTES, ProgressBar};
use crate::service_manager::ServiceManager;
use crate::tail::descriptor_permits::DescriptorPermits;
use crate::tail::discover::FoundPath;
use crate::tail::moved::follow_moved;
use crate::tail::scheduler::Message;
use crate::tail::watch::{FirstLook, Watches};
use crate::tail::{self, Shared, Tailer};
use crate::tailer_handle::TailerHandle;
use crate::tap::Tap;

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
    /// Another agent has this one's id, and delivers exactly once.
    #[error(
        "another agent has taken over the transactional ids of '{agent}'{by}; nothing is lost, and nothing is there twice\n\
         two agents that share an id, as cloned hosts do, cannot both run: set [agent] id in one of them"
    )]
    Fenced {
        /// The id.
        agent: String,
        /// Who and where it is, in brackets, if it has said so.
        by: String,
    },
    /// Exactly once cannot begin.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// What was committed has to be read anew.
    #[error("{0}")]
    StartAgain(String),
    /// The stop's deadline passed, or `--once` could not deliver everything.
    #[error("not everything is delivered; a later start sends the rest")]
    Unfinished,
}

impl AgentError {
    /// Whether the next start would meet it again, until a person has done something: exit code 3.
    pub fn needs_a_person(&self) -> bool {
        match self {
            AgentError::Store(error) => error.needs_a_person(),
            AgentError::Fenced { .. } | AgentError::Takeover(TakeoverError::Refused(_)) => true,
            _ => false,
        }
    }
}

/// The running agent, owned by the main thread.
#[derive(Debug)]
pub struct Agent {
    config: Arc<Config>,
    mode: Mode,
    host: String,
    shared: Arc<Shared>,
    watches: Arc<Watches>,
    /// One channel per producer; gone when stopping.
    batches: Vec<Sender<Batch>>,
    /// Other configurations, to each producer.
    producer_configs: Vec<Sender<Arc<KafkaConfig>>>,
    progress: Option<Sender<Progress>>,
    /// Disconnected to stop the tailers.
    stop_tailers: Option<Sender<()>>,
    tailers_stop: Receiver<()>,
    /// To the scheduler, which gives tailers their threads.
    scheduler: Sender<Message<Tailer>>,
    /// Where parked tailers are woken.
    parked_woken: Sender<u64>,
    exits: Sender<ThreadExit>,
    exited: Receiver<ThreadExit>,
    found: Receiver<FoundPath>,
    /// What operators ask for.
    inbox: Inbox,
    standing: Standing,
    reloading: Reloading,
    sight: Sight,
    /// Sections of earlier inis.
    former: Former,
    changed_topics: ChangedTopics,
    reach: Reach,
    /// Answers clients, until the stop has the positions written.
    control: Option<Control>,
    /// Says to the next agent that this one runs; none in a dry run.
    run_mark: Option<RunMark>,
    /// This process, as others see who has the agent's id.
    owner: Option<Owner>,
    /// Where operators look at records.
    tap: Arc<Tap>,
    /// What is not followed yet, since somebody is about to look on.
    held_back: Option<HeldBack>,
    /// The paths that have a tailer.
    tailers: HashMap<Arc<Path>, Followed>,
    /// By the name of the section.
    routes: HashMap<String, (Arc<Route>, Arc<RouteShare>)>,
    memory_limit: MemoryLimit,
    service_manager: ServiceManager,
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
    /// thread panics, or, with `--once`, everything is delivered. Serves what comes into `inbox` meanwhile.
    pub fn run(
        config: Config,
        mode: Mode,
        signals: &Receiver<()>,
        inbox: Inbox,
    ) -> Result<(), AgentError> {
        let Started {
            mut agent,
            first_look,
            forgetting,
            checkpoints,
            descriptors,
        } = match Agent::start(config, mode, inbox, signals) {
            Err(AgentError::Takeover(TakeoverError::Stopped)) if !mode.once => return Ok(()),
            started => started?,
        };
        if agent.control.is_none() {
            agent.control = wiring::listen(&agent.config, mode, &agent.inbox, &agent.tap);
        }
        if let Some(first) = agent.wait_for_first_look(signals, &first_look) {
            agent.say_what_is_followed(&first, checkpoints, descriptors);
            let followed = counted(first.found.len(), "file");
            agent.service_manager.status(&format!("follows {followed}"));
            if mode.once && first.found.is_empty() {
                agent.failure = Some(AgentError::NothingMatched);
            }
            follow_moved(&agent.shared.registry, &first.found);
            agent.follow_first(first.found);
        }
        if mode.once {
            agent.watches.stop();
        }
        let bar = mode
            .once
            .then(|| ProgressBar::start(agent.shared.metrics.clone(), BYTES));
        if !agent.interrupted {
            agent.service_manager.ready();
            if !mode.once && !mode.dry_run {
                agent.reach.know(&agent.config.kafka.brokers);
            }
            agent.supervise(signals, forgetting);
        }
        agent.stop(signals);
        drop(bar);
        agent.clear_run_mark();
        agent.outcome()
    }

    fn outcome(&mut self) -> Result<(), AgentError> {
        let once = self.mode.once;
        match self.failure.take() {
            Some(AgentError::Fenced { .. }) => {
                Err(exactly_once::fenced(&self.config, self.owner.as_ref()))
            }
            Some(failure) => Err(failure),
            None if once && (self.left_undone || self.interrupted) => Err(AgentError::Unfinished),
            None if once && self.refused > 0 => Err(AgentError::Refused(self.refused)),
            None => Ok(()),
        }
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
        self.shared.descriptors.follows(first.found.len());
        log::info!(
            "logagent {} follows {}, {} of them from a known position ({}), {} to {}; {descriptors} descriptors, {} \
             of them not for files; {}",
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
            DescriptorPermits::reserve(descriptors),
            self.memory_limit
        );
    }

    /// Starts a tailer for a path, unless it has one.
    fn follow(&mut self, found: FoundPath) {
        let Some(progress) = self.progress.clone() else {
            return;
        };
        let FoundPath {
            path,
            mut log,
            stat,
            is_first,
        } = found;
        if self.tailers.contains_key(&path) {
            return;
        }
        if !self
            .config
            .logs
            .iter()
            .any(|known| Arc::ptr_eq(known, &log))
        {
            // It was found for sections that have changed since.
            let Some(wanted) = self.shared.discovery().wanted(&path) else {
                return;
            };
            log = wanted;
        }
        self.changed_topics.meet(&log, &path);
        // By its name, so that a file that comes back meets the producer that may still have lines of it.
        let producer = producer_of(&path, self.batches.len());
        let handle = TailerHandle::new(self.parked_woken.clone());
        self.watches.register(path.clone(), handle.clone());
        let (route, share) = self.route(&log);
        let destination = Arc::new(Destination {
            route,
            path: path.clone(),
        });
        let followed = Followed {
            handle: handle.clone(),
            log: log.clone(),
            destination: destination.clone(),
            is_ending: false,
            size: stat.map_or(0, |stat| stat.size),
        };
        self.tailers.insert(path.clone(), followed);
        let registry = &self.shared.registry;
        let is_of_section = |path: &Path| tail::follows(&log, path);
        let honours_start_at = is_first && !registry.knows_section(&log.name, is_of_section);
        let tailer = Tailer::new(
            path,
            log,
            destination,
            self.shared.clone(),
            share.account(handle.clone()),
            handle,
            self.batches[producer].clone(),
            progress,
            self.tailers_stop.clone(),
            honours_start_at,
            stat,
        );
        let device = stat.map(|stat| stat.inode.device);
        // Without a scheduler the process is about to end.
        let _ = self
            .scheduler
            .send(Message::Start(Box::new(tailer), device));
    }

    /// Tells the registrar.
    fn tell(&self, progress: Progress) {
        if let Some(registrar) = &self.progress {
            let _ = registrar.send(progress);
        }
    }

    /// The route of a section and its share of the memory budget, one for all its files.
    fn route(&mut self, log: &LogConfig) -> (Arc<Route>, Arc<RouteShare>) {
        if let Some(route) = self.routes.get(&log.name) {
            return route.clone();
        }
        let counters = self.shared.metrics.section(log);
        let mut route = log.route(&self.host, self.config.kafka.headers, counters);
        route.tap = self.tap.point(&log.name);
        let route = Arc::new(route);
        let route = (route, self.budget.route());
        self.routes.insert(log.name.clone(), route.clone());
        route
    }
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

fn records(count: u64) -> String {
    match count {
        1 => "1 record was".to_owned(),
        count => format!("{count} records were"),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
