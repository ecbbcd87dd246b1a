//! Checkpoints, and what happens to them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::batch::TailChecksum;
use crate::checkpoint::store::Entry;
use crate::identity::{FileIdentity, FileTag, Fingerprint, Inode};
use crate::progress::{Checkpoint, Mark, Marks, Saved, SourceState};

pub(super) fn checkpoint(serial: u64, path: &[u8]) -> Checkpoint {
    Checkpoint {
        path: Path::new(OsStr::from_bytes(path)).into(),
        identity: FileIdentity {
            inode: Inode {
                device: 66305,
                inode: 12 + serial,
            },
            born_ns: 1_750_000_000_123_456_789,
            fingerprint: match serial {
                2 => Fingerprint::of(path),
                _ => Fingerprint {
                    steps: [0; 88],
                    ..Fingerprint::of(path)
                },
            },
        },
        offset: if serial == 2 { 5 } else { 1 << 40 | serial },
        size: 1 << 41,
        tail_checksum: TailChecksum::of(path),
        state: [
            SourceState::Open,
            SourceState::Finished,
            SourceState::Skipped,
        ][serial as usize % 3],
        marks: Marks::new(
            (1..=serial % 3)
                .map(|n| Mark {
                    offset: n * 1000,
                    tail_checksum: TailChecksum::of(&n.to_le_bytes()),
                })
                .collect(),
        )
        .expect("is in order"),
        tag: (serial == 3).then_some(FileTag(0xb0a1)),
        serial,
        modified_ns: -5,
    }
}

pub(super) fn some() -> Vec<Checkpoint> {
    vec![
        checkpoint(1, b"/var/log/a b.log"),
        checkpoint(2, b"/odd/%41\n\xff\xc3\xa4 \t.log"),
        checkpoint(3, b"/"),
    ]
}

pub(super) fn sections() -> Vec<String> {
    vec!["app".into(), "odd ä%".into()]
}

pub(super) fn saved(checkpoints: &[Checkpoint]) -> Saved {
    Saved {
        sections: Some(sections()),
        checkpoints: checkpoints.to_vec(),
        ..Saved::default()
    }
}

/// The checkpoint with more of its file acknowledged.
pub(super) fn moved(checkpoint: &Checkpoint, bytes: u64) -> Checkpoint {
    let mut moved = checkpoint.clone();
    moved.marks.add(moved.offset, moved.tail_checksum);
    moved.offset += bytes;
    moved.size = moved.size.max(moved.offset);
    moved.tail_checksum = TailChecksum::of(&bytes.to_le_bytes());
    moved
}

/// One thing that happens to what is known, as an entry and in a plain table.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Source(Checkpoint, Vec<u64>),
    Moved(Checkpoint),
    Gone(u64),
}

impl Event {
    pub(super) fn entry(&self) -> Entry<'_> {
        match self {
            Event::Source(checkpoint, replaces) => Entry::Source {
                checkpoint,
                replaces,
            },
            Event::Moved(checkpoint) => Entry::Moved(checkpoint),
            Event::Gone(serial) => Entry::Gone(*serial),
        }
    }

    pub(super) fn apply(&self, known: &mut BTreeMap<u64, Checkpoint>) {
        match self {
            Event::Source(checkpoint, replaces) => {
                known.retain(|serial, _| !replaces.contains(serial));
                known.insert(checkpoint.serial, checkpoint.clone());
            }
            Event::Moved(checkpoint) => drop(known.insert(checkpoint.serial, checkpoint.clone())),
            Event::Gone(serial) => drop(known.remove(serial)),
        }
    }
}

/// What happens after [`some`] are known: all kinds of it.
pub(super) fn events() -> Vec<Event> {
    let first = moved(&some()[0], 100);
    let second = moved(&some()[1], 7);
    let finished = Checkpoint {
        state: SourceState::Finished,
        ..moved(&first, 5)
    };
    vec![
        Event::Moved(first.clone()),
        Event::Moved(second.clone()),
        Event::Source(checkpoint(4, b"/new\n%.log"), vec![3, 99]),
        Event::Moved(moved(&second, 1 << 21)),
        Event::Source(finished, vec![]),
        Event::Gone(1),
        Event::Moved(moved(&checkpoint(4, b"/new\n%.log"), 1)),
    ]
}

/// The states that [`events`] lead through, from [`some`] on.
pub(super) fn states() -> Vec<Vec<Checkpoint>> {
    let mut known: BTreeMap<u64, Checkpoint> = some().into_iter().map(|c| (c.serial, c)).collect();
    let all = |known: &BTreeMap<u64, Checkpoint>| known.values().cloned().map(as_read).collect();
    let mut states = vec![all(&known)];
    for event in events() {
        event.apply(&mut known);
        states.push(all(&known));
    }
    states
}

/// Of long content the steps of the fingerprint are not kept.
pub(super) fn as_read(mut checkpoint: Checkpoint) -> Checkpoint {
    if checkpoint.offset >= 1 << 20 {
        checkpoint.identity.fingerprint.steps.fill(0);
    }
    checkpoint
}
