//! Patterns of paths, matched byte by byte: names need be neither UTF-8 nor on one line.
//!
//! A pattern is a path whose components may hold `*` (any number of characters), `?` (one), `[a-z]` (one of
//! these) and `[!a-z]` (one that is none of these); `**` as a whole component stands for any number of folders.
//! A `]` right after `[` or `[!` is one of the set, so `[[]`, `[]]` and `[*]` stand for the characters themselves.
//! Nothing of this matches a slash, nor the dot that a name begins with: hidden files and folders are matched by
//! a dot that is written out. A character is one of UTF-8 where the name is UTF-8, else one byte. Braces,
//! backslashes and `^` stand for themselves.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::wildcards::{CharacterSet, step};

/// A pattern of whole paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    is_absolute: bool,
    components: Vec<Component>,
}

/// One component of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Component {
    /// A name that stands for itself: a walk goes on there without a listing.
    Literal(Box<[u8]>),
    /// A name with wildcards.
    Glob(Glob),
    /// `**`: any number of folders, none of them hidden. As the last component, anything below.
    Recursive,
}

/// The matcher of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A byte, not a character: a literal is compared as it is.
    Byte(u8),
    AnyOne,
    AnyNumber,
    OneOf(CharacterSet),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(super) struct PatternError {
    /// Where in the text, in bytes.
    pub(super) at: usize,
    /// What is wrong there.
    pub(super) why: &'static str,
}

impl Pattern {
    /// The pattern that `text` spells. Empty components and `.` count for nothing, as in a path.
    ///
    /// # Errors
    /// A `[` that is not closed, a `**` that is not a whole component, more than two `*` in a row.
    pub(super) fn new(text: &str) -> Result<Self, PatternError> {
        let mut components = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let (tokens, len) = component(rest).map_err(|error| PatternError {
                at: at + error.at,
                ..error
            })?;
            if &rest[..len] == "**" {
                components.push(Component::Recursive);
            } else {
                components.extend(Component::of(tokens));
            }
            rest = rest[len..].strip_prefix('/').unwrap_or(&rest[len..]);
        }
        Ok(Pattern {
            is_absolute: text.starts_with('/'),
            components,
        })
    }

    /// The pattern that matches the path `text` and no other.
    pub(super) fn literal(text: &str) -> Self {
        let names = names(text.as_bytes());
        Pattern {
            is_absolute: text.starts_with('/'),
            components: names.map(|n| Component::Literal(n.into())).collect(),
        }
    }

    /// The components, for a walk; that of an absolute pattern starts at `/`.
    pub(super) fn components(&self) -> &[Component] {
        &self.components
    }

    /// Whether `path` is one of those meant. Where it leads to is not looked at.
    pub(super) fn matches_path(&self, path: &Path) -> bool {
        if path.is_absolute() != self.is_absolute {
            return false;
        }
        // All ways to match are followed at once: `reached[i]` says that what was read of the path can be what
        // the first `i` components stand for. So no path takes longer than its length times the pattern's.
        let mut reached = vec![false; self.components.len() + 1];
        reached[0] = true;
        self.pass_recursive(&mut reached);
        for name in names(path.as_os_str().as_bytes()) {
            let mut next = vec![false; reached.len()];
            for (at, component) in self.components.iter().enumerate() {
                if !reached[at] || !component.matches(name) {
                    continue;
                }
                next[at + 1] = true;
                next[at] |= *component == Component::Recursive;
            }
            self.pass_recursive(&mut next);
            reached = next;
        }
        reached.last() == Some(&true)
    }

    /// `**` may stand for no folder at all, unless it is the last component.
    fn pass_recursive(&self, reached: &mut [bool]) {
        for at in 0..self.components.len().saturating_sub(1) {
            if reached[at] && self.components[at] == Component::Recursive {
                reached[at + 1] = true;
            }
        }
    }
}

impl Component {
    /// `None` where nothing is named.
    fn of(tokens: Vec<Token>) -> Option<Self> {
        let literal: Option<Vec<u8>> = tokens
            .iter()
            .map(|token| match token {
                Token::Byte(byte) => Some(*byte),
                _ => None,
            })
            .collect();
        match literal {
            Some(name) if name.is_empty() || name == b"." => None,
            Some(name) => Some(Component::Literal(name.into())),
            None => Some(Component::Glob(Glob {
                tokens: tokens.into(),
            })),
        }
    }

