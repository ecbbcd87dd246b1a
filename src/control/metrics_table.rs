//! The one table of metrics: name, type, help and where the values come from.

use std::fs;
use std::time::Duration;

use super::exposition::{Metric, unix_seconds};
use super::exposition::{Moment, Values};
use super::wire::STATES;
use crate::process::{most_descriptors, open_descriptors, resident_bytes};
use crate::shown::ShownPath;
use crate::snapshot::{BrokerStatus, FileStatus, TopicStatus, TransactionStatus};

pub(super) const METRICS: &[Metric] = &[
    metric(
        "logagent_build_info",
        "gauge",
        "Version of the agent.",
        |moment, out| {
            let version = &moment.snapshot.process.version;
            out.add(&[("version", version)], 1.0);
        },
    ),
    metric(
        "logagent_start_time_seconds",
        "gauge",
        "When the agent was started, in seconds since 1970.",
        |moment, out| out.time(moment.snapshot.process.started),
    ),
    metric(
        "logagent_config_reloads_total",
        "counter",
        "Changed configurations, by what became of them.",
        |moment, out| {
            let config = &moment.snapshot.config;
            out.add(&[("result", "applied")], config.applied as f64);
            out.add(&[("result", "refused")], config.refused as f64);
        },
    ),
    metric(
        "logagent_config_last_reload_success",
        "gauge",
        "Whether the last reload was applied; 0: it was refused, and the configuration before it is in use.",
        |moment, out| {
            let is_refused = moment.snapshot.config.refusal.is_some();
            out.add(&[], f64::from(u8::from(!is_refused)));
        },
    ),
    metric(
        "logagent_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the configuration in use was applied, in seconds since 1970.",
        |moment, out| {
            let snapshot = moment.snapshot;
            out.time(snapshot.config.last_applied.or(snapshot.process.started));
        },
    ),
    metric(
        "logagent_files",
        "gauge",
        "Files, by what they are doing.",
        |moment, out| {
            for log in &moment.snapshot.logs {
                for (state, word) in STATES {
                    let files = moment.files(log).filter(|file| file.state == state);
                    out.add(&[("log", &log.name), ("state", word)], files.count() as f64);
                }
            }
        },
    ),
    metric(
        "logagent_read_bytes_total",
        "counter",
        "Bytes read from files.",
        |moment, out| out.by_log(moment, |log| log.read_bytes),
    ),
    metric(
        "logagent_read_lines_total",
        "counter",
        "Lines read from files.",
        |moment, out| out.by_log(moment, |log| log.read_lines),
    ),
    metric(
        "logagent_events_total",
        "counter",
        "Events made of lines, before filters.",
        |moment, out| out.by_log(moment, |log| log.events),
    ),
    metric(
        "logagent_dropped_events_total",
        "counter",
        "Events that a rule of the configuration dropped.",
        |moment, out| out.by_rule(moment, |log| &log.dropped),
    ),
    metric(
        "logagent_masked_total",
        "counter",
        "Places that a mask has hidden.",
        |moment, out| out.by_rule(moment, |log| &log.masked),
    ),
    metric(
        "logagent_split_events_total",
        "counter",
        "Events that were longer than a record may be and went in pieces.",
        |moment, out| out.by_log(moment, |log| log.split),
    ),
    metric(
        "logagent_parse_failures_total",
        "counter",
        "Lines and events that were not as the configuration expects, and went as they are.",
        |moment, out| {
            let stages = ["container", "encoding", "json", "regex", "time"];
            out.by_word(moment, "stage", &stages, |log| &log.parse_failures);
        },
    ),
    metric(
        "logagent_acked_bytes_total",
        "counter",
        "Bytes of files that are done with: acknowledged by Kafka, dropped, or a dead letter.",
        |moment, out| out.by_log(moment, |log| log.acked_bytes),
    ),
    metric(
        "logagent_acked_records_total",
        "counter",
        "Records acknowledged by Kafka.",
        |moment, out| {
            for (topic, count) in moment.by_topic(|topic| topic.acked_records) {
                out.add(&[("topic", topic)], count as f64);
            }
        },
    ),
    metric(
        "logagent_lost_bytes_total",
        "counter",
        "Bytes that went away unread.",
        |moment, out| {
            let reasons = ["truncated", "deleted", "limit"];
            out.by_word(moment, "reason", &reasons, |log| &log.lost_bytes);
        },
    ),
    metric(
        "logagent_dead_letter_records_total",
        "counter",
        "Records that Kafka refuses for good, which are in the state folder.",
        |moment, out| {
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
    ),
    metric(
        "logagent_lag_bytes",
        "gauge",
        "Bytes of whole lines in all files that are not acknowledged.",
        |moment, out| {
            for log in &moment.snapshot.logs {
                let lag: u64 = moment.files(log).map(FileStatus::waits).sum();
                out.add(&[("log", &log.name)], lag as f64);
            }
        },
    ),
    metric(
        "logagent_lag_bytes_max",
        "gauge",
        "Bytes past its position of the file that has the most.",
        |moment, out| {
            for log in &moment.snapshot.logs {
                let lag = moment.files(log).map(FileStatus::waits).max();
                out.add(&[("log", &log.name)], lag.unwrap_or(0) as f64);
            }
        },
    ),
    metric(
        "logagent_lag_seconds",
        "gauge",
        "At least how old the oldest byte is that is not acknowledged.",
        |moment, out| {
            for log in &moment.snapshot.logs {
                let waiting = moment.files(log).filter(|file| file.is_behind());
                let oldest = waiting.filter_map(|file| file.behind_since).min();
                let age = oldest.map_or(Duration::ZERO, |since| moment.since(since));
                out.add(&[("log", &log.name)], age.as_secs_f64());
            }
        },
    ),
    metric(
        "logagent_rate_limited_seconds_total",
        "counter",
        "How long rate_limit let files wait, all added up.",
        |moment, out| {
            for log in &moment.snapshot.logs {
                out.add(&[("log", &log.name)], log.rate_limited.as_secs_f64());
            }
        },
    ),
    metric(
        "logagent_topic_parked",
        "gauge",
        "Whether a topic takes nothing, because it is missing or not authorized.",
        |moment, out| {
            for (topic, count) in moment.by_topic(|topic| u64::from(topic.parked.is_some())) {
                out.add(&[("topic", topic)], count.min(1) as f64);
            }
        },
    ),
    metric(
        "logagent_topics_parked",
        "gauge",
        "Topics that take nothing.",
        |moment, out| {
            let topics = moment.snapshot.topics.iter();
            let parked = topics.filter(|topic| topic.parked.is_some());
            out.add(&[], parked.count() as f64);
        },
    ),
    metric(
        "logagent_produce_requests_total",
        "counter",
        "Produce requests that were sent.",
        |moment, out| {
            for broker in &moment.snapshot.brokers {
                out.add(&[("broker", &broker.address)], broker.requests as f64);
            }
        },
    ),
    metric(
        "logagent_produce_errors_total",
        "counter",
        "Errors that brokers answered, by Kafka's names.",
        |moment, out| {
            for (error, count) in &moment.snapshot.produce_errors {
                out.add(&[("error", error)], *count as f64);
            }
        },
    ),
    metric(
        "logagent_produce_latency_seconds",
        "histogram",
        "How long brokers took to acknowledge a produce request.",
        |moment, out| out.histogram(&moment.snapshot.produce_latency),
    ),
    metric(
        "logagent_transactions_total",
        "counter",
        "Transactions that have ended, by how; what was aborted was sent again.",
        |moment, out| {
            let all = &moment.snapshot.transactions;
            if !all.is_empty() {
                let sum =
                    |of: fn(&TransactionStatus) -> u64| all.iter().map(of).sum::<u64>() as f64;
                out.add(&[("result", "committed")], sum(|one| one.committed));
                out.add(&[("result", "aborted")], sum(|one| one.aborted));
            }
        },
    ),
    metric(
        "logagent_transaction_open_seconds",
        "gauge",
        "How long the oldest open transaction has been open: so long consumers of what is committed wait; else 0.",
        |moment, out| {
            let all = &moment.snapshot.transactions;
            let oldest = all.iter().filter_map(|one| one.open_since).min();
            let age = oldest.map_or(Duration::ZERO, |since| moment.since(since));
            if !all.is_empty() {
                out.add(&[], age.as_secs_f64());
            }
        },
    ),
    metric(
        "logagent_in_flight_bytes",
        "gauge",
        "Encoded bytes that were sent and are not acknowledged.",
        |moment, out| {
            for broker in &moment.snapshot.brokers {
                out.add(
                    &[("broker", &broker.address)],
                    broker.in_flight_bytes as f64,
                );
            }
        },
    ),
    metric(
        "logagent_broker_up",
        "gauge",
        "Whether the agent is connected to a broker, of those that something was to be sent to.",
        |moment, out| {
            let is_needed =
                |one: &&BrokerStatus| one.up_since.is_some() || one.last_error.is_some();
            for broker in moment.snapshot.brokers.iter().filter(is_needed) {
                let is_up = u8::from(broker.up_since.is_some());
                out.add(&[("broker", &broker.address)], f64::from(is_up));
            }
        },
    ),
    metric(
        "logagent_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When a certificate that is in use ends, in seconds since 1970.",
        |moment, out| {
            for (file, expires) in &moment.snapshot.config.certificates {
                let file = ShownPath(file).to_string();
                out.add(&[("file", &file)], unix_seconds(*expires));
            }
        },
    ),
    metric(
        "logagent_memory_used_bytes",
        "gauge",
        "Bytes of lines that are held in memory.",
        |moment, out| out.add(&[], moment.snapshot.process.memory_used as f64),
    ),
    metric(
        "logagent_memory_limit_bytes",
        "gauge",
        "Bytes of lines that may be held in memory.",
        |moment, out| out.add(&[], moment.snapshot.process.memory_limit as f64),
    ),
    metric(
        "logagent_checkpoint_age_seconds",
        "gauge",
        "How long ago the positions were written, where some have moved since; else 0.",
        |moment, out| {
            let positions = &moment.snapshot.positions;
            let written = positions.written.filter(|_| positions.is_due);
            let age = written.map_or(Duration::ZERO, |written| moment.since(written));
            out.add(&[], age.as_secs_f64());
        },
    ),
    metric(
        "logagent_checkpoint_write_failures_total",
        "counter",
        "How often the positions could not be written.",
        |moment, out| out.add(&[], moment.snapshot.positions.failures as f64),
    ),
    metric(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of the process.",
        |_, out| {
            if let Some(seconds) = cpu_seconds() {
                out.add(&[], seconds);
            }
        },
    ),
    metric(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory of the process.",
        |_, out| {
            if let Some(bytes) = resident_bytes() {
                out.add(&[], bytes as f64);
            }
        },
    ),
    metric(
        "process_open_fds",
        "gauge",
        "Open descriptors of the process.",
        |_, out| {
            if let Some(descriptors) = open_descriptors() {
                out.add(&[], descriptors as f64);
            }
        },
    ),
    metric(
        "process_max_fds",
        "gauge",
        "Descriptors that the process may have.",
        |_, out| {
            if let Some(most) = most_descriptors() {
                out.add(&[], most as f64);
            }
        },
    ),
    metric(
        "process_start_time_seconds",
        "gauge",
        "When the process was started, in seconds since 1970.",
        |moment, out| out.time(moment.snapshot.process.started),
    ),
];

const fn metric(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: fn(&Moment<'_>, &mut Values<'_>),
) -> Metric {
    Metric {
        name,
        kind,
        help,
        values,
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // `7 (name) S ...`, and the name may hold anything. utime and stime are fields 14 and 15 (proc_pid_stat(5)).
    let fields = stat.rsplit(") ").next()?.split(' ').skip(11).take(2);
    let ticks: Option<u64> = fields.map(|field| field.parse::<u64>().ok()).sum();
    Some(ticks? as f64 / TICKS_PER_SECOND)
}

/// Of `_SC_CLK_TCK`, which is the same on all that Linux runs on.
const TICKS_PER_SECOND: f64 = 100.0;
