//! `logagent test`: lines in, records out, beside the ini. No Kafka, no file of a log and no thread take part.
//!
//! ```text
//! file     the text of a file of cases
//! section  what of the ini a case is about
//! feed     lines through the record path: all at once, byte by byte, with a restart after every line
//! compare  what was expected, held against what came out; matcher: one line of it
//! runner   one case from its text to a verdict
//! ```
//! The cases of `NAME.ini` are in `NAME.test.ini` beside it; a case with `config = FILE` is about another one.

mod compare;
mod errors;
mod feed;
mod file;
mod matcher;
mod runner;
mod section;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use errors::{CasesError, Errors};

use crate::command_line::TestOptions;
use crate::config::{Config, default_config, read_small_file};
use crate::nearest::nearest;
use crate::shown::{ShownPath, escape, printable};
use compare::{records, shown_time};
use feed::{Fate, Feed, Growth, Outcome};
use runner::{Ini, Job, Verdict};

/// How cases ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All came out as expected.
    Good,
    /// One at least did not, or a rule is tested by none.
    Failed,
}

/// Runs what `options` ask for and prints to `out`.
///
/// # Errors
/// If an ini or a file of cases is refused, or `out` takes nothing any more.
pub fn run(options: &TestOptions, out: &mut impl Write) -> Result<Ending, CasesError> {
    match &options.log {
        Some(log) => {
            let mut input = Vec::new();
            let most = runner::MOST_INPUT_BYTES;
            let read = io::stdin().lock().take(most + 1).read_to_end(&mut input);
            read.map_err(|error| CasesError::Usage(format!("standard input: {error}")))?;
            if input.len() as u64 > most {
                let message = format!("standard input is larger than {most} bytes");
                return Err(CasesError::Usage(message));
            }
            preview(options, log, &input, out)?;
            Ok(Ending::Good)
        }
        None => run_cases(options, out),
    }
}

fn run_cases(options: &TestOptions, out: &mut impl Write) -> Result<Ending, CasesError> {
    let (mut inis, mut jobs) = (Vec::new(), Vec::new());
    let config = || options.config.clone().unwrap_or_else(default_config);
    let files = match options.files.is_empty() {
        true => vec![cases_of(&config())],
        false => options.files.clone(),
    };
    let mut errors = Errors::default();
    for file in &files {
        let ini = options.config.clone().unwrap_or_else(|| ini_of(file));
        errors.go_on_with(file);
        let text = match read_small_file(file) {
            Ok(text) => text,
            Err(why) => {
                let hint = "cases of NAME.ini are in NAME.test.ini beside it";
                errors.add(0, format!("{why}\n    {hint}"));
                continue;
            }
        };
        for case in file::parse(&text, &mut errors) {
            jobs.extend(Job::new(
                case,
                (file, &ini),
                &mut inis,
                options.accept,
                &mut errors,
            )?);
        }
    }
    errors.check()?;
    let mut screen = Screen { out, failed: 0 };
    for job in &jobs {
        let verdict = job.run(&mut inis, now_ns(), options.accept);
        screen.verdict(job, &verdict)?;
    }
    let untested = match options.strict {
        true => screen.untested(&inis)?,
        false => 0,
    };
    screen.end(jobs.len(), untested)
}

/// The file of cases that belongs to an ini.
pub(crate) fn cases_of(config: &Path) -> PathBuf {
    match config.extension() {
        Some(extension) if extension == "ini" => config.with_extension("test.ini"),
        _ => {
            let mut name = config.as_os_str().to_owned();
            name.push(".test.ini");
            name.into()
        }
    }
}

/// The ini that belongs to a file of cases.
fn ini_of(file: &Path) -> PathBuf {
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.and_then(|name| name.strip_suffix(".test.ini"));
    match name {
        Some(name) => file.with_file_name(format!("{name}.ini")),
        None => file.with_file_name("logagent.ini"),
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

/// Where verdicts are printed.
struct Screen<'a, W> {
    out: &'a mut W,
    failed: usize,
}

impl<W: Write> Screen<'_, W> {
    fn verdict(&mut self, job: &Job, verdict: &Verdict) -> Result<(), CasesError> {
        let name = printable(&job.case.name);
        match verdict {
            Verdict::Good {
                lines,
                records: count,
            } if job.is_of_files() => {
                let lines = counted(*lines, "line");
                writeln!(self.out, "ok    {name} ({lines}, {})", records(*count))?;
            }
            Verdict::Good { .. } => writeln!(self.out, "ok    {name}")?,
            Verdict::Written {
                lines,
                records: count,
            } => {
                let lines = counted(*lines, "line");
                writeln!(self.out, "new   {name} ({lines}, {})", records(*count))?;
            }
            Verdict::Failed { place, words } => {
                self.failed(&name, place)?;
                for line in words {
                    writeln!(self.out, "      {line}")?;
                }
            }
        }
        Ok(())
    }

    fn failed(&mut self, name: &str, place: &str) -> Result<(), CasesError> {
        self.failed += 1;
        let room = WIDTH.saturating_sub(6 + 2 + place.chars().count());
        let name = match name.chars().count() > room {
            true => name
                .chars()
                .take(room.saturating_sub(3))
                .chain("...".chars())
                .collect(),
            false => name.to_owned(),
        };
        let pad = (PLACE - 2).min(room);
        writeln!(self.out, "FAIL  {name:<pad$}  {place}")?;
        Ok(())
    }

    /// Names the rules that no case tests; returns how many.
    fn untested(&mut self, inis: &[Ini]) -> Result<usize, CasesError> {
        let before = self.failed;
        for ini in inis {
            for (rule, log, line) in ini.untested() {
                let place = format!("{}:{line}", file_name(&ini.config.file));
                self.failed(
                    &format!("{rule} of [log:{log}] is tested by no case"),
                    &place,
                )?;
            }
        }
        Ok(self.failed - before)
    }

    fn end(self, cases: usize, untested: usize) -> Result<Ending, CasesError> {
        let failed = self.failed - untested;
        write!(self.out, "{}, {failed} failed", counted(cases, "case"))?;
        if untested > 0 {
            write!(self.out, ", {} not tested", counted(untested, "rule"))?;
        }
        writeln!(self.out)?;
        Ok(match self.failed {
            0 => Ending::Good,
            _ => Ending::Failed,
        })
    }
}

