//! How everything stands, for whoever asks the main thread, and for its own line in the log each minute.
//!
//! What is counted is read where it is counted. What only the registrar knows it is asked for, and the main thread goes
//! on meanwhile: an answer that does not come in time is missing in the snapshot, which says so.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, never};

use super::memory_limit::MemoryLimit;
use super::rates::Rates;
use super::summary::{Totals, still_wrong};
use super::{Agent, cut_off};
use crate::batch::Destination;
use crate::config::{Config, LogConfig, TlsConfig};
use crate::control::{Answer, Request};
use crate::metrics::Metrics;
use crate::process;
use crate::progress::Progress;
use crate::record::rate::{Excess, Unit};
use crate::shown::{ShownPath, Size};
use crate::snapshot::{ConfigStatus, FileState, FileStatus, Positions, ProcessStatus, Snapshot};
use crate::tail::explain::{Explained, NOBODY, explain, explain_known};
use crate::tail::lanes::Lane;
use crate::tailer_handle::TailerHandle;

/// Snapshots that are asked for.
#[derive(Debug)]
pub(super) struct Standing {
    /// Who gets the one that is being gathered.
    asking: Vec<Asker>,
    /// Who came after that was begun: theirs is another one.
    later: Vec<Asker>,
    /// Where the registrar answers, and until when that is waited for.
    awaited: Option<(Receiver<Positions>, Instant)>,
    /// What the last line of the log has told.
    told: Totals,
    pub(super) rates: Rates,
    started: SystemTime,
    /// The ini in use.
    pub(super) config: ConfigStatus,
}

#[derive(Debug)]
enum Asker {
    Operator(Sender<Snapshot>),
    /// The main thread itself.
    Summary,
}

/// A tailer, as the main thread knows it.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) handle: TailerHandle,
    /// Its section, and where its records go.
    pub(super) log: Arc<LogConfig>,
    pub(super) destination: Arc<Destination>,
    /// No section has its path: it was told to end.
    pub(super) is_ending: bool,
    /// The size that its file had when it was found, in bytes.
    pub(super) size: u64,
}

impl Standing {
    /// That of an agent that starts now.
    pub(super) fn new(config: &Config) -> Self {
        let metadata = fs::metadata(&config.file);
        Standing {
            asking: Vec::new(),
            later: Vec::new(),
            awaited: None,
            told: Totals::default(),
            rates: Rates::new(Instant::now()),
            started: SystemTime::now(),
            config: ConfigStatus {
                path: std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone()),
                modified: metadata.and_then(|metadata| metadata.modified()).ok(),
                certificates: config.certificates(),
                ..ConfigStatus::default()
            },
        }
    }

    /// What there is to say before the agent has begun.
    pub(super) fn at_the_start(&self, metrics: &Metrics, config: &Config) -> Snapshot {
        let conditions = metrics.board.all();
        Snapshot {
            process: ProcessStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: process::commit().to_owned(),
                pid: std::process::id(),
                started: Some(self.started),
                memory_limit: MemoryLimit::new(config.agent.memory_limit_bytes).bytes as u64,
                ..ProcessStatus::default()
            },
            config: self.config.clone(),
            logs: metrics.logs(),
            brokers: metrics.brokers(&conditions),
            conditions,
            ..Snapshot::default()
        }
    }

    /// Has `ask` ask the registrar, if somebody waits for a snapshot and none is being gathered. `false` says that it
    /// cannot even be asked.
    /// Returns whether one is being gathered from now on.
    fn begin(&mut self, now: Instant, ask: impl FnOnce(Sender<Positions>) -> bool) -> bool {
        if self.awaited.is_some() || self.later.is_empty() {
            return false;
        }
        self.asking = std::mem::take(&mut self.later);
        let (answer, answers) = bounded(1);
        let until = match ask(answer) {
            true => now + PATIENCE,
            false => now,
        };
        self.awaited = Some((answers, until));
        true
    }

    /// The registrar has answered, and that is not all that is waited for.
    pub(super) fn is_answered(&mut self) {
        if let Some((answers, _)) = &mut self.awaited {
            *answers = never();
        }
    }

    /// Nothing is waited for any more. Returns who gets what there is.
    fn end(&mut self) -> Vec<Asker> {
        self.awaited = None;
        std::mem::take(&mut self.asking)
    }

    /// Where the registrar answers.
    pub(super) fn answers(&self) -> Receiver<Positions> {
        let awaited = self.awaited.as_ref();
        awaited.map_or_else(never, |(answers, _)| answers.clone())
    }

    /// When its answer is waited for no longer.
    pub(super) fn overdue(&self) -> Receiver<Instant> {
        let awaited = self.awaited.as_ref();
        awaited.map_or_else(never, |(_, at)| crossbeam_channel::at(*at))
    }
}

