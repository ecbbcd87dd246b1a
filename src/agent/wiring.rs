//! How the agent is put together: all channels, then the threads between them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::changed_topics::ChangedTopics;
use super::exactly_once::Start;
use super::memory_limit::MemoryLimit;
use super::reach::Reach;
use super::reload::Reloading;
use super::run_before::say_if_cut_off;
use super::sight::Sight;
use super::standing::Standing;
use super::threads::{Outcome, Role, ThreadExit, ThreadLimit, ThreadShares, lanes, spawn};
use super::troubled::Former;
use super::{Agent, AgentError, Mode};
use crate::batch::Batch;
use crate::budget::Budget;
use crate::buffer::BufferPool;
use crate::checkpoint::positions::TopicPositions;
use crate::checkpoint::{self, Registrar, RunMark, Store};
use crate::config::{Config, Protocol};
use crate::control::{Control, Inbox};
use crate::deadline::Deadline;
use crate::kafka::producer::NativeOutput;
use crate::kafka::producer::transactional::TakenOver;
use crate::metrics::Metrics;
use crate::output::legacy::LegacyOutput;
use crate::output::{Output, StdoutOutput, Worker};
use crate::progress::{Progress, Saved};
use crate::service_manager::ServiceManager;
use crate::shown::ShownPath;
use crate::tail::changes::Changes;
use crate::tail::deleted::DeletedFiles;
use crate::tail::descriptor_permits::DescriptorPermits;
use crate::tail::discover::{Discovery, FoundPath};
use crate::tail::folder_index::FolderIndex;
use crate::tail::forgetting::{Forgetting, LookedFor};
use crate::tail::lanes::Lanes;
use crate::tail::registry::FileRegistry;
use crate::tail::scheduler::{Message, Scheduler, TailerReport, ThreadPressure};
use crate::tail::watch::{FirstLook, Watcher, Watches};
use crate::tail::{Shared, Tailer, TailerExit};
use crate::tap::Tap;

/// An agent whose threads run, and which follows nothing yet.
pub(super) struct Started {
    pub(super) agent: Agent,
    /// What is there at the start.
    pub(super) first_look: Receiver<FirstLook>,
    /// What gives back what is gone, and the answers it waits for.
    pub(super) forgetting: (Forgetting, Receiver<LookedFor>),
    /// How many checkpoints were loaded.
    pub(super) checkpoints: usize,
    /// How many descriptors the process may have.
    pub(super) descriptors: u64,
}

/// Ends of channels that a thread takes with it.
struct Ends {
    scheduled: Receiver<Message<Tailer>>,
    woken: Receiver<u64>,
    progress_taken: Receiver<Progress>,
}