/// `1 line`, `2 lines`.
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().map_or(path, Path::new);
    ShownPath(name).to_string()
}

/// Prints what `[log:NAME]` makes of `input`.
fn preview(
    options: &TestOptions,
    name: &str,
    input: &[u8],
    out: &mut impl Write,
) -> Result<(), CasesError> {
    let file = options.config.clone().unwrap_or_else(default_config);
    let config = Config::load(&file)?;
    let Some(log) = config.logs.iter().find(|log| log.name == name) else {
        return Err(CasesError::Usage(format!(
            "{}: {}",
            ShownPath(&file),
            no_section(&config, name)
        )));
    };
    let path = match &options.path {
        Some(path) if section::takes(log, path) => path.clone(),
        Some(path) => {
            let message = format!("[log:{name}] does not follow '{}'", ShownPath(path));
            return Err(CasesError::Usage(message));
        }
        None => section::made_up_path(log).unwrap_or_else(|| "-".into()),
    };
    let feed = Feed {
        log,
        destination: section::destination(&config, log, &path),
        now_ns: now_ns(),
        counters: log
            .record
            .as_ref()
            .map(|record| record.counters())
            .unwrap_or_default()
            .into(),
    };
    let outcomes = feed.outcomes(input, Growth::Whole);
    let mut dropped = 0;
    for outcome in &outcomes {
        match &outcome.fate {
            Fate::Dropped(rule) => {
                dropped += 1;
                let start = usize::try_from(outcome.start)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                let line = memchr::memchr_iter(b'\n', &input[..start]).count() + 1;
                writeln!(out, "line {line} is dropped by {}", rule_name(log, *rule))?;
            }
            Fate::Record(_) => print_record(outcome, log, out)?,
        }
    }
    let lines = file::lines(input).count();
    write!(
        out,
        "{}, {}",
        counted(lines, "line"),
        records(outcomes.len() - dropped)
    )?;
    if dropped > 0 {
        write!(out, ", {dropped} dropped")?;
    }
    writeln!(out)?;
    Ok(())
}

fn print_record(
    outcome: &Outcome,
    log: &crate::config::LogConfig,
    out: &mut impl Write,
) -> io::Result<()> {
    let Fate::Record(record) = &outcome.fate else {
        return Ok(());
    };
    write!(out, "{}", shown(record.topic.as_bytes()))?;
    if let Some(key) = &record.key {
        write!(out, "  key={}", shown(key))?;
    }
    if log
        .record
        .as_ref()
        .is_some_and(|config| config.is_timed_by_event)
    {
        write!(out, "  {}", shown(&shown_time(record.timestamp_ms)))?;
    }
    for (name, value) in &record.headers {
        write!(out, "  {}={}", shown(name), shown(value))?;
    }
    writeln!(out)?;
    for line in record.value.split(|byte| *byte == b'\n') {
        writeln!(out, "  {}", shown(line))?;
    }
    Ok(())
}

/// `text` on one line that no terminal obeys; a tab stays one.
fn shown(text: &[u8]) -> String {
    let mut shown = String::new();
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '\t' => shown.push('\t'),
            _ => {
                let _ = escape(character, &mut shown);
            }
        }
    }
    shown
}

/// The name of the rule of this index.
fn rule_name(log: &crate::config::LogConfig, index: usize) -> String {
    let names = log.record.as_ref().map(|record| record.filter.names());
    let name = names.and_then(|names| names.get(index));
    name.map_or_else(String::new, |name| name.to_string())
}

/// What is said of a section that is not there.
fn no_section(config: &Config, name: &str) -> String {
    let near = nearest(name, config.logs.iter().map(|log| log.name.as_str()));
    let advice = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
    format!("no section [log:{}]{advice}", printable(name))
}

/// Characters on a line of the screen.
const WIDTH: usize = 80;
/// Where the place of a failure stands behind its name.
const PLACE: usize = 46;
