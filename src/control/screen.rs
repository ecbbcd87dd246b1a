//! The status as an operator sees it: tables made of a snapshot, for a terminal of 80 columns and for a browser.

mod parts;
mod unfollowed;

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::measures::{age, ago, bytes_or_none, count, cut, plain, size};
use super::table::{Column, GREEN, RED, RESET, Row, Table, WIDTH};
use crate::shown::{ShownPath, wrap};
use crate::snapshot::{FileState, FileStatus, LogStatus, Snapshot};
use crate::wall_clock::{clock, zone};

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

/// The first word is BEHIND when a line has waited for so long; what is younger is on its way.
pub(super) const BEHIND_AFTER: Duration = Duration::from_secs(10);
/// What was lost within this time is a reason to look; the count stays.
pub(super) const LOST_FOR: Duration = Duration::from_secs(3600);
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
/// A snapshot, and when it is looked at.
struct Moment<'a> {
    now: &'a Snapshot,
    at: SystemTime,
}

impl View {
    /// Whether a file is of what is looked at: of a section, or under this name in any folder.
    pub(super) fn shows_file(&self, file: &FileStatus) -> bool {
        let mut now = file.path_now.iter();
        self.shows(&file.path, &file.log) || now.any(|path| self.shows(path, &file.log))
    }

    /// The same of a path and its section.
    pub(super) fn shows(&self, path: &Path, log: &str) -> bool {
        self.shows_text(&ShownPath(path).to_string(), log)
    }

    /// The same of a path as it is shown.
    pub(super) fn shows_text(&self, path: &str, log: &str) -> bool {
        let Some(only) = &self.only else { return true };
        let is_named = || {
            path.strip_suffix(&**only)
                .is_some_and(|folder| folder.ends_with('/'))
        };
        log == only || path == only || is_named()
    }
}

impl Screen {
    /// What `now` shows at the time `at`.
    pub(super) fn new(now: &Snapshot, at: SystemTime, view: &View) -> Screen {
        let moment = Moment { now, at };
        let mut files: Vec<&FileStatus> = now.files.iter().collect();
        let mut logs: Vec<&LogStatus> = now.logs.iter().collect();
        files.retain(|file| view.shows_file(file));
        if let Some(only) = &view.only {
            let of_file = |log: &LogStatus| files.iter().any(|file| file.log == log.name);
            logs.retain(|log| log.name == *only || of_file(log));
        }
        let left_out = moment.left_out(view);
        let missing = (view.only.iter())
            .find(|_| files.is_empty() && logs.is_empty() && left_out.rows.is_empty())
            .map(|only| format!("the agent follows no file '{only}' and has no [log:{only}]"));
        let conditions = moment.conditions(&files, &logs, view);
        let is_wrong =
            !conditions.rows.is_empty() || (view.only.is_none() && !now.conditions.is_empty());
        let (word, sum) = moment.sum(&files, &logs, view, is_wrong);
        let is_not_followed = view.only.is_some() && files.is_empty() && logs.is_empty();
        let (word, sum) = match is_not_followed {
            true => ("NOT FOLLOWED", String::new()),
            false => (word, sum),
        };
        let most = |most| if view.all { usize::MAX } else { most };
        let mut tables = vec![
            conditions.first(most(10)),
            moment.losses(view).first(most(5)),
            moment.logs(&files, &logs).first(most(40)),
            moment.notes(&logs, view).first(most(10)),
            moment.files(files, view),
        ];
        tables.push(moment.topics(&logs, view).first(most(20)));
        if view.only.is_none() {
            tables.push(moment.brokers().first(most(20)));
            tables.push(moment.transactions());
        }
        tables.push(left_out);
        tables.retain(|table| !table.rows.is_empty() || !table.note.is_empty());
        Screen {
            head: moment.head(),
            word,
            sum,
            tables,
            foot: moment.foot(),
            missing,
        }
    }

    /// As lines of at most 80 columns, in plain ASCII.
    #[cfg(test)]
    pub(super) fn text(&self, has_colour: bool) -> String {
        self.text_of_width(WIDTH, has_colour)
    }

    /// As lines of at most so many columns, in plain ASCII.
    pub(super) fn text_of_width(&self, width: usize, has_colour: bool) -> String {
        let mut text = format!("{}\n", cut(&plain(&self.head), width));
        let (sum, about) = self.sum.split_once('\n').unwrap_or((&self.sum, ""));
        let sum = cut(&format!("{}  {}", self.word, plain(sum)), width);
        let (word, rest) = sum.split_at(self.word.len().min(sum.len()));
        let rest = rest.trim_end();
        let colour = if self.word == WELL { GREEN } else { RED };
        text.push_str(&match has_colour {
            true => format!("{colour}{word}{RESET}{rest}\n"),
            false => format!("{word}{rest}\n"),
        });
        if !about.is_empty() {
            wrap(&mut text, "", &plain(about));
        }
        for table in &self.tables {
            text.push('\n');
            table.push_text(&mut text, width, has_colour);
        }
        for line in self.foot.lines() {
            text.push_str(&cut(&plain(line), width));
            text.push('\n');
        }
        text
    }
}

