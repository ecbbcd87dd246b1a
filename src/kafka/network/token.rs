//! Tokens for OAUTHBEARER from an endpoint: the client credentials grant (RFC 6749, section 4.4; KIP-768).

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use log::Level;
use tinyjson::JsonValue;

use super::error::ConnectionError;
use super::http::{self, Reply};
use super::transport::Transport;
use crate::condition::{Board, Condition};
use crate::config::{ClientCredentials, Secret, read_small_file};
use crate::kafka::protocol::response::printable;

/// The token that `file` holds now.
pub(super) fn of_file(file: &Path) -> Result<Secret, String> {
    let words = |why: &str| format!("{}: {why}", file.display());
    let bytes = read_small_file(file).map_err(|why| words(&why))?;
    Secret::from_bytes(bytes).map_err(words)
}

/// The token that the connections of a producer share. Their threads come here; whoever finds none that is
/// fresh asks the endpoint, and the others wait for the answer.
#[derive(Debug, Default)]
pub(crate) struct TokenSource(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    token: Option<Token>,
    /// When the endpoint was asked in vain last, and why.
    failed: Option<(Instant, String)>,
    /// The old token is used on, as the endpoint gives none.
    trouble: Condition,
}

#[derive(Debug, Clone)]
struct Token {
    secret: Secret,
    fresh_until: Instant,
    good_until: Instant,
}

impl TokenSource {
    /// One whose trouble `board` shows.
    pub(crate) fn new(board: &Board) -> Self {
        TokenSource(Mutex::new(Known {
            trouble: Condition::on(board),
            ..Known::default()
        }))
    }

    /// A token that is good for now.
    pub(crate) fn token(
        &self,
        client: &ClientCredentials,
        timeout: Duration,
    ) -> Result<Secret, String> {
        let came = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &known.token
            && Instant::now() < token.fresh_until
        {
            return Ok(token.secret.clone());
        }
        if let Some((at, why)) = &known.failed
            && *at >= came
        {
            // Somebody asked while this thread waited: ten threads must not wait ten times as long.
            return Err(why.clone());
        }
        match fetch(client, timeout) {
            Ok((secret, lifetime)) => {
                // Without a lifetime it is for one connection.
                known.token = lifetime.and_then(|lifetime| Token::new(&secret, lifetime));
                known.failed = None;
                if let Some(left) = known.trouble.leave() {
                    let endpoint = &client.endpoint;
                    log::log!(left.level, "token endpoint {endpoint}: recovered{left}");
                }
                Ok(secret)
            }
            Err(why) => {
                let subject = format!("token endpoint {}", client.endpoint);
                known
                    .trouble
                    .enter(Level::Warn, &subject, &why, Instant::now());
                let why = format!("{subject}: {why}");
                let old = known.token.take();
                known.failed = Some((Instant::now(), why.clone()));
                match old.filter(|old| Instant::now() < old.good_until) {
                    Some(old) => {
                        if let Some(passed_over) = known.trouble.say(Instant::now()) {
                            log::warn!("{why}; going on with the token of before{passed_over}");
                        }
                        let secret = old.secret.clone();
                        known.token = Some(old);
                        Ok(secret)
                    }
                    None => Err(why),
                }
            }
        }
    }

    /// The broker did not like it: the next one is a new one.
    pub(crate) fn forget(&self) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.token = None;
    }
}

impl Token {
    /// Renewed after 80 % of its time, as the Java client does.
    fn new(secret: &Secret, lifetime: Duration) -> Option<Self> {
        let now = Instant::now();
        Some(Token {
            secret: secret.clone(),
            fresh_until: now.checked_add(lifetime.mul_f64(0.8))?,
            good_until: now.checked_add(lifetime)?,
        })
    }
}

/// Asks the endpoint for a token. Errors never hold the secret, even where the endpoint repeats it.
fn fetch(
    client: &ClientCredentials,
    timeout: Duration,
) -> Result<(Secret, Option<Duration>), String> {
    let basic = STANDARD.encode(format!(
        "{}:{}",
        client.client_id,
        client.client_secret.reveal()
    ));
    let result = ask(client, &basic, timeout)
        .map_err(|error| error.to_string())
        .and_then(|reply| read(&reply));
    result.map_err(|why| {
        let why = why.replace(client.client_secret.reveal(), "(not shown)");
        why.replace(&basic, "(not shown)")
    })
}

