//! Outputs and the worker that drives one.
//!
//! [`Output`] has three implementations: the native Kafka client, the legacy one and standard output, which is that of `--dry-run`.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};

use crate::batch::{Batch, Destination, Span};
use crate::config::KafkaConfig;
use crate::deadline::Deadline;
use crate::progress::Progress;

pub mod legacy;

/// Takes batches and sees to it that every record of them arrives.
///
/// An output reports each acknowledged span as [`crate::batch::Progress::Acked`] on the channel that
/// it was made with, and drops a batch's permit no earlier than that. It never gives up on a
/// batch by itself.
pub trait Output {
    /// What happens outside and concerns this output: answers, connections that break.
    type Event: Send;

    /// Takes over one batch. Must not wait for the network where that can be helped.
    fn accept(&mut self, batch: Batch);

    /// Where events arrive.
    fn events(&self) -> &Receiver<Self::Event>;

    /// Handles one event.
    fn handle(&mut self, event: Self::Event);

    /// Does everything that is due at `now`, and says when it wants to be called again at the
    /// latest. It is called after every batch and event as well.
    fn poll(&mut self, now: Instant) -> Option<Instant>;

    /// Whether nothing is on its way and batches only wait for others: no event is due, and what comes next need not
    /// be looked at one by one.
    fn only_gathers(&self) -> bool {
        false
    }

    /// Goes over to another configuration. What is not acknowledged stays, and is sent in its order as that says.
    fn reconfigure(&mut self, _config: Arc<KafkaConfig>) {}

    /// No batch will come any more: what waits for more to come is sent now.
    fn finish(&mut self);

    /// Nothing that was accepted is unacknowledged.
    fn is_idle(&self) -> bool;

    /// How many records were refused for good so far: they are dead letters, or left out.
    fn refused(&self) -> u64 {
        0
    }

    /// Why the output can take nothing any more, told once. An output that tries again for ever has no such
    /// reason.
    fn take_failure(&mut self) -> Option<io::Error> {
        None
    }
}

/// How the work of an output ended.
#[derive(Debug)]
pub struct WorkerEnd {
    /// Everything that was accepted is acknowledged.
    pub is_complete: bool,
    /// Records that were refused for good.
    pub refused: u64,
    /// Why it ended before its time.
    pub failure: Option<io::Error>,
}

/// The body of a `producer-<k>` thread: it owns one output.
#[derive(Debug)]
pub struct Worker<O> {
    output: O,
    batches: Receiver<Batch>,
    /// Configurations to go over to.
    configs: Receiver<Arc<KafkaConfig>>,
    deadline: Deadline,
}

impl<O: Output> Worker<O> {
    /// A worker that feeds `output` from `batches`. Once `deadline` is set and has passed, it
    /// leaves what is not acknowledged: the checkpoints stand before it.
    pub fn new(
        output: O,
        batches: Receiver<Batch>,
        configs: Receiver<Arc<KafkaConfig>>,
        deadline: Deadline,
    ) -> Self {
        Worker {
            output,
            batches,
            configs,
            deadline,
        }
    }

    /// Runs on the `producer-<k>` thread. Ends when all senders of batches are gone and everything
    /// is acknowledged, at the deadline, or when the output fails for good.
    pub fn run(mut self) -> WorkerEnd {
        let served = self.serve().map(|()| self.finish());
        let (is_complete, failure) = match (served, self.output.take_failure()) {
            (Err(failure), _) | (Ok(_), Some(failure)) => (false, Some(failure)),
            (Ok(is_complete), None) => (is_complete, None),
        };
        WorkerEnd {
            is_complete,
            refused: self.output.refused(),
            failure,
        }
    }

    /// Takes batches until none will come any more, or the output fails for good.
    fn serve(&mut self) -> io::Result<()> {
        while let Some(batch) = self.step()? {
            self.output.accept(batch);
            // A bounded number at a time, so that answers are not kept waiting.
            for batch in self.batches.try_iter().take(32) {
                self.output.accept(batch);
            }
        }
        Ok(())
    }

    /// Waits until everything is acknowledged; false if the deadline comes first.
    fn finish(&mut self) -> bool {
        self.output.finish();
        loop {
            let next = self.output.poll(Instant::now());
            if self.output.is_idle() {
                return true;
            }
            let now = Instant::now();
            let deadline = self.deadline.get();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            // The deadline may be set while we wait, so look for it now and then.
            let until = [next, deadline, Some(now + Duration::from_millis(100))]
                .into_iter()
                .flatten()
                .min();
            if let Ok(event) = self
                .output
                .events()
                .recv_timeout(until.map_or(Duration::ZERO, |at| at - now))
            {
                self.output.handle(event);
            }
        }
    }

