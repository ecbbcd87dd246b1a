//! What goes into a transaction with the lines.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::Registrar;
use crate::batch::{SourceId, Span};
use crate::checkpoint::positions::FirstPlaces;
use crate::checkpoint::tracker::AckTracker;
use crate::progress::{Checkpoint, PositionRecord};

impl Registrar {
    /// Where sources stand once `spans` are acknowledged, as records.
    pub(super) fn positions_after(
        &mut self,
        producer: usize,
        spans: &[Span],
    ) -> Vec<PositionRecord> {
        // Serial numbers that the topic has and the file has not are news after a crash. So those that are new are in the
        // file first.
        if self.schedule.has_changes() {
            self.write(Instant::now());
        }
        let mut trackers: HashMap<SourceId, AckTracker> = HashMap::new();
        for span in spans {
            if let Some(tracked) = self.open.get(&span.source) {
                let tracker = trackers.entry(span.source);
                tracker.or_insert_with(|| tracked.tracker.clone()).ack(span);
            }
        }
        let mut reached = HashMap::new();
        for (source, tracked) in &self.open {
            let tracker = trackers.get(source).unwrap_or(&tracked.tracker);
            reached.insert(tracked.checkpoint.serial, tracker.offset());
        }
        let mut moved = Vec::new();
        for (source, tracker) in trackers {
            let Some(tracked) = self.open.get(&source) else {
                continue;
            };
            let mut checkpoint = tracked.checkpoint.clone();
            if tracker.offset() > checkpoint.offset {
                checkpoint.marks.add(tracked.written.0, tracked.written.1);
                checkpoint.offset = tracker.offset();
                checkpoint.tail_checksum = tracker.tail_checksum();
                checkpoint.size = tracked.seen_size().max(checkpoint.offset);
                moved.push(checkpoint);
            }
        }
        let Some(positions) = &mut self.positions else {
            return Vec::new();
        };
        let mut untold: HashSet<u64> = positions.untold(producer).collect();
        for moved in &moved {
            untold.remove(&moved.serial);
        }
        if !untold.is_empty() {
            let open = self.open.values().map(|tracked| &tracked.checkpoint);
            let all = || open.clone().chain(self.rest.values());
            let is_untold = |known: &&Checkpoint| untold.contains(&known.serial);
            let ahead = FirstPlaces::behind(all().filter(is_untold));
            let is_moved: HashSet<u64> = moved.iter().map(|moved| moved.serial).collect();
            let is_first =
                |known: &&Checkpoint| ahead.have_one_at(known) && !is_moved.contains(&known.serial);
            let told = all().filter(|known| is_untold(known) || is_first(known));
            moved.extend(told.cloned());
        }
        positions.seal(producer, &moved, &reached)
    }
}
