//! A snapshot in Prometheus' text format 0.0.4: one table of all metrics.
//!
//! No file has a label: there are any number of them, and they go with their files. Of topics the first
//! [`MOST_TOPICS`] have their names; those that come later are counted together as `other`.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::metrics_table::METRICS;
use crate::snapshot::{FileStatus, Latency, LogStatus, Snapshot, TopicStatus};

/// Writes metrics; remembers what topics it has named.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    topics: BTreeSet<String>,
}

/// One metric.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
    pub(super) values: fn(&Moment<'_>, &mut Values<'_>),
}

/// What the values are made of.
pub(super) struct Moment<'a> {
    now: SystemTime,
    pub(super) snapshot: &'a Snapshot,
    topics: &'a BTreeSet<String>,
}

/// Where the values of one metric go.
pub(super) struct Values<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl Exposition {
    pub(super) fn text(&mut self, snapshot: &Snapshot, now: SystemTime) -> String {
        for topic in &snapshot.topics {
            if self.topics.len() < MOST_TOPICS {
                self.topics.insert(topic.name.clone());
            }
        }
        let moment = Moment {
            now,
            snapshot,
            topics: &self.topics,
        };
        let mut out = String::new();
        for metric in METRICS {
            let start = out.len();
            for text in [
                "# HELP ",
                metric.name,
                " ",
                metric.help,
                "\n# TYPE ",
                metric.name,
                " ",
                metric.kind,
                "\n",
            ] {
                out.push_str(text);
            }
            let head = out.len();
            let mut values = Values {
                out: &mut out,
                name: metric.name,
            };
            (metric.values)(&moment, &mut values);
            if out.len() == head {
                out.truncate(start);
            }
        }
        out
    }
}

impl Moment<'_> {
    pub(super) fn files(&self, log: &LogStatus) -> impl Iterator<Item = &FileStatus> {
        let files = self.snapshot.files.iter();
        files.filter(|file| file.log == log.name)
    }

    pub(super) fn since(&self, time: SystemTime) -> Duration {
        self.now.duration_since(time).unwrap_or_default()
    }

    /// A sum for each topic that has its name, and for all others together.
    pub(super) fn by_topic(&self, value: impl Fn(&TopicStatus) -> u64) -> Vec<(&str, u64)> {
        let mut named = Vec::new();
        let mut other = None;
        for topic in &self.snapshot.topics {
            match self.topics.contains(&topic.name) {
                true => named.push((&*topic.name, value(topic))),
                false => other = Some(other.unwrap_or(0) + value(topic)),
            }
        }
        named.extend(other.map(|count| ("other", count)));
        named
    }
}

impl Values<'_> {
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.add_to("", labels, value);
    }

    pub(super) fn add_to(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            for character in text.chars() {
                match character {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    _ => self.out.push(character),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.out.push(' ');
        self.out.push_str(&value.to_string());
        self.out.push('\n');
    }

    pub(super) fn time(&mut self, time: Option<SystemTime>) {
        if let Some(time) = time {
            self.add(&[], unix_seconds(time));
        }
    }

    pub(super) fn by_log(&mut self, moment: &Moment<'_>, value: fn(&LogStatus) -> u64) {
        for log in &moment.snapshot.logs {
            self.add(&[("log", &log.name)], value(log) as f64);
        }
    }

    pub(super) fn by_rule(
        &mut self,
        moment: &Moment<'_>,
        counts: fn(&LogStatus) -> &[(String, u64)],
    ) {
        for log in &moment.snapshot.logs {
            for (rule, count) in counts(log) {
                self.add(&[("log", &log.name), ("rule", rule)], *count as f64);
            }
        }
    }

    /// Each of `words`, also where nothing was counted yet: an increase from nothing is none.
    pub(super) fn by_word(
        &mut self,
        moment: &Moment<'_>,
        label: &str,
        words: &[&str],
        counts: fn(&LogStatus) -> &[(&'static str, u64)],
    ) {
        for log in &moment.snapshot.logs {
            for word in words {
                let found = counts(log).iter().find(|(known, _)| known == word);
                let count = found.map_or(0, |(_, count)| *count);
                self.add(&[("log", &log.name), (label, word)], count as f64);
            }
        }
    }

    pub(super) fn histogram(&mut self, latency: &Latency) {
        let mut sum = 0;
        for (at, count) in latency.counts.iter().enumerate() {
            sum += count;
            let bound = Latency::BOUNDS.get(at);
            let bound = bound.map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.add_to("_bucket", &[("le", &bound)], sum as f64);
        }
        self.add_to("_sum", &[], latency.sum.as_secs_f64());
        self.add_to("_count", &[], sum as f64);
    }
}

pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as f64
        / 1000.0
}

/// Topics that have their names.
pub(super) const MOST_TOPICS: usize = 200;
