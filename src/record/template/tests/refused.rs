//! What is no template, and what is said of it.

use super::*;

#[test]
fn what_means_nothing_is_refused_where_it_stands() {
    let section = Section::new(&["/srv/{tenant}/{app}.log"]);
    for (text, at, words) in [
        (
            "x{tennant}",
            1,
            "unknown {tennant}; path gives tenant, app; did you mean {tenant}?",
        ),
        (
            "ä{customer}",
            2,
            "unknown {customer}; path gives tenant, app",
        ),
        (
            "{}",
            0,
            "{} has no name; write {{}} for the characters themselves",
        ),
        (
            "a{",
            1,
            "a { without its }; write {{ for the character itself",
        ),
        (
            "{tenant",
            0,
            "a { without its }; write {{ for the character itself",
        ),
        (
            "{tenant:{app}}",
            0,
            "a { without its }; write {{ for the character itself",
        ),
        (
            "{app}}",
            5,
            "a } without its {; write }} for the character itself",
        ),
    ] {
        let expected = (at, words.to_owned());
        assert_eq!(section.refused(text, Purpose::Value), expected, "{text}");
    }
}

#[test]
fn variables_and_json_paths_are_refused_without_a_name_that_can_be_one() {
    let section = Section::new(&["/srv/{tenant}/{app}.log"]);
    for (text, at, words) in [
        (
            "{env.}",
            0,
            "{env.} names no environment variable; write {env.NAME}",
        ),
        (
            "{env.A B}",
            0,
            "{env.A B} names no environment variable; write {env.NAME}",
        ),
        (
            "{env.NONE}",
            0,
            "environment variable 'NONE' is not set; write {env.NONE:other} for another value then",
        ),
        ("{env}", 0, "unknown {env}; write {env.NAME}"),
        ("{json:x}", 0, "unknown {json}; write {json.NAME}"),
        (
            "{json.a..b}",
            0,
            "{json.a..b} names no value; write {json.NAME} or {json.NAME.NAME}",
        ),
        (
            "{json.}",
            0,
            "{json.} names no value; write {json.NAME} or {json.NAME.NAME}",
        ),
    ] {
        let expected = (at, words.to_owned());
        assert_eq!(section.refused(text, Purpose::Value), expected, "{text}");
    }
}

#[test]
fn what_is_not_on_gives_nothing_and_what_is_said_stays_short() {
    let off = Section {
        has_container: false,
        has_json: false,
        ..Section::new(&[PLAIN])
    };
    for (text, words) in [
        ("{json.a:x}", "{json.a} needs parse = json"),
        ("{stream}", "{stream} needs container = auto, cri or docker"),
        (
            "{hots}",
            "unknown {hots}; known: host, path, file, dir, log, inode, offset, stream, json.NAME, env.NAME; did you mean {host}?",
        ),
    ] {
        assert_eq!(off.refused(text, Purpose::Value).1, words);
    }
    let long = format!("{{{}}}", "\u{1b}".repeat(10_000));
    let words = off.refused(&long, Purpose::Value).1;
    assert!(!words.contains('\u{1b}') && words.len() < 1_000, "{words}");
}

#[test]
fn a_group_that_is_called_like_something_else_is_refused_once_it_is_used() {
    let groups = Section {
        groups: vec!["path", "app"],
        ..Section::new(&["/srv/{app}.log"])
    };
    assert_eq!(
        groups.refused("{path}", Purpose::Value).1,
        "{path} is of the file and a group of parse as well; rename the group"
    );
    assert_eq!(
        groups.refused("{app}", Purpose::Value).1,
        "{app} is of the path and a group of parse as well; rename the group"
    );
    assert_eq!(groups.value("{file}").stage(), Stage::File);
    let words = groups.refused("{statsu}", Purpose::Value).1;
    assert_eq!(
        words,
        "unknown {statsu}; path gives app; parse gives path, app"
    );
}

