//! Text of a file in UTF-8: the lines that a recorder is asked about, and what lies around its position.

use std::ops::Range;

use crate::record::container::{ContainerKind, Stream};
use crate::record::decode::Decoder;
use crate::record::join::{Joined, Joiner};
use crate::record::run::Input;

/// Lines in UTF-8, and where each ended in the file.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) text: Vec<u8>,
    lines: Vec<DecodedLine>,
}

#[derive(Debug)]
struct DecodedLine {
    /// Its end in the text.
    end: usize,
    /// Its end in the data.
    raw_end: usize,
    /// Parts of it that were no characters.
    bad: usize,
}

/// One event among the lines.
#[derive(Debug)]
pub(super) struct Cut {
    /// Where its text begins and ends, in the data or what was made of it.
    pub(super) text: Range<usize>,
    /// Where its bytes begin in the data.
    pub(super) start: usize,
    /// The data up to here is done with it.
    pub(super) span_end: usize,
    pub(super) stream: Stream,
    /// Where the container's time stands in the data.
    pub(super) time: Range<usize>,
}

impl Cut {
    /// Of text that lies in the file as it is.
    pub(super) fn of_text(text: Range<usize>) -> Self {
        Cut {
            start: text.start,
            span_end: text.end,
            text,
            stream: Stream::Unknown,
            time: 0..0,
        }
    }
}

impl Decoded {
    /// Decodes the lines of `input`.
    pub(super) fn fill(&mut self, decoder: Decoder, input: &Input<'_>) {
        self.text.clear();
        self.lines.clear();
        let mut start = mark_len(decoder, input.start, input.data);
        while let Some(rest @ [_, ..]) = input.data.get(start..) {
            let end = match decoder.byte_order() {
                Some(order) => order.find_line_end(rest, 0),
                None => memchr::memchr(b'\n', rest).map(|at| at + 1),
            };
            let end = start + end.unwrap_or(rest.len());
            self.push(decoder, input, start..end);
            start = end;
        }
    }

    /// Decodes the first `bytes` of `input`, a piece of a line.
    pub(super) fn fill_one(&mut self, decoder: Decoder, input: &Input<'_>, bytes: usize) {
        self.text.clear();
        self.lines.clear();
        let start = mark_len(decoder, input.start, input.data).min(bytes);
        self.push(decoder, input, start..bytes);
    }

    fn push(&mut self, decoder: Decoder, input: &Input<'_>, raw: Range<usize>) {
        let raw_end = raw.end;
        let bad = decoder.decode(input.data.get(raw).unwrap_or_default(), &mut self.text);
        self.lines.push(DecodedLine {
            end: self.text.len(),
            raw_end,
            bad,
        });
    }

    /// Parts of the first `bytes` of the data that were no characters.
    pub(super) fn bad_before(&self, bytes: usize) -> usize {
        let lines = self.lines.iter().take_while(|line| line.raw_end <= bytes);
        lines.map(|line| line.bad).sum()
    }

    /// Gives `cuts`, which follow on each other in the text, their places in the data.
    pub(super) fn place(&self, cuts: &mut [Cut]) {
        let (mut at, mut start) = (0, 0);
        for cut in cuts {
            while let Some(line) = self.lines.get(at)
                && line.end <= cut.text.end
            {
                at += 1;
                cut.span_end = line.raw_end;
            }
            cut.start = start;
            start = cut.span_end;
        }
    }
}

/// Decodes bytes that begin at `start` of the file, perhaps in the middle of a line.
pub(super) fn decoded(decoder: Decoder, start: u64, raw: &[u8]) -> Vec<u8> {
    let mark = mark_len(decoder, start, raw);
    let mut text = Vec::new();
    decoder.decode(raw.get(mark..).unwrap_or_default(), &mut text);
    text
}

/// What each stream of a container has written in whole lines of `raw`.
pub(super) fn unwrapped(kind: ContainerKind, decoder: Decoder, raw: &[u8]) -> [Vec<u8>; 3] {
    let mut texts: [Vec<u8>; 3] = Default::default();
    let each_line = |stream: Stream, text: &[u8], _, ends: &mut Vec<u32>| {
        texts[place(stream)].extend_from_slice(text);
        ends.extend(memchr::memchr_iter(b'\n', text).map(|at| at as u32 + 1));
    };
    let mut joiner = Joiner::new(kind, decoder, raw.len());
    joiner.join(raw, raw.len(), each_line, &mut Joined::default());
    texts
}

fn mark_len(decoder: Decoder, start: u64, raw: &[u8]) -> usize {
    match decoder.byte_order() {
        Some(order) if start == 0 => order.mark_len(raw),
        _ => 0,
    }
}

/// Where a stream stands among the three.
pub(super) fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
        Stream::Unknown => 2,
    }
}
