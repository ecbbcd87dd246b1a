//! The tables of a screen beside those of sections and files.

use std::time::Duration;

use super::super::measures::{about, age, ago, count, per_mille_ms, size};
use super::super::table::{Column, Row, Table};
use super::{BEHIND_AFTER, LOST_FOR, Moment, View};
use crate::rights;
use crate::shown::ShownPath;
use crate::snapshot::{
    ALL_BROKERS, BootstrapStatus, BrokerStatus, FileStatus, LogStatus, Loss, NotFollowed,
    TopicStatus,
};
use crate::topic_names::{collide, collision};
use crate::wall_clock::clock;

impl Moment<'_> {
    /// All topics, or those of what is looked at.
    pub(super) fn topics(&self, logs: &[&LogStatus], view: &View) -> Table {
        let is_all = view.only.is_none();
        let is_shown = |topic: &&TopicStatus| logs.iter().any(|log| log.has_topic(&topic.name));
        let topics = self.now.topics.iter();
        let topics = topics.filter(|topic| is_all || is_shown(topic));
        let rated = topics.map(|topic| (topic.acked_rate, topic));
        let mut topics: Vec<(u64, &TopicStatus)> = rated.collect();
        topics.sort_by_key(|(rate, topic)| {
            (
                topic.parked.is_none(),
                std::cmp::Reverse(*rate),
                &topic.name,
            )
        });
        let rows = topics.iter().map(|(rate, topic)| Row {
            cells: vec![
                topic.name.clone(),
                count(*rate),
                size(topic.in_flight_bytes),
                count(topic.retries),
                match &topic.parked {
                    _ if topic.waits_for_broker => "waits for a broker".to_owned(),
                    // Why, and what to do, stands under WHAT IS WRONG, where there is room for it.
                    Some((_, since)) => {
                        let since = age(self.since(Some(*since)).unwrap_or_default());
                        format!("PARKED {since}{}", self.until(topic.next_try))
                    }
                    None => "ok".to_owned(),
                },
            ],
            is_bad: topic.parked.is_some() || topic.waits_for_broker,
        });
        let mut table = Table::new(TOPICS, rows);
        if table.rows.is_empty() && is_all {
            table.note = "TOPIC: none was sent to yet".to_owned();
        }
        table
    }

    pub(super) fn brokers(&self) -> Table {
        let mut brokers: Vec<&BrokerStatus> = self.now.brokers.iter().collect();
        brokers.sort_by_key(|broker| (broker.up_since.is_some(), &broker.address));
        let rows = brokers.iter().map(|broker| {
            let recent = &broker.recent_latency;
            let latency = |per_mille| per_mille_ms(recent, &broker.latency, per_mille);
            let up = self.since(broker.up_since);
            // Of a member that nothing was to be sent to there is no connection.
            let is_down = up.is_none() && broker.last_error.is_some();
            let none = if is_down { "no" } else { "-" };
            Row {
                cells: vec![
                    broker.address.clone(),
                    up.map_or_else(|| none.to_owned(), age),
                    connected_as(&broker.about),
                    count(broker.in_flight_requests),
                    latency(500),
                    latency(990),
                    match &broker.last_error {
                        Some(error) if up.is_none() => {
                            format!("{error}{}", self.until(broker.next_try))
                        }
                        Some(error) => error.clone(),
                        None => "-".to_owned(),
                    },
                ],
                is_bad: is_down,
            }
        });
        let mut table = Table::new(BROKERS, rows);
        if table.rows.is_empty() && self.now.conditions.is_empty() {
            table.note = "BROKER: not connected yet".to_owned();
        }
        table
    }

    /// One row for each transactional id, with `delivery = exactly_once`.
    pub(super) fn transactions(&self) -> Table {
        let rows = self.now.transactions.iter().map(|one| {
            let open = self.since(one.open_since);
            Row {
                cells: vec![
                    one.id.clone(),
                    count(one.committed),
                    count(one.aborted),
                    open.map_or_else(|| "-".to_owned(), age),
                ],
                is_bad: open.is_some_and(|open| open >= OPEN_LONG),
            }
        });
        let mut table = Table::new(TRANSACTIONS, rows);
        if !self.now.exactly_once.is_empty() {
            table.note = format!("exactly once: {}", self.now.exactly_once);
        }
        table
    }

    /// What is wrong; if a part is looked at, what is wrong with its files, and where one of them is behind with what is
    /// no file: a topic of theirs, a broker.
    pub(super) fn conditions(
        &self,
        files: &[&FileStatus],
        logs: &[&LogStatus],
        view: &View,
    ) -> Table {
        let is_of_files = |subject: &str| {
            let mut files = files.iter();
            files.any(|file| ShownPath(&file.path).to_string() == subject)
        };
        let oldest = self.oldest(files.iter().copied());
        let one_is_behind = oldest.is_some_and(|oldest| oldest >= BEHIND_AFTER);
        let one_waits = files.iter().any(|file| file.waits() > 0);
        let is_shown = |subject: &str| match view.only.is_none() {
            _ if subject == ALL_BROKERS => view.only.is_none() || one_waits,
            true => !self.is_in_other_tables(subject),
            false => match subject.strip_prefix("topic ") {
                Some(topic) => one_waits && logs.iter().any(|log| log.goes_to(topic)),
                None => is_of_files(subject) || one_is_behind && !subject.starts_with('/'),
            },
        };
        let conditions = self.now.conditions.iter();
        let conditions = conditions.filter(|one| is_shown(&one.subject));
        // What keeps everything from going out comes first.
        let mut conditions: Vec<_> = conditions.collect();
        conditions.sort_by_key(|one| one.subject != ALL_BROKERS);
        let conditions = conditions.into_iter();
        let conditions = conditions.map(|condition| {
            let lasts = self.since(Some(condition.since)).unwrap_or_default();
            let advice = match condition.subject.starts_with("topic ") {
                true => self.advice(&condition.subject[6..], &condition.reason),
                false => String::new(),
            };
            let (subject, reason) = (&condition.subject, &condition.reason);
            let waiting = match condition.waiting {
                0 => String::new(),
                bytes => format!("; {} wait", size(bytes)),
            };
            // A clock time can be found again in a log.
            let began = match lasts >= Duration::from_secs(60) {
                true => format!("; since {}", clock(condition.since, self.at)),
                false => String::new(),
            };
            let advice = format!("{waiting}{advice}{began}");
            // Reasons of the log name the path as well.
            let text = match reason.strip_prefix(&format!("'{subject}'")) {
                Some(rest) => format!("{subject}{rest}{advice}"),
                None => format!("{subject}: {reason}{advice}"),
            };
            (about(lasts), text, condition.level == log::Level::Error)
        });
        let none = String::new;
        let of_all = view.only.is_none();
        let refusal = self.now.config.refusal.iter().filter(|_| of_all);
        let in_use = match self.now.config.modified {
            Some(modified) => format!("of {}", clock(modified, self.at)),
            None => "of before".to_owned(),
        };
        let refusal = refusal.map(|why| {
            let text =
                format!("the last reload was refused, the ini {in_use} stays in use:\n{why}");
            (none(), text, true)
        });
        let silent = self.now.unanswered.iter().filter(|_| of_all);
        let silent = silent.map(|part| {
            let text = format!("{part} does not answer: what it knows is missing here");
            (none(), text, true)
        });
        let all = silent.chain(refusal).chain(conditions);
        let rows = all.map(|(since, text, is_bad)| Row {
            cells: vec![since, text],
            is_bad,
        });
        Table::new(CONDITIONS, rows)
    }

    /// What to do about a topic that is parked, and what waits for it though no section names it any more.
    fn advice(&self, topic: &str, reason: &str) -> String {
        let logs = self.now.logs.iter().filter(|log| log.goes_to(topic));
        let (former, naming): (Vec<&LogStatus>, Vec<_>) =
            logs.partition(|log| log.former_topics.iter().any(|one| one == topic));
        let mut words = match former.is_empty() || !naming.is_empty() {
            true => match self.twin_of(topic) {
                Some(other) => format!("; it {}", collision(other)),
                None => remedy(reason).to_owned(),
            },
            false => String::new(),
        };
        // In transactions nothing behind it is committed.
        let again = match self.now.exactly_once.is_empty() {
            true => ", and once more what was sent behind it",
            false => "",
        };
        for log in former {
            let name = &log.name;
            words.push_str(&match log.is_removed {
                true => format!(
                    "; [log:{name}] is gone from the ini and cannot finish: what it read waits for this topic; a \
                     restart leaves that in its files"
                ),
                false => format!(
                    "; what [log:{name}] read before its 'topic' was changed waits for it: a restart sends it to the \
                     new one{again}"
                ),
            });
        }
        words
    }

    /// The topic that keeps Kafka from making this one.
    fn twin_of(&self, topic: &str) -> Option<&str> {
        let mut others = self.now.topics.iter().filter(|one| one.parked.is_none());
        let other = others.find(|one| collide(topic, &one.name))?;
        Some(&other.name)
    }

    /// What is as it was asked for, and may not be as it was meant.
    pub(super) fn notes(&self, logs: &[&LogStatus], view: &View) -> Table {
        let is_shown = |name: &str| logs.iter().any(|log| log.name == name);
        let sections = self.now.follows_nothing.iter();
        let sections = sections.filter(|one| is_shown(&one.log)).map(|one| {
            let words = format!("follows no file: {}", one.why);
            (format!("[log:{}]", one.log), words)
        });
        let config = &self.now.config;
        let ini = ShownPath(config.path.file_name().unwrap_or_default().as_ref()).to_string();
        let is_changed = config.is_changed && view.only.is_none();
        let changed = is_changed.then(|| {
            let words = "changed on disk since it was read: 'logagent reload' reads it again";
            (ini, words.to_owned())
        });
        let waiting = config.waits_for_restart.iter();
        let waiting = waiting.filter(|_| view.only.is_none()).map(|what| {
            let words = "was changed in the ini and needs a restart: the old one stays in use";
            (what.clone(), words.to_owned())
        });
        let bootstrap = self.now.bootstrap.iter().filter(|_| view.only.is_none());
        let bootstrap = bootstrap.filter_map(|one| self.note_of(one));
        let unfollowed = self.unfollowed().filter(|_| view.only.is_none());
        let rows = changed.into_iter().chain(waiting).chain(sections);
        let rows = rows.chain(unfollowed);
        let held = logs.iter().filter_map(|log| self.held(log));
        let rows = rows.chain(bootstrap).chain(held);
        let rows = rows.map(|(about, words)| Row {
            cells: vec![about, words],
            is_bad: false,
        });
        Table::new(NOTES, rows)
    }

    /// That `rate_limit` lets a section wait, as it was asked to.
    fn held(&self, log: &LogStatus) -> Option<(String, String)> {
        let rate = log.rate_limit.as_ref().filter(|_| log.is_held)?;
        let files = self.now.files.iter().filter(|file| file.log == log.name);
        let lag: u64 = files.clone().map(FileStatus::waits).sum();
        let since = self.oldest(files).filter(|_| lag > 0)?;
        let words = format!(
            "is held by rate_limit = {rate}: {} wait, the oldest for {}",
            size(lag),
            about(since)
        );
        Some((format!("[log:{}]", log.name), words))
    }

    /// What there is to say of an address of `brokers`, unless the table of brokers does.
    fn note_of(&self, one: &BootstrapStatus) -> Option<(String, String)> {
        let mut brokers = self.now.brokers.iter();
        if brokers.any(|broker| broker.address == one.address) {
            return None;
        }
        let words = match (&one.error, self.since(one.error_since)) {
            (Some(error), Some(since)) => {
                format!(
                    "in 'brokers', cannot be reached for {}: {error}",
                    about(since)
                )
            }
            (Some(error), None) => format!("in 'brokers', cannot be reached: {error}"),
            (None, _) if !one.is_asked => {
                "in 'brokers', not tried yet: there was no need".to_owned()
            }
            (None, _) => return None,
        };
        Some((one.address.clone(), words))
    }

    /// What went away before it was read, the latest first.
    pub(super) fn losses(&self, view: &View) -> Table {
        let losses = self.now.losses.iter().rev();
        let shown = losses.filter(|loss| view.shows_text(&loss.path, &loss.log));
        let rows = shown.map(|loss| {
            let since = self.since(Some(loss.at)).unwrap_or_default();
            let Loss {
                path, offset, why, ..
            } = loss;
            Row {
                cells: vec![
                    match since >= Duration::from_secs(60) {
                        true => clock(loss.at, self.at),
                        false => ago(since),
                    },
                    match loss.is_certain() {
                        true => size(loss.bytes),
                        false => "?".to_owned(),
                    },
                    match loss.is_certain() {
                        true => format!("{path} from offset {offset} on: {why}"),
                        false => format!(
                            "{path}: what was added from offset {offset} on while no agent looked, if anything was; \
                             its file is gone or truncated"
                        ),
                    },
                ],
                is_bad: loss.is_certain() && since < LOST_FOR,
            }
        });
        Table::new(LOSSES, rows)
    }

    /// Those of earlier runs, which the counters of this one do not know.
    pub(super) fn losses_before(&self, view: &View) -> Vec<&Loss> {
        let Some(started) = self.now.process.started else {
            return Vec::new();
        };
        let losses = self.now.losses.iter();
        losses
            .filter(|loss| loss.is_certain() && loss.at < started)
            .filter(|loss| view.shows_text(&loss.path, &loss.log))
            .collect()
    }

    /// Whether bytes may have gone that nobody has seen.
    pub(super) fn is_perhaps_lost(&self, view: &View) -> bool {
        let mut losses = self.now.losses.iter();
        losses.any(|loss| !loss.is_certain() && view.shows_text(&loss.path, &loss.log))
    }

    /// Whether the table of brokers tells of it.
    fn is_in_other_tables(&self, subject: &str) -> bool {
        match subject.split_once(' ') {
            Some(("broker", name)) => {
                let mut brokers = self.now.brokers.iter();
                brokers.any(|broker| broker.address == name && broker.up_since.is_none())
            }
            _ => false,
        }
    }

    /// What patterns name and is not followed.
    pub(super) fn left_out(&self, view: &View) -> Table {
        let is_everyday = |one: &NotFollowed| EVERYDAY.contains(&&*one.kind);
        let with_all = view.all || view.only.is_some();
        let shown = self.now.not_followed.iter();
        let shown = shown.filter(|one| view.shows(&one.path, &one.log));
        let shown = shown.filter(|one| with_all || !is_everyday(one));
        let most = if with_all { usize::MAX } else { FEW_LEFT_OUT };
        let rows = shown.take(most).map(|one| Row {
            cells: vec![
                one.log.clone(),
                format!("{}: {}", ShownPath(&one.path), one.reason),
            ],
            is_bad: false,
        });
        let mut table = Table::new(LEFT_OUT, rows);
        let counts = self.now.not_followed_counts.iter();
        let all: u64 = counts.clone().map(|(_, count)| count).sum();
        let counts: Vec<String> = counts.map(|(why, n)| format!("{why} {n}")).collect();
        if view.only.is_none() && all > 0 {
            let more = match (table.rows.len() as u64) < all {
                true => " (-a shows all)",
                false => "",
            };
            table.note = format!("not followed: {}{more}", counts.join(", "));
        }
        table
    }
}

