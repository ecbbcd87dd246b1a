//! Going over to another configuration while records are on their way.
//!
//! The producer keeps what it has: lines, record batches, their order, their sequence numbers. Only the way to the
//! brokers is made anew. So it works where Kafka is away, which is when a list of brokers is mended, and needs nothing
//! of the tailers.
//!
//! ```text
//! hold: nothing more is sent -> what is in flight is answered, or time is up -> go_over: new connections, new metadata
//! ```
//! What was not answered by then goes again with the sequence number that it has, so the brokers know it if they have
//! it. Without idempotence it may arrive twice, as after any answer that was lost; it is waited for as long as for any.
//!
//! A producer id is good in one cluster only: in another one it may be somebody else's, and a batch be taken for one of
//! theirs. Nothing is sent before metadata has come, which names the cluster; in another one all goes under a new id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Acks, KafkaConfig};
use crate::kafka::cluster::broker::{Dial, Pending};

use super::encoder::Encoder;
use super::machine::{Machine, style};
use super::partition::Partition;
use super::producer_id::ProducerIds;

impl Machine {
    /// Nothing more is sent before [`Machine::go_over`].
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Whether a record batch has no answer yet.
    pub(crate) fn has_in_flight(&self) -> bool {
        let partitions = self
            .topics
            .iter()
            .flatten()
            .flat_map(|topic| topic.partitions.values());
        partitions.map(Partition::in_flight).any(|count| count > 0)
    }

    /// Goes on as `config` says, with the brokers that `dial` reaches.
    pub(crate) fn go_over(&mut self, config: Arc<KafkaConfig>, dial: Box<dyn Dial>, now: Instant) {
        for pending in self.cluster.begin_anew(&config, dial, now) {
            match pending {
                // With transactions nothing goes over.
                Pending::Metadata | Pending::Transaction => {}
                Pending::InitProducerId => self.ids.unanswered(now),
                Pending::Produce(batches, _) => {
                    self.arrive(&batches);
                    for batch in &batches {
                        if let Some(partition) = self.partition(batch.topic, batch.partition) {
                            partition.fail(batch, true, now);
                        }
                    }
                }
            }
        }
        let was_idempotent = is_idempotent(&self.config);
        let is_idempotent = is_idempotent(&config);
        if was_idempotent != is_idempotent {
            self.ids = ProducerIds::new(is_idempotent, &self.metrics.board, &mut self.random, now);
        }
        for topic in self.topics.iter_mut().flatten() {
            topic.begin_anew(config.partitioner, config.batch_bytes, now);
            if was_idempotent != is_idempotent {
                topic.partitions.values_mut().for_each(Partition::wants_id);
            }
        }
        self.style = style(&config);
        self.encoder = Encoder::new(config.compression, config.batch_bytes);
        self.config = config;
        self.is_held = false;
        // What no partition holds yet is placed with the next metadata.
        self.cluster.schedule.want();
    }

    /// Metadata names the cluster. In another one than before, what was signed is signed anew.
    pub(super) fn note_cluster(&mut self, told: Option<&str>, now: Instant) {
        let Some(told) = told else { return };
        let Some(known) = self.cluster_id.replace(told.into()) else {
            return;
        };
        if *known == *told {
            return;
        }
        log::info!("the brokers belong to the cluster {told} now, before to {known}");
        for topic in self.topics.iter_mut().flatten() {
            for id in topic.producers().collect::<Vec<_>>() {
                self.ids.discard(id, now);
            }
            topic.partitions.values_mut().for_each(Partition::lose_id);
            topic.forget_cluster();
        }
    }
}

/// Whether records are signed.
fn is_idempotent(config: &KafkaConfig) -> bool {
    config.idempotence && config.acks == Acks::All
}

/// How long what is in flight is waited for.
pub(super) fn patience(config: &KafkaConfig) -> Duration {
    match is_idempotent(config) {
        true => PATIENCE.min(config.request_timeout),
        false => config.request_timeout,
    }
}

