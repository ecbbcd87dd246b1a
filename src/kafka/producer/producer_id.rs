//! Where an idempotent producer gets the id that it signs its record batches with (KIP-98).

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::condition::{Board, Condition};
use crate::kafka::cluster::Cluster;
use crate::kafka::cluster::broker::Pending;
use crate::kafka::cluster::metadata_schedule::ANSWER_PATIENCE;
use crate::kafka::protocol::api::INIT_PRODUCER_ID;
use crate::kafka::protocol::error_code::{Action, Verdict};
use crate::kafka::protocol::record_batch::{ProducerId, sequence_after};
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::InitProducerIdResponse;

use super::batch::RecordBatch;

/// While a broker starts it gives out no ids; that is worth a line only if it lasts.
const QUIET_PAUSE: Duration = Duration::from_secs(1);

/// What new record batches are stamped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProducerState {
    /// Nothing: idempotence is off.
    None,
    Id(ProducerId),
    /// Not known yet.
    Awaited,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Off,
    Wanted(Instant),
    Asked(Instant),
    Known(ProducerId),
}

/// The producer id of one producer.
#[derive(Debug)]
pub(crate) struct ProducerIds {
    state: State,
    backoff: Backoff,
    /// The brokers give out no ids.
    refusal: Condition,
}

impl ProducerIds {
    /// Without `idempotence` there is never an id.
    pub(crate) fn new(
        idempotence: bool,
        board: &Board,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Self {
        ProducerIds {
            state: if idempotence {
                State::Wanted(now)
            } else {
                State::Off
            },
            backoff: Backoff::new(random),
            refusal: Condition::on(board),
        }
    }

    /// What to sign with now.
    pub(crate) fn state(&self) -> ProducerState {
        match self.state {
            State::Off => ProducerState::None,
            State::Known(id) => ProducerState::Id(id),
            State::Wanted(_) | State::Asked(_) => ProducerState::Awaited,
        }
    }

    /// Brokers have lost track of `id`: if that is what we sign with, get another one.
    pub(crate) fn discard(&mut self, id: ProducerId, now: Instant) {
        if matches!(self.state, State::Known(known) if known == id) {
            self.state = State::Wanted(now);
        }
    }

    /// Asks for an id if one is wanted. Returns when to look again.
    pub(crate) fn ask_if_due(
        &mut self,
        cluster: &mut Cluster,
        client_id: &str,
        now: Instant,
    ) -> Option<Instant> {
        let due = match self.state {
            State::Wanted(not_before) => not_before,
            State::Asked(since) => since + ANSWER_PATIENCE,
            State::Off | State::Known(_) => return None,
        };
        if due > now {
            return Some(due);
        }
        let Some(broker) = cluster.any(now, Pending::is_init_producer_id) else {
            return cluster.wants_connection(now);
        };
        match broker.version(INIT_PRODUCER_ID) {
            Some(version) => {
                let request = Request::init_producer_id(client_id, version);
                broker.send(request, Pending::InitProducerId, now);
                self.state = State::Asked(now);
            }
            None => {
                log::warn!(
                    "the brokers know no idempotent producers: a lost answer may duplicate records"
                );
                self.state = State::Off;
            }
        }
        None
    }

    /// Takes in an answer.
    pub(crate) fn answered(&mut self, answer: InitProducerIdResponse, now: Instant) {
        if !matches!(self.state, State::Asked(_)) {
            // Another broker was asked as well and was faster.
            return;
        }
        let InitProducerIdResponse {
            error, id, epoch, ..
        } = answer;
        if error == 0 {
            self.backoff.reset();
            if let Some(left) = self.refusal.leave() {
                log::log!(
                    left.level,
                    "the brokers give out producer ids again: recovered{left}"
                );
            }
            log::debug!("producer id {id} epoch {epoch}");
            self.state = State::Known(ProducerId { id, epoch });
            return;
        }
        let verdict = Verdict::of(error);
        let pause = self.backoff.pause();
        let lasts = verdict.action == Action::Park || pause > QUIET_PAUSE;
        let level = verdict.level_when_parked();
        self.refusal.enter(level, &"producer ids", &verdict, now);
        if lasts && let Some(passed_over) = self.refusal.say(now) {
            let advice = verdict.missing_right().unwrap_or_default();
            log::log!(
                level,
                "the brokers give out no producer id, and nothing is sent without: {verdict}{advice}; \
                 retrying{passed_over}"
            );
        }
        self.state = State::Wanted(now + pause);
    }

    /// No answer will come on some connection.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        if matches!(self.state, State::Asked(_)) {
            self.state = State::Wanted(now);
        }
    }
}

/// What new record batches are stamped with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sequencing {
    /// Nothing: idempotence is off.
    None,
    Idempotent(ProducerSequence),
    /// The id that comes next, and not this one, of which the brokers have lost track.
    Awaiting {
        instead_of: Option<ProducerId>,
    },
}

/// Producer id and the sequence number of the next new batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProducerSequence {
    pub(super) producer: ProducerId,
    pub(super) next: i32,
}

impl Sequencing {
    /// Stamps a record batch that comes after all others of its partition.
    pub(super) fn stamp_next(&mut self, batch: &mut RecordBatch) {
        match self {
            Sequencing::Idempotent(sequence) => {
                batch.stamp(Some(sequence.producer), sequence.next);
                sequence.next = sequence_after(sequence.next, batch.records);
            }
            Sequencing::None | Sequencing::Awaiting { .. } => batch.stamp(None, -1),
        }
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    /// What becomes of a question that is answered so.
    fn after(ids: &mut ProducerIds, error: i16, now: Instant) -> Option<Instant> {
        ids.state = State::Asked(now);
        let id = if error == 0 { 7 } else { -1 };
        ids.answered(
            InitProducerIdResponse {
                throttle_ms: 0,
                error,
                id,
                epoch: 0,
            },
            now,
        );
        match ids.state {
            State::Wanted(next) => Some(next),
            _ => None,
        }
    }

    #[test]
    fn no_error_code_ends_the_questions_and_none_makes_them_come_fast() {
        for code in (-1..=200)
            .chain([i16::MIN, i16::MAX])
            .filter(|code| *code != 0)
        {
            let mut ids = ProducerIds::new(
                true,
                &Board::default(),
                &mut fastrand::Rng::with_seed(1),
                Instant::now(),
            );
            let mut now = Instant::now();
            for failures in 0..100 {
                let next = after(&mut ids, code, now).expect("asked again");
                assert_eq!(ids.state(), ProducerState::Awaited);
                let pause = (next - now).as_millis();
                let least = if failures < 7 { 80 << failures } else { 8_000 };
                assert!((least..=10_000).contains(&pause), "{code}: {pause} ms");
                now = next;
            }
            assert!(
                ids.refusal.leave().is_some(),
                "{code} is worth a line by now"
            );
            ids.refusal
                .enter(Level::Warn, &"producer ids", &"again", now);
            assert_eq!(after(&mut ids, 0, now), None);
            let id = ProducerId { id: 7, epoch: 0 };
            assert_eq!(ids.state(), ProducerState::Id(id));
        }
    }
}
