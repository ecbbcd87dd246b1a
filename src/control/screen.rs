//! The status as an operator sees it: tables made of two snapshots, for a terminal of 80 columns and for a browser.

use std::time::{Duration, SystemTime};

use super::measures::{
    about, age, ago, bytes_or_none, clock, count, cut, per_mille_ms, plain, rate, size,
};
use super::table::{Column, GREEN, RED, RESET, Row, Table, WIDTH};
use crate::shown::ShownPath;
use crate::snapshot::{BrokerStatus, FileState, FileStatus, LogStatus, Snapshot, TopicStatus};

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// A section's name or a file's path: everything else is left out.
    pub(super) only: Option<String>,
    /// Files at their end, too.
    pub(super) all: bool,
    /// The first files.
    pub(super) order: Order,
    /// So many files at most, unless all are asked for.
    pub(super) most_files: usize,
}

/// Which files come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    /// Whose oldest unacknowledged byte is the oldest.
    #[default]
    Worst,
    Lag,
    Path,
}

/// What is to be seen.
#[derive(Debug)]
pub(super) struct Screen {
    /// The process and its ini.
    pub(super) head: String,
    /// Whether an operator is needed, in one word, and the figures behind it.
    pub(super) word: &'static str,
    pub(super) sum: String,
    /// In the order of the screen.
    pub(super) tables: Vec<Table>,
    pub(super) foot: String,
    /// What is asked for and is not there.
    pub(super) missing: Option<String>,
}

/// A file is behind when it has waited for so long; what is younger is on its way.
pub(super) const BEHIND_AFTER: Duration = Duration::from_secs(10);
/// Nothing is wrong.
pub(super) const WELL: &str = "OK";
const LOGS: &[(&str, Column)] = &[
    ("LOG", Column::Text),
    ("FILES", Column::Figure),
    ("BEHIND", Column::Figure),
    ("LAG", Column::Figure),
    ("AGE", Column::Figure),
    ("READ/s", Column::Figure),
    ("ACKED/s", Column::Figure),
    ("DROPPED", Column::Figure),
    ("LOST", Column::Figure),
];
const FILES: [&[(&str, Column)]; 3] = [
    &[
        ("FILE, worst first", Column::Path),
        POSITION,
        SIZE,
        LAG,
        AGE,
    ],
    &[("FILE, by lag", Column::Path), POSITION, SIZE, LAG, AGE],
    &[("FILE, by path", Column::Path), POSITION, SIZE, LAG, AGE],
];
const POSITION: (&str, Column) = ("POSITION", Column::Figure);
const SIZE: (&str, Column) = ("    SIZE", Column::Figure);
const LAG: (&str, Column) = ("     LAG", Column::Figure);
const AGE: (&str, Column) = ("  AGE", Column::Figure);
const TOPICS: &[(&str, Column)] = &[
    ("TOPIC", Column::Word),
    ("RECORDS/s", Column::Figure),
    ("IN FLIGHT", Column::Figure),
    ("RETRIES", Column::Figure),
    ("STATE", Column::Text),
];
const BROKERS: &[(&str, Column)] = &[
    ("BROKER", Column::Word),
    ("UP", Column::Word),
    ("IN FLIGHT", Column::Figure),
    ("p50 ms", Column::Figure),
    ("p99 ms", Column::Figure),
    ("LAST ERROR", Column::Text),
];
const CONDITIONS: &[(&str, Column)] = &[("FOR", Column::Word), ("WHAT IS WRONG", Column::Text)];

/// Two snapshots, and the time between them.
struct Pair<'a> {
    before: &'a Snapshot,
    now: &'a Snapshot,
    elapsed: Duration,
    at: SystemTime,
}

impl View {
    /// Whether a file is of what is looked at: of a section, or under this name in any folder.
    pub(super) fn shows_file(&self, file: &FileStatus) -> bool {
        let Some(only) = &self.only else { return true };
        let path = ShownPath(&file.path).to_string();
        let is_named = || {
            path.strip_suffix(&**only)
                .is_some_and(|folder| folder.ends_with('/'))
        };
        file.log == *only || path == *only || is_named()
    }
}

