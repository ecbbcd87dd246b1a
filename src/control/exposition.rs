//! A snapshot in Prometheus' text format 0.0.4: one table of all metrics.
//!
//! No file has a label: there are any number of them, and they go with their files. Of topics the first
//! [`MOST_TOPICS`] have their names; those that come later are counted together as `other`.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use super::wire::STATES;
use crate::shown::ShownPath;
use crate::snapshot::{FileStatus, Latency, LogStatus, Snapshot, TopicStatus};

/// Writes metrics; remembers what topics it has named.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    topics: BTreeSet<String>,
}

/// One metric.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: fn(&Moment<'_>, &mut Values<'_>),
}

/// What the values are made of.
struct Moment<'a> {
    now: SystemTime,
    snapshot: &'a Snapshot,
    topics: &'a BTreeSet<String>,
}

/// Where the values of one metric go.
struct Values<'a> {
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

const METRICS: &[Metric] = &[
    Metric {
        name: "logagent_build_info",
        kind: "gauge",
        help: "Version of the agent.",
        values: |moment, out| {
            let version = &moment.snapshot.process.version;
            out.add(&[("version", version)], 1.0);
        },
    },
    Metric {
        name: "logagent_start_time_seconds",
        kind: "gauge",
        help: "When the agent was started, in seconds since 1970.",
        values: |moment, out| out.time(moment.snapshot.process.started),
    },
    Metric {
        name: "logagent_config_reloads_total",
        kind: "counter",
        help: "Changed configurations, by what became of them.",
        values: |moment, out| {
            let config = &moment.snapshot.config;
            out.add(&[("result", "applied")], config.applied as f64);
            out.add(&[("result", "refused")], config.refused as f64);
        },
    },
    Metric {
        name: "logagent_config_last_reload_success",
        kind: "gauge",
        help: "Whether the last reload was applied; 0: it was refused, and the configuration before it is in use.",
        values: |moment, out| {
            let is_refused = moment.snapshot.config.refusal.is_some();
            out.add(&[], f64::from(u8::from(!is_refused)));
        },
    },
    Metric {
        name: "logagent_config_last_reload_success_timestamp_seconds",
        kind: "gauge",
        help: "When the configuration in use was applied, in seconds since 1970.",
        values: |moment, out| {
            let snapshot = moment.snapshot;
            out.time(snapshot.config.last_applied.or(snapshot.process.started));
        },
    },
    Metric {
        name: "logagent_files",
        kind: "gauge",
        help: "Files, by what they are doing.",
        values: |moment, out| {
            for log in &moment.snapshot.logs {
                for (state, word) in STATES {
                    let files = moment.files(log).filter(|file| file.state == state);
                    out.add(&[("log", &log.name), ("state", word)], files.count() as f64);
                }
            }
        },
    },
    Metric {
        name: "logagent_read_bytes_total",
        kind: "counter",
        help: "Bytes read from files.",
        values: |moment, out| out.by_log(moment, |log| log.read_bytes),
    },
    Metric {
        name: "logagent_read_lines_total",
        kind: "counter",
        help: "Lines read from files.",
        values: |moment, out| out.by_log(moment, |log| log.read_lines),
    },
    Metric {
        name: "logagent_events_total",
        kind: "counter",
        help: "Events made of lines, before filters.",
        values: |moment, out| out.by_log(moment, |log| log.events),
    },
    Metric {
        name: "logagent_dropped_events_total",
        kind: "counter",
        help: "Events that a rule of the configuration dropped.",
        values: |moment, out| out.by_rule(moment, |log| &log.dropped),
    },
    Metric {
        name: "logagent_masked_total",
        kind: "counter",
        help: "Places that a mask has hidden.",
        values: |moment, out| out.by_rule(moment, |log| &log.masked),
    },
    Metric {
        name: "logagent_split_events_total",
        kind: "counter",
        help: "Events that were longer than a record may be and went in pieces.",
        values: |moment, out| out.by_log(moment, |log| log.split),
    },
    Metric {
        name: "logagent_parse_failures_total",
        kind: "counter",
        help: "Lines and events that were not as the configuration expects, and went as they are.",
        values: |moment, out| {
            let stages = ["container", "encoding", "json", "regex", "time"];
            out.by_word(moment, "stage", &stages, |log| &log.parse_failures);
        },
    },
    Metric {
        name: "logagent_acked_bytes_total",
        kind: "counter",
        help: "Bytes of files that are done with: acknowledged by Kafka, dropped, or a dead letter.",
        values: |moment, out| out.by_log(moment, |log| log.acked_bytes),
    },
    Metric {
        name: "logagent_acked_records_total",
        kind: "counter",
        help: "Records acknowledged by Kafka.",
        values: |moment, out| {
            for (topic, count) in moment.by_topic(|topic| topic.acked_records) {
                out.add(&[("topic", topic)], count as f64);
            }
        },
    },
    Metric {
        name: "logagent_lost_bytes_total",
        kind: "counter",
        help: "Bytes that went away unread.",
        values: |moment, out| {
            let reasons = ["truncated", "deleted", "limit"];
            out.by_word(moment, "reason", &reasons, |log| &log.lost_bytes);
        },
    },
    Metric {
        name: "logagent_dead_letter_records_total",
        kind: "counter",
        help: "Records that Kafka refuses for good, which are in the state folder.",
        values: |moment, out| {
            let mut reasons: Vec<&str> = Vec::new();
            for (reason, _) in moment
                .snapshot
                .topics
                .iter()
                .flat_map(|topic| &topic.dead_letters)
            {
                if !reasons.contains(&&**reason) {
                    reasons.push(reason);
                }
            }
            for reason in reasons {
                let of = |topic: &TopicStatus| {
                    let mut letters = topic.dead_letters.iter();
                    letters
                        .find(|(word, _)| word == reason)
                        .map_or(0, |(_, count)| *count)
                };
                for (topic, count) in moment.by_topic(of) {
                    if count > 0 {
                        out.add(&[("topic", topic), ("reason", reason)], count as f64);
                    }
                }
            }
        },
    },
    Metric {
        name: "logagent_lag_bytes",
        kind: "gauge",
        help: "Bytes of all files past their positions.",
        values: |moment, out| {
            for log in &moment.snapshot.logs {
                let lag: u64 = moment.files(log).map(FileStatus::waits).sum();
                out.add(&[("log", &log.name)], lag as f64);
            }
        },
    },
    Metric {
        name: "logagent_lag_bytes_max",
        kind: "gauge",
        help: "Bytes past its position of the file that has the most.",
        values: |moment, out| {
            for log in &moment.snapshot.logs {
                let lag = moment.files(log).map(FileStatus::waits).max();
                out.add(&[("log", &log.name)], lag.unwrap_or(0) as f64);
            }
        },
    },
    Metric {
        name: "logagent_lag_seconds",
        kind: "gauge",
        help: "At least how old the oldest byte is that is not acknowledged.",
        values: |moment, out| {
            for log in &moment.snapshot.logs {
                let waiting = moment.files(log).filter(|file| file.waits() > 0);
                let oldest = waiting.filter_map(|file| file.behind_since).min();
                let age = oldest.map_or(Duration::ZERO, |since| moment.since(since));
                out.add(&[("log", &log.name)], age.as_secs_f64());
            }
        },
    },
    Metric {
        name: "logagent_rate_limited_seconds_total",
        kind: "counter",
        help: "How long rate_limit let files wait, all added up.",
        values: |moment, out| {
            for log in &moment.snapshot.logs {
                out.add(&[("log", &log.name)], log.rate_limited.as_secs_f64());
            }
        },
    },
    Metric {
        name: "logagent_topic_parked",
        kind: "gauge",
        help: "Whether a topic takes nothing, because it is missing or not authorized.",
        values: |moment, out| {
            for (topic, count) in moment.by_topic(|topic| u64::from(topic.parked.is_some())) {
                out.add(&[("topic", topic)], count.min(1) as f64);
            }
        },
    },
    Metric {
        name: "logagent_topics_parked",
        kind: "gauge",
        help: "Topics that take nothing.",
        values: |moment, out| {
            let topics = moment.snapshot.topics.iter();
            let parked = topics.filter(|topic| topic.parked.is_some());
            out.add(&[], parked.count() as f64);
        },
    },
    Metric {
        name: "logagent_produce_requests_total",
        kind: "counter",
        help: "Produce requests that were sent.",
        values: |moment, out| {
            for broker in &moment.snapshot.brokers {
                out.add(&[("broker", &broker.address)], broker.requests as f64);
            }
        },
    },
    Metric {
        name: "logagent_produce_errors_total",
        kind: "counter",
        help: "Errors that brokers answered, by Kafka's names.",
        values: |moment, out| {
            for (error, count) in &moment.snapshot.produce_errors {
                out.add(&[("error", error)], *count as f64);
            }
        },
    },
    Metric {
        name: "logagent_produce_latency_seconds",
        kind: "histogram",
        help: "How long brokers took to acknowledge a produce request.",
        values: |moment, out| out.histogram(&moment.snapshot.produce_latency),
    },
    Metric {
        name: "logagent_in_flight_bytes",
        kind: "gauge",
        help: "Encoded bytes that were sent and are not acknowledged.",
        values: |moment, out| {
            for broker in &moment.snapshot.brokers {
                out.add(
                    &[("broker", &broker.address)],
                    broker.in_flight_bytes as f64,
                );
            }
        },
    },
    Metric {
        name: "logagent_broker_up",
        kind: "gauge",
        help: "Whether the agent is connected to a broker.",
        values: |moment, out| {
            for broker in &moment.snapshot.brokers {
                let is_up = u8::from(broker.up_since.is_some());
                out.add(&[("broker", &broker.address)], f64::from(is_up));
            }
        },
    },
    Metric {
        name: "logagent_tls_certificate_expiry_timestamp_seconds",
        kind: "gauge",
        help: "When a certificate that is in use ends, in seconds since 1970.",
        values: |moment, out| {
            for (file, expires) in &moment.snapshot.config.certificates {
                let file = ShownPath(file).to_string();
                out.add(&[("file", &file)], unix_seconds(*expires));
            }
        },
    },
    Metric {
        name: "logagent_memory_used_bytes",
        kind: "gauge",
        help: "Bytes of lines that are held in memory.",
        values: |moment, out| out.add(&[], moment.snapshot.process.memory_used as f64),
    },
    Metric {
        name: "logagent_memory_limit_bytes",
        kind: "gauge",
        help: "Bytes of lines that may be held in memory.",
        values: |moment, out| out.add(&[], moment.snapshot.process.memory_limit as f64),
    },
    Metric {
        name: "logagent_checkpoint_age_seconds",
        kind: "gauge",
        help: "How long ago the positions were written, where some have moved since; else 0.",
        values: |moment, out| {
            let positions = &moment.snapshot.positions;
            let written = positions.written.filter(|_| positions.is_due);
            let age = written.map_or(Duration::ZERO, |written| moment.since(written));
            out.add(&[], age.as_secs_f64());
        },
    },
    Metric {
        name: "logagent_checkpoint_write_failures_total",
        kind: "counter",
        help: "How often the positions could not be written.",
        values: |moment, out| out.add(&[], moment.snapshot.positions.failures as f64),
    },
    Metric {
        name: "process_cpu_seconds_total",
        kind: "counter",
        help: "CPU time of the process.",
        values: |_, out| {
            if let Some(seconds) = cpu_seconds() {
                out.add(&[], seconds);
            }
        },
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: "gauge",
        help: "Resident memory of the process.",
        values: |_, out| {
            if let Some(bytes) = resident_bytes() {
                out.add(&[], bytes as f64);
            }
        },
    },
    Metric {
        name: "process_open_fds",
        kind: "gauge",
        help: "Open descriptors of the process.",
        values: |_, out| {
            if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
                // One of them reads this folder.
                out.add(&[], descriptors.count().saturating_sub(1) as f64);
            }
        },
    },
    Metric {
        name: "process_max_fds",
        kind: "gauge",
        help: "Descriptors that the process may have.",
        values: |_, out| {
            if let Some(most) = getrlimit(Resource::Nofile).current {
                out.add(&[], most as f64);
            }
        },
    },
    Metric {
        name: "process_start_time_seconds",
        kind: "gauge",
        help: "When the process was started, in seconds since 1970.",
        values: |moment, out| out.time(moment.snapshot.process.started),
    },
];

