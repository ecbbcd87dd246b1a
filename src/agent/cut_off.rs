//! That no broker can be reached, as one thing: since when, and what waits. What follows from it, topics that have no
//! leader, is no trouble of its own.

use std::time::SystemTime;

use log::Level;

use crate::snapshot::{ALL_BROKERS, ConditionStatus, FileStatus, Snapshot};

/// Adds the condition to a snapshot that has its brokers, if none of them can be reached. The producers say it when
/// they have tried each of them; until then, and where a person is needed, each broker has its own.
pub(super) fn find(snapshot: &mut Snapshot) {
    if snapshot.is_cut_off() {
        return;
    }
    let mut down = snapshot.brokers.iter().peekable();
    if down.peek().is_none() {
        return find_unused(snapshot);
    }
    let mut since = None;
    let mut reasons = Vec::new();
    for broker in down {
        let subject = format!("broker {}", broker.address);
        let mut conditions = snapshot.conditions.iter();
        let condition = conditions.find(|one| one.subject == subject);
        let (None, Some(condition)) = (broker.up_since, condition) else {
            return;
        };
        // From the time on at which the last of them was away.
        since = since.max(Some(condition.since));
        reasons.push((&*broker.address, &*condition.reason));
    }
    if let Some(since) = since {
        let reason = each(&reasons);
        push(snapshot, &reason, since);
    }
}

/// The same where none was needed yet.
fn find_unused(snapshot: &mut Snapshot) {
    let mut known = snapshot.bootstrap.iter();
    let errors = known.clone();
    let errors = errors.filter_map(|one| Some((&*one.address, one.error.as_deref()?)));
    let reason = each(&errors.collect::<Vec<_>>());
    let is_troubled = known.clone().all(|one| one.error.is_some());
    if let Some(first) = known.next().filter(|_| is_troubled) {
        let since = first.error_since.unwrap_or_else(SystemTime::now);
        push(snapshot, &reason, since);
    }
}

/// Each address with its reason; addresses that have one reason are listed before it.
fn each(reasons: &[(&str, &str)]) -> String {
    let mut told: Vec<(Vec<&str>, &str)> = Vec::new();
    for (address, reason) in reasons {
        match told.iter_mut().find(|(_, known)| known == reason) {
            Some((addresses, _)) => addresses.push(address),
            None => told.push((vec![address], reason)),
        }
    }
    let mut words: Vec<String> = Vec::new();
    for (addresses, reason) in told.iter().take(MOST_TOLD) {
        let more = match addresses.len().saturating_sub(MOST_TOLD) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let addresses = addresses[..addresses.len().min(MOST_TOLD)].join(", ");
        words.push(format!("{addresses}{more}: {reason}"));
    }
    words.join("; ")
}

/// So many reasons are told, and as many addresses of each.
const MOST_TOLD: usize = 4;

fn push(snapshot: &mut Snapshot, reason: &str, since: SystemTime) {
    snapshot.conditions.push(ConditionStatus {
        subject: ALL_BROKERS.to_owned(),
        reason: format!("none reachable: {reason}"),
        since,
        level: Level::Warn,
        next_try: None,
        waiting: 0,
    });
}

/// Says what waits, in a snapshot that has its files, and leaves out what only follows.
pub(super) fn sum_up(snapshot: &mut Snapshot) {
    if !snapshot.is_cut_off() {
        return;
    }
    let waiting = snapshot.files.iter().map(FileStatus::waits).sum();
    let is_consequence =
        |one: &ConditionStatus| one.subject.starts_with("partition ") && one.reason == "no leader";
    snapshot.conditions.retain(|one| !is_consequence(one));
    for condition in &mut snapshot.conditions {
        if condition.subject == ALL_BROKERS {
            condition.waiting = waiting;
        }
    }
    for topic in &mut snapshot.topics {
        topic.waits_for_broker = true;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::snapshot::{BootstrapStatus, BrokerStatus, TopicStatus};

    fn condition(subject: &str, reason: &str, at: u64) -> ConditionStatus {
        ConditionStatus {
            subject: subject.to_owned(),
            reason: reason.to_owned(),
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(at),
            level: Level::Warn,
            next_try: None,
            waiting: 0,
        }
    }

    fn broker(address: &str) -> BrokerStatus {
        BrokerStatus {
            address: address.to_owned(),
            ..BrokerStatus::default()
        }
    }

    #[test]
    fn brokers_that_are_all_away_are_one_condition_with_what_waits_and_topics_wait_for_them() {
        let mut snapshot = Snapshot {
            brokers: vec![broker("a:1"), broker("b:1")],
            topics: vec![TopicStatus::default()],
            files: vec![FileStatus {
                position: 3,
                size: 10,
                ..FileStatus::default()
            }],
            conditions: vec![
                condition("broker a:1", "hangs up", 5),
                condition("broker b:1", "refused", 9),
                condition("partition 3 of topic t", "no leader", 9),
            ],
            ..Snapshot::default()
        };
        let whole = snapshot.clone();
        find(&mut snapshot);
        sum_up(&mut snapshot);
        let expected = ConditionStatus {
            waiting: 7,
            ..condition(
                ALL_BROKERS,
                "none reachable: a:1: hangs up; b:1: refused",
                9,
            )
        };
        assert_eq!(snapshot.conditions.last(), Some(&expected));
        assert_eq!(snapshot.conditions.len(), 3);
        assert!(snapshot.topics[0].waits_for_broker);
        // One that is connected changes all of that.
        let mut snapshot = whole;
        snapshot.brokers[1].up_since = Some(SystemTime::UNIX_EPOCH);
        let before = snapshot.clone();
        find(&mut snapshot);
        sum_up(&mut snapshot);
        assert_eq!(snapshot, before);
    }

    #[test]
    fn that_none_can_be_reached_is_wrong_before_one_is_needed_and_that_one_cannot_is_not() {
        let one = |address: &str, error: Option<&str>| BootstrapStatus {
            address: address.to_owned(),
            error: error.map(str::to_owned),
            ..BootstrapStatus::default()
        };
        let refused = Some("connection refused");
        let found = |bootstrap| {
            let mut snapshot = Snapshot {
                bootstrap,
                ..Snapshot::default()
            };
            find(&mut snapshot);
            let reasons = snapshot.conditions.into_iter().map(|one| one.reason);
            reasons.collect::<Vec<_>>()
        };
        let all = found(vec![one("a:1", refused), one("b:1", refused)]);
        assert_eq!(all, ["none reachable: a:1, b:1: connection refused"]);
        assert_eq!(found(vec![one("a:1", refused), one("b:1", None)]), [""; 0]);
        assert_eq!(found(Vec::new()), [""; 0]);
    }
}
