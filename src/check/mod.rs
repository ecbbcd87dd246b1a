//! `logagent check`: whether ini, host, files, brokers and topics are as the agent needs them. It connects as the
//! agent does, sends no line, and takes 10 s at most, whatever hangs.
//!
//! ```text
//! report   what was found: a screen, JSON
//! host     the state folder, limits of the system
//! logs     the files of each section                        file_topics   the topics that these have
//! cluster  brokers and topics, from what kafka::probe was told
//! ```

mod cluster;
mod file_topics;
mod host;
mod logs;
mod report;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};

pub use report::Level;

use crate::cases::{self, Ending};
use crate::command_line::{CheckOptions, TestOptions};
use crate::config::{Config, ConfigErrors};
use crate::kafka::probe::{self, Asked};
use crate::shown::ShownPath;
use crate::tail::discover::Discovery;
use crate::tail::survey::{Survey, survey};
use crate::topic_names::twins;
use file_topics::FileTopics;
use report::Report;

/// Why nothing can be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The ini is refused.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The screen could not be printed.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// Looks at everything, prints it to `out`, and says how bad the worst is.
///
/// # Errors
/// If the ini is refused, or `out` takes nothing any more.
pub fn run(options: &CheckOptions, out: &mut dyn Write) -> Result<Level, CheckError> {
    let until = Instant::now() + MOST;
    let config = match Config::load(&options.config) {
        Ok(config) => Arc::new(config),
        Err(errors) if options.json => {
            let mut report = Report {
                title: options.config.display().to_string(),
                ..Report::default()
            };
            report.add(Level::Failure, "ini", errors.to_string());
            out.write_all(report.json().as_bytes())?;
            return Ok(Level::Failure);
        }
        Err(errors) => return Err(errors.into()),
    };
    let report = report(options, &config, until);
    let text = match options.json {
        true => report.json(),
        false => {
            report.screen(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        }
    };
    out.write_all(text.as_bytes())?;
    Ok(report.level())
}

fn report(options: &CheckOptions, config: &Arc<Config>, until: Instant) -> Report {
    let mut report = Report::default();
    // Both may hang.
    let (files, of_files) = look_for_files(config.clone());
    let brokers = (!options.offline).then(|| ask_brokers(config.clone(), of_files, until - LAST));
    for warning in config.warnings() {
        report.add(Level::Warning, "ini", warning);
    }
    if !options.no_test {
        run_cases(options, &mut report);
    }
    let saved = host::state(config, &mut report);
    host::other_state(options, config, &mut report);
    let found = files.recv_deadline(until - LAST);
    let survey = found.unwrap_or_else(|_| {
        report.add(Level::Failure, "files", "a file system does not answer");
        Survey::default()
    });
    let files = survey.files.len();
    host::inotify(files + survey.folders, &mut report);
    host::descriptors(files, &mut report);
    host::memory(config, &mut report);
    let stats = survey.files.iter().filter_map(|(path, (_, found))| {
        let stat = found.as_ref().ok()?;
        Some((&**path, stat.modified_ns))
    });
    host::clock(stats, SystemTime::now(), &mut report);
    host::metrics(options, config, &mut report);
    let certificates = cluster::own_certificates(config, SystemTime::now());
    report.findings.extend(certificates);
    report.findings.extend(cluster::exactly_once(config));
    let (table, followed) = logs::table(config, &survey, &saved, SystemTime::now());
    report.tables.push(table);
    report
        .findings
        .extend(file_topics::findings(config, &survey));
    if let Some(brokers) = brokers {
        let (of_files, asked) = brokers.recv_deadline(until).unwrap_or_default();
        let table = cluster::brokers(config, &of_files, &asked, SystemTime::now());
        report.tables.push(table);
        let topics = cluster::topics_table(config, &of_files, &asked);
        report.tables.extend(topics);
    }
    let counted =
        |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    report.title = format!(
        "{}  {}, {}",
        ShownPath(&config.file),
        counted(config.logs.len() as u64, "log"),
        counted(followed, "file")
    );
    report
}

/// The files, and the topics that they have, from a thread that ends when the file systems have answered.
fn look_for_files(config: Arc<Config>) -> (Receiver<Survey>, Receiver<FileTopics>) {
    let (sender, found) = bounded(1);
    let (topics, of_files) = bounded(1);
    in_a_thread(move || {
        let discovery = Discovery::new(&config.logs, &config.agent.state_dir);
        let survey = survey(&discovery);
        let _ = topics.send(FileTopics::of(&config, &survey));
        let _ = sender.send(survey);
    });
    (found, of_files)
}

/// The brokers, from a thread that ends at `until`, and the topics of files that they were asked for.
fn ask_brokers(
    config: Arc<Config>,
    of_files: Receiver<FileTopics>,
    until: Instant,
) -> Receiver<(FileTopics, Vec<Asked>)> {
    let (sender, asked) = bounded(1);
    in_a_thread(move || {
        let of_files = FileTopics::in_time(&config, &of_files);
        let topics = cluster::topics(&config, &of_files).into_keys();
        let topics = topics.chain(cluster::positions_topic(&config));
        // With those that may keep Kafka from making them.
        let topics = topics.flat_map(|topic| [vec![topic.to_owned()], twins(topic)].concat());
        let topics: BTreeSet<String> = topics.collect();
        let topics: Arc<[String]> = topics.into_iter().collect();
        let kafka = Arc::new(config.kafka.clone());
        let answers = probe::ask_all(&kafka, &topics, until);
        let _ = sender.send((of_files, answers));
    });
    asked
}

fn in_a_thread(body: impl FnOnce() + Send + 'static) {
    // Without it nobody sends, which is noticed.
    if let Err(error) = thread::Builder::new().name("check".to_owned()).spawn(body) {
        log::debug!("a thread cannot be started: {error}");
    }
}

/// Runs the cases beside the ini, if there are any.
fn run_cases(options: &CheckOptions, report: &mut Report) {
    let file = cases::cases_of(&options.config);
    if !file.exists() {
        return;
    }
    let test = TestOptions {
        config: Some(options.config.clone()),
        ..TestOptions::default()
    };
    let mut screen = Vec::new();
    let ended = cases::run(&test, &mut screen);
    let screen = String::from_utf8_lossy(&screen);
    let last = screen.lines().last().unwrap_or_default();
    let (level, words) = match ended {
        Ok(Ending::Good) => (Level::Good, last.to_owned()),
        Ok(Ending::Failed) => (Level::Failure, format!("{last}: see logagent test")),
        Err(error) => (Level::Failure, error.to_string()),
    };
    report.add(level, "cases", words);
}

/// How long everything may take.
const MOST: Duration = Duration::from_secs(10);
/// What is left of it for the screen.
const LAST: Duration = Duration::from_millis(500);
