//! The reference ini: every key with its default and what it is for.

use super::key::{AnyKey, DefaultValue, Section};
use super::keys::keys_of;

/// The text of `conf/logagent.ini`, from the table of keys: a working file in which everything
/// that has a default is commented out as `#key = default`.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for (section, header, about) in SECTIONS {
        text.push('\n');
        comment(&mut text, about);
        text.push_str(header);
        text.push('\n');
        for key in keys_of(section) {
            describe(&mut text, key);
        }
    }
    text
}

fn describe(text: &mut String, key: &dyn AnyKey) {
    text.push('\n');
    comment(text, key.about());
    comment(text, &format!("  accepted: {}", key.accepted()));
    let (mark, value) = match key.default_value() {
        DefaultValue::Required(value) | DefaultValue::FromKafka(value) => ("", value),
        DefaultValue::Text(value) | DefaultValue::Nothing(value) => ("#", value),
    };
    let line = format!("{mark}{} = {value}", key.name());
    text.push_str(line.trim_end());
    text.push('\n');
}

fn comment(text: &mut String, line: &str) {
    text.push_str("# ");
    text.push_str(line);
    text.push('\n');
}

const HEAD: &str = "\
# logagent: every key, with its default where it has one.
#
# A line is 'key = value', a [section], or a comment that begins with # or ;. Nothing ends a value
# but the end of its line: # and ; are part of it, quotes too.
# Sizes take B, KiB, MiB, GiB; times take ms, s, m, h. ${NAME} is the environment variable NAME,
# $${ is ${ itself. A key that is unknown, wrong or set twice is refused at the start.
";

const SECTIONS: [(Section, &str, &str); 3] = [
    (Section::Agent, "[agent]", "The agent itself."),
    (
        Section::Kafka,
        "[kafka]",
        "Where and how the lines are sent.",
    ),
    (
        Section::Log,
        "[log:web]",
        "What is followed: one section [log:NAME] for each kind of log, NAME being up to you.",
    ),
];
