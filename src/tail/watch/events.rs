//! What inotify says, put in order.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use inotify::{Event, EventMask, Inotify};

use super::entries::Table;
use super::watches::Watches;
use crate::tailer_handle::TailerHandle;

/// What has happened since the last time.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// To names in watched folders, in order.
    pub(super) names: Vec<NameEvent>,
    /// To watched folders as a whole.
    pub(super) folders: Vec<(Arc<Path>, FolderEvent)>,
    /// The tailers that are to look, by their ids.
    woken: HashMap<u64, TailerHandle>,
    /// How many events there were.
    pub(super) count: usize,
    /// The kernel had no room for all.
    pub(super) is_incomplete: bool,
}

/// Something happened to a name in a watched folder.
#[derive(Debug)]
pub(super) struct NameEvent {
    pub(super) folder: Arc<Path>,
    pub(super) name: OsString,
    pub(super) change: Change,
    pub(super) is_folder: bool,
}

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Came,
    Went,
    /// Its rights or times, perhaps.
    Other,
}

/// What happened to a folder as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderEvent {
    /// It was deleted, moved or unmounted.
    Went,
    /// Its rights or times, perhaps.
    Other,
}

impl Happened {
    /// Reads all events that wait, and wakes the tailers whose files they are about.
    pub(super) fn read(inotify: &mut Inotify, buffer: &mut [u8], watches: &Watches) -> Happened {
        // What comes now is of the next time, else files that are being written would be looked at again and again.
        let waiting = rustix::io::ioctl_fionread(&*inotify).unwrap_or(u64::MAX);
        let mut happened = Happened {
            // Files that are written to have two events or more.
            woken: HashMap::with_capacity((waiting / event_bytes(None) / 2).min(MOST_ROOM) as usize),
            ..Happened::default()
        };
        let mut taken = 0;
        while taken < waiting
            && let Ok(events) = inotify.read_events(buffer)
        {
            let mut table = watches.table();
            let mut any = false;
            for event in events {
                any = true;
                happened.count += 1;
                taken += event_bytes(event.name);
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    happened.is_incomplete = true;
                } else {
                    happened.note(&mut table, event);
                }
            }
            if !any {
                break;
            }
        }
        // Each once, however often its file was written to.
        std::mem::take(&mut happened.woken)
            .values()
            .for_each(TailerHandle::wake);
        happened
    }

    fn note(&mut self, table: &mut Table, event: Event<&OsStr>) {
        let Event { wd, mask, name, .. } = event;
        let mut is_known = false;
        if let Some(wakes) = table.files.get(&wd) {
            is_known = true;
            for (_, tailer) in wakes {
                let woken = self.woken.entry(tailer.id());
                woken.or_insert_with(|| tailer.clone());
            }
        }
        if mask.contains(EventMask::IGNORED) {
            // The kernel has removed the watch.
            let folders = table.ignored(&wd).into_iter();
            let folders = folders.map(|folder| (folder, FolderEvent::Went));
            return self.folders.extend(folders);
        }
        for folder in table.folders.get(&wd).into_iter().flatten() {
            is_known = true;
            match name {
                Some(name) => self.names.push(NameEvent {
                    folder: folder.clone(),
                    name: name.to_owned(),
                    change: change_of(mask),
                    is_folder: mask.contains(EventMask::ISDIR),
                }),
                None => self.folders.push((folder.clone(), folder_event_of(mask))),
            }
        }
        if !is_known {
            table.unclaimed.keep(wd);
        }
    }
}

/// There is room for so many tailers from the start, at most.
const MOST_ROOM: u64 = 4096;

fn change_of(mask: EventMask) -> Change {
    if mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) {
        Change::Came
    } else if mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM) {
        Change::Went
    } else {
        Change::Other
    }
}

fn folder_event_of(mask: EventMask) -> FolderEvent {
    let went = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT;
    match mask.intersects(went) {
        true => FolderEvent::Went,
        false => FolderEvent::Other,
    }
}

/// What an event takes in the kernel's queue: `inotify_event`, and its name with a NUL, filled up to as much again
/// (inotify(7)).
fn event_bytes(name: Option<&OsStr>) -> u64 {
    const HEAD: usize = 16;
    let name = name.map_or(0, |name| (name.len() + 1).next_multiple_of(HEAD));
    (HEAD + name) as u64
}
