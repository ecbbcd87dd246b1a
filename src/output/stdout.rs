//! The output of `--dry-run`: prints what would be sent.

use std::io::{self, BufWriter, Write};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, never};

use super::Output;
use crate::batch::{Batch, Span};
use crate::progress::Progress;

/// Prints one line for each record: topic, key (`-` if there is none) and value, separated by tabs.
#[derive(Debug)]
pub struct StdoutOutput {
    /// None: standard output takes nothing any more.
    out: Option<BufWriter<io::Stdout>>,
    progress: Sender<Progress>,
    events: Receiver<()>,
    /// What is printed and may lie in the buffer of `out`.
    printed: Vec<Span>,
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
    for (_, record) in batch.records() {
        out.write_all(route.topic.as_bytes())?;
        out.write_all(b"\t")?;
        out.write_all(route.key.as_deref().unwrap_or(b"-"))?;
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
        match print(out, &batch) {
            Ok(()) => self.printed.push(batch.span(0, batch.data.len())),
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
