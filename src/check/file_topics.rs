//! The topics of sections that make one for each file: what stands in the ini does not tell what they become.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::report::{Finding, Level};
use crate::config::{Config, LogConfig};
use crate::record::template::{FileTemplate, FileValues};
use crate::record::topic_name::legal;
use crate::tail::survey::Survey;

/// Which topics the files have, and which of these are not what the placeholders stand for.
pub(super) fn findings(config: &Config, survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    for log in &config.logs {
        let mut topics: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (path, (owner, found)) in &survey.files {
            let Some(rendered) = found
                .as_ref()
                .ok()
                .filter(|_| Arc::ptr_eq(owner, log))
                .and_then(|stat| render(log, path, stat.inode.inode))
            else {
                continue;
            };
            let name = legal(&rendered);
            let made_of = match &name {
                Cow::Borrowed(_) => None,
                Cow::Owned(_) => Some(String::from_utf8_lossy(&rendered).into_owned()),
            };
            let known = topics.entry(name.into_owned()).or_default();
            *known = made_of.or(known.take());
        }
        let finding = |level, words| Finding {
            level,
            subject: log.name.clone(),
            words,
        };
        let changed = topics.iter().filter_map(|(name, made_of)| {
            let made_of = made_of.as_ref()?.escape_debug();
            Some(format!(
                "'{made_of}' cannot be a topic: records go to '{name}'"
            ))
        });
        findings.extend(
            changed
                .take(MOST_NAMED)
                .map(|words| finding(Level::Warning, words)),
        );
        if !topics.is_empty() {
            findings.push(finding(Level::Good, named(&topics)));
        }
    }
    findings
}

/// What the topic of a file is made of; `None`: the same for all files, or known with a record only.
fn render(log: &LogConfig, path: &Path, inode: u64) -> Option<Arc<[u8]>> {
    let record = log.record.as_ref()?;
    let template = record.templates.topic.as_ref()?;
    let path = path.as_os_str().as_bytes();
    let captured = record
        .path_patterns
        .iter()
        .find_map(|pattern| Some((pattern.names(), pattern.capture(path)?)));
    let (names, ranges) = captured.unwrap_or_default();
    let file = FileValues {
        path,
        inode,
        names,
        ranges: &ranges,
    };
    match template.for_file(&file) {
        FileTemplate::Constant(topic) => Some(topic),
        FileTemplate::Missing | FileTemplate::PerEvent(_) => None,
    }
}

fn named(topics: &BTreeMap<String, Option<String>>) -> String {
    let first: Vec<&str> = topics.keys().take(MOST_NAMED).map(String::as_str).collect();
    let more = match topics.len() - first.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = match topics.len() {
        1 => "topic",
        _ => "topics",
    };
    format!("{count} of its files: {}{more}", first.join(", "))
}

/// Topics that are named.
const MOST_NAMED: usize = 5;
