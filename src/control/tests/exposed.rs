//! What is made of a snapshot for those who watch: metrics, and whether it is healthy.

use super::*;

#[test]
fn the_metrics_are_in_prometheus_format_and_have_the_numbers_of_the_snapshot() {
    let mut snapshot = later(sample());
    snapshot.brokers.push(BrokerStatus {
        address: "not-needed:9093".to_owned(),
        ..BrokerStatus::default()
    });
    let text = Exposition::default().text(&snapshot, at());
    assert!(
        !text.contains("logagent_broker_up{broker=\"not-needed"),
        "{text}"
    );
    let series = series(&text);
    for (name, expected) in [
        ("logagent_build_info{version=\"0.2.0\"}", 1.0),
        ("logagent_config_reloads_total{result=\"applied\"}", 1.0),
        ("logagent_config_last_reload_success", 1.0),
        ("logagent_files{log=\"app\",state=\"behind\"}", 1.0),
        ("logagent_files{log=\"app\",state=\"failed\"}", 0.0),
        ("logagent_read_bytes_total{log=\"app\"}", 17_000_000.0),
        (
            "logagent_dropped_events_total{log=\"web\",rule=\"drop.debug\"}",
            88110.0,
        ),
        (
            "logagent_parse_failures_total{log=\"app\",stage=\"json\"}",
            3.0,
        ),
        (
            "logagent_lost_bytes_total{log=\"app\",reason=\"deleted\"}",
            0.0,
        ),
        (
            "logagent_dead_letter_records_total{topic=\"web_log\",reason=\"INVALID_RECORD\"}",
            2.0,
        ),
        ("logagent_lag_bytes{log=\"app\"}", (1229_u64 << 20) as f64),
        ("logagent_lag_seconds{log=\"app\"}", 250.0),
        ("logagent_lag_seconds{log=\"audit\"}", 0.0),
        ("logagent_topic_parked{topic=\"audit\"}", 1.0),
        ("logagent_topics_parked", 1.0),
        (
            "logagent_produce_errors_total{error=\"NOT_LEADER_OR_FOLLOWER\"}",
            4.0,
        ),
        (
            "logagent_produce_latency_seconds_bucket{le=\"0.0025\"}",
            0.0,
        ),
        (
            "logagent_produce_latency_seconds_bucket{le=\"0.005\"}",
            90.0,
        ),
        (
            "logagent_produce_latency_seconds_bucket{le=\"+Inf\"}",
            100.0,
        ),
        ("logagent_produce_latency_seconds_sum", 0.512345),
        ("logagent_produce_latency_seconds_count", 100.0),
        ("logagent_broker_up{broker=\"kafka3:9093\"}", 0.0),
        ("logagent_checkpoint_age_seconds", 0.0),
    ] {
        assert_eq!(value(&series, name), expected, "{name}");
    }
    let escaped =
        "logagent_tls_certificate_expiry_timestamp_seconds{file=\"/etc/a \\\"b\\\".pem\"}";
    assert_eq!(value(&series, escaped), 1_764_342_840.0);
    assert!(value(&series, "process_resident_memory_bytes") > 1e6);
    assert!(value(&series, "process_open_fds") > 2.0);
    assert!(value(&series, "process_cpu_seconds_total") >= 0.0);
}

#[test]
fn topics_beyond_the_first_are_counted_together_and_keep_their_place() {
    let mut exposition = Exposition::default();
    let mut snapshot = Snapshot::default();
    let topic = |n: usize| TopicStatus {
        name: format!("t{n}"),
        acked_records: 1,
        ..TopicStatus::default()
    };
    snapshot.topics = (100..100 + MOST_TOPICS).map(topic).collect();
    exposition.text(&snapshot, at());
    snapshot.topics.splice(0..0, (0..7).map(topic));
    let series = series(&exposition.text(&snapshot, at()));
    assert_eq!(
        value(&series, "logagent_acked_records_total{topic=\"other\"}"),
        7.0
    );
    assert_eq!(
        value(&series, "logagent_acked_records_total{topic=\"t100\"}"),
        1.0
    );
    let named = series
        .iter()
        .filter(|(name, _)| name.starts_with("logagent_acked_records_total"));
    assert_eq!(named.count(), MOST_TOPICS + 1);
}

#[test]
fn every_query_of_alerts_and_dashboard_names_metrics_that_exist() {
    let snapshot = transactions::exactly_once(later(sample()));
    let known = series(&Exposition::default().text(&snapshot, at()));
    let known: BTreeSet<&str> = (known.iter())
        .map(|(name, _)| name.split('{').next().unwrap_or_default())
        .collect();
    let alerts = include_str!("../../../conf/prometheus/alerts.yml");
    let dashboard = include_str!("../../../conf/grafana/dashboard.json");
    let _: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let mut count = 0;
    for text in [alerts, dashboard] {
        let words = text.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        for word in
            words.filter(|word| word.starts_with("logagent_") || word.starts_with("process_"))
        {
            count += 1;
            assert!(known.contains(word), "{word} is no metric");
        }
    }
    assert!(count > 40, "{count}");
    for alert in [
        "lost_bytes_total",
        "lag_seconds > 300",
        "topics_parked > 0",
        "dead_letter_records_total",
        "checkpoint_age_seconds > 30",
        "last_reload_success == 0",
        "14 * 86400",
        "transaction_open_seconds > 90",
        "up{job=\"logagent\"} == 0",
    ] {
        assert!(alerts.contains(alert), "no alert has {alert}");
    }
}

#[test]
fn only_what_a_restart_mends_is_unhealthy() {
    let mut snapshot = sample();
    assert_eq!(http::complaints(&snapshot, Duration::ZERO, at()), "");
    snapshot.positions.is_due = true;
    snapshot.positions.failures = 3;
    assert_eq!(http::complaints(&snapshot, Duration::ZERO, at()), "");
    snapshot.positions.written = Some(ago(31));
    assert_eq!(
        http::complaints(&snapshot, Duration::ZERO, at()),
        "the positions cannot be written\n"
    );
    // A part that is silent for a moment waits for its disk.
    snapshot.unanswered.push("registrar".to_owned());
    assert!(!http::complaints(&snapshot, Duration::from_secs(29), at()).contains("registrar"));
    let silent = http::complaints(&snapshot, Duration::from_secs(30), at());
    assert!(
        silent.starts_with("registrar does not answer\n"),
        "{silent}"
    );
}
