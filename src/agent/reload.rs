//! Another ini while the agent runs: what is different is applied, and nothing else moves.
//!
//! ```text
//! SIGHUP, logagent reload --Request--> main --ConfigWatch--> scan-<n>, which looks at the files
//! once a second -------------------------^ <---Loaded--------/
//!      wrong: said, and nothing changes
//!      right: new sections  -> watcher (other patterns)         -> FirstLook -> tailers begin
//!             other records -> tailers, at the end of an event
//!             gone sections -> tailers, which read what is there and end
//!             [kafka]       -> producers, with all that they have
//! ```

mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, never, tick, unbounded};

use self::report::{answer_all, changes, kept, name_of, say, verb_end};
use super::config_watch::{ConfigWatch, LOOK_INTERVAL, Loaded};
use super::wiring::FIRST_LOOK;
use super::{Agent, counted};
use crate::batch::Destination;
use crate::config::{Config, ConfigErrors, Difference, LogChange, Reload};
use crate::control::{Answer, ChangeKind, ReloadChange, ReloadOutcome, ReloadReport};
use crate::progress::Progress;
use crate::tail::changes::Change;
use crate::tail::discover::Discovery;
use crate::tail::lanes::{Lane, Lanes};
use crate::tail::watch::FirstLook;

/// Where a reload stands.
#[derive(Debug)]
pub(super) struct Reloading {
    /// `None`: it is away, with a thread that looks.
    watch: Option<Box<ConfigWatch>>,
    /// Where it is looked; `None`: nothing is reloaded (`--once`).
    lanes: Option<Lanes>,
    looked: (Sender<Looked>, Receiver<Looked>),
    seconds: Receiver<Instant>,
    /// Who wants the ini to be read, and is not answered by a reading that has begun.
    waiting: Vec<Sender<Answer>>,
    /// Whom the reading answers that is under way.
    reading: Vec<Sender<Answer>>,
    /// A reload that was applied and waits for what there is of the new sections.
    begun: Option<Begun>,
    /// What was applied by itself, and when, until an operator has seen it.
    unseen: Option<(SystemTime, Vec<ReloadChange>)>,
}

/// What comes back of a look.
type Looked = (Box<ConfigWatch>, Option<Loaded>);

#[derive(Debug)]
struct Begun {
    first_look: Receiver<FirstLook>,
    report: ReloadReport,
    added: Vec<String>,
    /// Sections that are new or look for other files.
    looked_for: Vec<String>,
    /// How many files of each section end: by the time of the report they may have ended.
    ending: HashMap<String, usize>,
    waiting: Vec<Sender<Answer>>,
    /// The files are found, or the brokers asked, which is still to come.
    lacks: Vec<Lacking>,
}

/// What a reload that was applied waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacking {
    Files,
    Brokers,
}

impl Reloading {
    /// Nothing was reloaded yet.
    pub(super) fn new(config: &Config) -> Self {
        Reloading {
            watch: Some(Box::new(ConfigWatch::new(config))),
            lanes: None,
            looked: unbounded(),
            seconds: tick(LOOK_INTERVAL),
            waiting: Vec::new(),
            reading: Vec::new(),
            begun: None,
            unseen: None,
        }
    }

    /// Threads of `lanes` look at the ini from now on.
    pub(super) fn look_with(&mut self, lanes: Lanes) {
        self.lanes = Some(lanes);
    }

    /// When it is to be looked whether the ini has changed.
    pub(super) fn due(&self, reload: Reload) -> Receiver<Instant> {
        match (reload, &self.lanes) {
            (Reload::Auto, Some(_)) => self.seconds.clone(),
            _ => never(),
        }
    }

    /// The threads that look at what may hang.
    pub(super) fn lanes(&self) -> Option<&Lanes> {
        self.lanes.as_ref()
    }

    /// Where what was seen of the ini arrives.
    pub(super) fn looked(&self) -> &Receiver<Looked> {
        &self.looked.1
    }

    /// Has somebody look at the ini, if nobody does. One reload comes after the other.
    pub(super) fn look(&mut self) {
        if self.begun.is_some() {
            return;
        }
        let (Some(lanes), Some(mut watch)) = (&self.lanes, self.watch.take()) else {
            return;
        };
        self.reading.append(&mut self.waiting);
        let is_asked = !self.reading.is_empty();
        let looked = self.looked.0.clone();
        lanes.submit(Lane::Unknown, move || {
            let loaded = watch.look(is_asked);
            // Without a main thread the process is about to end.
            let _ = looked.send((watch, loaded));
        });
    }

