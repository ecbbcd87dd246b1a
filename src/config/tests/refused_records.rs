//! Bad keys for records, each with the full text that a person gets to read.

use super::*;

/// Lines of `[log:web]` and what is said of them.
const REFUSED: &str = include_str!("refused_records.txt");

#[test]
fn each_key_for_records_says_what_is_wrong_with_it_where_and_what_to_write() {
    let (mut wrong, mut count) = (String::new(), 0);
    let mut rest = REFUSED.lines().skip(1).peekable();
    while rest.peek().is_some() {
        let (mut text, mut said) = (GOOD.to_owned(), Vec::new());
        while let Some(line) = rest.next_if(|line| line.starts_with('>')) {
            text.push_str(&format!("{}\n", line.trim_start_matches("> ")));
        }
        while let Some(line) = rest.next_if(|line| !line.starts_with('>')) {
            said.push(line);
        }
        count += 1;
        let found = parse(&text).map_or_else(|errors| errors.to_string(), |_| "fine".to_owned());
        if found != said.join("\n") {
            wrong.push_str(&format!("---- {}\n{found}\n", text.replace(GOOD, "")));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 100, "{count} cases");
}

#[test]
fn everything_that_is_wrong_with_the_keys_for_records_is_said_at_once_by_line() {
    let said =
        log_errors("multiline_timeout = 1s\nfield.env = {nope}\ndrop.a = (\ntimestamp = line");
    assert_eq!(
        said,
        "\
a.ini:6: 'multiline_timeout = 1s' needs 'multiline' beside it
a.ini:7: field.env: unknown {nope}; known: host, path, file, dir, log, inode, offset, stream, json.NAME, env.NAME
    field.env = {nope}
                ^
a.ini:7: 'field.env = {nope}' needs 'format = json' or 'format = ecs' beside it
a.ini:8: drop.a: the regex does not end: '(' has no ')'
    drop.a = (
             ^
a.ini:9: 'timestamp = line' needs 'time' or 'container' beside it"
    );
}

#[test]
fn the_messages_of_legacy_carry_no_headers_of_their_own() {
    let legacy = "topic = t\nprotocol = legacy\ncompression = none\nheaders = none\n";
    let text = GOOD.replace("topic = t\n", legacy);
    assert!(parse(&text).is_ok());
    assert_eq!(
        errors(&format!("{text}header.a = b\nheader.c = {{host}}\n")),
        "\
a.ini:9: 'header.a = b' cannot stand beside 'protocol = legacy' (line 4)
    the message format of legacy has no headers
a.ini:10: 'header.c = {host}' cannot stand beside 'protocol = legacy' (line 4)
    the message format of legacy has no headers"
    );
}

#[test]
fn a_key_that_every_record_needs_may_be_made_of_each_of_them() {
    let text = GOOD.replace("topic = t\n", "topic = t\npartitioner = key\n");
    assert!(errors(&text).contains("missing key 'key' in [log:web]"));
    assert!(parse(&format!("{text}parse = json\nkey = {{json.a:-}}\n")).is_ok());
}

/// What is said of this `path`, and of a topic that asks for one of its names.
fn path_errors(path: &str, topic: &str) -> String {
    errors(&GOOD.replace("path = /a", &format!("path = {path}\ntopic = {topic}")))
}

#[test]
fn the_names_of_a_path_are_known_where_they_are_asked_for() {
    assert_eq!(
        path_errors("/srv/{tenant}/{app}.log", "t.{tennant}"),
        "\
a.ini:6: topic: unknown {tennant}; path gives tenant, app; did you mean {tenant}?
    topic = t.{tennant}
              ^"
    );
    assert_eq!(
        path_errors("/srv/{tenant}/x.log, /a/{app}.log", "t.{tenant}"),
        "\
a.ini:6: topic: {tenant} is not in every path: write {tenant:other}
    topic = t.{tenant}
              ^"
    );
    for (path, hint) in [
        (
            "/srv/{}/x",
            "{} is no name of letters, digits and '_'; write {{ and }} for the characters themselves",
        ),
        (
            "/srv/{a b}/x",
            "{a b} is no name of letters, digits and '_'; write {{ and }} for the characters themselves",
        ),
        (
            "/srv/{host}/x",
            "{host} means something already; take another name",
        ),
        (
            "/srv/{a}{b}",
            "{b} directly beside {a}: nothing tells where it ends",
        ),
        (
            "/srv/{a}*",
            "{a} directly beside *: nothing tells where it ends",
        ),
        ("/srv/{a}/{a}", "{a} twice"),
        (
            "/srv/{a",
            "{a,b} is not known here; write one path for each, and {{ for a brace",
        ),
        (
            "/srv/{a,b}.log",
            "{a,b} is not known here; write one path for each, and {{ for a brace",
        ),
    ] {
        let said = path_errors(path, "t");
        assert!(said.starts_with("a.ini:5: bad value '/srv/{"), "{said}");
        assert_eq!(said.lines().nth(1), Some(format!("    {hint}").as_str()));
    }
}

#[test]
fn names_of_a_path_that_nothing_asks_for_are_no_error_and_are_said() {
    let warned = |lines: &str| {
        let text = GOOD.replace("path = /a", lines);
        parse(&text).expect(lines).warnings()
    };
    assert_eq!(
        warned("path = /srv/{tenant}/{app}.log"),
        [
            "[log:web] path: {tenant} stands for any text and nothing asks for it; write {{tenant}} if the braces are \
          part of a file's name"
        ]
    );
    for used in [
        "topic = t.{app}",
        "key = {tenant}",
        "header.a = {app}",
        "format = json\nfield.a = {app}",
    ] {
        let warnings = warned(&format!("path = /srv/{{tenant}}/{{app}}.log\n{used}"));
        assert!(warnings.is_empty(), "{used}: {warnings:?}");
    }
    assert!(warned("path = /srv/{{tenant}}.log").is_empty());
}

#[test]
fn the_events_of_a_container_have_one_key_where_that_decides_the_partition() {
    let by_key = GOOD.replace("topic = t\n", "topic = t\npartitioner = key\n");
    let keyed = format!("{by_key}container = cri\nkey = {{stream}}\n");
    assert_eq!(
        errors(&keyed),
        "\
a.ini:8: 'key = {stream}' cannot stand beside 'container = cri' (line 7)
    with partitioner = key the events of a container have one key"
    );
    assert!(parse(&keyed.replace("{stream}", "{file}")).is_ok());
    assert!(parse(&keyed.replace("partitioner = key\n", "")).is_ok());
}
