//! The native output: a [`Machine`] with a clock, connections, dead letters and the channel to the registrar.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::batch::{Batch, Progress, Span};
use crate::config::KafkaConfig;
use crate::kafka::cluster::broker::Dialer;
use crate::kafka::network::connection::Event;
use crate::metrics::Metrics;
use crate::output::Output;

use super::dead_letter::DeadLetters;
use super::going_over::patience;
use super::machine::{Machine, Now, min_deadline};
use super::transaction::Stop;
use super::transactional::TakenOver;

/// The native Kafka client as an [`Output`].
///
/// Batches wait, as raw file bytes, in the queue of their partition. A record batch is built only
/// when it can be sent at once, so encoded copies exist of what is in flight and of nothing else.
#[derive(Debug)]
pub(crate) struct NativeOutput {
    k: usize,
    machine: Machine,
    /// For connections.
    sender: Sender<Event>,
    events: Receiver<Event>,
    /// The configuration that it goes over to, and when at the latest.
    next: Option<(Arc<KafkaConfig>, Instant)>,
    progress: Sender<Progress>,
    dead_letters: DeadLetters,
    is_transactional: bool,
    stopped: Option<Stop>,
}

impl NativeOutput {
    /// The output of producer number `k`, which reports to `progress`. Records that no broker takes
    /// go to a file in `dead_letters`.
    pub(crate) fn new(
        k: usize,
        config: Arc<KafkaConfig>,
        metrics: Arc<Metrics>,
        progress: Sender<Progress>,
        dead_letters: Option<PathBuf>,
    ) -> Self {
        let (sender, events) = unbounded();
        let board = &metrics.board;
        let dial = Box::new(Dialer::new(k, config.clone(), board, sender.clone()));
        let random = fastrand::Rng::new();
        let dead_letters = DeadLetters::new(k, dead_letters, metrics.clone());
        NativeOutput {
            k,
            sender,
            next: None,
            machine: Machine::new(config, dial, metrics, random, Instant::now()),
            events,
            progress,
            dead_letters,
            is_transactional: false,
            stopped: None,
        }
    }

    /// The same with transactions.
    pub(crate) fn with_transactions(mut self, mut taken: TakenOver, most_bytes: usize) -> Self {
        taken.settings.most_bytes = most_bytes;
        self.machine = self.machine.with_transactions(taken, Instant::now());
        self.is_transactional = true;
        self
    }

    /// The same, which tells of its brokers before there is something to send.
    pub(crate) fn introducing_itself(mut self) -> Self {
        self.machine.introduces_itself(Instant::now());
        self
    }

    fn report(&self, spans: Vec<Span>) {
        if !spans.is_empty() {
            let producer = self.k;
            // Without a registrar the process is about to end.
            let _ = self.progress.send(match self.is_transactional {
                true => Progress::Committed { producer, spans },
                false => Progress::Acked(spans),
            });
        }
    }

    /// Has the registrar say where the files stand once a transaction is committed, which it does at once.
    fn send_positions(&mut self, spans: Vec<Span>, now: Now) {
        let (reply, records) = bounded(1);
        let asked = Progress::Sealed {
            producer: self.k,
            spans,
            reply,
        };
        if self.progress.send(asked).is_ok()
            && let Ok(records) = records.recv()
        {
            self.machine.send_positions(records, now.unix_ms, now.at);
        }
    }

    fn report_acked(&mut self) {
        let effects = self.machine.take_effects();
        self.report(effects.acked);
        self.stopped = self.stopped.or(effects.stopped);
        if let Some(spans) = effects.sealed {
            self.send_positions(spans, now());
        }
        // Now the memory of these batches may be used for others.
        drop(effects.done);
    }

    /// Goes over to the next configuration when nothing is in flight, or has been for too long. Returns when that is.
    fn go_over(&mut self, now: Instant) -> Option<Instant> {
        let is_due = |(_, at): &mut (_, Instant)| *at <= now || !self.machine.has_in_flight();
        if let Some((config, _)) = self.next.take_if(is_due) {
            let board = &self.machine.metrics.board;
            let sender = self.sender.clone();
            let dial = Box::new(Dialer::new(self.k, config.clone(), board, sender));
            self.machine.go_over(config, dial, now);
        }
        self.next.as_ref().map(|(_, at)| *at)
    }

    /// Puts aside the records that no broker takes.
    fn dead_letter(&mut self, now: Instant) {
        let written = self.dead_letters.flush(now);
        if self.is_transactional {
            self.machine.put_aside(written, now);
        } else {
            self.report(written);
        }
        while self.dead_letters.have_room()
            && let Some((refused, batch)) = self.machine.take_refused(now)
        {
            self.dead_letters.take(&refused, now);
            self.dead_letters.covers(batch.spans());
        }
        self.machine.waits_for_disk(!self.dead_letters.is_empty());
    }
}

fn now() -> Now {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let unix_ms = since_1970.map_or(0, |time| time.as_millis());
    Now {
        at: Instant::now(),
        unix_ms: i64::try_from(unix_ms).unwrap_or(i64::MAX),
    }
}

impl Output for NativeOutput {
    type Event = Event;

    fn accept(&mut self, batch: Batch) {
        self.machine.push(batch, Instant::now());
    }

    fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    fn handle(&mut self, event: Event) {
        self.machine.on_event(event, now());
        self.report_acked();
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        let over = self.go_over(now);
        self.dead_letter(now);
        let mut next = min_deadline(self.machine.poll(now), over);
        if self.is_transactional {
            self.report_acked();
            next = min_deadline(next, self.machine.poll(now));
        }
        min_deadline(next, self.dead_letters.due()).filter(|at| *at > now)
    }

    fn reconfigure(&mut self, config: Arc<KafkaConfig>) {
        if self.is_transactional {
            // Another cluster has other positions, and has to be asked for them before anything is sent.
            log::warn!("with delivery = exactly_once, [kafka] is as it was until the next start");
            return;
        }
        self.machine.hold();
        let patience = patience(&self.machine.config);
        self.next = Some((config, Instant::now() + patience));
    }

    fn only_gathers(&self) -> bool {
        self.machine.only_gathers()
    }

    fn finish(&mut self) {
        self.machine.finish();
    }

    fn is_idle(&self) -> bool {
        self.stopped.is_some() || self.machine.is_idle() && self.dead_letters.is_empty()
    }

    fn take_failure(&mut self) -> Option<io::Error> {
        let stop = self.stopped.take()?;
        Some(io::Error::other(stop))
    }

    fn refused(&self) -> u64 {
        self.dead_letters.count()
    }
}
