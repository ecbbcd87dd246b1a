//! One case from its text to a verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compare::{self, Difference};
use super::errors::{CasesError, Errors};
use super::feed::{Fate, Feed, Growth, Outcome};
use super::file::{self, At, Case, Expected, Input, Output};
use super::section::{self, Rule};
use super::{file_name, no_section, rule_name};
use crate::config::{Config, LogConfig};
use crate::record::counters::RecordCounters;
use crate::shown::ShownPath;

/// An ini that cases are about.
#[derive(Debug)]
pub(super) struct Ini {
    pub(super) config: Config,
    text: Vec<u8>,
    /// Sections of which there are cases, and the rules of each that a case tests.
    tested: Vec<(String, Vec<Rule>)>,
}

/// A case that can be run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) case: Case,
    file: PathBuf,
    /// Index of its ini.
    ini: usize,
    log: Arc<LogConfig>,
    path: PathBuf,
    bytes: Vec<u8>,
    expected: Vec<Expected>,
    /// The file that `out` names, and whether it is there.
    out: Option<PathBuf>,
}

/// How a case ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good {
        lines: usize,
        records: usize,
    },
    /// What came out is now what is expected.
    Written {
        lines: usize,
        records: usize,
    },
    Failed {
        place: String,
        words: Vec<String>,
    },
}

impl Ini {
    fn load(file: &Path) -> Result<Ini, CasesError> {
        let config = Config::load(file)?;
        Ok(Ini {
            text: crate::config::read_small_file(file).unwrap_or_default(),
            tested: config
                .logs
                .iter()
                .map(|log| (log.name.clone(), Vec::new()))
                .collect(),
            config,
        })
    }

    /// The rules that no case tests, with section and line.
    pub(super) fn untested(&self) -> Vec<(String, &str, usize)> {
        let mut untested = Vec::new();
        for (log, (name, tested)) in self.config.logs.iter().zip(&self.tested) {
            for rule in Rule::all(log)
                .into_iter()
                .filter(|rule| !tested.contains(rule))
            {
                let line = section::line_of(&self.text, name, &rule.key).unwrap_or(0);
                untested.push((rule.name, name.as_str(), line));
            }
        }
        untested
    }
}

impl Job {
    /// Finds what `case` of a file is about, whose ini is `ini` unless it says so. `None` if an error says why not.
    pub(super) fn new(
        case: Case,
        (file, ini): (&Path, &Path),
        inis: &mut Vec<Ini>,
        is_accepting: bool,
        errors: &mut Errors,
    ) -> Result<Option<Job>, CasesError> {
        let beside = |name: &Path| file.parent().unwrap_or(Path::new("")).join(name);
        let ini = case
            .config
            .as_ref()
            .map_or(ini.to_owned(), |config| beside(&config.value));
        let index = match inis.iter().position(|known| known.config.file == ini) {
            Some(index) => index,
            None => {
                inis.push(Ini::load(&ini)?);
                inis.len() - 1
            }
        };
        let config = &inis[index].config;
        let Some(log) = config.logs.iter().find(|log| log.name == case.log.value) else {
            let message = format!(
                "{} in {}",
                no_section(config, &case.log.value),
                ShownPath(&ini)
            );
            errors.add(case.log.line, message);
            return Ok(None);
        };
        let log = log.clone();
        let before = errors.len();
        let path = path_of(&case, &log, errors);
        let bytes = match &case.input {
            Input::Lines(lines) => section::encoded(lines, &log).unwrap_or_else(|line| {
                errors.add(
                    line,
                    "the line has what its encoding cannot write".to_owned(),
                );
                Vec::new()
            }),
            Input::File(name) => read_input(&beside(&name.value)).unwrap_or_else(|why| {
                errors.add(name.line, format!("in = {}: {why}", ShownPath(&name.value)));
                Vec::new()
            }),
        };
        let (expected, out) = match &case.output {
            Output::Here(expected) => (expected.clone(), None),
            Output::File(name) => {
                let out = beside(&name.value);
                let expected = match is_accepting {
                    true => Vec::new(),
                    false => read_output(&out, name, file, errors),
                };
                (expected, Some(out))
            }
        };
        check_rules(&expected, &log, errors);
        let is_fine = errors.len() == before;
        Ok(path.filter(|_| is_fine).map(|path| Job {
            case,
            file: file.to_owned(),
            ini: index,
            log,
            path,
            bytes,
            expected,
            out,
        }))
    }