    /// Serves the output until a batch arrives; `None` when none ever will.
    fn step(&mut self) -> io::Result<Option<Batch>> {
        loop {
            for config in self.configs.try_iter() {
                self.output.reconfigure(config);
            }
            let next = self.output.poll(Instant::now());
            if let Some(failure) = self.output.take_failure() {
                return Err(failure);
            }
            // Many files are read at the same moment: one look at all their batches instead of one at each.
            if let Some(due) = next
                && self.batches.is_empty()
                && self.output.only_gathers()
            {
                let until = due.min(Instant::now() + GATHERING_STEP);
                if let Ok(event) = self.output.events().recv_deadline(until) {
                    self.output.handle(event);
                    continue;
                }
                if let Ok(batch) = self.batches.try_recv() {
                    return Ok(Some(batch));
                }
                if until == due {
                    continue;
                }
            }
            let timeout = next.map_or(never(), crossbeam_channel::at);
            select! {
                recv(self.batches) -> batch => return Ok(batch.ok()),
                recv(self.output.events()) -> event => {
                    if let Ok(event) = event {
                        self.output.handle(event);
                    }
                    while let Ok(event) = self.output.events().try_recv() {
                        self.output.handle(event);
                    }
                }
                recv(self.configs) -> config => match config {
                    Ok(config) => self.output.reconfigure(config),
                    // No other one will come.
                    Err(_) => self.configs = never(),
                },
                recv(timeout) -> _ => {}
            }
        }
    }
}

/// While batches gather, they are looked at so often.
const GATHERING_STEP: Duration = Duration::from_millis(5);

/// Prints one line for each record: topic, key (`-` if there is none) and value, separated by tabs.
#[derive(Debug)]
pub struct StdoutOutput {
    /// None: standard output takes nothing any more.
    out: Option<BufWriter<io::Stdout>>,
    progress: Sender<Progress>,
    events: Receiver<()>,
    /// What is printed and may lie in the buffer of `out`.
    printed: Vec<Span>,
    /// How many records that is, and whose.
    records: Vec<(Arc<Destination>, u64)>,
    /// Why it takes nothing any more.
    failure: Option<io::Error>,
}

impl StdoutOutput {
    /// An output that acknowledges on `progress` what it has printed.
    pub fn new(progress: Sender<Progress>) -> Self {
        StdoutOutput {
            out: Some(BufWriter::with_capacity(64 << 10, io::stdout())),
            progress,
            events: never(),
            printed: Vec::new(),
            records: Vec::new(),
            failure: None,
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.out = None;
        self.failure = Some(error);
    }
}

fn print(out: &mut impl Write, batch: &Batch) -> io::Result<()> {
    let route = &batch.destination.route;
    let mut from = 0;
    for (to, record) in batch.records() {
        out.write_all(route.topic.as_bytes())?;
        out.write_all(b"\t")?;
        out.write_all(batch.key_at(from).unwrap_or(b"-"))?;
        from = to;
        out.write_all(b"\t")?;
        out.write_all(record)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

impl Output for StdoutOutput {
    type Event = ();

    fn accept(&mut self, batch: Batch) {
        let Some(out) = &mut self.out else { return };
        let records = batch.records().count() as u64;
        batch.count_lines(records);
        match print(out, &batch) {
            Ok(()) => {
                self.printed.push(batch.span(0, batch.data.len()));
                self.records.push((batch.destination, records));
            }
            Err(error) => self.fail(error),
        }
    }

    fn events(&self) -> &Receiver<()> {
        &self.events
    }

    fn handle(&mut self, (): ()) {}

    fn poll(&mut self, _now: Instant) -> Option<Instant> {
        match self.out.as_mut()?.flush() {
            Ok(()) if self.printed.is_empty() => {}
            Ok(()) => {
                for (destination, records) in self.records.drain(..) {
                    let counters = &destination.route.counters;
                    counters.acked_records.add(records);
                }
                let printed = std::mem::take(&mut self.printed);
                let _ = self.progress.send(Progress::Acked(printed));
            }
            Err(error) => self.fail(error),
        }
        None
    }

    fn finish(&mut self) {}

    fn is_idle(&self) -> bool {
        true
    }

    fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}
