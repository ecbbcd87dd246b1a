//! Everything that reads bytes from outside, by name, for the fuzzer (`scripts/fuzz.sh`) and for the test
//! that replays what it found. Not part of the interface.

use std::path::Path;

use crate::checkpoint::store::fuzz as store;
use crate::config::Config;
use crate::kafka::fuzz as kafka;

/// Feeds bytes to a reader, which must neither panic nor take much more memory than they do.
pub type Target = fn(&[u8]);

/// The targets. The names are those of the files of the corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("frames", kafka::frames),
    ("api_versions", kafka::api_versions),
    ("metadata", kafka::metadata),
    ("produce", kafka::produce),
    ("init_producer_id", kafka::init_producer_id),
    ("sasl_handshake", kafka::sasl_handshake),
    ("sasl_authenticate", kafka::sasl_authenticate),
    ("scram", kafka::scram),
    ("oauth_bearer", kafka::oauth_bearer),
    ("token_endpoint", kafka::token_endpoint),
    ("checkpoints", checkpoints),
    ("ini", ini),
];

/// The checkpoints file as it is, and as the middle of one that has its checksums. What can be read is written as
/// it was understood.
fn checkpoints(bytes: &[u8]) {
    let _ = store::parse(bytes);
    for version in ["1", "3"] {
        checkpoints_in_table(version, bytes);
    }
    let lines = String::from_utf8_lossy(bytes);
    written_again(&store::sealed(&lines));
    written_again(&store::sealed(&format!("{lines}\nend\n")));
}

fn checkpoints_in_table(version: &str, bytes: &[u8]) {
    let mut text = format!("logagent checkpoints {version}\n").into_bytes();
    text.extend_from_slice(bytes);
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    let count = lines
        .filter(|line| !line.is_empty() && !line.starts_with(b"section "))
        .count();
    let crc = crc32c::crc32c(&text);
    text.extend_from_slice(format!("end {count} {crc:08x}\n").as_bytes());
    written_again(&text);
}

fn written_again(text: &[u8]) {
    let Ok(mut read) = store::parse(text) else {
        return;
    };
    // A table of ours has no serial number twice.
    read.saved.checkpoints.sort_by_key(|c| c.serial);
    read.saved.checkpoints.dedup_by_key(|c| c.serial);
    let again = store::parse(&store::written(&read.saved)).expect("it was written by us");
    assert_eq!(again.cut_bytes, 0);
    assert_eq!(again.saved.checkpoints, read.saved.checkpoints);
    assert_eq!(
        again.saved.sections,
        Some(read.saved.sections.unwrap_or_default())
    );
}

/// The ini file.
fn ini(bytes: &[u8]) {
    let env = |name: &str| (name == "SET").then(|| "value".to_owned());
    match Config::from_bytes(bytes, Path::new("/fuzz/logagent.ini"), &env) {
        Ok(config) => drop(config.warnings()),
        Err(errors) => drop(errors.to_string()),
    }
}