impl Agent {
    /// Serves what somebody asks.
    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Snapshot(answer) => {
                self.look_at_brokers();
                self.standing.later.push(Asker::Operator(answer));
            }
            Request::Reload(answer) => self.on_reload(answer),
            Request::Why(path, answer) => self.on_why(path, answer),
        }
        self.begin_snapshot();
    }

    /// Somebody asks about a path. A thread that may hang looks where it is not known here.
    fn on_why(&self, path: PathBuf, answer: Sender<Answer>) {
        let is_refused = self.standing.config.refusal.is_some();
        let tell = move |explained: Explained| {
            let Explained { is_followed, words } = explained;
            let words = match words.strip_prefix(NOBODY) {
                // It may be named by the one that was written since.
                Some(rest) if is_refused => format!("{NOT_IN_FORCE}{rest}"),
                _ => words,
            };
            let text = format!("{words}\n");
            // Who does not wait any more is not waited for.
            let is_ok = is_followed;
            let _ = answer.try_send(Answer { is_ok, text });
        };
        match (explain_known(&self.shared, &path), self.reloading.lanes()) {
            (Some(known), _) => tell(known),
            (None, Some(lanes)) => {
                let shared = self.shared.clone();
                lanes.submit(Lane::Questions, move || tell(explain(&shared, &path)));
            }
            (None, None) => {}
        }
    }

    /// A minute is over.
    pub(super) fn on_minute(&mut self) {
        self.shared.descriptors.follows(self.tailers.len());
        self.standing.later.push(Asker::Summary);
        self.begin_snapshot();
    }

    fn begin_snapshot(&mut self) {
        let registrar = self.progress.as_ref();
        // Its queue may be full, and the main thread waits for nobody.
        let ask = |answer| registrar.is_some_and(|r| r.try_send(Progress::Asked(answer)).is_ok());
        if self.standing.begin(Instant::now(), ask) {
            self.look_around();
        }
    }

    /// Hands out the snapshot; without positions if the registrar has not answered.
    pub(super) fn end_snapshot(&mut self, positions: Option<Positions>) {
        let askers = self.standing.end();
        let snapshot = self.snapshot(positions);
        for asker in askers {
            match asker {
                // Who does not wait any more is not waited for.
                Asker::Operator(asker) => drop(asker.try_send(snapshot.clone())),
                Asker::Summary => self.summarise(&snapshot),
            }
        }
        self.begin_snapshot();
    }

    /// Says what has moved since the last time, and what still is wrong.
    fn summarise(&mut self, snapshot: &Snapshot) {
        let totals = Totals::of(snapshot);
        if let Some(line) = totals.since(&self.standing.told, snapshot, SystemTime::now()) {
            log::info!("{line}");
        }
        self.standing.told = totals;
        let (board, now) = (&self.shared.metrics.board, Instant::now());
        for (condition, lasted) in board.due(now) {
            let line = still_wrong(&condition, lasted, snapshot, &self.config.logs);
            log::log!(condition.level, "{line}");
        }
        if let Some(others) = board.kept_back(now) {
            log::warn!("{others} others like these were not said; 'logagent status' has them all");
        }
    }

    fn snapshot(&self, positions: Option<Positions>) -> Snapshot {
        let metrics = &self.shared.metrics;
        let tls = self.config.kafka.tls.as_ref();
        let conditions = metrics.board.all();
        let (positions, unanswered) = match positions {
            Some(positions) => (positions, Vec::new()),
            None => (Positions::default(), vec!["registrar".to_owned()]),
        };
        let mut snapshot = Snapshot {
            process: ProcessStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: process::commit().to_owned(),
                pid: std::process::id(),
                started: Some(self.standing.started),
                memory_used: self.budget.used_bytes() as u64,
                memory_limit: self.memory_limit.bytes as u64,
                threads: fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count() as u64),
                files_open: positions.open,
                resident: process::resident_bytes().unwrap_or(0),
                descriptors: process::open_descriptors().unwrap_or(0),
                most_descriptors: process::most_descriptors().unwrap_or(0),
            },
            config: ConfigStatus {
                certificates: tls.map_or_else(Vec::new, TlsConfig::certificates),
                ..self.standing.config.clone()
            },
            logs: metrics.logs(),
            files: positions.files,
            topics: metrics.topics(&conditions),
            brokers: metrics.brokers(&conditions),
            exactly_once: metrics.exactly_once(),
            transactions: metrics.transaction_statuses(),
            produce_errors: metrics.produce_errors(),
            produce_latency: metrics.produce_latency(),
            positions: positions.status,
            conditions,
            losses: metrics.losses.all(),
            unanswered,
            ..Snapshot::default()
        };
        let left_out = metrics.left_out.all();
        (snapshot.not_followed, snapshot.not_followed_counts) = left_out;
        self.reach.complete(metrics, &mut snapshot);
        cut_off::find(&mut snapshot);
        self.complete_files(&mut snapshot);
        cut_off::sum_up(&mut snapshot);
        // Behind what tells whether all are away: one that is silent is not known to be.
        metrics.add_silent(&mut snapshot.brokers, Instant::now());
        self.sight.complete(&mut snapshot);
        self.standing.rates.complete(&mut snapshot, Instant::now());
        snapshot
    }

    /// Adds the files that have no position yet, and what keeps each of them from being read or sent.
    fn complete_files(&self, snapshot: &mut Snapshot) {
        let conditions = snapshot.conditions.iter();
        let wrong: HashSet<String> = conditions.map(|one| one.subject.clone()).collect();
        let waiting = self.complete_topics(snapshot, &wrong);
        for log in &self.config.logs {
            let mut logs = snapshot.logs.iter_mut();
            if let Some(status) = logs.find(|status| status.name == log.name) {
                status.rate_limit = rate_limit(log);
            }
        }
        let files = &mut snapshot.files;
        // Of a file that no section follows any more nobody reads on.
        files.retain(|file| !file.log.is_empty() || self.tailers.contains_key(&*file.path));
        let known: HashSet<_> = files.iter().map(|file| file.path.clone()).collect();
        let left_out = &self.shared.metrics.left_out;
        let missing = self.tailers.iter().filter(|(path, followed)| {
            // What another tailer reads, or nobody, is behind with nothing, nor is one whose file is gone: it is kept
            // for who may still write to that.
            let has_nothing = followed.handle.shows_nothing();
            !known.contains(&***path) && !left_out.is_left_by_tailer(path) && !has_nothing
        });
        files.extend(missing.map(|(path, followed)| FileStatus {
            path: path.to_path_buf(),
            size: followed.size,
            state: FileState::Behind,
            ..FileStatus::default()
        }));
        for file in files {
            if file.log.is_empty()
                && let Some(followed) = self.tailers.get(&*file.path)
            {
                file.log.clone_from(&followed.log.name);
            }
            let may_fail = file.state != FileState::Rotated && !wrong.is_empty();
            if may_fail && wrong.contains(&*ShownPath(&file.path).to_string()) {
                file.state = FileState::Failed;
            } else if file.state == FileState::Behind && waiting.contains(&file.log) {
                file.state = FileState::Waiting;
            }
        }
        for log in &mut snapshot.logs {
            let files = snapshot.files.iter().filter(|file| file.log == log.name);
            log.lag_bytes = files.clone().map(FileStatus::waits).sum();
            log.files_behind = files.filter(|file| file.is_behind()).count() as u64;
        }
    }
}

