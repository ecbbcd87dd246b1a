//! SASL: who we are, before anything else is asked (KIP-43, KIP-152), and again on the same
//! connection before the broker's patience with a session ends (KIP-368).

use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

use super::error::ConnectionError;
use super::scram::{Hash, Scram};
use super::token::{self, TokenSource};
use super::transport::Transport;
use crate::config::{Login, SaslConfig, Secret, TokenOrigin};
use crate::kafka::protocol::api::{SASL_AUTHENTICATE, SASL_HANDSHAKE, Versions};
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::printable;
use crate::kafka::protocol::sasl::{SaslAuthenticateResponse, read_handshake};

/// Turns of an exchange; every mechanism here needs fewer.
const MOST_TURNS: usize = 4;

/// Proves to the broker who we are. Returns when that must be done again, if ever.
pub(crate) fn authenticate(
    transport: &mut Transport,
    versions: &Versions,
    sasl: &SaslConfig,
    tokens: &TokenSource,
    client_id: &str,
    timeout: Duration,
) -> Result<Option<Instant>, ConnectionError> {
    let refused = |words: String| refused(sasl, &words);
    let (Some(_), Some(version)) = (versions.of(SASL_HANDSHAKE), versions.of(SASL_AUTHENTICATE))
    else {
        return Err(refused(
            "the broker is too old for it (before 1.0)".to_owned(),
        ));
    };
    // First, since it may take as long as everything that follows.
    let (mut exchange, mut send) =
        Exchange::start(sasl, tokens, timeout).map_err(|why| match (sasl, refused(why)) {
            // An endpoint that does not answer now may answer later.
            (SaslConfig::OAuthBearer(TokenOrigin::Endpoint(_)), ConnectionError::Sasl(words)) => {
                ConnectionError::NoToken(words)
            }
            (_, error) => error,
        })?;
    let until = Transport::deadline(timeout);
    handshake(transport, sasl, client_id, until)?;
    for _ in 0..MOST_TURNS {
        let request = Request::sasl_authenticate(client_id, version, send);
        let answer = transport.ask(request, until)?;
        let answer =
            SaslAuthenticateResponse::read(&answer, version).map_err(ConnectionError::Malformed)?;
        if answer.error != 0 {
            tokens.forget();
            let said = match answer.message {
                Some(message) => printable(&message),
                None => format!("error {}", answer.error),
            };
            return Err(refused(format!(
                "the broker refuses the credentials: {said}"
            )));
        }
        match exchange.next(&answer.bytes) {
            Ok(Some(next)) => send = next,
            Ok(None) => return Ok(renewal(answer.lifetime_ms, Instant::now())),
            Err(why) => {
                tokens.forget();
                return Err(refused(why));
            }
        }
    }
    Err(refused("the broker comes to no end".to_owned()))
}

/// Agrees on the mechanism.
fn handshake(
    transport: &mut Transport,
    sasl: &SaslConfig,
    client_id: &str,
    until: Instant,
) -> Result<(), ConnectionError> {
    let request = Request::sasl_handshake(client_id, sasl.mechanism());
    let answer = transport.ask(request, until)?;
    let (error, offered) = read_handshake(&answer).map_err(ConnectionError::Malformed)?;
    let words = match error {
        0 => return Ok(()),
        UNSUPPORTED_SASL_MECHANISM => {
            let offered = printable(&offered.join(", "));
            format!("the broker does not offer it; it offers {offered}")
        }
        ILLEGAL_SASL_STATE => "the broker wants no SASL on this port".to_owned(),
        code => format!("the broker refuses it with error {code}"),
    };
    Err(refused(sasl, &words))
}

fn refused(sasl: &SaslConfig, words: &str) -> ConnectionError {
    ConnectionError::Sasl(format!("{}: {words}", sasl.mechanism()))
}