    /// Whether lines or records are in a file of their own.
    pub(super) fn is_of_files(&self) -> bool {
        matches!(self.case.input, Input::File(_)) || self.out.is_some()
    }

    /// Runs it, at a time that is the same for all of its events.
    pub(super) fn run(&self, inis: &mut [Ini], now_ns: i64, is_accepting: bool) -> Verdict {
        let ini = &mut inis[self.ini];
        let record = self.log.record.as_ref();
        let counters: Arc<RecordCounters> = record
            .map(|record| record.counters())
            .unwrap_or_default()
            .into();
        let mut feed = Feed {
            log: &self.log,
            destination: section::destination(&ini.config, &self.log, &self.path),
            now_ns,
            counters: counters.clone(),
        };
        let outcomes = feed.outcomes(&self.bytes, Growth::Whole);
        let unused = self.note_rules(ini, &counters);
        feed.counters = record
            .map(|record| record.counters())
            .unwrap_or_default()
            .into();
        for (growth, how) in [
            (Growth::Bytewise, "in chunks of one byte"),
            (Growth::Restarts, "with a restart after every line"),
        ] {
            let others = feed.outcomes(&self.bytes, growth);
            if let Some(words) = other_than(&outcomes, &others, how) {
                return self.failed(None, words);
            }
        }
        let lines = file::lines(&self.bytes).count();
        let is_record = |outcome: &&Outcome| matches!(outcome.fate, Fate::Record(_));
        let records = outcomes.iter().filter(is_record).count();
        if let (true, Some(out)) = (is_accepting, &self.out) {
            feed.now_ns = other_time(now_ns);
            let later = feed.outcomes(&self.bytes, Growth::Whole);
            return match write_output(out, &outcomes, &later) {
                Ok(true) => Verdict::Written { lines, records },
                Ok(false) => Verdict::Good { lines, records },
                Err(error) => {
                    let words = vec![format!("{} cannot be written: {error}", ShownPath(out))];
                    self.failed(None, words)
                }
            };
        }
        let name = |rule| rule_name(&self.log, rule);
        match compare::compare(&self.expected, &outcomes, &name) {
            None => Verdict::Good { lines, records },
            Some(Difference { line, mut words }) => {
                words.extend(unused);
                self.failed(line, words)
            }
        }
    }

    /// Notes which rules the case tests; returns what is said of the others.
    fn note_rules(&self, ini: &mut Ini, counters: &RecordCounters) -> Vec<String> {
        let mut unused = Vec::new();
        let tested = ini
            .tested
            .iter_mut()
            .find(|(name, _)| *name == self.log.name);
        let mut tested = tested.map(|(_, tested)| tested);
        for rule in Rule::all(&self.log) {
            if rule.count(counters) == 0 {
                let line = section::line_of(&ini.text, &self.log.name, &rule.key).unwrap_or(0);
                let place = format!("{}:{line}", file_name(&ini.config.file));
                unused.push(format!(
                    "{} ({place}) did not match anything in this case",
                    rule.name
                ));
            } else if let Some(tested) = &mut tested
                && !tested.contains(&rule)
            {
                tested.push(rule);
            }
        }
        unused
    }

    fn failed(&self, line: Option<usize>, words: Vec<String>) -> Verdict {
        let (file, line) = match (&self.out, line) {
            (Some(out), Some(line)) => (out, line),
            (_, line) => (&self.file, line.unwrap_or(self.case.line)),
        };
        let place = format!("{}:{line}", file_name(file));
        Verdict::Failed { place, words }
    }
}

/// The path that the lines of a case are of.
fn path_of(case: &Case, log: &LogConfig, errors: &mut Errors) -> Option<PathBuf> {
    let shown = &case.log.value;
    match &case.path {
        Some(path) if section::takes(log, &path.value) => Some(path.value.clone()),
        Some(path) => {
            let message = format!("[log:{shown}] does not follow '{}'", ShownPath(&path.value));
            errors.add(path.line, message);
            None
        }
        None => {
            if let Some(name) = section::uses_path_names(log) {
                let message = format!(
                    "missing key 'path': [log:{shown}] has {{{name}}} of it in its records"
                );
                errors.add(case.line, message);
                return None;
            }
            let path = section::made_up_path(log);
            if path.is_none() {
                let message = format!("missing key 'path': a file that [log:{shown}] follows");
                errors.add(case.line, message);
            }
            path
        }
    }
}