impl Moment<'_> {
    fn head(&self) -> String {
        let (process, config) = (&self.now.process, &self.now.config);
        let mut head = format!("logagent {}", process.version);
        if !process.commit.is_empty() {
            head.push_str(&format!(" ({})", process.commit));
        }
        head.push_str(&format!("  pid {}", process.pid));
        if let Some(up) = self.since(process.started) {
            head.push_str(&format!("  up {}", age(up)));
        }
        let name = config.path.file_name().unwrap_or_default();
        head.push_str(&format!("  {}", ShownPath(name.as_ref())));
        if let Some(modified) = config.modified {
            let of = format!(" of {}", clock(modified, self.at));
            // It stands in the last line, too.
            if head.len() + of.len() <= WIDTH {
                head.push_str(&of);
            }
        }
        head
    }

    /// The word for everything, and the figures behind it.
    fn sum(
        &self,
        files: &[&FileStatus],
        logs: &[&LogStatus],
        view: &View,
        is_wrong: bool,
    ) -> (&'static str, String) {
        let is_all = view.only.is_none();
        let waiting = files.iter().filter(|file| file.is_behind()).count();
        let lag: u64 = files.iter().map(|file| file.waits()).sum();
        let oldest = self.oldest(files.iter().copied());
        let lost: u64 = logs.iter().map(|log| sum(&log.lost_bytes)).sum();
        let topics = self.now.topics.iter();
        let letters: u64 = topics.clone().map(|topic| sum(&topic.dead_letters)).sum();
        let is_parked = |name: &str| is_all || waiting > 0 && logs.iter().any(|l| l.goes_to(name));
        let mut parked = topics.filter(|topic| topic.parked.is_some());
        let earlier = self.losses_before(view);
        let lost = lost + earlier.iter().map(|loss| loss.bytes).sum::<u64>();
        let last_lost = logs.iter().filter_map(|log| log.last_lost).max();
        let last_lost = last_lost.max(earlier.iter().map(|loss| loss.at).max());
        let last_lost = self.since(last_lost).filter(|_| lost > 0);
        let waits_for_broker = self.now.is_cut_off() && (is_all || waiting > 0);
        // The cause comes before what follows from it, so that the word stays while lines get older. 'logagent help
        // status' explains each.
        let word = if waits_for_broker {
            "WRONG"
        } else if files.iter().any(|file| file.state == FileState::Failed) {
            "FAILED"
        } else if parked.any(|topic| is_parked(&topic.name)) {
            "PARKED"
        } else if oldest.is_some_and(|oldest| oldest >= BEHIND_AFTER) {
            "BEHIND"
        } else if last_lost.is_some_and(|since| since < LOST_FOR) {
            "LOST"
        } else if !is_all && files.iter().any(|file| file.state == FileState::Waiting) {
            // What it waits for stands in the whole status.
            "WAITING"
        } else if is_wrong {
            "WRONG"
        } else {
            WELL
        };
        let of = match files.len() {
            1 => "1 file".to_owned(),
            count => format!("{count} files"),
        };
        let mut text = match waiting {
            0 if files.len() == 1 => "1 file at its end".to_owned(),
            0 => format!("{of} at their end"),
            _ => format!("{waiting} of {of}, {}", size(lag)),
        };
        if let Some(oldest) = oldest {
            text.push_str(&format!(", oldest line {}", age(oldest)));
        }
        text.push_str(&format!("    lost {}", size(lost)));
        if self.is_perhaps_lost(view) {
            text.push_str(", perhaps more");
        }
        if let Some(since) = last_lost {
            text.push_str(&format!(" {}", ago(since)));
        }
        if is_all {
            text.push_str(&format!("  dead letters {}", count(letters)));
        }
        if word.len() + 2 + text.len() > WIDTH {
            text = text
                .replace(", oldest line ", ", oldest ")
                .replace("    ", "  ");
        }
        if word.len() + 2 + text.len() > WIDTH {
            // What there is none of need not be said.
            text = text
                .replace("  dead letters 0", "")
                .replace("lost 0 B, perhaps more", "lost ?")
                .replace("  lost 0 B", "");
        }
        (word, text)
    }

    /// Since when the oldest of them waits.
    fn oldest<'f>(&self, files: impl Iterator<Item = &'f FileStatus>) -> Option<Duration> {
        let waiting = files.filter(|file| file.is_behind());
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
            Some(left) if left.as_secs() > 0 => format!(", again in {}", age(left)),
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
            let lost = sum(&log.lost_bytes);
            let cells = vec![
                log.name.clone(),
                count(own().count() as u64),
                count(own().filter(|file| file.is_behind()).count() as u64),
                bytes_or_none(lag),
                age(oldest),
                size(log.read_rate),
                size(log.acked_rate),
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
        let is_wanted = |file: &FileStatus| file.is_behind() || file.state == FileState::Failed;
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
        // Of a path that is asked for the offsets are exact: they can be held against a dump or a rewind.
        let is_section = |name: &String| self.now.logs.iter().any(|log| log.name == *name);
        let is_exact = view.only.as_ref().is_some_and(|only| !is_section(only));
        let shown = |bytes: u64| match is_exact {
            true => bytes.to_string(),
            false => size(bytes),
        };
        let rows = files.iter().take(most).map(|file| Row {
            cells: vec![
                name_of(file),
                shown(file.position),
                shown(file.size),
                match file.waits() {
                    0 => "0".to_owned(),
                    bytes => shown(bytes),
                },
                match file.state {
                    FileState::Failed => "FAILED".to_owned(),
                    _ => age(age_of(file)),
                },
            ],
            is_bad: file.state == FileState::Failed || age_of(file) >= BEHIND_AFTER,
        });
        let mut table = Table::new(FILES[view.order as usize], rows);
        let more = files.len().saturating_sub(most);
        let end_text = match at_end {
            1 => "1 file at its end".to_owned(),
            count => format!("{count} files at their end"),
        };
        table.note = match (more, at_end) {
            (0, 0) => String::new(),
            (0, _) => format!("... {end_text} (-a shows all)"),
            (more, 0) => format!("... {more} more (-a shows all)"),
            (more, _) => format!("... {more} more, {end_text} (-a shows all)"),
        };
        // Why the position may be before the end and nothing is behind.
        let unended: u64 = files.iter().map(|file| file.unended).sum();
        if is_exact && unended > 0 {
            table.note = format!(
                "The last {unended} bytes are the beginning of a line or of an event, whose end is awaited: no lag."
            );
        } else if unended > 0 {
            let awaited = format!(
                "LAG leaves out {} at the ends of files: the beginning of a line or of an event, whose end is awaited. {}",
                size(unended),
                table.note
            );
            awaited.trim_end().clone_into(&mut table.note);
        }
        table
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
        let most = match process.most_descriptors {
            0 => String::new(),
            most => format!(" of {most}"),
        };
        let resident = size(process.resident);
        let (open, descriptors) = (process.files_open, process.descriptors);
        format!(
            "{}buffers {used} of {limit}   {written}\n\
             process {resident}   threads {}   descriptors {descriptors}{most}, {open} of them files\n\
             {}",
            self.minute(),
            process.threads,
            self.ini()
        )
    }

    /// A line about what was acknowledged in the last minute.
    fn minute(&self) -> String {
        let minute = &self.now.minute;
        let over = match minute.over.as_secs() {
            0 => return String::new(),
            // It is counted in steps.
            50.. => "minute".to_owned(),
            seconds => format!("{seconds} s"),
        };
        let (records, bytes) = (count(minute.records), size(minute.bytes));
        format!("acknowledged in the last {over}: {records} records, {bytes}\n")
    }

    /// Which ini is in force, by its path and the time of its last change, and of which zone all times are.
    fn ini(&self) -> String {
        let config = &self.now.config;
        let mut text = format!("ini {}", ShownPath(&config.path));
        if let Some(modified) = config.modified {
            text.push_str(&format!(" of {}", clock(modified, self.at)));
        }
        if let Some(at) = config.last_applied.filter(|_| config.applied > 0) {
            text.push_str(&format!(", reloaded at {}", clock(at, self.at)));
        }
        let zone = zone(self.at);
        match config.modified.is_some() && text.len() + zone.len() < WIDTH {
            true => format!("{text} {zone}"),
            false => format!("{text}\ntimes are {zone}"),
        }
    }
}

/// The name that a file has now, as far as it is known.
fn name_of(file: &FileStatus) -> String {
    let path = ShownPath(file.path_now.as_ref().unwrap_or(&file.path));
    match file.is_deleted {
        true => format!("{path} (deleted)"),
        false => path.to_string(),
    }
}

fn sum<T>(counts: &[(T, u64)]) -> u64 {
    counts.iter().map(|(_, count)| count).sum()
}
