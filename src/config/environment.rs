//! `${NAME}` in values.

/// Looks up an environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a value cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadReference {
    /// There is no variable of that name.
    Unset(String),
    /// `${` without `}`, or not a name between them.
    Malformed,
}

/// `text` with every `${NAME}` replaced by what `env` says and every `$${` by `${`. What comes in
/// that way is not expanded again. Reports each wrong reference once.
pub(super) fn expand(text: &str, env: Env<'_>) -> Result<String, Vec<BadReference>> {
    let mut expanded = String::with_capacity(text.len());
    let mut wrong = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let bad = match after.split_once('}') {
            Some((name, after)) if is_variable(name) => {
                rest = after;
                match env(name) {
                    Some(value) => {
                        expanded.push_str(&value);
                        continue;
                    }
                    None => BadReference::Unset(name.to_owned()),
                }
            }
            _ => {
                rest = after;
                BadReference::Malformed
            }
        };
        if !wrong.contains(&bad) {
            wrong.push(bad);
        }
    }
    expanded.push_str(rest);
    if wrong.is_empty() {
        Ok(expanded)
    } else {
        Err(wrong)
    }
}

/// A name as shells have it.
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("node7".to_owned()),
            "EMPTY" => Some(String::new()),
            "SLY" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_anywhere_in_a_value() {
        let expanded = |text| expand(text, &env).unwrap();
        assert_eq!(expanded("plain"), "plain");
        assert_eq!(expanded("${HOST}"), "node7");
        assert_eq!(
            expanded("a-${HOST}:1,b${EMPTY}-${HOST}"),
            "a-node7:1,b-node7"
        );
        assert_eq!(expanded("${SLY}"), "${HOST}", "not expanded twice");
    }

    #[test]
    fn dollars_stand_for_themselves_unless_a_brace_follows() {
        let expanded = |text| expand(text, &env).unwrap();
        assert_eq!(expanded("$HOST $$ $1 $"), "$HOST $$ $1 $");
        assert_eq!(expanded("$${HOST}"), "${HOST}");
        assert_eq!(expanded("$$${HOST}"), "$${HOST}");
        assert_eq!(expanded("$${"), "${");
    }

    #[test]
    fn every_wrong_reference_is_reported_once() {
        let unset = |name: &str| BadReference::Unset(name.to_owned());
        assert_eq!(
            expand("${A}${B}${A}${HOST}", &env),
            Err(vec![unset("A"), unset("B")])
        );
        for text in ["${", "${}", "${HOST", "${1}", "${a b}", "${${HOST}}"] {
            assert_eq!(
                expand(text, &env),
                Err(vec![BadReference::Malformed]),
                "{text}"
            );
        }
    }
}
