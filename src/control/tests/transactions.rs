//! What is shown of transactions.

use super::shown::{series, value};
use super::*;
use crate::snapshot::TransactionStatus;

/// An agent that delivers exactly once with two producers, one of which has had a transaction open for 41 s.
pub(super) fn exactly_once(mut snapshot: Snapshot) -> Snapshot {
    let how = "id web1, transaction.version 2, positions in logagent-positions/7";
    how.clone_into(&mut snapshot.exactly_once);
    let of = |producer: u32, open_since| TransactionStatus {
        id: format!("logagent-web1-{producer}"),
        committed: 90_211,
        aborted: u64::from(producer),
        open_since,
    };
    snapshot.transactions = vec![of(0, None), of(1, Some(ago(41)))];
    snapshot
}

#[test]
fn the_screen_has_the_transactional_ids_and_how_long_a_transaction_is_open() {
    let snapshot = exactly_once(sample());
    let text = Screen::new(&snapshot, at(), &View::default()).text(false);
    let (_, table) = text.split_once("\nTRANSACTIONAL ID ").unwrap();
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let rows: Vec<String> = rows.take(4).collect();
    assert_eq!(
        rows,
        [
            "COMMITTED ABORTED OPEN FOR",
            "logagent-web1-0 90211 0 -",
            "logagent-web1-1 90211 1 41s",
            "exactly once: id web1, transaction.version 2, positions in logagent-positions/7",
        ]
    );
    let plain = Screen::new(&sample(), at(), &View::default()).text(false);
    assert!(!plain.contains("TRANSACTION") && !plain.contains("exactly once"));
}

#[test]
fn transactions_come_back_from_json() {
    let mut snapshot = exactly_once(sample());
    let json = String::from_utf8(wire_json::to_json(&mut snapshot)).unwrap();
    let read = wire_json::from_json::<Snapshot>(&json).unwrap();
    assert_eq!(read.transactions, snapshot.transactions);
    assert_eq!(read.exactly_once, snapshot.exactly_once);
}

#[test]
fn the_metrics_count_transactions_where_there_are_any() {
    let text = |snapshot: &Snapshot| Exposition::default().text(snapshot, at());
    let series = series(&text(&exactly_once(sample())));
    for (name, expected) in [
        (
            "logagent_transactions_total{result=\"committed\"}",
            180_422.0,
        ),
        ("logagent_transactions_total{result=\"aborted\"}", 1.0),
        ("logagent_transaction_open_seconds", 41.0),
    ] {
        assert_eq!(value(&series, name), expected, "{name}");
    }
    assert!(!text(&sample()).contains("\nlogagent_transaction"));
}
