//! One component of a path pattern, matched character by character.

use std::ops::Range;

use crate::wildcards::{CharacterSet, step};

/// What a component is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A byte, not a character: a literal is compared as it is.
    Byte(u8),
    /// `?`
    AnyOne,
    /// `*`
    AnyNumber,
    /// `[...]`
    OneOf(CharacterSet),
    /// `{name}`, the so many-th of the pattern.
    Name(usize),
}

/// The tokens of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    tokens: Box<[Token]>,
    /// The bytes, where these are all that there is.
    literal: Option<Box<[u8]>>,
}

impl Tokens {
    pub(super) fn new(tokens: Box<[Token]>) -> Self {
        let bytes = tokens.iter().map(|token| match token {
            Token::Byte(byte) => Some(*byte),
            _ => None,
        });
        let literal = bytes.collect();
        Tokens { tokens, literal }
    }

    /// Whether a file or folder called `name` can be what this component stands for.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match &self.literal {
            Some(literal) => **literal == *name,
            None => self.fits(name).is_set(0, 0),
        }
    }

    /// Where in `name` the values of the names stand, in their order; `None` if it does not match.
    pub(super) fn capture(&self, name: &[u8]) -> Option<Vec<Range<usize>>> {
        let has_names = self.tokens.iter().any(|t| matches!(t, Token::Name(_)));
        if !has_names {
            return self.matches(name).then(Vec::new);
        }
        let fits = self.fits(name);
        if !fits.is_set(0, 0) {
            return None;
        }
        let mut values = Vec::new();
        let mut at = 0;
        for (row, token) in self.tokens.iter().enumerate() {
            let start = at;
            match token {
                // As few as lead to the end, one at least.
                Token::Name(_) => {
                    at += token.step(name, at)?;
                    while !fits.is_set(row + 1, at) {
                        at += token.step(name, at)?;
                    }
                    values.push(start..at);
                }
                // As many as lead to the end.
                Token::AnyNumber => {
                    let mut reach = at;
                    while let Some(len) = token.step(name, reach) {
                        reach += len;
                        if fits.is_set(row + 1, reach) {
                            at = reach;
                        }
                    }
                }
                _ => at += token.step(name, at)?,
            }
        }
        Some(values)
    }

    /// Which ways lead to the end: whether the tokens from a row on can be what `name` is from a column on.
    fn fits(&self, name: &[u8]) -> Table {
        let mut fits = Table::new(self.tokens.len() + 1, name.len() + 1);
        fits.set(self.tokens.len(), name.len());
        for (row, token) in self.tokens.iter().enumerate().rev() {
            for at in (0..=name.len()).rev() {
                let after = token.step(name, at).map(|len| at + len);
                let ends = |at| fits.is_set(row + 1, at);
                let goes_on = |at| fits.is_set(row, at);
                let does_fit = match token {
                    Token::AnyNumber => ends(at) || after.is_some_and(goes_on),
                    Token::Name(_) => after.is_some_and(|at| ends(at) || goes_on(at)),
                    _ => after.is_some_and(ends),
                };
                if does_fit {
                    fits.set(row, at);
                }
            }
        }
        fits
    }
}

impl Token {
    /// How many bytes of `name` from `at` on one step of this token takes; `None` where it does not match.
    fn step(&self, name: &[u8], at: usize) -> Option<usize> {
        match self {
            Token::Byte(byte) => (name.get(at) == Some(byte)).then_some(1),
            Token::OneOf(set) => step(name, at, Some(set)),
            _ => step(name, at, None),
        }
    }
}

/// Rows and columns of what is so.
#[derive(Debug)]
pub(super) struct Table {
    width: usize,
    cells: Vec<bool>,
}

impl Table {
    pub(super) fn new(height: usize, width: usize) -> Self {
        Table {
            width,
            cells: vec![false; height * width],
        }
    }

    pub(super) fn is_set(&self, row: usize, column: usize) -> bool {
        let cell = self.cells.get(row * self.width + column);
        column < self.width && cell == Some(&true)
    }

    pub(super) fn set(&mut self, row: usize, column: usize) {
        if let Some(cell) = self.cells.get_mut(row * self.width + column) {
            *cell = true;
        }
    }
}
