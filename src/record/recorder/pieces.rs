//! Pieces: of an event that is too long, and of a line that is.

use crate::batch::Piece;
use crate::record::decode::Decoder;

use super::{Cut, Cutter, Input, Recorder};

impl Recorder {
    /// The event that the data begins with is longer than allowed, or goes on in pieces. `end`: where it ends, if that
    /// is known and not too far away.
    pub(super) fn cut_piece(
        &mut self,
        input: &Input<'_>,
        end: Option<usize>,
        is_decoded: bool,
    ) -> (usize, Option<Piece>) {
        let text = match is_decoded {
            true => &self.decoded.text[..],
            false => input.data,
        };
        let Cutter::Assembled(assembler) = &mut self.cutter else {
            return (0, None);
        };
        let most = self.config.max_line_bytes;
        let lookahead = self.config.lookahead_bytes();
        let (end, last) = match end {
            Some(end) => (end, true),
            // What follows on the lines that are too long together may be the end of all, which decides otherwise.
            None if input.is_complete && text.len() > most + 1
                || text
                    .get(most + 1..)
                    .and_then(|behind| memchr::memchr(b'\n', behind))
                    .is_some_and(|at| text.len() > most + 2 + at) =>
            {
                let within = memchr::memrchr(b'\n', &text[..most]);
                let end = within.or_else(|| memchr::memchr(b'\n', text));
                (end.map_or(text.len(), |at| at + 1), false)
            }
            None => return (0, None),
        };
        self.behind.clear();
        if !last {
            if text.len() - end < lookahead && !input.is_complete {
                return (0, None);
            }
            assembler.split(&text[..end]);
            let seen = text.len().min(end + lookahead);
            self.behind.extend_from_slice(&text[end..seen]);
        }
        let piece = Piece {
            index: self.next_piece.max(1),
            last,
        };
        self.next_piece = if last {
            0
        } else {
            piece.index.saturating_add(1)
        };
        self.cuts.push(Cut::of_text(0..end));
        if is_decoded {
            self.decoded.place(&mut self.cuts);
        }
        (self.cuts[0].span_end, Some(piece))
    }

    /// A piece of a line that is too long is an event, or a piece of one, for itself.
    pub(super) fn cut_part(&mut self, input: &Input<'_>, piece: Piece) -> (usize, Option<Piece>) {
        let decoder = self.decoder.unwrap_or(Decoder::UTF_8);
        let mut bytes = input.data.len();
        if !piece.last {
            // A character is not cut in two.
            bytes -= decoder.unfinished(input.data);
            bytes = if bytes == 0 { input.data.len() } else { bytes };
        }
        let mut cut = Cut::of_text(0..bytes);
        let text = match decoder.is_as_it_is() {
            true => input.data,
            false => {
                self.decoded.fill_one(decoder, input, bytes);
                cut.text = 0..self.decoded.text.len();
                &self.decoded.text
            }
        };
        if let Cutter::Assembled(assembler) = &mut self.cutter {
            assembler.pass_piece(text, piece.index == 1);
        }
        self.next_piece = 0;
        self.cuts.push(cut);
        self.behind.clear();
        if !piece.last {
            self.look_behind(decoder, input, bytes);
        }
        (bytes, Some(piece))
    }

    /// Decodes what the line has behind the first `bytes` of the data, as far as masks look.
    fn look_behind(&mut self, decoder: Decoder, input: &Input<'_>, bytes: usize) {
        let mut rest = input.data[bytes..].to_vec();
        let lookahead = self.config.lookahead_bytes();
        rest.extend_from_slice(&input.behind[..input.behind.len().min(lookahead)]);
        let end = match decoder.byte_order() {
            Some(order) => order.find_line_end(&rest, 0).map(|end| end - 2),
            None => memchr::memchr(b'\n', &rest),
        };
        rest.truncate(end.unwrap_or(rest.len()));
        decoder.decode(&rest, &mut self.behind);
    }
}
