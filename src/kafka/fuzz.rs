//! What reads bytes of a broker, for `crate::fuzz`.

use super::protocol::api::{
    Api, INIT_PRODUCER_ID, METADATA, PRODUCE, api_versions as read_versions,
};
use super::protocol::response::Response;
use super::protocol::sasl::{SaslAuthenticateResponse, read_handshake};
use crate::config::Secret;
use crate::kafka::network::http;
use crate::kafka::network::sasl::Exchange;
use crate::kafka::network::scram::{Hash, Scram};
use crate::kafka::network::token;
use crate::kafka::network::transport::{check_correlation_id, take_frame};

/// The version that the first byte asks for, and the rest.
fn versioned(bytes: &[u8], least: i16, most: i16) -> Option<(i16, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    Some((least + i16::from(*first) % (most - least + 1), rest))
}

/// A stream that arrives in pieces, whose size is the first byte.
pub(crate) fn frames(bytes: &[u8]) {
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
pub(crate) fn api_versions(bytes: &[u8]) {
    if let Some((asked, body)) = versioned(bytes, 0, 3) {
        let _ = read_versions(body, asked);
    }
}

/// An answer to `Metadata`.
pub(crate) fn metadata(bytes: &[u8]) {
    answer(METADATA, versioned(bytes, 0, 13));
}

/// An answer to `Produce`.
pub(crate) fn produce(bytes: &[u8]) {
    answer(PRODUCE, versioned(bytes, 3, 12));
}

/// An answer to `InitProducerId`.
pub(crate) fn init_producer_id(bytes: &[u8]) {
    answer(INIT_PRODUCER_ID, versioned(bytes, 0, 4));
}

fn answer(api: Api, body: Option<(i16, &[u8])>) {
    if let Some((version, body)) = body {
        let _ = Response::read(api, version, body);
    }
}

/// An answer to `SaslHandshake`.
pub(crate) fn sasl_handshake(bytes: &[u8]) {
    let _ = read_handshake(bytes);
}

/// An answer to `SaslAuthenticate`.
pub(crate) fn sasl_authenticate(bytes: &[u8]) {
    if let Some((version, body)) = versioned(bytes, 0, 2) {
        let _ = SaslAuthenticateResponse::read(body, version);
    }
}

/// What a server says in an exchange of SCRAM, by lines. Our nonce is 24 times `A`.
pub(crate) fn scram(bytes: &[u8]) {
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
pub(crate) fn oauth_bearer(bytes: &[u8]) {
    let mut exchange = Exchange::OAuthBearer { denied: None };
    for words in bytes.split(|byte| *byte == b'\n').take(4) {
        if exchange.next(words).is_err() {
            break;
        }
    }
}

/// What a token endpoint answers, with and without an end.
pub(crate) fn token_endpoint(bytes: &[u8]) {
    for ended in [false, true] {
        if let Ok(Some(reply)) = http::reply(bytes, ended) {
            let _ = token::read(&reply);
        }
    }
}