    /// Whether one tells which brokers can be reached.
    pub(super) fn waits_for_brokers(&self) -> bool {
        let mut begun = self.begun.iter();
        begun.any(|begun| begun.lacks.contains(&Lacking::Brokers))
    }

    /// What there is of the sections that the last one has added.
    pub(super) fn first_look(&self) -> Receiver<FirstLook> {
        let begun = self.begun.as_ref();
        let begun = begun.filter(|begun| begun.lacks.contains(&Lacking::Files));
        begun.map_or_else(never, |begun| begun.first_look.clone())
    }
}

impl Agent {
    /// Somebody wants the ini to be read again.
    pub(super) fn on_reload(&mut self, answer: Sender<Answer>) {
        if self.reloading.lanes.is_none() {
            let text = "with --once nothing is reloaded\n".to_owned();
            let _ = answer.try_send(Answer { is_ok: false, text });
            return;
        }
        self.service_manager.reloading();
        self.reloading.waiting.push(answer);
        self.reloading.look();
    }

    /// It was looked at the ini.
    pub(super) fn on_looked(&mut self, (watch, loaded): Looked) {
        self.reloading.watch = Some(watch);
        if let Some(loaded) = loaded {
            self.on_loaded(loaded);
        }
        if !self.reloading.waiting.is_empty() {
            self.reloading.look();
        }
    }

    fn on_loaded(&mut self, loaded: Loaded) {
        let Loaded {
            config,
            modified,
            is_asked,
            files,
        } = loaded;
        self.sight.was_read(files);
        let waiting = std::mem::take(&mut self.reloading.reading);
        match config {
            Ok(config) => {
                let difference = self.config.difference(&config);
                let waiting_keys = difference.restart.iter();
                self.standing.config.waits_for_restart = waiting_keys
                    .map(|(section, key)| format!("[{section}] {key}"))
                    .collect();
                if difference.is_empty() {
                    let mut changes = changes(&difference, &HashMap::new());
                    self.says_the_same(config, modified, is_asked);
                    let unseen = self.reloading.unseen.take_if(|_| is_asked);
                    let by_itself = unseen.map(|(at, unseen)| {
                        changes = self.as_now(unseen);
                        at
                    });
                    let report = ReloadReport {
                        by_itself,
                        ini: name_of(&self.config),
                        modified,
                        outcome: ReloadOutcome::Applied(changes),
                    };
                    self.service_manager.ready();
                    return answer_all(&waiting, &report);
                }
                self.apply(config, &difference, modified, waiting);
            }
            Err(errors) => self.refuse(&errors, modified, waiting),
        }
    }

    /// What was changed by a reload that nobody has seen, and which of the brokers cannot be reached by now.
    fn as_now(&self, mut changes: Vec<ReloadChange>) -> Vec<ReloadChange> {
        changes.retain(|change| change.kind != ChangeKind::Warning);
        changes.extend(self.reach.failures().map(unreachable));
        changes
    }

    /// A comment was written, a file touched, or somebody wants to be sure.
    fn says_the_same(&mut self, config: Config, modified: Option<SystemTime>, is_asked: bool) {
        let same = Difference::default();
        let config = kept(config, &self.config, &same);
        self.config = Arc::new(config);
        let status = &mut self.standing.config;
        (status.modified, status.refusal) = (modified, None);
        if is_asked {
            status.applied += 1;
            status.last_applied = Some(SystemTime::now());
            log::info!(
                "'{}' was read again and says the same",
                name_of(&self.config)
            );
        }
    }

    fn refuse(
        &mut self,
        errors: &ConfigErrors,
        modified: Option<SystemTime>,
        waiting: Vec<Sender<Answer>>,
    ) {
        let status = &mut self.standing.config;
        status.refused += 1;
        status.refusal = Some(errors.to_string());
        let report = ReloadReport {
            ini: name_of(&self.config),
            modified,
            by_itself: None,
            outcome: ReloadOutcome::Refused {
                in_use: status.modified,
                why: errors.to_string(),
            },
        };
        for line in report.to_string().lines() {
            log::error!("{line}");
        }
        self.service_manager.ready();
        answer_all(&waiting, &report);
    }

