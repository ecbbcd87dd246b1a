//! What has to be written of what the registrar knows.

use std::collections::HashMap;

use super::store::Entry;
use crate::batch::SourceId;
use crate::progress::Checkpoint;

/// What has to be written.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Open sources, in the order in which they changed, each once.
    pub(super) open: Vec<SourceId>,
    /// Sources that nobody reads at present, by serial number.
    pub(super) rest: Vec<u64>,
    /// The serial numbers that a new one takes the place of. Both are written in one line: a crash leaves
    /// one of them.
    replaced: HashMap<u64, Vec<u64>>,
    /// Written last, so that what is new is never missing beside what has gone.
    pub(super) gone: Vec<u64>,
}

impl Changes {
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.rest.clear();
        self.replaced.clear();
        self.gone.clear();
    }

    /// `serial` is not known any more, nor is what it took the place of.
    pub(super) fn forget(&mut self, serial: u64) {
        self.gone
            .extend(self.replaced.remove(&serial).into_iter().flatten());
        self.gone.push(serial);
    }

    /// `serial` takes the place of others, and of what they took the place of.
    pub(super) fn replace(&mut self, serial: u64, mut others: Vec<u64>) {
        for at in 0..others.len() {
            others.extend(self.replaced.remove(&others[at]).into_iter().flatten());
        }
        if !others.is_empty() {
            self.replaced.insert(serial, others);
        }
    }

    pub(super) fn of_source<'a>(&'a self, checkpoint: &'a Checkpoint) -> Entry<'a> {
        let replaces = self.replaced.get(&checkpoint.serial);
        Entry::Source {
            checkpoint,
            replaces: replaces.map_or(&[], Vec::as_slice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_written_leaves_what_it_took_the_place_of_to_be_removed() {
        let mut changes = Changes::default();
        changes.replace(5, vec![1, 2]);
        changes.replace(6, vec![5, 3]);
        assert_eq!(changes.replaced[&6], [5, 3, 1, 2]);
        changes.forget(6);
        assert_eq!(changes.gone, [5, 3, 1, 2, 6]);
        assert!(changes.replaced.is_empty());
    }
}
