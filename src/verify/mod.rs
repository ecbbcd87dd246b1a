//! `logagent verify`: whether the topics hold the bytes of the files, each once.
//!
//! Needs `provenance = on`: the header `at` of each record says which bytes of which file it was made of. The topics
//! are read from the beginning, or a time, to the end that they have at the start, as a read_committed consumer sees
//! them. Of each file the bytes are put together and held against what is still on disk, rotated and packed files too.
//!
//! ```text
//! check    one record: what it says, what lies there, who was there before     tiles    which bytes were seen
//! disk     which file on disk has the bytes of a tag                           explain  why bytes are in no record
//! report   what was found, for a person or a program                           nowhere  topics that do not exist
//! ```
//! What can be told, and what cannot:
//! - Values that are bytes of the file are compared with it. What was masked, decoded or made into JSON is not made
//!   again: of such a record only the place is looked at.
//! - Where the file is gone, places alone are looked at. Bytes that were lost before they were read lie behind the
//!   last record of such a file, and leave no gap.
//! - What the section's rules drop leaves nothing in Kafka: the rules are run again over the bytes on disk. Where the
//!   file is gone, or a rate was exceeded, nobody can tell.
//! - A file is found by device and inode, as the checkpoints have it, or by its first bytes in the folder of the path
//!   or of `rotated`; not in dated folders below.
//!
//! Memory goes by file and gap, not by record.

mod check;
mod disk;
mod explain;
mod nowhere;
mod report;
mod rewound;
mod tiles;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::checkpoint::store::{self, StoreError};
use crate::command_line::VerifyOptions;
use crate::config::{Config, ConfigErrors, Protocol};
use crate::kafka::read::reader::{Found, Period, ReadError, TopicReader};
use crate::losses;
use crate::metrics::Metrics;
use crate::progress_bar::ProgressBar;
use crate::rewinds;
use check::Checker;
use disk::Disk;
use explain::{Circumstances, dead_letters};
use report::{Kind, Reason};
use rewound::Rewinds;

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The ini.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What the ini says cannot be verified.
    #[error("logagent: {0}")]
    Unsuitable(&'static str),
    /// The checkpoints.
    #[error("logagent: {0}")]
    Store(#[from] StoreError),
    /// Kafka. In words, since its types are nobody else's.
    #[error("logagent: {0}")]
    Kafka(String),
    /// Nobody takes the output.
    #[error("logagent: standard output: {0}")]
    Output(#[from] io::Error),
}

/// Reads the topics and prints what was found. Gives the exit code: 0 all well, 1 differences, 2 cannot be told.
///
/// # Errors
/// If nothing can be told: that is exit code 2 too.
pub fn run(options: &VerifyOptions, out: &mut dyn Write) -> Result<u8, VerifyError> {
    let config = Config::load(&options.config)?;
    if config.kafka.protocol == Protocol::Legacy {
        return Err(VerifyError::Unsuitable(
            "protocol = legacy has no headers, and so no provenance",
        ));
    }
    let has_topics = |log: &crate::config::LogConfig| {
        let record = log.record.as_ref();
        record.is_some_and(|record| record.templates.topic.is_some())
    };
    let plain = config.logs.iter().filter(|log| !has_topics(log));
    let mut topics: Vec<String> = plain.map(|log| log.destination.topic.clone()).collect();
    topics.sort();
    topics.dedup();
    let mut circumstances = Circumstances {
        has_since: options.since_ms.is_some(),
        has_until: options.until_ms.is_some(),
        is_part: config.logs.iter().any(|log| has_topics(log)),
        ..Circumstances::default()
    };
    if !options.topics.is_empty() {
        circumstances.is_part |= topics.iter().any(|known| !options.topics.contains(known));
        topics.clone_from(&options.topics);
    }
    if topics.is_empty() {
        return Err(VerifyError::Unsuitable(
            "the topics have placeholders: name one with --topic",
        ));
    }
    // Before the topics: whatever the agent knows to be acknowledged is in them by now.
    let saved = store::load(&config.agent.state_dir)?;
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let mut checker = Checker::new(&config, &host, Disk::new(saved.checkpoints));
    checker.report.topics.clone_from(&topics);
    checker.report.rewinds = Rewinds::new(rewinds::read(&config.agent.state_dir));
    let read = Arc::new(Metrics::default());
    let bar = ProgressBar::start(read.clone(), OFFSETS);
    let mut missing = Vec::new();
    for (number, topic) in topics.iter().enumerate() {
        let period = Period {
            since_ms: options.since_ms,
            until_ms: options.until_ms,
            ..Period::default()
        };
        match read_topic((number, topic), period, &config, &mut checker, &read) {
            Ok(has_expired) => circumstances.has_expired |= has_expired,
            // What is asked for by name is there, or nothing can be told.
            Err(error) if error.is_no_topic() && options.topics.is_empty() => missing.push(topic),
            Err(error) => return Err(VerifyError::Kafka(error.to_string())),
        }
    }
    drop(bar);
    if !missing.is_empty() {
        checker.report.nowhere = nowhere::look(&config, &missing, &checker.disk);
    }
    circumstances.letters = dead_letters(&config.agent.state_dir.join("dead-letter"));
    checker.explain_gaps(&mut circumstances);
    let is_asked_for = |at_ms: i64| {
        let since = options.since_ms.is_none_or(|since| at_ms >= since);
        since && options.until_ms.is_none_or(|until| at_ms <= until)
    };
    let known = losses::read(&config.agent.state_dir);
    for loss in known {
        let at = loss.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if is_asked_for(i64::try_from(at.as_millis()).unwrap_or(i64::MAX)) {
            checker.report.explained(Reason::Lost, loss.bytes);
            checker.report.perhaps_lost += u64::from(!loss.is_certain());
        }
    }
    let Checker { report, files, .. } = &checker;
    match options.json {
        true => report.print_json(files, out)?,
        false => report.print(files, out)?,
    }
    Ok(report.code())
}

/// Reads one topic. Whether it has let go of its first records.
fn read_topic(
    (number, topic): (usize, &str),
    period: Period,
    config: &Config,
    checker: &mut Checker<'_>,
    read: &Metrics,
) -> Result<bool, ReadError> {
    let mut reader = TopicReader::open(&config.kafka, topic, period)?;
    let mut has_expired = reader
        .partitions
        .iter()
        .any(|partition| partition.first > 0);
    read.to_read_bytes.add(reader.progress().0);
    let mut done = 0;
    let mut take = |found: Found<'_>| match found {
        Found::Record(partition, record) => checker.record(number, partition, &record),
        Found::Aborted(records) => checker.report.aborted += records,
        Found::Unreadable(partition, offset, error) => {
            log::debug!("topic '{topic}' partition {partition} offset {offset}: {error}");
            let place = (number, partition, offset);
            checker.report.unplaced(Kind::Unreadable, place);
        }
        Found::Ended(..) => {}
        Found::Expired => has_expired = true,
    };
    while reader.read(&mut take)? {
        let now = reader.progress().1;
        read.acked_bytes.add(now.saturating_sub(done));
        done = now;
    }
    Ok(has_expired)
}

/// What the bar says.
const OFFSETS: &str = "{bar:40} {percent:>3} %  {human_pos} of {human_len} records  {eta}";