    /// Whether a file or folder called `name` can be what this component stands for, or for `**` one of its
    /// folders.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Component::Literal(literal) => **literal == *name,
            Component::Glob(glob) => glob.matches(name),
            Component::Recursive => !name.starts_with(b"."),
        }
    }
}

impl Glob {
    /// Whether `name`, a single component, matches as a whole.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // The last `*` met, and how far what it stands for reaches. Earlier ones need no second try: what
        // follows on them has been matched as early as it can be.
        let mut last_any: Option<(usize, usize)> = None;
        loop {
            let step = match self.tokens.get(token) {
                Some(Token::AnyNumber) => {
                    last_any = Some((token, at));
                    token += 1;
                    continue;
                }
                Some(single) => single.step(name, at),
                None if at == name.len() => return true,
                None => None,
            };
            if let Some(len) = step {
                at += len;
                token += 1;
                continue;
            }
            let Some((any, reach)) = last_any else {
                return false;
            };
            let Some(len) = Token::AnyOne.step(name, reach) else {
                return false;
            };
            last_any = Some((any, reach + len));
            (token, at) = (any + 1, reach + len);
        }
    }
}

impl Token {
    /// How many bytes of `name` from `at` on this token takes; `None` where it does not match.
    fn step(&self, name: &[u8], at: usize) -> Option<usize> {
        match self {
            Token::Byte(byte) => (name.get(at) == Some(byte)).then_some(1),
            Token::OneOf(set) => step(name, at, Some(set)),
            Token::AnyOne | Token::AnyNumber => step(name, at, None),
        }
    }
}

/// What an `exclude` leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exclude {
    /// Files of such a name in any folder, hidden ones included.
    Name(Component),
    /// Files of such a path.
    Path(Pattern),
}

impl Exclude {
    /// An exclude as it was read from the ini: with a slash absolute, else about the names of files.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub(super) fn new(text: &str) -> Result<Self, PatternError> {
        let mut pattern = Pattern::new(text)?;
        if text.contains('/') {
            return Ok(Exclude::Path(pattern));
        }
        Ok(match pattern.components.pop() {
            // Within a name two stars say no more than one.
            Some(Component::Recursive) => Exclude::Name(Component::Glob(Glob {
                tokens: [Token::AnyNumber].into(),
            })),
            Some(name) => Exclude::Name(name),
            None => Exclude::literal(text),
        })
    }

    /// The exclude of the path or file name `text` itself.
    pub(super) fn literal(text: &str) -> Self {
        match text.contains('/') {
            true => Exclude::Path(Pattern::literal(text)),
            false => Exclude::Name(Component::Literal(text.as_bytes().into())),
        }
    }

    /// Whether the file `path` is left out.
    pub(super) fn matches_path(&self, path: &Path) -> bool {
        match self {
            Exclude::Name(name) => path
                .file_name()
                .is_some_and(|file| name.matches(file.as_bytes())),
            Exclude::Path(pattern) => pattern.matches_path(path),
        }
    }
}

/// The tokens of the first component of `text`, and its length without the slash that ends it.
fn component(text: &str) -> Result<(Vec<Token>, usize), PatternError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(character) = text[at..].chars().next().filter(|&c| c != '/') {
        match character {
            '?' => tokens.push(Token::AnyOne),
            '*' => {
                let stars = text[at..].bytes().take_while(|&b| b == b'*').count();
                if stars > 2 {
                    let why = "more than two * in a row";
                    return Err(PatternError { at, why });
                }
                let is_whole = at == 0 && matches!(text.as_bytes().get(stars), None | Some(b'/'));
                if stars == 2 && !is_whole {
                    let why = "** must be a whole component, as in /a/**/b";
                    return Err(PatternError { at, why });
                }
                tokens.push(Token::AnyNumber);
                at += stars;
                continue;
            }
            '[' => {
                let (set, len) = CharacterSet::parse(&text[at..]).ok_or(PatternError {
                    at,
                    why: "a [ without its ]; write [[] for the character itself",
                })?;
                tokens.push(Token::OneOf(set));
                at += len;
                continue;
            }
            _ => tokens.extend(text[at..at + character.len_utf8()].bytes().map(Token::Byte)),
        }
        at += character.len_utf8();
    }
    Ok((tokens, at))
}

/// The components of a path, without those that count for nothing.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests;
