//! A folder in memory that knows what a power cut can leave of it, and that fails when it is told to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use super::super::append_log::Disk;

/// The folder. Its clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Simulated(Rc<RefCell<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    files: Vec<Content>,
    /// The names as the process sees them, and as they were synced.
    names: Names,
    synced: Names,
    /// What happened to names since then.
    pending: Vec<Rename>,
    fault: Option<Fault>,
    expected: Expected,
    /// How it was at each call, before anything was done.
    moments: Vec<State>,
}

/// What must be kept at a moment: numbers of states, 0 being that nothing was ever written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expected {
    pub(super) durable: usize,
    pub(super) written: usize,
    /// A write that has begun may be kept, or parts of it.
    pub(super) begun: usize,
}

type Names = BTreeMap<String, usize>;

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    /// So many of them were synced.
    durable: usize,
    /// A sync has failed: nothing may be added or synced any more.
    is_spoilt: bool,
}

/// What a directory is told. A name leads to a file, whatever else becomes durable.
#[derive(Debug, Clone)]
enum Rename {
    /// Made there, or given this name too.
    Named(String, usize),
    /// Given the second name in place of the first.
    Moved(String, String, usize),
    Removed(String),
}

/// What goes wrong, at which call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) call: usize,
    pub(super) errno: i32,
}

impl Simulated {
    pub(super) fn failing(fault: Fault) -> Self {
        let disk = Simulated::default();
        disk.0.borrow_mut().fault = Some(fault);
        disk
    }

    /// What must be kept from now on.
    pub(super) fn expect(&self, expected: Expected) {
        self.0.borrow_mut().expected = expected;
    }

    /// What must be kept now.
    pub(super) fn expected(&self) -> Expected {
        self.0.borrow().expected
    }

    /// The folder before each call.
    pub(super) fn moments(&self) -> Vec<Simulated> {
        let moments = self.0.borrow().moments.clone();
        let folder = |state| Simulated(Rc::new(RefCell::new(state)));
        moments.into_iter().map(folder).collect()
    }

    /// The bytes at `name`, as the process that comes next finds them.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        Some(state.files[*state.names.get(name)?].bytes.clone())
    }

    /// All that a power cut may leave at `name`, now.
    pub(super) fn after_a_power_cut(&self, name: &str) -> BTreeSet<Option<Vec<u8>>> {
        let state = self.0.borrow();
        let mut left = BTreeSet::new();
        // Any of what happened to names may have become durable, in any order: every subset.
        for subset in 0..1u32 << state.pending.len() {
            let mut names = state.synced.clone();
            for (n, rename) in state.pending.iter().enumerate() {
                if subset & 1 << n != 0 {
                    rename.apply(&mut names);
                }
            }
            match names.get(name) {
                None => drop(left.insert(None)),
                Some(file) => left.extend(state.files[*file].after_a_power_cut().map(Some)),
            }
        }
        left
    }

    fn call(&self) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        let moments = std::mem::take(&mut state.moments);
        let moment = state.clone();
        state.moments = moments;
        state.moments.push(moment);
        match state.fault {
            Some(Fault { call, errno }) if call == state.moments.len() => {
                Err(io::Error::from_raw_os_error(errno))
            }
            _ => Ok(()),
        }
    }

    fn change(&self, rename: Rename) -> io::Result<()> {
        self.call()?;
        let state = &mut *self.0.borrow_mut();
        rename.apply(&mut state.names);
        state.pending.push(rename);
        Ok(())
    }
}

impl Content {
    /// The synced bytes, and of the others: any beginning, or all of them with parts that never came.
    fn after_a_power_cut(&self) -> impl Iterator<Item = Vec<u8>> {
        let (durable, rest) = self.bytes.split_at(self.durable);
        let mut rests: Vec<Vec<u8>> = (0..=rest.len()).map(|cut| rest[..cut].to_vec()).collect();
        for filler in [0, 0xa5, b'\n'] {
            // Blocks that came, and did not, on both sides of every place.
            for at in 0..rest.len() {
                let (mut before, mut after) = (rest.to_vec(), rest.to_vec());
                before[..at].fill(filler);
                after[at..].fill(filler);
                rests.extend([before, after]);
            }
        }
        // What lay there before: the beginning of the same file, as one of an older generation would.
        let older = self.bytes.iter().cycle().take(rest.len()).copied();
        rests.push(older.collect());
        let durable = durable.to_vec();
        rests
            .into_iter()
            .map(move |rest| [&durable[..], &rest].concat())
    }
}

impl Rename {
    fn apply(&self, names: &mut Names) {
        match self {
            Rename::Named(name, file) => drop(names.insert(name.clone(), *file)),
            Rename::Moved(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Rename::Removed(name) => drop(names.remove(name)),
        }
    }
}

impl Disk for Simulated {
    type File = usize;

    fn create(&self, name: &str) -> io::Result<usize> {
        let file = self.0.borrow().files.len();
        self.change(Rename::Named(name.to_owned(), file))?;
        self.0.borrow_mut().files.push(Content::default());
        Ok(file)
    }

    fn append(&self, file: &mut usize, bytes: &[u8]) -> io::Result<()> {
        let done = self.call();
        let content = &mut self.0.borrow_mut().files[*file];
        assert!(!content.is_spoilt, "added to what could not be synced");
        // A full disk takes a part.
        let taken = if done.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        content.bytes.extend_from_slice(&bytes[..taken]);
        done
    }

    fn sync(&self, file: &mut usize) -> io::Result<()> {
        let done = self.call();
        let content = &mut self.0.borrow_mut().files[*file];
        assert!(!content.is_spoilt, "synced again what could not be synced");
        match done {
            Ok(()) => content.durable = content.bytes.len(),
            Err(_) => content.is_spoilt = true,
        }
        done
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.0.borrow().names.get(from).copied();
        file.map_or(Ok(()), |file| {
            self.change(Rename::Named(to.to_owned(), file))
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.0.borrow().names[from];
        self.change(Rename::Moved(from.to_owned(), to.to_owned(), file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(Rename::Removed(name.to_owned()))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.call()?;
        let state = &mut *self.0.borrow_mut();
        state.synced = state.names.clone();
        state.pending.clear();
        Ok(())
    }
}