/// What was found at a broker, in short: of `Kafka 4.1 or later, TLS 1.3, SCRAM-SHA-512` it is `4.1+ TLS, SCRAM`.
fn connected_as(about: &str) -> String {
    let mut parts = about.split(", ");
    let release = parts.next().unwrap_or_default();
    let release = release.strip_prefix("Kafka ").unwrap_or(release);
    let (tls, login) = (parts.next(), parts.next());
    let words = match (tls, login) {
        (None, _) | (_, None) => return "-".to_owned(),
        // Where nothing is said of a login there is none. "plain" would be taken for SASL PLAIN.
        (Some("no TLS"), Some("no login")) => "no TLS".to_owned(),
        (Some("no TLS"), Some(login)) => format!("no TLS, {}", short(login)),
        (Some(_), Some("no login")) => "TLS, no login".to_owned(),
        (Some(_), Some(login)) => format!("TLS, {}", short(login)),
    };
    let release = release.replace(" or later", "+");
    match release.starts_with(|one: char| one.is_ascii_digit()) {
        true => format!("{release} {words}"),
        false => words,
    }
}

/// What to do about a topic that is parked for `reason`, which ends with the code of Kafka.
fn remedy(reason: &str) -> &'static str {
    let code = reason
        .rsplit_once('(')
        .map(|(_, code)| code.trim_end_matches(')'));
    match code.and_then(|code| code.parse().ok()) {
        Some(UNKNOWN_TOPIC) => {
            "; there is no such topic: kafka-topics.sh --create makes it, or name one that there is in 'topic =' \
             and restart the agent: what was read waits for this one; 'logagent check' says whether its name collides"
        }
        Some(INVALID_TOPIC) => {
            "; 'logagent check' says whether it collides with a name that differs only in '.' and '_'"
        }
        Some(code) => rights::missing(code).unwrap_or_default(),
        None => "",
    }
}