impl Agent {
    /// Loads the positions, makes the channels and starts the threads.
    pub(super) fn start(
        config: Config,
        mode: Mode,
        inbox: Inbox,
        signals: &Receiver<()>,
    ) -> Result<Started, AgentError> {
        let config = Arc::new(config);
        let descriptors = raise_descriptor_limit();
        let (store, mut saved) = open_store(&config, mode)?;
        let metrics = Arc::new(Metrics::new(&config.logs));
        let run_mark = store.as_ref().map(Store::run_mark);
        if let Some(store) = &store {
            say_if_cut_off(store, &config);
            metrics.losses.keep_in(&config.agent.state_dir);
        }
        let (mut control, tap) = (None, Arc::<Tap>::default());
        let (mut taken, mut positions) = (Vec::new(), None);
        if config.kafka.exactly_once.is_some() && !mode.dry_run {
            control = listen(&config, mode, &inbox, &tap);
            let start = Start {
                config: &config,
                metrics: &metrics,
                signals,
                inbox: &inbox,
            };
            let (ids, known) = start.take_over(&mut saved)?;
            (taken, positions) = (ids, Some(known));
        }
        let checkpoints = saved.checkpoints.len();
        let (found_sender, found) = unbounded();
        let (exits, exited) = unbounded();
        let lanes = lanes(exits.clone());
        lanes.report_to(&metrics.board);
        let discovery = Arc::new(Discovery::new(&config.logs, &config.agent.state_dir));
        let looks = (discovery.clone(), lanes.clone(), found_sender);
        let (watcher, first_look) = new_watcher(&config, mode, looks, &saved)?;
        let watcher = watcher.report_to(&metrics);
        let (permits, thread_pressure) = (
            DescriptorPermits::new(descriptors),
            Arc::<ThreadPressure>::default(),
        );
        permits.report_to(&metrics.board);
        let waits = (permits.clone(), thread_pressure.clone());
        let watches = watcher.watches();
        let shared = shared(&config, mode, &saved, discovery, watches, waits, metrics);
        let (mut agent, ends) =
            Agent::with_channels(config, mode, shared, (exits, exited), found, inbox);
        (agent.control, agent.tap) = (control, tap);
        agent.owner = taken
            .iter()
            .find_map(|taken| Some(taken.owner.as_ref()?.1.clone()));
        if !mode.once {
            agent.reloading.look_with(lanes.clone());
        }
        let shares = agent.thread_shares();
        let positions = positions.map(|positions| positions.with_producers(shares.producers));
        agent.spawn_registrar(store, (saved, positions), ends.progress_taken)?;
        // All of them, so that the first to be busy leaves the others their part.
        for log in &agent.config.clone().logs {
            agent.route(log);
        }
        agent.spawn_producers(shares.producers, taken)?;
        let forgetting = Forgetting::new(agent.shared.clone(), lanes.clone());
        let most_threads = shares.tailers.min(agent.memory_limit.threads());
        let channels = (ends.scheduled, ends.woken);
        agent.spawn_scheduler(channels, thread_pressure, permits, lanes, most_threads)?;
        agent.spawn("watch".into(), Role::Watcher, move || {
            watcher.run();
            true
        })?;
        agent.run_mark = run_mark.inspect(RunMark::set);
        Ok(Started {
            agent,
            first_look,
            forgetting,
            checkpoints,
            descriptors,
        })
    }

    /// Starts the thread that gives tailers theirs.
    fn spawn_scheduler(
        &mut self,
        (scheduled, woken): (Receiver<Message<Tailer>>, Receiver<u64>),
        thread_pressure: Arc<ThreadPressure>,
        permits: Arc<DescriptorPermits>,
        lanes: Lanes,
        most_threads: usize,
    ) -> Result<(), AgentError> {
        let messages = (self.scheduler.clone(), scheduled);
        let calls = (woken, self.tailers_stop.clone());
        let report = report_to(self.exits.clone());
        let scheduler = Scheduler::new(messages, calls, thread_pressure, permits, lanes, report)
            .with_most_threads(most_threads)
            .with_pace(self.config.kafka.gathering())
            .report_to(&self.shared.metrics.board);
        self.spawn("scheduler".into(), Role::Scheduler, move || {
            scheduler.run();
            true
        })
    }

