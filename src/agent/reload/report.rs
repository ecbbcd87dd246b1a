//! What a reload tells of what it has changed, and what it keeps as it was.

use std::collections::HashMap;
use std::path::Path;

use crossbeam_channel::Sender;

use super::super::counted;
use crate::config::{Config, Difference, LogChange};
use crate::control::{Answer, ChangeKind, ReloadChange, ReloadOutcome, ReloadReport};

/// `config` with what stays of `old`: sections that say the same, and what needs a restart.
pub(super) fn kept(mut config: Config, old: &Config, difference: &Difference) -> Config {
    for log in &mut config.logs {
        if let Some(same) = old.logs.iter().find(|known| *known == log) {
            *log = same.clone();
        }
    }
    for (section, key) in &difference.restart {
        match (*section, key.as_str()) {
            ("kafka", _) => config.kafka = old.kafka.clone(),
            (_, "state_dir") => config.agent.state_dir = old.agent.state_dir.clone(),
            (_, "user") => config.agent.user.clone_from(&old.agent.user),
            (_, "producers") => config.agent.producers = old.agent.producers,
            (_, "id") => config.agent.id.clone_from(&old.agent.id),
            (_, "metrics_listen") => config.agent.metrics_listen = old.agent.metrics_listen,
            _ => config.agent.memory_limit_bytes = old.agent.memory_limit_bytes,
        }
    }
    config
}

/// The lines of the report: new sections first, whose words are still to come.
pub(super) fn changes(
    difference: &Difference,
    ending: &HashMap<String, usize>,
) -> Vec<ReloadChange> {
    let change = |kind, what: String, words: String| ReloadChange { kind, what, words };
    let mut lines = Vec::new();
    let of_logs = |wanted: fn(&LogChange) -> Option<ChangeKind>| {
        let logs = difference.logs.iter();
        logs.filter_map(move |(name, log)| Some((format!("log:{name}"), name, log, wanted(log)?)))
    };
    let is_added = |log: &LogChange| (*log == LogChange::Added).then_some(ChangeKind::Added);
    lines.extend(of_logs(is_added).map(|(what, _, _, kind)| change(kind, what, String::new())));
    if let Some(keys) = &difference.kafka {
        let keys = listed(keys, "files that it names");
        let words = format!("{keys}: from now on, also for lines not sent yet");
        lines.push(change(ChangeKind::Changed, "[kafka]".to_owned(), words));
    }
    if !difference.agent.is_empty() {
        let words = format!("{}: from now on", difference.agent.join(", "));
        lines.push(change(ChangeKind::Changed, "[agent]".to_owned(), words));
    }
    let others = |log: &LogChange| match log {
        LogChange::Added => None,
        LogChange::Changed(_) => Some(ChangeKind::Changed),
        LogChange::Removed => Some(ChangeKind::Removed),
        LogChange::Untouched => Some(ChangeKind::Untouched),
    };
    let mut rest: Vec<ReloadChange> = of_logs(others)
        .map(|(what, name, log, kind)| {
            let words = match log {
                LogChange::Changed(keys) => {
                    format!("{}: for lines read from now on", listed(keys, "its keys"))
                }
                LogChange::Removed => {
                    let count = ending.get(name).copied().unwrap_or(0);
                    format!(
                        "{} finish{}",
                        counted(count, "file"),
                        if count == 1 { "es" } else { "" }
                    )
                }
                _ => "untouched".to_owned(),
            };
            change(kind, what, words)
        })
        .collect();
    let order = |line: &ReloadChange| match line.kind {
        ChangeKind::Added | ChangeKind::Changed => 0,
        ChangeKind::Removed => 1,
        _ => 2,
    };
    rest.sort_by_key(order);
    lines.extend(rest);
    lines.extend(difference.restart.iter().map(|(section, key)| {
        let words = "changed: needs a restart, the old one stays in use".to_owned();
        change(ChangeKind::Restart, format!("[{section}] {key}"), words)
    }));
    lines
}

fn listed(keys: &[String], none: &str) -> String {
    match keys {
        [] => none.to_owned(),
        keys => keys.join(", "),
    }
}

pub(super) fn verb_end(count: usize) -> &'static str {
    if count == 1 { "s" } else { "" }
}

/// What the log says of a reload that was applied.
pub(super) fn say(report: &ReloadReport) {
    let ReloadOutcome::Applied(changes) = &report.outcome else {
        return;
    };
    log::info!("{}", report.head());
    for change in changes {
        match change.kind {
            ChangeKind::Untouched => log::debug!("  {change}"),
            ChangeKind::Restart | ChangeKind::Warning => log::warn!("  {change}"),
            _ => log::info!("  {change}"),
        }
    }
}

pub(super) fn answer_all(waiting: &[Sender<Answer>], report: &ReloadReport) {
    for asker in waiting {
        // Who does not wait any more is not waited for.
        let _ = asker.try_send(report.answer());
    }
}

pub(super) fn name_of(config: &Config) -> String {
    let name = config.file.file_name().map(Path::new);
    let name = name.unwrap_or(&config.file).to_string_lossy().into_owned();
    crate::shown::printable(&name)
}