impl Screen {
    /// What `now` shows at the time `at`, with the rates since `before`.
    pub(super) fn new(
        (before, now): (&Snapshot, &Snapshot),
        elapsed: Duration,
        at: SystemTime,
        view: &View,
    ) -> Screen {
        let pair = Pair {
            before,
            now,
            elapsed,
            at,
        };
        let mut files: Vec<&FileStatus> = now.files.iter().collect();
        let mut logs: Vec<&LogStatus> = now.logs.iter().collect();
        files.retain(|file| view.shows_file(file));
        if let Some(only) = &view.only {
            let of_file = |log: &LogStatus| files.iter().any(|file| file.log == log.name);
            logs.retain(|log| log.name == *only || of_file(log));
        }
        let missing = (view.only.iter())
            .find(|_| files.is_empty() && logs.is_empty())
            .map(|only| format!("the agent follows no file '{only}' and has no [log:{only}]"));
        let (word, sum) = pair.sum(&files, &logs, view.only.is_none());
        let most = |most| if view.all { usize::MAX } else { most };
        let mut tables = vec![
            pair.logs(&files, &logs).first(most(40)),
            pair.files(files, view),
        ];
        if view.only.is_none() {
            tables.insert(0, pair.conditions().first(most(10)));
            tables.push(pair.topics().first(most(20)));
            tables.push(pair.brokers().first(most(20)));
        }
        tables.retain(|table| !table.rows.is_empty() || !table.note.is_empty());
        Screen {
            head: pair.head(),
            word,
            sum,
            tables,
            foot: pair.foot(),
            missing,
        }
    }

    /// As lines of at most 80 columns, in plain ASCII.
    pub(super) fn text(&self, has_colour: bool) -> String {
        let mut text = format!("{}\n", cut(&plain(&self.head), WIDTH));
        let sum = cut(&format!("{}  {}", self.word, plain(&self.sum)), WIDTH);
        let (word, rest) = sum.split_at(self.word.len().min(sum.len()));
        let colour = if self.word == WELL { GREEN } else { RED };
        text.push_str(&match has_colour {
            true => format!("{colour}{word}{RESET}{rest}\n"),
            false => format!("{word}{rest}\n"),
        });
        for table in &self.tables {
            text.push('\n');
            table.push_text(&mut text, has_colour);
        }
        text.push_str(&cut(&plain(&self.foot), WIDTH));
        text.push('\n');
        text
    }
}

