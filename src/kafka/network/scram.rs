//! SCRAM (RFC 5802, RFC 7677) from the client's side: the password is proved and not sent, and the
//! server has to prove that it knows it, too.
//!
//! By hand and not by a SASL library, since Kafka takes passwords as they are (RFC 5802 wants them
//! prepared by SASLprep, which Kafka leaves out), and since the number of rounds that a server asks
//! for needs a bound.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use crate::config::Secret;

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