impl Moment<'_> {
    fn files(&self, log: &LogStatus) -> impl Iterator<Item = &FileStatus> {
        let files = self.snapshot.files.iter();
        files.filter(|file| file.log == log.name)
    }

    fn since(&self, time: SystemTime) -> Duration {
        self.now.duration_since(time).unwrap_or_default()
    }

    /// A sum for each topic that has its name, and for all others together.
    fn by_topic(&self, value: impl Fn(&TopicStatus) -> u64) -> Vec<(&str, u64)> {
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
    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.add_to("", labels, value);
    }

    fn add_to(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
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

    fn time(&mut self, time: Option<SystemTime>) {
        if let Some(time) = time {
            self.add(&[], unix_seconds(time));
        }
    }

    fn by_log(&mut self, moment: &Moment<'_>, value: fn(&LogStatus) -> u64) {
        for log in &moment.snapshot.logs {
            self.add(&[("log", &log.name)], value(log) as f64);
        }
    }

    fn by_rule(&mut self, moment: &Moment<'_>, counts: fn(&LogStatus) -> &[(String, u64)]) {
        for log in &moment.snapshot.logs {
            for (rule, count) in counts(log) {
                self.add(&[("log", &log.name), ("rule", rule)], *count as f64);
            }
        }
    }

    /// Each of `words`, also where nothing was counted yet: an increase from nothing is none.
    fn by_word(
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

    fn histogram(&mut self, latency: &Latency) {
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

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as f64
        / 1000.0
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // `7 (name) S ...`, and the name may hold anything. utime and stime are fields 14 and 15 (proc_pid_stat(5)).
    let fields = stat.rsplit(") ").next()?.split(' ').skip(11).take(2);
    let ticks: Option<u64> = fields.map(|field| field.parse::<u64>().ok()).sum();
    Some(ticks? as f64 / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Of `_SC_CLK_TCK`, which is the same on all that Linux runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Topics that have their names.
pub(super) const MOST_TOPICS: usize = 200;