/// A broker that answers at all answers within this.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Compression;
    use crate::kafka::producer::tests::{Leaders, Play, all_produced, metadata};
    use crate::kafka::protocol::request::Request;
    use crate::kafka::protocol::response::Response;
    use crate::kafka::testing::destination_of;

    /// Metadata of the cluster of this name.
    fn told_by(cluster: &str, leaders: Leaders<'_>) -> Response {
        let Response::Metadata(mut told) = metadata(leaders) else {
            panic!("it is metadata");
        };
        told.cluster_id = Some(cluster.into());
        Response::Metadata(told)
    }

    /// Producer id and sequence number of the first batch in a Produce request.
    fn signed(request: &Request) -> (i64, i32) {
        let bytes = &request.batches[0].1;
        let id = bytes[43..51].try_into().expect("8 bytes");
        let sequence = bytes[53..57].try_into().expect("4 bytes");
        (i64::from_be_bytes(id), i32::from_be_bytes(sequence))
    }

    const LEADERS: &[(i32, i32)] = &[(1, 0)];

    fn over(play: &mut Play) {
        let mut config = KafkaConfig::clone(&play.machine.config);
        config.compression = Compression::Gzip(1);
        config.client_id = "other".to_owned();
        let dial = Box::new(play.dial.clone());
        play.machine.go_over(Arc::new(config), dial, play.now);
    }

    /// A producer that has begun, with one batch in flight.
    fn in_flight() -> (Play, u64, Request) {
        let mut play = Play::new();
        let to = destination_of("/log");
        play.line(&to, "one\n");
        let (connection, _, request) = play.until_produce(|_| told_by("A", LEADERS));
        play.answer(connection, all_produced(&request));
        play.line(&to, "two\n");
        let (connection, _, request) = play.until_produce(|_| told_by("A", LEADERS));
        (play, connection, request)
    }

    #[test]
    fn what_is_in_flight_is_answered_first_and_what_comes_meanwhile_goes_the_new_way() {
        let (mut play, connection, request) = in_flight();
        let before = signed(&request);
        play.machine.hold();
        play.line(&destination_of("/log"), "three\n");
        play.now += Duration::from_secs(1);
        assert!(play.poll().is_empty(), "nothing is sent");
        assert!(play.machine.has_in_flight());
        play.answer(connection, all_produced(&request));
        assert!(!play.machine.has_in_flight());
        over(&mut play);
        let (_, _, request) = play.until_produce(|_| told_by("A", LEADERS));
        assert_eq!(signed(&request), (before.0, before.1 + 1));
        assert!(request.head.windows(5).any(|word| word == b"other"));
    }

    #[test]
    fn what_was_not_answered_goes_again_with_the_number_that_it_has() {
        let (mut play, old, request) = in_flight();
        let before = signed(&request);
        play.machine.hold();
        over(&mut play);
        let (connection, _, request) = play.until_produce(|_| told_by("A", LEADERS));
        assert_ne!(connection, old);
        assert_eq!(signed(&request), before);
        // What the old connection still says counts for nothing.
        play.answer(old, all_produced(&request));
        assert!(play.machine.has_in_flight());
        play.answer(connection, all_produced(&request));
        assert!(play.machine.is_idle());
    }

    #[test]
    fn in_another_cluster_all_is_signed_anew() {
        let (mut play, _, request) = in_flight();
        let before = signed(&request);
        over(&mut play);
        let (connection, _, request) = play.until_produce(|_| told_by("B", LEADERS));
        let (id, sequence) = signed(&request);
        assert_ne!(id, before.0);
        assert_eq!(sequence, 0);
        play.answer(connection, all_produced(&request));
        assert!(play.machine.is_idle());
    }

    #[test]
    fn idempotence_is_switched_off_and_on() {
        let (mut play, ..) = in_flight();
        let mut config = KafkaConfig::clone(&play.machine.config);
        for idempotence in [false, true] {
            config.idempotence = idempotence;
            let dial = Box::new(play.dial.clone());
            play.machine
                .go_over(Arc::new(config.clone()), dial, play.now);
            let (connection, _, request) = play.until_produce(|_| metadata(LEADERS));
            assert_eq!(signed(&request).0 >= 0, idempotence);
            play.answer(connection, all_produced(&request));
            play.line(&destination_of("/log"), "more\n");
        }
    }
}