    fn with_channels(
        config: Arc<Config>,
        mode: Mode,
        shared: Arc<Shared>,
        (exits, exited): (Sender<ThreadExit>, Receiver<ThreadExit>),
        found: Receiver<FoundPath>,
        inbox: Inbox,
    ) -> (Agent, Ends) {
        let (stop_tailers, tailers_stop) = bounded(0);
        let (scheduler, scheduled) = bounded(SCHEDULER_QUEUE);
        let (parked_woken, woken) = unbounded();
        let (progress, progress_taken) = bounded(PROGRESS_QUEUE);
        let host = rustix::system::uname();
        let memory_limit = MemoryLimit::new(config.agent.memory_limit_bytes);
        memory_limit.say();
        let agent = Agent {
            host: host.nodename().to_string_lossy().into_owned(),
            mode,
            watches: shared.watches.clone(),
            shared,
            batches: Vec::new(),
            producer_configs: Vec::new(),
            progress: Some(progress),
            stop_tailers: Some(stop_tailers),
            tailers_stop,
            scheduler,
            parked_woken,
            exits,
            exited,
            found,
            inbox,
            standing: Standing::new(&config),
            reloading: Reloading::new(&config),
            sight: Sight::new(&config),
            former: Former::default(),
            changed_topics: ChangedTopics::default(),
            reach: Reach::default(),
            control: None,
            run_mark: None,
            owner: None,
            tap: Arc::default(),
            held_back: None,
            tailers: HashMap::new(),
            routes: HashMap::new(),
            budget: match config.kafka.exactly_once {
                Some(_) => Budget::of_transactions(memory_limit.for_lines()),
                None => Budget::new(memory_limit.for_lines()),
            },
            memory_limit,
            service_manager: ServiceManager::of_this_process(),
            producers: 0,
            has_registrar: false,
            deadline: Deadline::default(),
            failure: None,
            left_undone: false,
            refused: 0,
            interrupted: false,
            config,
        };
        let ends = Ends {
            scheduled,
            woken,
            progress_taken,
        };
        (agent, ends)
    }

    fn spawn_registrar(
        &mut self,
        store: Option<Store>,
        (saved, positions): (Saved, Option<TopicPositions>),
        progress: Receiver<Progress>,
    ) -> Result<(), AgentError> {
        let sections = self.config.logs.iter().map(|log| log.name.clone());
        let registrar = Registrar::new(
            store,
            Saved {
                sections: Some(sections.collect()),
                ..saved
            },
            progress,
            self.config.agent.checkpoint_interval,
            self.deadline.clone(),
            self.shared.metrics.clone(),
        );
        let registrar = registrar.with_positions(positions);
        self.spawn("registrar".into(), Role::Registrar, move || {
            registrar.run();
            true
        })?;
        self.has_registrar = true;
        Ok(())
    }

    /// Who has how many of the threads that the system gives.
    fn thread_shares(&self) -> ThreadShares {
        let producers = match self.mode.dry_run {
            true => 1,
            false => self.config.agent.producers,
        };
        match ThreadLimit::read() {
            Some(limit) => {
                let shares = limit.share(producers);
                limit.say(producers, shares);
                shares
            }
            None => ThreadShares {
                producers,
                tailers: usize::MAX,
            },
        }
    }

