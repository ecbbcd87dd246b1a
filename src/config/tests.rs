//! Whole files: what loads, and the full text of every refusal.

mod accepted;
mod files;
mod mutations;
mod refused;
mod sasl;
mod shipped;
mod tls;

use std::path::Path;

use super::{Config, ConfigErrors};

/// A file without fault, five lines long.
const GOOD: &str = "[kafka]\nbrokers = a:1\ntopic = t\n[log:web]\npath = /a\n";

/// Parses `text` as `a.ini`, with `HOST` in the environment and nothing else.
fn parse(text: &str) -> Result<Config, ConfigErrors> {
    parse_bytes(text.as_bytes())
}

fn parse_bytes(bytes: &[u8]) -> Result<Config, ConfigErrors> {
    Config::from_bytes(bytes, Path::new("a.ini"), &|name| {
        (name == "HOST").then(|| "node7".to_owned())
    })
}

/// The errors of `text`, as they are printed.
fn errors(text: &str) -> String {
    parse(text).expect_err("it is bad").to_string()
}

/// The errors of [`GOOD`] with these further lines in `[kafka]`; the first of them is line 4.
fn kafka_errors(lines: &str) -> String {
    errors(&GOOD.replace("[log:web]", &format!("{lines}\n[log:web]")))
}

/// The errors of [`GOOD`] with these further lines in `[log:web]`; the first of them is line 6.
fn log_errors(lines: &str) -> String {
    errors(&format!("{GOOD}{lines}\n"))
}
