//! Everything that reads bytes from outside, by name, for the fuzzer (`scripts/fuzz.sh`) and for the test
//! that replays what it found. Not part of the interface.

use std::path::Path;

use crate::checkpoint::store::fuzz as store;
use crate::config::{Config, Secret};
use crate::kafka::network::http;
use crate::kafka::network::sasl::{Exchange, Hash, Scram};
use crate::kafka::network::token;
use crate::kafka::network::transport::{check_correlation_id, take_frame};
use crate::kafka::protocol::api::{self, Api, INIT_PRODUCER_ID, METADATA, PRODUCE};
use crate::kafka::protocol::fetch::{read_fetched, read_offsets};
use crate::kafka::protocol::request::{SaslAuthenticateResponse, read_handshake};
use crate::kafka::protocol::response::Response;
use crate::kafka::read::batch::{Committed, RawBatch};

/// Feeds bytes to a reader, which must neither panic nor take much more memory than they do.
pub type Target = fn(&[u8]);

/// The targets. The names are those of the files of the corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("frames", frames),
    ("api_versions", api_versions),
    ("metadata", metadata),
    ("produce", produce),
    ("init_producer_id", init_producer_id),
    ("fetch", fetch),
    ("list_offsets", list_offsets),
    ("record_batches", record_batches),
    ("sasl_handshake", sasl_handshake),
    ("sasl_authenticate", sasl_authenticate),
    ("scram", scram),
    ("oauth_bearer", oauth_bearer),
    ("token_endpoint", token_endpoint),
    ("checkpoints", checkpoints),
    ("ini", ini),
];

/// The version that the first byte asks for, and the rest.
fn versioned(bytes: &[u8], least: i16, most: i16) -> Option<(i16, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    Some((least + i16::from(*first) % (most - least + 1), rest))
}

/// A stream that arrives in pieces, whose size is the first byte.
fn frames(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else {
        return;
    };
    let mut received = Vec::new();
    for piece in stream.chunks(usize::from(*size) + 1) {
        received.extend_from_slice(piece);
        loop {
            match take_frame(&mut received) {
                Ok(Some(frame)) => {
                    let _ = check_correlation_id(&frame, 0);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// An answer to `ApiVersions`.
fn api_versions(bytes: &[u8]) {
    if let Some((asked, body)) = versioned(bytes, 0, 3) {
        let _ = api::api_versions(body, asked);
    }
}

/// An answer to `Metadata`.
fn metadata(bytes: &[u8]) {
    answer(METADATA, versioned(bytes, 0, 13));
}

/// An answer to `Produce`.
fn produce(bytes: &[u8]) {
    answer(PRODUCE, versioned(bytes, 3, 12));
}

/// An answer to `InitProducerId`.
fn init_producer_id(bytes: &[u8]) {
    answer(INIT_PRODUCER_ID, versioned(bytes, 0, 4));
}

/// An answer to `Fetch`.
fn fetch(bytes: &[u8]) {
    if let Some((version, body)) = versioned(bytes, 4, 12) {
        let _ = read_fetched(body, version);
    }
}

/// An answer to `ListOffsets`.
fn list_offsets(bytes: &[u8]) {
    if let Some((version, body)) = versioned(bytes, 2, 6) {
        let _ = read_offsets(body, version);
    }
}

/// Record batches, one after the other, with checksums that are right.
fn record_batches(bytes: &[u8]) {
    let (mut room, mut rest) = (Vec::new(), bytes);
    let mut committed = Committed::new(vec![(0, 0)]);
    while let Ok(Some(raw)) = RawBatch::take(&mut rest) {
        raw.next_offset();
        let raw = raw.trusted();
        let Ok(head) = raw.head() else { continue };
        let _ = committed.kind(&raw, &head);
        let Ok(mut records) = raw.unpack(&head, &mut room) else {
            continue;
        };
        while let Ok(Some(record)) = records.take() {
            record.headers().count();
        }
    }
}

fn answer(api: Api, body: Option<(i16, &[u8])>) {
    if let Some((version, body)) = body {
        let _ = Response::read(api, version, body);
    }
}

/// An answer to `SaslHandshake`.
fn sasl_handshake(bytes: &[u8]) {
    let _ = read_handshake(bytes);
}

/// An answer to `SaslAuthenticate`.
fn sasl_authenticate(bytes: &[u8]) {
    if let Some((version, body)) = versioned(bytes, 0, 2) {
        let _ = SaslAuthenticateResponse::read(body, version);
    }
}

/// What a server says in an exchange of SCRAM, by lines. Our nonce is 24 times `A`.
fn scram(bytes: &[u8]) {
    for hash in [Hash::Sha256, Hash::Sha512] {
        let mut scram = Scram::new(hash, "user", Secret::new("pencil"), [0; 18]);
        for words in bytes.split(|byte| *byte == b'\n').take(4) {
            if scram.next(words).is_err() {
                break;
            }
        }
    }
}

/// What a broker says about a token, by lines.
fn oauth_bearer(bytes: &[u8]) {
    let mut exchange = Exchange::OAuthBearer { denied: None };
    for words in bytes.split(|byte| *byte == b'\n').take(4) {
        if exchange.next(words).is_err() {
            break;
        }
    }
}

/// What a token endpoint answers, with and without an end.
fn token_endpoint(bytes: &[u8]) {
    for ended in [false, true] {
        if let Ok(Some(reply)) = http::reply(bytes, ended) {
            let _ = token::read(&reply);
        }
    }
}

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
