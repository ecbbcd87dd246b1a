//! Pieces of events: masks look at each with what lies on both of its sides.

use super::{Event, Renderer};
use crate::batch::Piece;
use crate::record::ansi;
use crate::record::filter::Decision;
use crate::record::mask::{CONTEXT_BYTES, Piece as MaskedPiece};

impl Renderer {
    /// What may be shown of a piece, which is looked at with what lies on both of its sides.
    pub(super) fn show_piece<'a>(
        &mut self,
        text: &'a [u8],
        piece: Piece,
        event: &Event<'_>,
        (window, plain, masked): (&mut Vec<u8>, &'a mut Vec<u8>, &'a mut Vec<u8>),
    ) -> &'a [u8] {
        let is_first = piece.index == 1;
        window.clear();
        if !is_first {
            window.extend_from_slice(&self.last_piece);
        }
        let begin = window.len();
        window.extend_from_slice(text);
        let end = window.len();
        window.extend_from_slice(event.behind);
        self.last_piece.clear();
        let kept = end.saturating_sub(CONTEXT_BYTES)..end;
        self.last_piece.extend_from_slice(&window[kept]);
        let is_resumed = std::mem::take(&mut self.is_resumed) && !is_first;
        let mut places = [begin, end];
        match self.config.strip_ansi {
            true => ansi::strip_around(window, &mut places, plain),
            false => plain.extend_from_slice(window),
        }
        let [begin, end] = places;
        masked.clear();
        if let Some(masker) = &mut self.masker {
            if is_resumed {
                // An earlier run has sent what lies before.
                masker.catch_up(plain, begin);
            }
            let from = begin.saturating_sub(CONTEXT_BYTES);
            let piece = MaskedPiece {
                window: &plain[from..],
                bytes: begin - from..end - from,
                is_first,
                is_last: piece.last,
            };
            if masker.apply_piece(&piece, masked) {
                return masked;
            }
        }
        &plain[begin..end]
    }

    /// An earlier run has sent or dropped the first piece, `text`, of the line that it goes on in.
    pub(in crate::record) fn resume_line(&mut self, text: &[u8], offset: u64) {
        let decision = self.config.filter.decide(text, self.identity, offset);
        self.is_dropping = matches!(decision, Decision::Dropped(_));
    }
}
