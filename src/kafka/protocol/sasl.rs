//! The two messages of SASL (KIP-43, KIP-152).

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

use super::api::{SASL_AUTHENTICATE, SASL_HANDSHAKE};
use super::request::Request;
use super::wire::{Reader, WireError};

/// The error code and the mechanisms that the broker offers.
pub(crate) fn read_handshake(body: &[u8]) -> Result<(i16, Vec<String>), WireError> {
    let mut r = Reader::new(body, false);
    let error = r.i16()?;
    let mut offered = Vec::new();
    for _ in 0..r.array(2)? {
        offered.push(r.string()?.unwrap_or_default().to_owned());
    }
    r.end()?;
    Ok((error, offered))
}

/// An answer to `SaslAuthenticate`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SaslAuthenticateResponse {
    pub(crate) error: i16,
    pub(crate) message: Option<String>,
    pub(crate) bytes: Vec<u8>,
    /// 0: for ever.
    pub(crate) lifetime_ms: i64,
}

impl SaslAuthenticateResponse {
    pub(crate) fn read(body: &[u8], version: i16) -> Result<Self, WireError> {
        let mut r = Reader::new(body, SASL_AUTHENTICATE.is_flexible(version));
        r.tags()?;
        let answer = SaslAuthenticateResponse {
            error: r.i16()?,
            message: r.string()?.map(str::to_owned),
            bytes: r.blob()?.unwrap_or_default().to_vec(),
            lifetime_ms: if version >= 1 { r.i64()? } else { 0 },
        };
        r.tags()?;
        r.end()?;
        Ok(answer)
    }
}

impl Request {
    /// `SaslHandshake` with the name of the mechanism.
    pub(crate) fn sasl_handshake(client_id: &str, mechanism: &'static str) -> Self {
        let message =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        Self::plain(SASL_HANDSHAKE, 1, client_id, &message)
    }

    /// `SaslAuthenticate` with the next words of the exchange.
    pub(crate) fn sasl_authenticate(client_id: &str, version: i16, bytes: Vec<u8>) -> Self {
        let message = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(bytes));
        Self::plain(SASL_AUTHENTICATE, version, client_id, &message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::encoded;
    use kafka_protocol::messages as reference;

    #[test]
    fn what_the_reference_encoder_writes_is_read_in_every_version() {
        let handshake = reference::SaslHandshakeResponse::default()
            .with_error_code(33)
            .with_mechanisms(vec![StrBytes::from_static_str("PLAIN")]);
        assert_eq!(
            read_handshake(&encoded(&handshake, 1)),
            Ok((33, vec!["PLAIN".to_owned()]))
        );
        for version in 0..=2 {
            let mut answer = reference::SaslAuthenticateResponse::default()
                .with_error_code(58)
                .with_error_message(Some(StrBytes::from_static_str("no")))
                .with_auth_bytes(Bytes::from_static(b"\0\xff"));
            if version >= 1 {
                answer = answer.with_session_lifetime_ms(60_000);
            }
            let frame = encoded(&answer, version);
            let read = SaslAuthenticateResponse::read(&frame, version).expect("well-formed");
            assert_eq!((read.error, read.message.as_deref()), (58, Some("no")));
            assert_eq!(read.bytes, b"\0\xff");
            assert_eq!(read.lifetime_ms, if version >= 1 { 60_000 } else { 0 });
            for end in 0..frame.len() {
                assert!(SaslAuthenticateResponse::read(&frame[..end], version).is_err());
            }
        }
    }
}