    fn spawn_producers(&mut self, count: usize, taken: Vec<TakenOver>) -> Result<(), AgentError> {
        // A part of the memory, so that files are read while a transaction is ended.
        let most_bytes = self.memory_limit.for_lines() / 8 * 5 / count.max(1);
        let mut taken = taken.into_iter();
        let Some(progress) = self.progress.clone() else {
            return Ok(());
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
                    let output = NativeOutput::new(
                        k,
                        kafka,
                        self.shared.metrics.clone(),
                        progress.clone(),
                        Some(dead_letters),
                    );
                    let output = match taken.next() {
                        None => output,
                        Some(taken) => output.with_transactions(taken, most_bytes),
                    };
                    // One tells enough of the brokers; with --once nobody waits to hear it.
                    let output = match k == 0 && !self.mode.once {
                        true => output.introducing_itself(),
                        false => output,
                    };
                    self.spawn_producer(k, output, batches)?;
                }
                Protocol::Legacy => {
                    self.spawn_producer(
                        k,
                        LegacyOutput::new(kafka, self.shared.metrics.clone(), progress.clone()),
                        batches,
                    )?;
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
        let (sender, configs) = unbounded();
        self.producer_configs.push(sender);
        let worker = Worker::new(output, batches, configs, self.deadline.clone());
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
}

/// Lets clients ask, where there is time for that.
pub(super) fn listen(
    config: &Config,
    mode: Mode,
    inbox: &Inbox,
    tap: &Arc<Tap>,
) -> Option<Control> {
    let is_asked = !mode.once && !mode.dry_run;
    let settings = &config.agent;
    is_asked.then(|| {
        let (folder, metrics) = (&settings.state_dir, settings.metrics_listen);
        Control::start(folder, metrics, inbox.sender(), tap.clone())
    })?
}

/// What all tailers share.
fn shared(
    config: &Config,
    mode: Mode,
    saved: &Saved,
    discovery: Arc<Discovery>,
    watches: Arc<Watches>,
    (descriptors, thread_pressure): (Arc<DescriptorPermits>, Arc<ThreadPressure>),
    metrics: Arc<Metrics>,
) -> Arc<Shared> {
    Arc::new(Shared {
        registry: FileRegistry::new(saved),
        discovery: Mutex::new(discovery),
        changes: Changes::default(),
        folders: FolderIndex::new(),
        watches,
        pool: BufferPool::new(),
        descriptors,
        thread_pressure,
        deleted: DeletedFiles::new(config.agent.deleted_bytes_limit),
        metrics,
        once: mode.once,
        parks_at_once: !config.kafka.gathering().is_zero(),
    })
}

/// What follows the folders of the patterns, and what it finds first.
fn new_watcher(
    config: &Config,
    mode: Mode,
    (discovery, lanes, found): (Arc<Discovery>, Lanes, Sender<FoundPath>),
    saved: &Saved,
) -> Result<(Watcher, Receiver<FirstLook>), AgentError> {
    let known_paths: HashSet<Arc<Path>> = saved
        .checkpoints
        .iter()
        .map(|checkpoint| checkpoint.path.clone())
        .collect();
    // What does not answer at the start is followed later, except with --once, where there is no later.
    let patience = (!mode.once).then_some(FIRST_LOOK);
    let gathering = config.kafka.gathering();
    Watcher::new(discovery, lanes, found, known_paths, patience, gathering).map_err(|error| {
        AgentError::Start {
            name: "watch".to_owned(),
            error,
        }
    })
}

/// The positions to start from, and where they are kept. A dry run keeps none.
fn open_store(config: &Config, mode: Mode) -> Result<(Option<Store>, Saved), AgentError> {
    if mode.dry_run {
        // Somebody else's positions are no reason not to look.
        let loaded = checkpoint::store::load(&config.agent.state_dir);
        let saved = loaded
            .inspect_err(|e| log::warn!("{e}"))
            .unwrap_or_default();
        return Ok((None, saved));
    }
    let store = Store::open(&config.agent.state_dir)?;
    let saved = store.load()?;
    Ok((Some(store), saved))
}

/// Tells the main thread of tailers that have ended.
fn report_to(exits: Sender<ThreadExit>) -> impl Fn(TailerReport) + Clone + Send + 'static {
    move |TailerReport { path, how }| {
        let name = format!("tail:{}", ShownPath(&path));
        let outcome = match how {
            Ok(TailerExit::Unread) => Outcome::Incomplete,
            Ok(TailerExit::PathGone | TailerExit::Stopped) => Outcome::Complete,
            Err(panic) => Outcome::Panicked(panic),
        };
        let role = Role::Tailer(path);
        let _ = exits.send(ThreadExit {
            name,
            role,
            outcome,
        });
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

/// How long the start waits for file systems that do not answer.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(3);
/// Batches that may wait for a producer; their bytes are bounded by the memory budget anyway. Those of all files that are
/// read at the same moment should find room: who has to wait is woken for each batch that is taken.
const BATCH_QUEUE: usize = 256;
/// Messages that may wait for the scheduler, which waits for nobody itself. An unbounded channel takes memory in blocks of
/// over 1 KiB, at which the allocator tidies up, and that shows where many files have short reads.
const SCHEDULER_QUEUE: usize = 256;
/// Messages that may wait for the registrar while it writes.
const PROGRESS_QUEUE: usize = 4096;
