//! What a wildcard of a pattern matches at one place of a name: a character of UTF-8 where the name is UTF-8, else one
//! byte. Patterns of files ([`tail`](crate::tail)) and paths with placeholders ([`record`](crate::record)) share it.

/// `[a-z]`, or `[!a-z]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CharacterSet {
    ranges: Box<[(char, char)]>,
    is_negated: bool,
}

impl CharacterSet {
    /// The set that `text` begins with, and its length; `None` if it is not closed.
    pub(crate) fn parse(text: &str) -> Option<(CharacterSet, usize)> {
        let inside = text.strip_prefix('[')?;
        let (is_negated, inside) = match inside.strip_prefix('!') {
            Some(inside) => (true, inside),
            None => (false, inside),
        };
        // The first character is one of the set even if it is a ].
        let first = inside.chars().next()?.len_utf8();
        let len = first + inside.get(first..)?.find(']')?;
        let characters: Vec<char> = inside.get(..len)?.chars().collect();
        let mut ranges = Vec::new();
        let mut rest = characters.as_slice();
        while let [from, after @ ..] = rest {
            let (to, after) = match after {
                ['-', to, after @ ..] => (to, after),
                _ => (from, after),
            };
            ranges.push((*from, *to));
            rest = after;
        }
        let set = CharacterSet {
            ranges: ranges.into(),
            is_negated,
        };
        Some((set, text.len() - inside.len() + len + 1))
    }

    fn contains(&self, character: Option<char>) -> bool {
        let mut ranges = self.ranges.iter();
        let is_in = character.is_some_and(|c| ranges.any(|(from, to)| (*from..=*to).contains(&c)));
        is_in != self.is_negated
    }
}

/// How many bytes of `name` the character at `at` takes, if there is one, and `set` has it where there is a set. No
/// wildcard stands for the dot that a name begins with.
pub(crate) fn step(name: &[u8], at: usize, set: Option<&CharacterSet>) -> Option<usize> {
    let rest = name.get(at..).filter(|rest| !rest.is_empty())?;
    if at == 0 && rest.starts_with(b".") {
        return None;
    }
    let character = first_character(rest);
    let is_meant = set.is_none_or(|set| set.contains(character));
    is_meant.then_some(character.map_or(1, char::len_utf8))
}

/// The character that `bytes` begins with; `None` where it is not UTF-8.
fn first_character(bytes: &[u8]) -> Option<char> {
    if let Some(ascii) = bytes.first().filter(|byte| byte.is_ascii()) {
        return Some(char::from(*ascii));
    }
    let longest = bytes.get(..4).unwrap_or(bytes);
    longest.utf8_chunks().next()?.valid().chars().next()
}