fn ask(
    client: &ClientCredentials,
    basic: &str,
    timeout: Duration,
) -> Result<Reply, ConnectionError> {
    let until = Transport::deadline(timeout);
    let address = &client.endpoint.address;
    let mut transport = Transport::connect(address, client.tls.as_ref(), timeout)?;
    transport.write_bytes(request(client, basic).as_bytes())?;
    loop {
        let words = |what| ConnectionError::Sasl(String::from(what));
        let ended = match transport.read_until(until) {
            Ok(()) => false,
            Err(ConnectionError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => true,
            Err(ConnectionError::Overdue { .. }) => return Err(words("no answer in time")),
            Err(error) => return Err(error),
        };
        let received = transport.received();
        if received.len() > MOST_BYTES {
            return Err(words(
                "its answer is longer than 64 KiB, and a token is not",
            ));
        }
        if let Some(reply) = http::reply(received, ended).map_err(words)? {
            return Ok(reply);
        }
    }
}

fn request(client: &ClientCredentials, basic: &str) -> String {
    let mut body = "grant_type=client_credentials".to_owned();
    if let Some(scope) = &client.scope {
        body.push_str("&scope=");
        body.push_str(&form_encoded(scope));
    }
    let (target, authority) = (&client.endpoint.target, &client.endpoint.authority);
    format!(
        "POST {target} HTTP/1.1\r\n\
         Host: {authority}\r\n\
         User-Agent: logagent/{}\r\n\
         Authorization: Basic {basic}\r\n\
         Accept: application/json\r\n\
         Cache-Control: no-cache\r\n\
         Connection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\
         \r\n\
         {body}",
        env!("CARGO_PKG_VERSION"),
        body.len()
    )
}

/// `application/x-www-form-urlencoded`.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'-' | b'.' | b'_' | b'*' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The token, and for how long it is good if that is told (RFC 6749, sections 5.1 and 5.2).
pub(crate) fn read(reply: &Reply) -> Result<(Secret, Option<Duration>), String> {
    let members = members(&reply.body);
    let text = |name| match members.as_ref().ok()?.get(name)? {
        JsonValue::String(text) if !text.is_empty() => Some(text.as_str()),
        _ => None,
    };
    if reply.status != 200 {
        if (300..400).contains(&reply.status) {
            return Err(format!(
                "status {}: it answers with a redirect, which is not followed; set the address that it leads to",
                reply.status
            ));
        }
        let mut why = format!("status {}", reply.status);
        for (separator, name) in [(", ", "error"), (": ", "error_description")] {
            if let Some(text) = text(name) {
                why = format!("{why}{separator}{}", printable(text));
            }
        }
        return Err(why);
    }
    let members = members.as_ref().map_err(|&why| why.to_owned())?;
    let token = text("access_token").ok_or("there is no access_token in its answer")?;
    // RFC 6750, section 2.1. Anything else could end the token early on its way to the broker.
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !token.bytes().all(is_legal) {
        return Err("its access_token holds characters that no token has".to_owned());
    }
    let lifetime = match members.get("expires_in") {
        Some(JsonValue::Number(seconds)) => Some(*seconds),
        Some(JsonValue::String(text)) => text.parse().ok(),
        _ => None,
    };
    let lifetime = lifetime.filter(|seconds| *seconds > 0.0);
    let lifetime = lifetime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok((Secret::new(token), lifetime))
}

/// The members of a JSON object.
fn members(body: &[u8]) -> Result<HashMap<String, JsonValue>, &'static str> {
    const NOT_JSON: &str = "its answer is not a JSON object";
    let text = std::str::from_utf8(body).map_err(|_| NOT_JSON)?;
    // The parser goes one call deeper for each of them, and the stack has an end.
    if text.bytes().filter(|byte| b"[{".contains(byte)).count() > MOST_NESTING {
        return Err(NOT_JSON);
    }
    match text.parse() {
        Ok(JsonValue::Object(members)) => Ok(members),
        _ => Err(NOT_JSON),
    }
}

