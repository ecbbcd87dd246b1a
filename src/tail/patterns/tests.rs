use super::*;
use std::ffi::OsStr;

fn matches(pattern: &str, path: &[u8]) -> bool {
    Pattern::new(pattern)
        .unwrap()
        .matches_path(Path::new(OsStr::from_bytes(path)))
}

#[test]
fn wildcards_match_within_one_name() {
    for (pattern, path, expected) in [
        ("/log/a.log", "/log/a.log", true),
        ("/log/a.log", "/log/a.log1", false),
        ("/log/*.log", "/log/a.log", true),
        ("/log/*.log", "/log/x/a.log", false),
        ("/log/*.log", "/log/.a.log", false),
        ("/log/.*.log", "/log/.a.log", true),
        ("/log/?.log", "/log/ä.log", true),
        ("/log/[ä-ü]x", "/log/öx", true),
        ("/log/[!0-9]x", "/log/ax", true),
        ("/log/[!0-9]x", "/log/7x", false),
        ("/log/[^0-9]x", "/log/^x", true),
        ("/log/[.]x", "/log/.x", false),
        ("/log/[]]x", "/log/]x", true),
        ("/log/[!]]x", "/log/]x", false),
        ("/log/[a-]x", "/log/-x", true),
        ("/log/{a,b}", "/log/{a,b}", true),
        ("/log/{tenant}/x", "/log/{tenant}/x", true),
        ("/*/a", "/log/a", true),
        ("/*/a", "/.log/a", false),
        ("log/*", "/log/a", false),
        ("log/*", "log/a", true),
        ("/log//./*", "/log/a", true),
    ] {
        assert_eq!(
            matches(pattern, path.as_bytes()),
            expected,
            "{pattern} {path}"
        );
    }
}

#[test]
fn two_stars_stand_for_folders_that_are_not_hidden() {
    for (path, expected) in [
        ("/a/z", true),
        ("/a/b/z", true),
        ("/a/b/c/z", true),
        ("/a/.b/z", false),
        ("/a/b/.c/z", false),
        ("/z", false),
    ] {
        assert_eq!(matches("/a/**/z", path.as_bytes()), expected, "{path}");
    }
    assert!(matches("/**", b"/a/b"));
    assert!(matches("/**/.pm2/**/*.log", b"/x/.pm2/logs/a.log"));
    assert!(!matches("/a/**", b"/a"));
    // The first way to match `*.x/*.x` leaves a hidden folder to the second `**`.
    assert!(matches("/**/*.x/*.x/**/z", b"/a.x/b.x/.x/z"));
}

#[test]
fn names_that_are_not_utf8_or_hold_newlines_match() {
    assert!(matches("/log/*.log", b"/log/\xFFa.log"));
    assert!(matches("/log/?.log", b"/log/\xFF.log"));
    assert!(matches("/log/??.log", b"/log/\xC3\xC3.log"));
    assert!(matches("/log/[!a].log", b"/log/\xFF.log"));
    assert!(!matches("/log/[a-z].log", b"/log/\xFF.log"));
    assert!(matches("/log/a*b?c.log", b"/log/a\n\x1B[1mb\nc.log"));
    assert!(matches("/**/*.log", b"/\xFE/\n/x.log"));
}

#[test]
fn what_is_no_pattern_is_refused_where_it_is_wrong() {
    for (text, at) in [
        ("/log/[a", 5),
        ("/log/[]", 5),
        ("/log/[!]", 5),
        ("/log/[", 5),
        ("/a**", 2),
        ("/**a/b", 1),
        ("/a/***/b", 3),
        ("/ä/a**b", 5),
    ] {
        assert_eq!(Pattern::new(text).unwrap_err().at, at, "{text}");
    }
    let error = Exclude::new("[a").unwrap_err();
    assert!(
        error.to_string().starts_with("a [ without its ]"),
        "{error}"
    );
}

#[test]
fn a_literal_stands_for_itself() {
    let pattern = Pattern::literal("/log/[a]*.log");
    assert!(pattern.matches_path(Path::new("/log/[a]*.log")));
    assert!(!pattern.matches_path(Path::new("/log/ab.log")));
    assert!(Exclude::literal("a*").matches_path(Path::new("/x/a*")));
    assert!(!Exclude::literal("/x/a*").matches_path(Path::new("/x/ab")));
}