/// At 85 to 95 % of the lifetime, so that a thousand sessions that began together do not end so.
fn renewal(lifetime_ms: i64, now: Instant) -> Option<Instant> {
    let lifetime = Duration::from_millis(u64::try_from(lifetime_ms).ok().filter(|ms| *ms > 0)?);
    now.checked_add(lifetime.mul_f64(0.85 + 0.1 * fastrand::f64()))
}

/// The client's side of a mechanism.
#[derive(Debug)]
pub(crate) enum Exchange {
    Plain,
    Scram(Box<Scram>),
    OAuthBearer {
        /// The broker has said why not, and waits for us to take note.
        denied: Option<String>,
    },
}

impl Exchange {
    /// The exchange and what goes first.
    fn start(
        sasl: &SaslConfig,
        tokens: &TokenSource,
        timeout: Duration,
    ) -> Result<(Self, Vec<u8>), String> {
        let scram = |hash, login: &Login| {
            let mut nonce = [0; 18];
            SystemRandom::new()
                .fill(&mut nonce)
                .map_err(|_| "the system gives no random numbers".to_owned())?;
            let scram = Scram::new(hash, &login.username, login.password.clone(), nonce);
            let first = scram.first();
            Ok((Exchange::Scram(Box::new(scram)), first))
        };
        match sasl {
            SaslConfig::Plain(login) => {
                let first = format!("\0{}\0{}", login.username, login.password.reveal());
                Ok((Exchange::Plain, first.into_bytes()))
            }
            SaslConfig::ScramSha256(login) => scram(Hash::Sha256, login),
            SaslConfig::ScramSha512(login) => scram(Hash::Sha512, login),
            SaslConfig::OAuthBearer(origin) => {
                let token = match origin {
                    TokenOrigin::File(file) => token::of_file(file)?,
                    TokenOrigin::Endpoint(client) => tokens.token(client, timeout)?,
                };
                let first = bearer(&token);
                Ok((Exchange::OAuthBearer { denied: None }, first))
            }
        }
    }

    /// Goes on from what the broker says: what to send next, or `None` at the good end.
    pub(crate) fn next(&mut self, from_broker: &[u8]) -> Result<Option<Vec<u8>>, String> {
        match self {
            Exchange::Plain => Ok(None),
            Exchange::Scram(scram) => scram.next(from_broker).map_err(|error| error.to_string()),
            Exchange::OAuthBearer { denied: Some(said) } => {
                Err(format!("the broker refuses the token: {}", printable(said)))
            }
            Exchange::OAuthBearer { denied: None } if from_broker.is_empty() => Ok(None),
            // RFC 7628, section 3.2.3: the reason comes first, the error after a byte of ours.
            Exchange::OAuthBearer { denied } => {
                *denied = Some(String::from_utf8_lossy(from_broker).into_owned());
                Ok(Some(vec![1]))
            }
        }
    }
}

/// RFC 7628, section 3.1.
fn bearer(token: &Secret) -> Vec<u8> {
    format!("n,,\x01auth=Bearer {}\x01\x01", token.reveal()).into_bytes()
}

const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const ILLEGAL_SASL_STATE: i16 = 34;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_renewed_before_it_ends() {
        let now = Instant::now();
        assert_eq!(renewal(0, now), None);
        assert_eq!(renewal(-1, now), None);
        for _ in 0..100 {
            let after = renewal(100_000, now).expect("it ends") - now;
            assert!((85_000..=95_000).contains(&after.as_millis()), "{after:?}");
        }
        // Neither a panic nor an end.
        let _ = renewal(i64::MAX, now);
    }

    #[test]
    fn a_token_that_is_refused_is_told_with_the_reason() {
        let mut exchange = Exchange::OAuthBearer { denied: None };
        let reason = b"{\"status\":\"invalid_token\"}";
        assert_eq!(exchange.next(reason), Ok(Some(vec![1])));
        assert_eq!(
            exchange.next(b""),
            Err("the broker refuses the token: {\"status\":\"invalid_token\"}".to_owned())
        );
    }
}