/// A token has some kilobytes. What JSON is read into takes up to a hundred times as much.
const MOST_BYTES: usize = 64 << 10;
const MOST_NESTING: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use crate::config::{Config, SaslConfig, TokenOrigin};

    fn answer(status: u16, body: &str) -> Result<(String, Option<u64>), String> {
        let body = body.as_bytes().to_vec();
        let (secret, lifetime) = read(&Reply { status, body })?;
        Ok((
            secret.reveal().to_owned(),
            lifetime.map(|lifetime| lifetime.as_secs()),
        ))
    }

    #[test]
    fn a_token_and_its_lifetime_are_found() {
        let token = |lifetime| Ok(("a.b_c-=".to_owned(), lifetime));
        for (body, lifetime) in [
            (
                r#"{"access_token":"a.b_c-=","token_type":"Bearer","expires_in":3600}"#,
                Some(3600),
            ),
            (r#"{"expires_in":"60","access_token":"a.b_c-="}"#, Some(60)),
            (r#" {"access_token":"a.b_c-=","more":[{"a":null}]} "#, None),
            (r#"{"access_token":"a.b_c-=","expires_in":-1}"#, None),
            (r#"{"access_token":"a.b_c-=","expires_in":1e300}"#, None),
            (r#"{"access_token":"a.b_c-=","expires_in":"soon"}"#, None),
        ] {
            assert_eq!(answer(200, body), token(lifetime), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (status, body, why) in [
            (
                401,
                r#"{"error":"invalid_client","error_description":"no\nsuch client"}"#,
                "status 401, invalid_client: no\\nsuch client",
            ),
            (503, "<html>later</html>", "status 503"),
            (
                302,
                "",
                "status 302: it answers with a redirect, which is not followed; set the address that it leads to",
            ),
            (200, "<html>", "its answer is not a JSON object"),
            (200, "[]", "its answer is not a JSON object"),
            (200, "{}", "there is no access_token in its answer"),
            (
                200,
                r#"{"access_token":7}"#,
                "there is no access_token in its answer",
            ),
            (
                200,
                r#"{"access_token":"a\u0001b"}"#,
                "its access_token holds characters that no token has",
            ),
        ] {
            assert_eq!(answer(status, body), Err(why.to_owned()), "{body}");
        }
        let deep = format!(r#"{{"access_token":{}"#, "[".repeat(200_000));
        assert_eq!(
            answer(200, &deep),
            Err("its answer is not a JSON object".to_owned())
        );
    }

    #[test]
    fn a_scope_is_encoded_as_forms_are() {
        assert_eq!(form_encoded("a b/c:é"), "a+b%2Fc%3A%C3%A9");
    }

    /// Asks an endpoint that answers with `answer` and hangs up.
    fn asked(answer: Vec<u8>) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let endpoint = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut request = [0; 4096];
            let _ = socket.read(&mut request);
            // A client that has read enough hangs up.
            let _ = socket.write_all(&answer);
        });
        let ini = format!(
            "[kafka]\nbrokers = a\ntopic = t\nsasl_mechanism = OAUTHBEARER\n\
             sasl_token_url = http://127.0.0.1:{port}/token\nsasl_client_id = me\nsasl_client_secret = s3cret\n\
             [log:a]\npath = /a\n"
        );
        let config = Config::parse(&ini, Path::new("a.ini"), &|_| None).expect("a good ini");
        let Some(SaslConfig::OAuthBearer(TokenOrigin::Endpoint(client))) = config.kafka.sasl else {
            panic!("there is an endpoint");
        };
        let fetched = fetch(&client, Duration::from_secs(10));
        endpoint.join().expect("no panic");
        fetched.map(|(secret, _)| secret.reveal().to_owned())
    }

    #[test]
    fn whatever_an_endpoint_sends_is_a_token_or_one_clear_line() {
        let token = r#"{"access_token":"abc","expires_in":60}"#;
        let (first, rest) = token.split_at(10);
        let chunks = format!(
            "{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
            10,
            rest.len()
        );
        let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let length = format!("Content-Length: {}\r\n\r\n{token}", token.len());
        let latin_1 = [
            b"HTTP/1.1 200 OK\r\nX-Via: Pr\xfcfstelle\r\n",
            length.as_bytes(),
        ]
        .concat();
        let redirect =
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
        let huge = "x".repeat(1 << 20);
        let huge_known = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{huge}",
            huge.len()
        );
        let huge_chunk =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n{huge}");
        let followed = "it answers with a redirect, which is not followed";
        let longer = "its answer is longer than 64 KiB, and a token is not";
        for (answer, expected) in [
            (chunked.into_bytes(), Ok("abc")),
            (latin_1, Ok("abc")),
            (redirect.into(), Err(followed)),
            (huge_known.into_bytes(), Err(longer)),
            (huge_chunk.into_bytes(), Err(longer)),
        ] {
            match (asked(answer), expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token, expected),
                (Err(words), Err(expected)) => {
                    assert!(words.contains(expected) && !words.contains('\n'), "{words}");
                }
                (got, expected) => panic!("{got:?}, not {expected:?}"),
            }
        }
    }
}
