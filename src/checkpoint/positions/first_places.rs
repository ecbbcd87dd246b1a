//! Where a content begins of which the topic is told a later place.

use std::collections::HashMap;

use super::beginning;
use crate::progress::Checkpoint;

/// Of what is told of a content, the places before that.
///
/// ```text
/// b.log    is read from 0 to 900, and truncated; nothing of it is committed
/// b.log.1  a copy of that, is known to go on at 900: that is told with what others commit
/// SIGKILL; and the checkpoints file, which knows of both, is lost
/// ```
/// The next start would go on at 900. So what stands at the first place is told as well, as the checkpoints file has it,
/// although a file that is read from its beginning is no news.
#[derive(Debug, Default)]
pub(in crate::checkpoint) struct FirstPlaces {
    /// How far what is told of a content is, by its beginning.
    told: HashMap<(u16, u64), u64>,
}

impl FirstPlaces {
    /// Before what these have reached.
    pub(in crate::checkpoint) fn behind<'a>(told: impl Iterator<Item = &'a Checkpoint>) -> Self {
        let mut places = FirstPlaces::default();
        for told in told {
            let reached = places.told.entry(beginning(told)).or_default();
            *reached = told.offset.max(*reached);
        }
        places
    }

    /// Whether this one is there.
    pub(in crate::checkpoint) fn have_one_at(&self, known: &Checkpoint) -> bool {
        let reached = self.told.get(&beginning(known));
        let is_known = known.identity.fingerprint.len > 0 && known.is_unfinished();
        is_known && reached.is_some_and(|reached| known.offset < *reached)
    }
}