#[test]
fn a_topic_keeps_apart_and_is_never_missing() {
    let section = Section {
        groups: vec!["user"],
        ..Section::new(&["/srv/{tenant}/{app}.log"])
    };
    let missing = |name: &str| format!("{{{name}}} can be missing: write {{{name}:other}}");
    let prefix = |inside: &str| {
        format!("a topic needs fixed text before its first {{}}, for example logs.{{{inside}}}")
    };
    let illegal = |c: &str| {
        format!("'{c}' cannot be in a topic; accepted: letters, digits, '.', '_' and '-'")
    };
    let whole =
        "accepted: 1 to 249 letters, digits, '.', '_' or '-', and not '.' or '..'".to_owned();
    for (text, at, words) in [
        ("{tenant}", 0, prefix("tenant")),
        ("_{tenant}", 1, prefix("tenant")),
        ("{env.EMPTY}{tenant}.log", 11, prefix("tenant")),
        ("{json.tenant:other}", 0, prefix("json.tenant:other")),
        ("t.{json.tenant}", 2, missing("json.tenant")),
        ("t.{user}", 2, missing("user")),
        ("t.{stream}", 2, missing("stream")),
        ("t/{tenant}", 1, illegal("/")),
        ("t.{tenant} x", 10, illegal(" ")),
        ("t.{{", 2, illegal("{")),
        ("t.{tenant:a/b}", 11, illegal("/")),
        (
            "t.{offset}",
            2,
            "{offset} makes a topic of its own for each event".to_owned(),
        ),
        (
            "t.{inode}",
            2,
            "{inode} makes a topic of its own for each file that rotation makes".to_owned(),
        ),
        ("", 0, whole.clone()),
        ("..", 0, whole.clone()),
        (&"t".repeat(250), 0, whole),
        (
            &format!("{}{{tenant}}", "t".repeat(249)),
            249,
            "249 characters of fixed text leave no room: a topic has 249".to_owned(),
        ),
    ] {
        assert_eq!(section.refused(text, Purpose::Topic), (at, words), "{text}");
    }
    for text in [
        "web_log",
        "k8s.{tenant}",
        "{log}.{tenant}",
        "{host}{tenant}",
        "{env.DC}.{app}",
        "t.{json.tenant:other}.{user:nobody}",
        "t.{json.tenant:}",
        "{host}",
    ] {
        let parsed = section.parse(text, Purpose::Topic, &mut Needs::default());
        assert!(parsed.is_ok(), "{text}: {parsed:?}");
    }
}

#[test]
fn all_that_is_wrong_in_one_text_is_said_at_once() {
    let section = Section::new(&["/srv/{tenant}/{app}.log"]);
    for (text, words) in [
        (
            "a b$c {tennant:x y} {json.a}z{",
            &[
                (1, "' ', '$' cannot be in a topic"),
                (6, "unknown {tennant}"),
                (16, "' ' cannot be in a topic"),
                (19, "' ' cannot be in a topic"),
                (20, "{json.a} can be missing"),
                (29, "a { without its }"),
            ][..],
        ),
        (
            "{json.a}{nosuch}{app}",
            &[
                (0, "{json.a} can be missing"),
                (0, "a topic needs fixed text before its first {}"),
                (8, "unknown {nosuch}"),
            ][..],
        ),
        // It may be meant as what is fixed.
        ("{nosuch}{app}", &[(0, "unknown {nosuch}")][..]),
    ] {
        let refused = section.parse(text, Purpose::Topic, &mut Needs::default());
        let refused = refused.unwrap_err();
        assert_eq!(refused.len(), words.len(), "{text}: {refused:?}");
        for (error, (at, words)) in refused.iter().zip(words) {
            assert_eq!(error.at, *at, "{text}: {error}");
            assert!(error.words.starts_with(words), "{text}: {error}");
        }
    }
}

/// Whatever text the ini holds, it is a template or is refused at a character of it.
#[test]
fn no_text_is_too_strange_to_be_refused() {
    let section = Section::with_groups(&["user"]);
    let mut random = fastrand::Rng::with_seed(12);
    let pieces = [
        "{", "}", ":", ".", "json", "env", "user", "ä", "\u{1b}", "a", "host", "$",
    ];
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..50_000 {
        let text: String = (0..random.usize(..8))
            .map(|_| random.choice(pieces).unwrap())
            .collect();
        for purpose in [Purpose::Topic, Purpose::Value] {
            match section.parse(&text, purpose, &mut Needs::default()) {
                Ok(_) => accepted += 1,
                Err(errors) => {
                    for error in errors {
                        assert!(text.is_char_boundary(error.at), "{text}");
                        assert!(!error.words.contains('\u{1b}'), "{}", error.words);
                    }
                    refused += 1;
                }
            }
        }
    }
    assert!(accepted > 5_000 && refused > 5_000, "{accepted} {refused}");
}
