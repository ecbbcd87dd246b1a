//! The output of `--dry-run`: prints what would be sent.

use std::io::{self, BufWriter, Write};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, never};

use super::Output;
use crate::batch::{Batch, Progress};

/// Prints one line for each record: topic, key (`-` if there is none) and value, separated by tabs.
#[derive(Debug)]
pub struct StdoutOutput {
    out: BufWriter<io::Stdout>,
    progress: Sender<Progress>,
    events: Receiver<()>,
}

impl StdoutOutput {
    /// An output that acknowledges on `progress` what it has printed.
    pub fn new(progress: Sender<Progress>) -> Self {
        StdoutOutput {
            out: BufWriter::with_capacity(64 << 10, io::stdout()),
            progress,
            events: never(),
        }
    }

    fn print(&mut self, batch: &Batch) -> io::Result<()> {
        let destination = &batch.destination;
        for (_, record) in batch.records() {
            self.out.write_all(destination.route.topic.as_bytes())?;
            self.out.write_all(b"\t")?;
            self.out
                .write_all(destination.route.key.as_deref().unwrap_or(b"-"))?;
            self.out.write_all(b"\t")?;
            self.out.write_all(record)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl Output for StdoutOutput {
    type Event = ();

    fn accept(&mut self, batch: Batch) {
        match self.print(&batch) {
            Ok(()) => drop(
                self.progress
                    .send(Progress::Acked(vec![batch.span(0, batch.data.len())])),
            ),
            // The reader has enough (`| head`): nobody is left to print for.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => log::error!("standard output: {error}"),
        }
    }

    fn events(&self) -> &Receiver<()> {
        &self.events
    }

    fn handle(&mut self, (): ()) {}

    fn poll(&mut self, _now: Instant) -> Option<Instant> {
        if let Err(error) = self.out.flush() {
            if error.kind() == io::ErrorKind::BrokenPipe {
                std::process::exit(0);
            }
            log::error!("standard output: {error}");
        }
        None
    }

    fn finish(&mut self) {}

    fn is_idle(&self) -> bool {
        true
    }
}