    fn apply(
        &mut self,
        config: Config,
        difference: &Difference,
        modified: Option<SystemTime>,
        waiting: Vec<Sender<Answer>>,
    ) {
        for warning in config.warnings() {
            log::warn!("{warning}");
        }
        let old = self.config.clone();
        let config = Arc::new(kept(config, &old, difference));
        let names = old.logs.iter().map(|log| log.name.clone());
        self.shared.registry.follow_sections(names);
        self.shared.deleted.limit(config.agent.deleted_bytes_limit);
        for log in &config.logs {
            if !old.logs.iter().any(|known| Arc::ptr_eq(known, log)) {
                self.shared.metrics.section(log);
            }
        }
        let discovery = Arc::new(Discovery::new(&config.logs, &config.agent.state_dir));
        self.shared.discover(discovery.clone());
        self.config = config;
        self.change_routes();
        let ending = self.change_tailers(&discovery);
        if difference.kafka.is_some() {
            let kafka = Arc::new(self.config.kafka.clone());
            for producer in &self.producer_configs {
                // One that has ended stops the agent.
                let _ = producer.send(kafka.clone());
            }
        }
        let gathering = self.config.kafka.gathering();
        let mut lacks = vec![Lacking::Files];
        if difference
            .kafka
            .iter()
            .flatten()
            .any(|key| key == "brokers")
        {
            self.reach.ask(&self.config.kafka.brokers);
            lacks.push(Lacking::Brokers);
        }
        let first_look = self.watches.follow(discovery, gathering, FIRST_LOOK);
        let status = &mut self.standing.config;
        status.certificates = self.config.certificates();
        status.applied += 1;
        (status.modified, status.refusal) = (modified, None);
        status.last_applied = Some(SystemTime::now());
        let is_added = |(name, change): &(String, LogChange)| {
            (*change == LogChange::Added).then(|| name.clone())
        };
        let looks_elsewhere = |(name, change): &(String, LogChange)| {
            let is_new = match change {
                LogChange::Added => true,
                LogChange::Changed(keys) => keys.iter().any(|key| PATH_KEYS.contains(&&**key)),
                _ => false,
            };
            is_new.then(|| name.clone())
        };
        self.former.add(&old, difference);
        let mut changes = changes(difference, &ending);
        self.tell_of_parked(&old, difference, &mut changes);
        self.reloading.begun = Some(Begun {
            first_look,
            report: ReloadReport {
                ini: name_of(&self.config),
                modified,
                by_itself: None,
                outcome: ReloadOutcome::Applied(changes),
            },
            added: difference.logs.iter().filter_map(is_added).collect(),
            looked_for: difference.logs.iter().filter_map(looks_elsewhere).collect(),
            ending,
            waiting,
            lacks,
        });
    }

    /// Each section has the route that it says; those of one section share their part of the memory on.
    fn change_routes(&mut self) {
        let config = self.config.clone();
        let is_there = |name: &str| config.logs.iter().any(|log| log.name == name);
        self.routes.retain(|name, _| is_there(name));
        for log in &config.logs {
            self.route(log);
            let counters = self.shared.metrics.section(log);
            let mut route = log.route(&self.host, config.kafka.headers, counters);
            route.tap = self.tap.point(&log.name);
            if let Some((known, _)) = self.routes.get_mut(&log.name)
                && **known != route
            {
                *known = Arc::new(route);
            }
        }
    }

    /// Has the tailers go over whose section says something else, and those end whose section is gone. Returns how many
    /// files of each section end.
    fn change_tailers(&mut self, discovery: &Discovery) -> HashMap<String, usize> {
        let mut ending = HashMap::new();
        let mut tailers = std::mem::take(&mut self.tailers);
        for (path, tailer) in &mut tailers {
            let Some(log) = discovery.wanted(path) else {
                *ending.entry(tailer.log.name.clone()).or_default() += 1;
                if !std::mem::replace(&mut tailer.is_ending, true) {
                    self.shared.changes.put(&tailer.handle, Change::End);
                }
                continue;
            };
            let (route, share) = self.route(&log);
            let is_same = Arc::ptr_eq(&tailer.log, &log)
                && Arc::ptr_eq(&tailer.destination.route, &route)
                && !tailer.is_ending;
            if is_same {
                continue;
            }
            self.changed_topics.meet(&log, path);
            let is_of_section = tailer.log.name == log.name;
            let account = (!is_of_section).then(|| share.account(tailer.handle.clone()));
            let path = path.clone();
            tailer.destination = Arc::new(Destination { route, path });
            (tailer.log, tailer.is_ending) = (log.clone(), false);
            let change = Change::Section {
                log,
                destination: tailer.destination.clone(),
                account,
            };
            self.shared.changes.put(&tailer.handle, change);
        }
        self.tailers = tailers;
        ending
    }