impl Pair<'_> {
    fn head(&self) -> String {
        let (process, config) = (&self.now.process, &self.now.config);
        let since = |time: Option<SystemTime>| self.since(time);
        let mut head = format!("logagent {}  pid {}", process.version, process.pid);
        if let Some(up) = since(process.started) {
            head.push_str(&format!("  up {}", age(up)));
        }
        let name = config.path.file_name().unwrap_or_default();
        head.push_str(&format!("  {}", ShownPath(name.as_ref())));
        if let Some(modified) = config.modified {
            head.push_str(&format!(" of {}", clock(modified, self.at)));
        }
        if let Some(reloaded) = since(config.last_applied).filter(|_| config.applied > 0) {
            head.push_str(&format!(", reloaded {}", ago(reloaded)));
        }
        head
    }

    /// The word for everything, and the figures behind it.
    fn sum(
        &self,
        files: &[&FileStatus],
        logs: &[&LogStatus],
        is_all: bool,
    ) -> (&'static str, String) {
        let waiting = files.iter().filter(|file| file.waits() > 0).count();
        let lag: u64 = files.iter().map(|file| file.waits()).sum();
        let oldest = self.oldest(files.iter().copied());
        let lost: u64 = logs.iter().map(|log| sum(&log.lost_bytes)).sum();
        let topics = self.now.topics.iter().filter(|_| is_all);
        let letters: u64 = topics.clone().map(|topic| sum(&topic.dead_letters)).sum();
        let is_wrong = self
            .now
            .conditions
            .iter()
            .any(|one| one.level == log::Level::Error);
        let word = if oldest.is_some_and(|oldest| oldest >= BEHIND_AFTER) {
            "BEHIND"
        } else if files.iter().any(|file| file.state == FileState::Failed) {
            "FAILED"
        } else if topics.clone().any(|topic| topic.parked.is_some()) {
            "PARKED"
        } else if lost > 0 {
            "LOST"
        } else if is_all
            && (is_wrong || !self.now.unanswered.is_empty() || self.now.config.refusal.is_some())
        {
            "WRONG"
        } else {
            WELL
        };
        let mut text = match waiting {
            0 if files.len() == 1 => "1 file at its end".to_owned(),
            0 => format!("{} files at their end", files.len()),
            _ => format!("{waiting} of {} files, {}", files.len(), size(lag)),
        };
        if let Some(oldest) = oldest {
            text.push_str(&format!(", oldest line {}", age(oldest)));
        }
        text.push_str(&format!("    lost {}", size(lost)));
        if is_all {
            text.push_str(&format!("  dead letters {}", count(letters)));
        }
        (word, text)
    }

    /// Since when the oldest of them waits.
    fn oldest<'f>(&self, files: impl Iterator<Item = &'f FileStatus>) -> Option<Duration> {
        let waiting = files.filter(|file| file.waits() > 0);
        waiting
            .filter_map(|file| self.since(file.behind_since))
            .max()
    }

    fn since(&self, time: Option<SystemTime>) -> Option<Duration> {
        // A clock that was set back makes nothing younger than it is.
        time.map(|time| self.at.duration_since(time).unwrap_or_default())
    }

    fn until(&self, time: Option<SystemTime>) -> String {
        match time.map(|time| time.duration_since(self.at).unwrap_or_default()) {
            Some(left) if left.as_secs() > 0 => format!(", again in {}", about(left)),
            Some(_) => ", again now".to_owned(),
            None => String::new(),
        }
    }

    fn logs(&self, files: &[&FileStatus], logs: &[&LogStatus]) -> Table {
        let mut rows: Vec<((Duration, u64), Row)> = Vec::new();
        for log in logs {
            let own = || files.iter().copied().filter(|file| file.log == log.name);
            let lag: u64 = own().map(FileStatus::waits).sum();
            let oldest = self.oldest(own()).unwrap_or_default();
            let before = self
                .before
                .logs
                .iter()
                .find(|before| before.name == log.name);
            let rate = |value: fn(&LogStatus) -> u64| {
                size(rate(before.map_or(0, value), value(log), self.elapsed))
            };
            let lost = sum(&log.lost_bytes);
            let cells = vec![
                log.name.clone(),
                count(own().count() as u64),
                count(own().filter(|file| file.waits() > 0).count() as u64),
                bytes_or_none(lag),
                age(oldest),
                rate(|log| log.read_bytes),
                rate(|log| log.acked_bytes),
                count(sum(&log.dropped)),
                bytes_or_none(lost),
            ];
            let is_bad = oldest >= BEHIND_AFTER || lost > 0;
            rows.push(((oldest, lag), Row { cells, is_bad }));
        }
        rows.sort_by(|(a, _), (b, _)| b.cmp(a));
        Table::new(LOGS, rows.into_iter().map(|(_, row)| row))
    }

    fn files(&self, mut files: Vec<&FileStatus>, view: &View) -> Table {
        let all = files.len();
        let is_wanted = |file: &FileStatus| file.waits() > 0 || file.state == FileState::Failed;
        let with_all = view.all || view.only.is_some();
        files.retain(|file| with_all || is_wanted(file));
        let at_end = all - files.len();
        let age_of = |file: &FileStatus| match file.waits() {
            0 => Duration::ZERO,
            _ => self.since(file.behind_since).unwrap_or_default(),
        };
        files.sort_by(|a, b| {
            let by_path = || a.path.cmp(&b.path);
            let by_lag = || b.waits().cmp(&a.waits()).then_with(by_path);
            match view.order {
                Order::Path => by_path(),
                Order::Lag => by_lag(),
                Order::Worst => {
                    let is_failed = |file: &FileStatus| file.state == FileState::Failed;
                    let by_age = || age_of(b).cmp(&age_of(a)).then_with(by_lag);
                    is_failed(b).cmp(&is_failed(a)).then_with(by_age)
                }
            }
        });
        let most = if with_all {
            usize::MAX
        } else {
            view.most_files
        };
        let rows = files.iter().take(most).map(|file| Row {
            cells: vec![
                ShownPath(&file.path).to_string(),
                size(file.position),
                size(file.size),
                bytes_or_none(file.waits()),
                match file.state {
                    FileState::Failed => "FAILED".to_owned(),
                    _ => age(age_of(file)),
                },
            ],
            is_bad: file.state == FileState::Failed || age_of(file) >= BEHIND_AFTER,
        });
        let mut table = Table::new(FILES[view.order as usize], rows);
        let more = files.len().saturating_sub(most);
        let more_text = (more > 0).then(|| format!("{more} more that are not"));
        let end_text = (at_end > 0).then(|| format!("{at_end} files"));
        let parts: Vec<String> = more_text.into_iter().chain(end_text).collect();
        if !parts.is_empty() {
            table.note = format!("... {} at their end (-a shows all)", parts.join(", "));
        }
        table
    }

    fn topics(&self) -> Table {
        let mut topics: Vec<(u64, &TopicStatus)> = Vec::new();
        for topic in &self.now.topics {
            let before = self
                .before
                .topics
                .iter()
                .find(|before| before.name == topic.name);
            let before = before.map_or(0, |before| before.acked_records);
            topics.push((rate(before, topic.acked_records, self.elapsed), topic));
        }
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
                    Some((reason, since)) => {
                        let since = about(self.since(Some(*since)).unwrap_or_default());
                        format!("PARKED {since}: {reason}{}", self.until(topic.next_try))
                    }
                    None => "ok".to_owned(),
                },
            ],
            is_bad: topic.parked.is_some(),
        });
        Table::new(TOPICS, rows)
    }

    fn brokers(&self) -> Table {
        let mut brokers: Vec<&BrokerStatus> = self.now.brokers.iter().collect();
        brokers.sort_by_key(|broker| (broker.up_since.is_some(), &broker.address));
        let rows = brokers.iter().map(|broker| {
            let before = self
                .before
                .brokers
                .iter()
                .find(|before| before.address == broker.address);
            let before = before.map(|before| &before.latency);
            let latency = |per_mille| per_mille_ms(before, &broker.latency, per_mille);
            let up = self.since(broker.up_since);
            Row {
                cells: vec![
                    broker.address.clone(),
                    up.map_or_else(|| "no".to_owned(), age),
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
                is_bad: up.is_none(),
            }
        });
        Table::new(BROKERS, rows)
    }

    /// What is wrong and is not to be seen in the other tables.
    fn conditions(&self) -> Table {
        let is_seen = |subject: &str| match subject.split_once(' ') {
            Some(("topic", name)) => {
                let mut topics = self.now.topics.iter();
                topics.any(|topic| topic.name == name && topic.parked.is_some())
            }
            Some(("broker", name)) => {
                let mut brokers = self.now.brokers.iter();
                brokers.any(|broker| broker.address == name && broker.up_since.is_none())
            }
            _ => false,
        };
        let conditions = self.now.conditions.iter();
        let conditions = conditions.filter(|condition| !is_seen(&condition.subject));
        let conditions = conditions.map(|condition| {
            let since = about(self.since(Some(condition.since)).unwrap_or_default());
            let text = format!("{}: {}", condition.subject, condition.reason);
            (since, text, condition.level == log::Level::Error)
        });
        let none = String::new;
        let refusal = self.now.config.refusal.iter();
        let refusal =
            refusal.map(|why| (none(), format!("the last reload was refused: {why}"), true));
        let silent = self.now.unanswered.iter();
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

    fn foot(&self) -> String {
        let (process, positions) = (&self.now.process, &self.now.positions);
        let limit = size(process.memory_limit);
        let used = size(process.memory_used);
        // One unit is enough where both have the same.
        let unit = |text: &str| text.rsplit(' ').next().map(str::to_owned);
        let used = match unit(&used) == unit(&limit) {
            true => used.split(' ').next().unwrap_or_default().to_owned(),
            false => used,
        };
        let written = match (self.since(positions.written), positions.failures) {
            (Some(since), 0) => format!("positions written {}", ago(since)),
            (Some(since), failures) => {
                format!("positions written {}, failed {failures} times", ago(since))
            }
            (None, _) => "positions not written yet".to_owned(),
        };
        format!(
            "memory {used} of {limit}   {written}   threads {}   files open {}",
            process.threads, process.files_open
        )
    }
}

fn sum<T>(counts: &[(T, u64)]) -> u64 {
    counts.iter().map(|(_, count)| count).sum()
}
