//! SASL: who we are, before anything else is asked (KIP-43, KIP-152), and again on the same
//! connection before the broker's patience with a session ends (KIP-368).
//!
//! SCRAM (RFC 5802, RFC 7677): the password is proved and not sent, and the server has to prove that it knows it,
//! too. By hand and not by a SASL library, since Kafka takes passwords as they are (RFC 5802 wants them prepared by
//! SASLprep, which Kafka leaves out), and since the number of rounds that a server asks for needs a bound.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::config::{Login, SaslConfig, Secret, TokenOrigin};
use crate::kafka::protocol::api::{SASL_AUTHENTICATE, SASL_HANDSHAKE, Versions};
use crate::kafka::protocol::request::{Request, SaslAuthenticateResponse, read_handshake};
use crate::kafka::protocol::response::printable;

use super::error::ConnectionError;
use super::token::{self, TokenSource};
use super::transport::Transport;

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

/// Which SCRAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn hmac(self, key: &[u8], data: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data)
    }

    fn digest(self, data: &[u8]) -> digest::Digest {
        match self {
            Hash::Sha256 => digest::digest(&digest::SHA256, data),
            Hash::Sha512 => digest::digest(&digest::SHA512, data),
        }
    }

    fn salted(self, password: &str, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
        let (algorithm, len) = match self {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; len];
        pbkdf2::derive(algorithm, rounds, salt, password.as_bytes(), &mut salted);
        salted
    }
}

/// What the server did wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    #[error("the broker's answer is malformed")]
    Malformed,
    #[error("the broker's nonce does not begin with ours")]
    Nonce,
    #[error("the broker asks for {0} rounds of hashing, not {LEAST_ROUNDS} to {MOST_ROUNDS}")]
    Rounds(u32),
    #[error("the broker does not know the password itself: it is not the one it claims to be")]
    Impostor,
    #[error("the broker says '{0}'")]
    Refused(String),
}

/// RFC 7677 wants so many at least.
const LEAST_ROUNDS: u32 = 4096;
/// Half a second of hashing; Kafka itself stores 16,384 at most.
const MOST_ROUNDS: u32 = 1_000_000;
/// The client binds to no channel.
const GS2_HEADER: &str = "n,,";

/// One exchange.
#[derive(Debug)]
pub(crate) struct Scram {
    hash: Hash,
    password: Secret,
    nonce: String,
    first_bare: String,
    /// What the server must prove itself with, once it is known.
    server_signature: Option<hmac::Tag>,
}

impl Scram {
    /// Begins an exchange; `nonce` is 18 random bytes.
    pub(crate) fn new(hash: Hash, username: &str, password: Secret, nonce: [u8; 18]) -> Self {
        let nonce = STANDARD.encode(nonce);
        let username = username.replace('=', "=3D").replace(',', "=2C");
        Scram {
            hash,
            password,
            first_bare: format!("n={username},r={nonce}"),
            nonce,
            server_signature: None,
        }
    }

    /// What goes first.
    pub(crate) fn first(&self) -> Vec<u8> {
        format!("{GS2_HEADER}{}", self.first_bare).into_bytes()
    }

    /// Goes on from the server's words: what to send next, or `None` at the good end.
    pub(crate) fn next(&mut self, from_server: &[u8]) -> Result<Option<Vec<u8>>, ScramError> {
        let words = std::str::from_utf8(from_server).map_err(|_| ScramError::Malformed)?;
        match &self.server_signature {
            None => self.prove(words).map(Some),
            Some(signature) => check_server(words, signature).map(|()| None),
        }
    }

