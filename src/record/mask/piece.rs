//! The words of `mask`, and the pieces that long lines go in.

use std::ops::Range;

use crate::record::pattern::PatternError;

/// A kind of secret that is known without a regex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Card numbers: 13 to 19 digits, Luhn's checksum holds.
    Card,
    /// Mail addresses, also with `%40`.
    Email,
    /// What comes after `Bearer`, and the value of `Authorization`.
    Bearer,
    /// The value of a key that ends in password, secret, token and so on.
    Password,
}

impl Word {
    /// All of them in their order.
    pub const ALL: [(&str, Word); 4] = [
        ("card", Word::Card),
        ("email", Word::Email),
        ("bearer", Word::Bearer),
        ("password", Word::Password),
    ];

    /// Reads the words of `mask`, with a comma between them.
    pub fn parse_list(text: &str) -> Result<Vec<Word>, PatternError> {
        let mut words = Vec::new();
        let mut next = 0;
        for part in text.split(',') {
            let name = part.trim();
            let at = next + part.len() - part.trim_start().len();
            next += part.len() + 1;
            let Some(&(_, word)) = Self::ALL.iter().find(|(known, _)| *known == name) else {
                return Err(PatternError {
                    at,
                    words: format!(
                        "'{name}' is not one of card, email, bearer, password; a regex needs a name: mask.NAME"
                    ),
                });
            };
            words.push(word);
        }
        Ok(words)
    }
}

/// A part of a line that is longer than `max_line_bytes`.
#[derive(Debug, Clone)]
pub struct Piece<'a> {
    /// The piece and [`CONTEXT_BYTES`](super::CONTEXT_BYTES) of the line on both of its sides, or as much as the line has there.
    pub window: &'a [u8],
    /// Where the piece is in the window.
    pub bytes: Range<usize>,
    /// Is it the first of its line?
    pub is_first: bool,
    /// Is it the last of its line?
    pub is_last: bool,
}