/// `INVALID_TOPIC_EXCEPTION`.
const INVALID_TOPIC: i16 = 17;
/// `UNKNOWN_TOPIC_OR_PARTITION`.
const UNKNOWN_TOPIC: i16 = 3;

/// A mechanism without its hash.
fn short(mechanism: &str) -> &str {
    mechanism.split("-SHA-").next().unwrap_or(mechanism)
}

const TOPICS: &[(&str, Column)] = &[
    ("TOPIC", Column::Word),
    ("RECORDS/s", Column::Figure),
    ("IN FLIGHT", Column::Figure),
    ("RETRIES", Column::Figure),
    ("STATE", Column::Text),
];
const BROKERS: &[(&str, Column)] = &[
    ("BROKER", Column::Whole),
    ("UP", Column::Word),
    ("AS", Column::Word),
    ("IN FLIGHT", Column::Figure),
    ("p50 ms", Column::Figure),
    ("p99 ms", Column::Figure),
    ("ERROR", Column::Text),
];
const TRANSACTIONS: &[(&str, Column)] = &[
    ("TRANSACTIONAL ID", Column::Path),
    ("COMMITTED", Column::Figure),
    ("ABORTED", Column::Figure),
    ("OPEN FOR", Column::Figure),
];
const CONDITIONS: &[(&str, Column)] = &[("FOR", Column::Word), ("WHAT IS WRONG", Column::Text)];
const NOTES: &[(&str, Column)] = &[("ABOUT", Column::Word), ("NOTE", Column::Text)];
const LOSSES: &[(&str, Column)] = &[
    ("LOST", Column::Word),
    ("BYTES", Column::Figure),
    ("OF", Column::Text),
];
const LEFT_OUT: &[(&str, Column)] = &[("LOG", Column::Word), ("NOT FOLLOWED", Column::Text)];
/// There are such in most folders of logs, as wanted: they are counted, and shown to who asks.
const EVERYDAY: [&str; 2] = ["excluded", "compressed"];
/// A transaction that is open for so long, which is more than any `commit_interval`, holds up all consumers of its
/// partitions.
const OPEN_LONG: Duration = Duration::from_secs(90);
/// So many of the paths that are not followed are shown.
const FEW_LEFT_OUT: usize = 5;