    /// Adds to the changes of a section's paths that no file is followed by them: a mistyped folder is right by its form.
    fn say_what_follows_nothing(&self, begun: &mut Begun) {
        let ReloadOutcome::Applied(changes) = &mut begun.report.outcome else {
            return;
        };
        for name in &begun.looked_for {
            let mut tailers = self.tailers.values();
            let is_followed = tailers.any(|one| one.log.name == *name && !one.is_ending);
            let what = format!("log:{name}");
            let change = changes.iter_mut().find(|change| change.what == what);
            if let Some(change) = change.filter(|_| !is_followed) {
                change.words.push_str(match begun.ending.get(name) {
                    None => "; it follows no file yet",
                    Some(_) => "; it follows no file any more: is its path right?",
                });
            }
        }
    }

    /// What there is of the new sections is known: it is followed.
    pub(super) fn on_reloaded(&mut self, first: Option<FirstLook>) {
        let Some(mut begun) = self.reloading.begun.take() else {
            return;
        };
        let found = first.map_or_else(Vec::new, |first| first.found);
        let mut beginning: HashMap<String, usize> = HashMap::new();
        for found in found {
            *beginning.entry(found.log.name.clone()).or_default() += 1;
            self.follow(found);
        }
        self.shared.descriptors.follows(self.tailers.len());
        let sections = self.config.logs.iter().map(|log| log.name.clone());
        self.tell(Progress::Following {
            sections: sections.collect(),
            interval: self.config.agent.checkpoint_interval,
        });
        if let ReloadOutcome::Applied(changes) = &mut begun.report.outcome {
            for (change, name) in changes.iter_mut().zip(&begun.added) {
                let count = beginning.get(name).copied().unwrap_or(0);
                change.words = format!("{} begin{}", counted(count, "file"), verb_end(count));
            }
        }
        self.say_what_follows_nothing(&mut begun);
        begun.lacks.retain(|one| *one != Lacking::Files);
        self.reloading.begun = Some(begun);
        self.end_reload();
    }

    /// It is known which of the brokers can be reached.
    pub(super) fn on_brokers_asked(&mut self) {
        if !self.reloading.waits_for_brokers() {
            return;
        }
        let Some(begun) = &mut self.reloading.begun else {
            return;
        };
        begun.lacks.retain(|one| *one != Lacking::Brokers);
        if let ReloadOutcome::Applied(changes) = &mut begun.report.outcome {
            let failures = self.reach.failures();
            changes.extend(failures.map(unreachable));
        }
        self.end_reload();
    }

    /// The reload is over, if it lacks nothing.
    fn end_reload(&mut self) {
        let begun = self.reloading.begun.take_if(|begun| begun.lacks.is_empty());
        let Some(begun) = begun else { return };
        let changes = match &begun.report.outcome {
            ReloadOutcome::Applied(changes) if begun.waiting.is_empty() => changes,
            _ => &vec![],
        };
        let at = self.standing.config.last_applied;
        let at = at.unwrap_or_else(SystemTime::now);
        self.reloading.unseen = (!changes.is_empty()).then(|| (at, changes.clone()));
        say(&begun.report);
        self.service_manager.ready();
        answer_all(&begun.waiting, &begun.report);
        if !self.reloading.waiting.is_empty() {
            self.reloading.look();
        }
    }
}

/// A broker that cannot be reached.
fn unreachable((address, error): (&str, &str)) -> ReloadChange {
    ReloadChange {
        kind: ChangeKind::Warning,
        what: address.to_owned(),
        words: format!("cannot be reached: {error}"),
    }
}

/// What decides which files are of a section.
const PATH_KEYS: [&str; 2] = ["path", "exclude"];