/// The rate that lets files of `log` wait, as the ini has it.
fn rate_limit(log: &LogConfig) -> Option<String> {
    let rate = log.record.as_ref()?.rate;
    let rate = rate.filter(|rate| rate.excess == Excess::Waits)?;
    Some(match rate.unit {
        Unit::Events => format!("{}/s", rate.per_second),
        Unit::Bytes => format!("{}/s", Size(rate.per_second.get())),
    })
}

/// What is said instead of [`NOBODY`] while another ini was refused.
const NOT_IN_FORCE: &str =
    "no section of the ini in force names it, and the one on disk was refused";
/// So long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// So often the log says what has moved.
pub(super) const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const INI: &str = "[kafka]\nbrokers = k:1\ntopic = t\n[log:a]\npath = /a\n";

    fn standing() -> Standing {
        let config = Config::parse(INI, std::path::Path::new("/nowhere.ini"), &|_| None);
        Standing::new(&config.expect("a good ini"))
    }

    #[test]
    fn who_asks_while_a_snapshot_is_gathered_gets_the_next_one() {
        let mut standing = standing();
        standing.later.push(Asker::Summary);
        let mut registrar = None;
        let now = Instant::now();
        let ask = |answer| registrar.replace(answer).is_none();
        standing.begin(now, ask);
        standing.later.push(Asker::Summary);
        standing.later.push(Asker::Summary);
        standing.begin(now, |_| panic!("it was asked"));
        let answer = registrar.expect("it was asked");
        answer.send(Positions::default()).expect("it is awaited");
        assert!(standing.answers().try_recv().is_ok());
        assert_eq!(standing.end().len(), 1);
        standing.begin(now, |_| true);
        assert_eq!(standing.end().len(), 2);
        standing.begin(now, |_| panic!("nobody wants it"));
    }

    #[test]
    fn a_registrar_that_hangs_or_cannot_be_asked_is_waited_for_as_long_as_half_a_second_and_not_at_all()
     {
        let mut standing = standing();
        for (can_be_asked, patience) in [(true, PATIENCE), (false, Duration::ZERO)] {
            standing.later.push(Asker::Summary);
            let began = Instant::now();
            let mut registrar = None;
            standing.begin(began, |answer| {
                registrar = Some(answer);
                can_be_asked
            });
            let overdue = standing.overdue().recv().expect("it comes");
            assert!(overdue.duration_since(began) >= patience);
            assert!(overdue.duration_since(began) < patience + Duration::from_secs(5));
            assert_eq!(standing.end().len(), 1);
        }
        assert!(standing.overdue().try_recv().is_err() && standing.answers().try_recv().is_err());
    }
}