/// Sees to it that the rules that `= dropped` names are rules of the section.
fn check_rules(expected: &[Expected], log: &LogConfig, errors: &mut Errors) {
    let rules = Rule::all(log);
    for one in expected {
        let Expected::Dropped(At { value, line }) = one else {
            continue;
        };
        if rules
            .iter()
            .any(|rule| !rule.key.starts_with("mask") && compare::is_rule(&rule.name, value))
        {
            continue;
        }
        let hint = match value.as_str() {
            "rate_limit" => "\n    what it drops hangs on the clock, and no clock runs here",
            _ => "",
        };
        let shown = file::quoted(value.as_bytes());
        errors.add(
            *line,
            format!("[log:{}] has no rule {shown} that drops{hint}", log.name),
        );
    }
}

fn read_input(file: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(file).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.len() > MOST_INPUT_BYTES {
        return Err(format!("larger than {MOST_INPUT_BYTES} bytes"));
    }
    fs::read(file).map_err(|error| error.to_string())
}

fn read_output(out: &Path, name: &At<PathBuf>, file: &Path, errors: &mut Errors) -> Vec<Expected> {
    match read_input(out) {
        Ok(text) => {
            errors.go_on_with(out);
            let expected = file::parse_output(&text, errors);
            errors.go_on_with(file);
            expected
        }
        Err(why) => {
            let hint = "logagent test --accept writes it";
            let message = format!("out = {}: {why}\n    {hint}", ShownPath(&name.value));
            errors.add(name.line, message);
            Vec::new()
        }
    }
}

/// Writes what came out, if it is not there already; returns whether it was not. What is another at another time is
/// written as `*`.
fn write_output(out: &Path, outcomes: &[Outcome], later: &[Outcome]) -> std::io::Result<bool> {
    let mut text = b"# records of a case; written by logagent test --accept\n".to_vec();
    let values = |outcomes: &[Outcome]| -> Vec<Vec<u8>> {
        let values = outcomes.iter().filter_map(|outcome| match &outcome.fate {
            Fate::Record(record) => Some(record.value.clone()),
            Fate::Dropped(_) => None,
        });
        values.collect()
    };
    for (value, other) in values(outcomes).iter().zip(values(later)) {
        let others = other
            .split(|byte| *byte == b'\n')
            .map(Some)
            .chain(std::iter::repeat(None));
        for (index, (line, other)) in value.split(|byte| *byte == b'\n').zip(others).enumerate() {
            text.extend_from_slice(if index == 0 { b"> " } else { b"| " });
            text.extend(lasting(line, other.unwrap_or(line)));
            text.push(b'\n');
        }
    }
    if fs::read(out).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    let mut temporary = out.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, &text)?;
    fs::rename(&temporary, out)?;
    Ok(true)
}

/// `line` with a `*` for what is another in `other`.
fn lasting(line: &[u8], other: &[u8]) -> Vec<u8> {
    if line == other {
        return line.to_vec();
    }
    let least = line.len().min(other.len());
    let start = (0..least)
        .find(|&at| line[at] != other[at])
        .unwrap_or(least);
    let back =
        (0..least - start).find(|&at| line[line.len() - 1 - at] != other[other.len() - 1 - at]);
    let end = line.len() - back.unwrap_or(least - start);
    [&line[..start], b"*", &line[end..]].concat()
}

/// A time that has neither the first digit of the year nor the last one of the milliseconds in common with `now_ns`.
fn other_time(now_ns: i64) -> i64 {
    now_ns - 20_000 * 86_400_000_000_000 - 1_001_001
}

/// What is said if the same bytes gave something else.
pub(super) fn other_than(whole: &[Outcome], others: &[Outcome], how: &str) -> Option<Vec<String>> {
    let fates = |outcomes: &[Outcome]| -> Vec<Fate> {
        outcomes
            .iter()
            .map(|outcome| outcome.fate.clone())
            .collect()
    };
    let (whole, others) = (fates(whole), fates(others));
    let differ = |at: &usize| whole.get(*at) != others.get(*at);
    let at = (0..whole.len().max(others.len())).find(differ)?;
    let shown = |fate: Option<&Fate>| match fate {
        None => "nothing".to_owned(),
        Some(Fate::Dropped(_)) => "dropped".to_owned(),
        Some(Fate::Record(record)) => compare::in_one_line(record),
    };
    Some(vec![
        format!("{how}, event {} is another one", at + 1),
        format!("at once   {}", shown(whole.get(at))),
        format!("then      {}", shown(others.get(at))),
    ])
}

/// Most bytes that go in.
pub(super) const MOST_INPUT_BYTES: u64 = 16 << 20;