#[test]
fn components_lead_a_walk() {
    let pattern = Pattern::new("/var//log/**/a?/x[.]log").unwrap();
    let [var, log, recursive, folder, file] = pattern.components() else {
        panic!("{:?}", pattern.components());
    };
    assert_eq!(*var, Component::Literal((*b"var").into()));
    assert_eq!(*log, Component::Literal((*b"log").into()));
    assert_eq!(*recursive, Component::Recursive);
    assert!(matches!(folder, Component::Glob(glob) if glob.matches(b"ab")));
    assert!(file.matches(b"x.log") && !file.matches(b"x-log"));
}

#[test]
fn an_exclude_without_a_slash_is_about_file_names_in_hidden_folders_too() {
    let exclude = Exclude::new("*.gz").unwrap();
    assert!(exclude.matches_path(Path::new("/x/.pm2/logs/a.gz")));
    assert!(exclude.matches_path(Path::new("/a.gz")));
    assert!(exclude.matches_path(Path::new(OsStr::from_bytes(b"/x/\xFF.gz"))));
    assert!(!exclude.matches_path(Path::new("/x/a.gz/b")));
    assert!(!exclude.matches_path(Path::new("/x/a.log")));
    assert!(
        !Exclude::new("")
            .unwrap()
            .matches_path(Path::new("/x/a.log"))
    );
    let exclude = Exclude::new("/x/*/a.log").unwrap();
    assert!(exclude.matches_path(Path::new("/x/y/a.log")));
    assert!(!exclude.matches_path(Path::new("/z/y/a.log")));
    assert!(Exclude::new("/a").unwrap().matches_path(Path::new("/a")));
    assert!(!Exclude::new("/a").unwrap().matches_path(Path::new("/b/a")));
}

#[test]
fn many_stars_take_no_longer_than_a_few() {
    let pattern = format!("/{}/{}b", "**/".repeat(20), "a*".repeat(30));
    let path = format!("/{}{}", "a/".repeat(200), "a".repeat(250));
    assert!(!matches(&pattern, path.as_bytes()));
}

/// The `glob` crate, which matched before, says the same of whatever is UTF-8.
#[test]
fn random_patterns_match_what_the_glob_crate_matches() {
    const OPTIONS: glob::MatchOptions = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let mut random = fastrand::Rng::with_seed(20_261_127);
    let pieces = [
        "a", "b", ".", "ä", "*", "?", "[ab]", "[!a]", "[a-b.]", "[!.]", "[]]", "{", "[ä-ö]",
    ];
    let (mut matched, mut refused) = (0, 0);
    for round in 0..200_000 {
        let mut text = |pieces: &[&str], stars: bool| {
            let parts: Vec<String> = (0..random.usize(1..5))
                .map(|_| match stars && random.u8(..4) == 0 {
                    true => "**".to_owned(),
                    false => (0..random.usize(1..4))
                        .map(|_| pieces[random.usize(..pieces.len())])
                        .collect(),
                })
                .collect();
            format!("/{}", parts.join("/"))
        };
        let pattern = text(&pieces, true);
        let path = text(&pieces[..4], false);
        let is_odd = |text: &str| text.split('/').any(|part| part == ".");
        if is_odd(&pattern) || is_odd(&path) {
            continue;
        }
        let (ours, oracle) = (Pattern::new(&pattern), glob::Pattern::new(&pattern));
        assert_eq!(ours.is_ok(), oracle.is_ok(), "round {round}: {pattern}");
        let (Ok(ours), Ok(oracle)) = (ours, oracle) else {
            refused += 1;
            continue;
        };
        let expected = oracle.matches_path_with(Path::new(&path), OPTIONS);
        let found = ours.matches_path(Path::new(&path));
        assert_eq!(found, expected, "round {round}: {pattern} {path}");
        matched += u32::from(expected);
    }
    assert!(matched > 5_000, "only {matched} matched");
    assert!(refused > 100, "only {refused} were refused");
}