    fn prove(&mut self, server_first: &str) -> Result<Vec<u8>, ScramError> {
        let mut fields = server_first.split(',');
        let mut field = |name: &str| {
            let field = fields.next().and_then(|field| field.strip_prefix(name));
            field.ok_or(ScramError::Malformed)
        };
        let nonce = field("r=")?;
        let salt = STANDARD
            .decode(field("s=")?)
            .map_err(|_| ScramError::Malformed)?;
        let rounds: u32 = field("i=")?.parse().map_err(|_| ScramError::Malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let rounds = NonZeroU32::new(rounds)
            .filter(|rounds| (LEAST_ROUNDS..=MOST_ROUNDS).contains(&rounds.get()))
            .ok_or(ScramError::Rounds(rounds))?;
        let last_bare = format!("c={},r={nonce}", STANDARD.encode(GS2_HEADER));
        let signed = format!("{},{server_first},{last_bare}", self.first_bare);
        let hash = self.hash;
        let salted = hash.salted(self.password.reveal(), &salt, rounds);
        let client_key = hash.hmac(&salted, b"Client Key");
        let stored_key = hash.digest(client_key.as_ref());
        let signature = hash.hmac(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(key, signature)| key ^ signature)
            .collect();
        let server_key = hash.hmac(&salted, b"Server Key");
        self.server_signature = Some(hash.hmac(server_key.as_ref(), signed.as_bytes()));
        Ok(format!("{last_bare},p={}", STANDARD.encode(proof)).into_bytes())
    }
}

fn check_server(server_last: &str, expected: &hmac::Tag) -> Result<(), ScramError> {
    let field = server_last.split(',').next().unwrap_or_default();
    if let Some(error) = field.strip_prefix("e=") {
        return Err(ScramError::Refused(error.to_owned()));
    }
    let signature = field.strip_prefix("v=").ok_or(ScramError::Malformed)?;
    let signature = STANDARD
        .decode(signature)
        .map_err(|_| ScramError::Malformed)?;
    match signature == expected.as_ref() {
        true => Ok(()),
        false => Err(ScramError::Impostor),
    }
}

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

    /// The exchange of RFC 7677, section 3, from the point where the nonce is chosen.
    fn rfc_7677() -> Scram {
        let mut scram = Scram::new(Hash::Sha256, "user", Secret::new("pencil"), [0; 18]);
        scram.nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        scram.first_bare = "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned();
        scram
    }

    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_exchange_of_the_rfc_is_reproduced() {
        let mut scram = rfc_7677();
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = scram.next(SERVER_FIRST.as_bytes());
        let last = last.expect("a good answer").expect("a proof");
        assert_eq!(
            String::from_utf8_lossy(&last),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let end = scram.next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(end, Ok(None));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let mut scram = rfc_7677();
        scram.next(SERVER_FIRST.as_bytes()).expect("a good answer");
        let end = scram.next(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(end, Err(ScramError::Impostor));
        let end = scram.next(b"e=invalid-proof");
        assert_eq!(end, Err(ScramError::Refused("invalid-proof".to_owned())));
    }

    #[test]
    fn what_a_server_may_not_say_is_refused() {
        let rounds = |rounds: &str| SERVER_FIRST.replace("4096", rounds);
        for (words, error) in [
            (String::new(), ScramError::Malformed),
            ("e=other-error".to_owned(), ScramError::Malformed),
            (SERVER_FIRST.replace("rOpr", "rOps"), ScramError::Nonce),
            (rounds("4095"), ScramError::Rounds(4095)),
            (rounds("0"), ScramError::Rounds(0)),
            (rounds("4294967295"), ScramError::Rounds(u32::MAX)),
            (rounds("4294967296"), ScramError::Malformed),
            (SERVER_FIRST.replace("s=W", "s=!"), ScramError::Malformed),
            (SERVER_FIRST.replace("W22Z", "W22"), ScramError::Malformed),
        ] {
            assert_eq!(rfc_7677().next(words.as_bytes()), Err(error), "{words}");
        }
        assert_eq!(rfc_7677().next(b"\xff"), Err(ScramError::Malformed));
    }

    #[test]
    fn a_name_with_commas_and_equal_signs_is_escaped() {
        let scram = Scram::new(Hash::Sha512, "a=b,c", Secret::new(""), [0; 18]);
        assert!(scram.first().starts_with(b"n,,n=a=3Db=2Cc,r="));
    }
}
