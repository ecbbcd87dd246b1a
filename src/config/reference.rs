//! What the table of keys looks like to a person: the shipped `conf/logagent.ini` and `logagent help config KEY`.

use super::difference::needs_restart;
use super::keys::{AnyKey, DefaultValue, Section, keys_named, keys_of, nearest_key};
use crate::shown::wrap;

/// The text of `conf/logagent.ini`: a working file. It opens with what everybody needs; every other key is a comment
/// `#key = default`.
pub fn reference() -> String {
    let mut text = OPENING.to_owned();
    for (section, heading, is_in) in BLOCKS {
        text.push('\n');
        text.push_str(heading);
        for key in keys_of(section).filter(|key| is_in(key.name())) {
            describe(&mut text, key);
        }
    }
    text
}

fn describe(text: &mut String, key: &dyn AnyKey) {
    text.push('\n');
    comment(text, " ", key.about());
    comment(text, "   accepted: ", &key.accepted());
    let value = match key.default_value() {
        DefaultValue::Example(member) => return comment(text, "   for example: ", member),
        DefaultValue::Text(value) | DefaultValue::Required(value) => value,
        DefaultValue::FromKafka(example)
        | DefaultValue::Unset(example)
        | DefaultValue::Nothing(example) => {
            comment(text, "   for example: ", &assignment(key.name(), example));
            ""
        }
    };
    comment(text, "", &assignment(key.name(), value));
}

fn comment(text: &mut String, head: &str, words: &str) {
    let mut lines = String::new();
    wrap(&mut lines, head, words);
    for line in lines.lines() {
        text.push('#');
        text.push_str(line);
        text.push('\n');
    }
}

/// What is said of the key that is called `word`, of each section that has one. Of a word that is no key, the name
/// that is nearest to it.
pub fn help(word: &str) -> Result<String, Option<&'static str>> {
    let mut text = String::new();
    for key in keys_named(word) {
        let section = match key.section() {
            Section::Agent => "[agent]",
            Section::Kafka => "[kafka]",
            Section::Log => "[log:NAME]",
        };
        let (default, example) = match key.default_value() {
            DefaultValue::Required(example) => ("required", example),
            DefaultValue::Text(value) => (value, example_of(key.name()).unwrap_or(value)),
            DefaultValue::FromKafka(example) => ("that of [kafka]", example),
            DefaultValue::Unset(example) | DefaultValue::Example(example) => ("not set", example),
            DefaultValue::Nothing(example) => ("not set: then required in [log:NAME]", example),
        };
        let example = match key.default_value() {
            DefaultValue::Example(member) => member.to_owned(),
            _ => assignment(key.name(), example),
        };
        if !text.is_empty() {
            text.push('\n');
        }
        wrap(&mut text, "", &format!("{} in {section}", key.name()));
        wrap(&mut text, "  ", key.about());
        wrap(&mut text, "  accepted: ", &key.accepted());
        wrap(&mut text, "  default:  ", default);
        wrap(&mut text, "  example:  ", &example);
        if needs_restart(section.trim_matches(['[', ']']), key.name()) {
            wrap(&mut text, "  reload:   ", "a change needs a restart");
        }
    }
    match text.is_empty() {
        true => Err(nearest_key(word)),
        false => Ok(text),
    }
}

/// Another value than its default of a key that has one.
pub(super) fn example_of(name: &str) -> Option<&'static str> {
    let found = EXAMPLES.iter().find(|(key, _)| *key == name);
    found.map(|(_, example)| *example)
}

fn assignment(name: &str, value: &str) -> String {
    format!("{name} = {value}").trim_end().to_owned()
}

/// Keys of a section, what stands before them, and which of them they are.
type Block = (Section, &'static str, fn(&str) -> bool);

/// Where the shipped ini has which keys.
const BLOCKS: [Block; 4] = [
    (Section::Kafka, "# The other keys of [kafka].\n", |name| {
        name != "brokers" && !is_of_security(name)
    }),
    (
        Section::Kafka,
        "# TLS and SASL, in [kafka] as well. For most clusters: tls = on, sasl_mechanism,\n\
         # sasl_username and sasl_password_file.\n",
        is_of_security,
    ),
    (Section::Agent, "# The agent itself.\n[agent]\n", |_| true),
    (
        Section::Log,
        "# One more kind of log, with every key that a section [log:NAME] can have.\n#[log:app]\n",
        |_| true,
    ),
];

/// Of each key that has a default.
const EXAMPLES: &[(&str, &str)] = &[
    ("state_dir", "/srv/logagent"),
    ("producers", "2"),
    ("shutdown_timeout", "20s"),
    ("checkpoint_interval", "100ms"),
    ("deleted_bytes_limit", "10GiB"),
    ("reload", "manual"),
    ("protocol", "legacy"),
    ("acks", "1"),
    ("compression", "zstd"),
    ("partitioner", "key"),
    ("batch_bytes", "128KiB"),
    ("linger", "1s"),
    ("request_timeout", "60s"),
    ("client_id", "logagent-web"),
    ("idempotence", "off"),
    ("delivery", "exactly_once"),
    ("commit_interval", "200ms"),
    ("transaction_timeout", "30s"),
    ("positions_topic", "shop-positions"),
    ("headers", "path"),
    ("provenance", "on"),
    ("tls", "on"),
    ("follow_links", "none"),
    ("start_at", "end"),
    ("max_line_bytes", "64KiB"),
    ("strip_cr", "on"),
    ("rotate_wait", "30s"),
    ("container", "auto"),
    ("encoding", "gbk"),
    ("multiline", "auto"),
    ("strip_ansi", "on"),
    ("parse", "json"),
    ("time", "[%Y-%m-%d %H:%M:%S,%f]"),
    ("time_zone", "+08:00"),
    ("timestamp", "line"),
    ("format", "json"),
    ("json", "merge"),
];

fn is_of_security(name: &str) -> bool {
    name.starts_with("tls") || name.starts_with("sasl")
}

const OPENING: &str = "\
# logagent: most hosts need no more than the lines from here to brokers.
# 'logagent check' says whether they are right.

# What is followed: one section for each kind of log, its name is up to you.
[log:web]
path = /var/log/nginx/access.log
topic = web_log

# Where the lines go.
[kafka]
brokers = localhost:9092

# Everything below is every other key with its default; what has none is empty.
# 'logagent help config KEY' says the same of one key.
#
# A line is 'key = value', a [section], or a comment that begins with # or ;.
# Nothing ends a value but the end of its line: # and ; are part of it, quotes
# too. Sizes take B, KiB, MiB, GiB; times take ms, s, m, h, d. ${NAME} is the
# environment variable NAME, $${ is ${ itself. A key that is unknown, wrong or
# set twice is refused at the start.
#
# Placeholders of a [log:NAME]: {host} {log} {env.NAME}; {path} {file} {dir}
# {inode}, and what a {name} in 'path' stands for; {offset} {stream} {json.a.b},
# and the groups of 'parse = regex:...'. {x:other} is 'other' where x is
# missing; {{ is {.
";
