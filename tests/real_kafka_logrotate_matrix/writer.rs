//! The program that logs: nothing stops it, and nothing waits for it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cell::{Cell, Mode, Rate, Reopen};
use crate::support::ledger;

/// Writes numbered lines, one write each, and opens its path again as its [`Reopen`] says.
#[derive(Debug)]
pub(super) struct Writer {
    tag: String,
    path: PathBuf,
    /// `postrotate` makes this file, in place of a SIGHUP.
    told: PathBuf,
    /// When it shall obey.
    obeys_at: Option<Instant>,
    reopen: Option<Reopen>,
    file: File,
    number: usize,
    random: fastrand::Rng,
}

impl Writer {
    pub(super) fn new(cell: &Cell, tag: &str, path: &Path, told: &Path, seed: u64) -> Writer {
        Writer {
            tag: tag.to_owned(),
            path: path.to_owned(),
            told: told.to_owned(),
            obeys_at: None,
            reopen: (cell.mode != Mode::Copytruncate).then_some(cell.reopen),
            file: open(path),
            number: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Writes lines of about 400 bytes until the file has this size.
    pub(super) fn fill(&mut self, size: usize) {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let filling = self.random.usize(300..500);
            bytes.extend(self.line(filling));
        }
        self.file.write_all(&bytes).expect("the disk has room");
    }

    /// Writes one line.
    pub(super) fn write(&mut self) {
        let opens_again = match self.reopen {
            Some(Reopen::Told) => self.has_to_obey(),
            Some(Reopen::Moved) => self.is_moved(),
            None => false,
        };
        if opens_again {
            self.file = open(&self.path);
        }
        let filling = self.random.usize(..200);
        let line = self.line(filling);
        self.file.write_all(&line).expect("the disk has room");
    }

    /// Writes until told to stop; a pause is between half and one and a half of what the rate says.
    pub(super) fn write_until(&mut self, stop: &AtomicBool, rate: Rate) {
        let pause_us = match rate {
            Rate::PerSecond20 => 50_000,
            Rate::PerSecond200 => 5_000,
            Rate::PerSecond2000 => 500,
            Rate::AtOnce => unreachable!("whoever runs logrotate writes these lines"),
        };
        while !stop.load(Ordering::Relaxed) {
            self.write();
            let pause = self.random.u64(pause_us / 2..pause_us * 3 / 2);
            thread::sleep(Duration::from_micros(pause));
        }
    }

    pub(super) fn written(&self) -> usize {
        self.number
    }

    fn line(&mut self, filling: usize) -> Vec<u8> {
        let line = ledger::line(&self.tag, self.number, filling) + "\n";
        self.number += 1;
        line.into_bytes()
    }

    fn has_to_obey(&mut self) -> bool {
        if self.obeys_at.is_none() && self.told.exists() {
            let moment = Duration::from_millis(self.random.u64(..40));
            self.obeys_at = Some(Instant::now() + moment);
        }
        let is_time = self.obeys_at.is_some_and(|at| at <= Instant::now());
        if is_time {
            self.obeys_at = None;
            // Before the path is opened: who is told again meanwhile obeys again.
            let _ = fs::remove_file(&self.told);
        }
        is_time
    }

    fn is_moved(&self) -> bool {
        let own = self.file.metadata().expect("it is open");
        fs::metadata(&self.path).map_or(true, |there| {
            (there.dev(), there.ino()) != (own.dev(), own.ino())
        })
    }
}

fn open(path: &Path) -> File {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
