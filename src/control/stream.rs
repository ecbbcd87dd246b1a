//! Bytes from and to a client, as far as they go without waiting.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, read, write};

use super::wire_json;
use crate::tap::Looking;

/// Bytes that go to a client, and how many of them are written.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    written: usize,
}

/// Reads what is there behind `head`; false if that is nothing.
pub(super) fn read_some(stream: &OwnedFd, head: &mut Vec<u8>) -> Result<bool, Errno> {
    let mut buffer = [0; 1024];
    match read(stream, &mut buffer) {
        Ok(0) => Err(Errno::PIPE),
        Ok(count) => {
            head.extend_from_slice(&buffer[..count]);
            Ok(true)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Output {
    pub(super) fn new(bytes: Vec<u8>) -> Output {
        Output { bytes, written: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Writes what the client takes; whether that is everything.
    pub(super) fn write(&mut self, stream: &OwnedFd) -> Result<bool, Errno> {
        while !self.is_empty() {
            match write(stream, &self.bytes[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.written = 0;
        Ok(true)
    }

    /// Takes records, as far as they are wanted and there is room.
    pub(super) fn take_records(&mut self, looking: &Looking, left: &mut Option<u64>) {
        while *left != Some(0)
            && self.bytes.len() < MOST_UNWRITTEN
            && let Some(mut record) = looking.next()
        {
            self.bytes.append(&mut wire_json::to_json(&mut record));
            self.bytes.push(b'\n');
            *left = left.map(|left| left - 1);
        }
    }
}

/// Bytes of records that a client may leave unread, before it misses some.
const MOST_UNWRITTEN: usize = 64 << 10;
