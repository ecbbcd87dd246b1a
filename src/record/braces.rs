//! Braces in a value of the ini: `{name}`, and `{{` and `}}` for the characters themselves.

/// What a brace begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brace<'a> {
    /// The character itself, written twice.
    Character(char),
    /// A placeholder: the text between its braces, which holds neither of them.
    Placeholder(&'a str),
}

/// Reads the brace that `text` begins with; returns it and its length in bytes. `None` where `text` begins with
/// something else.
///
/// # Errors
/// A brace without its other one, in words.
pub(crate) fn read(text: &str) -> Result<Option<(Brace<'_>, usize)>, &'static str> {
    if text.starts_with("{{") {
        return Ok(Some((Brace::Character('{'), 2)));
    }
    if text.starts_with("}}") {
        return Ok(Some((Brace::Character('}'), 2)));
    }
    if text.starts_with('}') {
        return Err("a } without its {; write }} for the character itself");
    }
    let Some(inside) = text.strip_prefix('{') else {
        return Ok(None);
    };
    match inside.split_once('}') {
        Some((inside, _)) if !inside.contains('{') => {
            Ok(Some((Brace::Placeholder(inside), inside.len() + 2)))
        }
        _ => Err("a { without its }; write {{ for the character itself"),
    }
}

/// Whether `{name}` means something in every section, so that a name of a path cannot be called so.
pub(crate) fn is_built_in(name: &str) -> bool {
    BUILT_IN.contains(&name)
}

/// The names that mean something in every section.
pub(crate) const BUILT_IN: [&str; 8] = [
    "host", "path", "file", "dir", "log", "inode", "offset", "stream",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_braces_are_one_character_and_win_over_a_placeholder() {
        let character = |c| Ok(Some((Brace::Character(c), 2)));
        assert_eq!(read("{{a}}"), character('{'));
        assert_eq!(read("}}"), character('}'));
        assert_eq!(read("{{{a}"), character('{'));
        assert_eq!(read("{a}}}"), Ok(Some((Brace::Placeholder("a"), 3))));
        assert_eq!(read("{}"), Ok(Some((Brace::Placeholder(""), 2))));
        assert_eq!(read("a{"), Ok(None));
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn a_single_brace_is_refused() {
        for text in ["{", "{a", "{a{b}", "{a{{b}"] {
            let words = "a { without its }; write {{ for the character itself";
            assert_eq!(read(text), Err(words), "{text}");
        }
        let words = "a } without its {; write }} for the character itself";
        assert_eq!(read("}a"), Err(words));
    }
}
