//! The lines of one stream of a container's file, from the first on whose group has not ended.

use std::ops::Range;

/// Lines of one stream that are in no group yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// What they say, each line with its newline, and the line that is not whole yet.
    pub(crate) text: Vec<u8>,
    pub(crate) lines: Vec<Line>,
    /// The parts so far of the line that is not whole yet: it begins at the end of `lines`.
    pub(crate) open: Option<Line>,
    /// The events of the first lines.
    pub(crate) events: Vec<Ended>,
    /// How far the text is in `events`, and the line that this lies in.
    pub(crate) ended: usize,
    pub(crate) next_line: usize,
    /// How far the assembler has seen the text.
    pub(crate) asked: usize,
    /// The end of the last line or part in the data.
    pub(crate) last_end: usize,
}

/// A line that the program wrote.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Where it ends in the text, its newline included.
    pub(crate) text_end: usize,
    /// The raw lines from its first part to its last, in the data.
    pub(crate) raw: Range<usize>,
    pub(crate) time: Range<usize>,
    pub(crate) is_whole: bool,
    /// Whether it is to be decoded.
    pub(crate) is_raw_text: bool,
}

/// An event whose group has not ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) text: Range<usize>,
    pub(crate) raw: Range<usize>,
    pub(crate) time: Range<usize>,
    pub(crate) is_whole: bool,
}

impl Pending {
    /// Where the first line begins whose event is not known to have ended.
    pub(crate) fn undecided(&self) -> Option<usize> {
        let line = self.lines.get(self.next_line).or(self.open.as_ref())?;
        Some(line.raw.start)
    }

    /// An event ends at this place of the text, which is that of a newline in one of the lines.
    pub(crate) fn end_event(&mut self, end: usize) {
        let lines = self.lines.get(self.next_line..).unwrap_or_default();
        let (true, Some(first)) = (end > self.ended, lines.first()) else {
            return;
        };
        let between = lines.iter().take_while(|line| line.text_end < end).count();
        let Some(last) = lines.get(between) else {
            return;
        };
        self.events.push(Ended {
            text: self.ended..end,
            raw: first.raw.start..last.raw.end,
            time: first.time.clone(),
            is_whole: last.is_whole,
        });
        // The text of one raw line may hold newlines, so that more than one event is in it.
        self.next_line += between + usize::from(last.text_end == end);
        self.ended = end;
    }

    /// The first `count` events are in groups that have ended.
    pub(crate) fn drop_events(&mut self, count: usize) {
        let Some(end) = count
            .checked_sub(1)
            .and_then(|last| Some(self.events.get(last)?.text.end))
        else {
            return;
        };
        self.events.drain(..count);
        self.text.drain(..end);
        self.ended -= end;
        self.asked -= end;
        let lines = self.lines.partition_point(|line| line.text_end <= end);
        self.lines.drain(..lines);
        self.next_line -= lines;
        self.lines.iter_mut().for_each(|line| line.text_end -= end);
        self.events
            .iter_mut()
            .for_each(|event| move_back(&mut event.text, end));
    }

    /// Places in the data are reckoned from `by` on.
    pub(crate) fn move_back(&mut self, by: usize) {
        // If nothing is pending it does not matter.
        self.last_end = self.last_end.saturating_sub(by);
        for line in self.lines.iter_mut().chain(&mut self.open) {
            move_back(&mut line.raw, by);
            move_back(&mut line.time, by);
        }
        for event in &mut self.events {
            move_back(&mut event.raw, by);
            move_back(&mut event.time, by);
        }
    }

    /// Gives back what memory is not needed.
    pub(crate) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.lines.shrink_to_fit();
        self.events.shrink_to_fit();
    }
}

fn move_back(range: &mut Range<usize>, by: usize) {
    *range = range.start.saturating_sub(by)..range.end.saturating_sub(by);
}
