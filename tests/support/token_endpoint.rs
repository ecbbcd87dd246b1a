//! An endpoint that gives out tokens for OAUTHBEARER to the one client that it knows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::broker::token;
use super::env::wait_until;
use super::secured::Keys;

/// The client that the endpoint knows.
pub(crate) const CLIENT: &str = "the-agent";
/// Its secret at the start.
pub(crate) const SECRET: &str = "secret of the client/+ü";

/// A running endpoint; its threads end with the process.
#[derive(Debug)]
pub(crate) struct TokenEndpoint {
    address: SocketAddr,
    is_https: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    secret: String,
    lifetime_s: u64,
    behaviour: Behaviour,
    /// Head and body of each request.
    requests: Vec<String>,
    /// Tokens that were given out.
    issued: usize,
}

/// What a question is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Serve,
    HangUp,
    /// Nothing, and the connection stays open.
    Silence,
    /// A server error.
    Fail,
}

impl TokenEndpoint {
    /// With `https` if there is a certificate, in PEM with its key.
    pub(crate) fn start(certificate: Option<(&str, &str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tls = certificate.map(|(chain, key)| {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
            let chain: Vec<_> = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ServerConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            let builder = builder.with_no_client_auth();
            Arc::new(builder.with_single_cert(chain, key).unwrap())
        });
        let state = Arc::new(Mutex::new(State {
            secret: SECRET.to_owned(),
            lifetime_s: 3600,
            behaviour: Behaviour::Serve,
            requests: Vec::new(),
            issued: 0,
        }));
        let endpoint = TokenEndpoint {
            address,
            is_https: tls.is_some(),
            state: state.clone(),
        };
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (Ok(socket), tls, state) = (socket, tls.clone(), state.clone()) else {
                    return;
                };
                // A client that hangs up is its own business.
                thread::spawn(move || match tls {
                    None => answer(socket, &state),
                    Some(tls) => {
                        let session = ServerConnection::new(tls).unwrap();
                        answer(StreamOwned::new(session, socket), &state)
                    }
                });
            }
        });
        endpoint
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://localhost:{}/oauth2/token", self.address.port())
    }

    /// The keys of `[kafka]` for it.
    pub(crate) fn keys(&self, secret: &str) -> Keys {
        let keys = [
            ("sasl_mechanism", "OAUTHBEARER"),
            ("sasl_token_url", &self.url()),
            ("sasl_client_id", CLIENT),
            ("sasl_client_secret", secret),
        ];
        keys.map(|(key, value)| (key, value.to_owned())).to_vec()
    }

    /// Tokens from now on are good for so many seconds.
    pub(crate) fn lifetime(&self, seconds: u64) {
        self.state().lifetime_s = seconds;
    }

    /// The secret that the client needs from now on.
    pub(crate) fn expect_secret(&self, secret: &str) {
        self.state().secret = secret.to_owned();
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// Head and body of each request.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Tokens that were given out.
    pub(crate) fn issued(&self) -> usize {
        self.state().issued
    }

    /// Waits until it was asked so often.
    pub(crate) fn wait_for_requests(&self, count: usize, patience: Duration) {
        let is_done = || self.requests().len() >= count;
        wait_until(patience, is_done, || {
            format!("{count} questions for a token")
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Body of a connection's thread: one question, one answer.
fn answer(mut stream: impl Read + Write, state: &Mutex<State>) {
    let Ok(request) = read_request(&mut stream) else {
        return;
    };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let basic = STANDARD.encode(format!("{CLIENT}:{}", state.secret));
    let is_known = request.contains(&format!("\r\nAuthorization: Basic {basic}\r\n"));
    state.requests.push(request);
    let (status, body) = match state.behaviour {
        Behaviour::HangUp => return,
        Behaviour::Silence => {
            drop(state);
            // Until the client gives up.
            let _ = stream.read(&mut [0]);
            return;
        }
        Behaviour::Fail => ("503 Service Unavailable", "<html>later</html>".to_owned()),
        Behaviour::Serve if is_known => {
            state.issued += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let from = now.as_secs();
            // A second more, as the fraction of this one is lost.
            let token = token(from, from + state.lifetime_s + 1);
            let lifetime = state.lifetime_s;
            let body = format!(
                "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{lifetime}}}"
            );
            ("200 OK", body)
        }
        Behaviour::Serve => {
            let body = "{\"error\":\"invalid_client\",\"error_description\":\"nobody we know\"}";
            ("401 Unauthorized", body.to_owned())
        }
    };
    drop(state);
    // In two chunks, as servers do that make the answer up as they go.
    let (first, second) = body.split_at(body.len() / 2);
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let _ = stream.flush();
}

fn read_request(stream: &mut impl Read) -> std::io::Result<String> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        request.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.push_str(&String::from_utf8(body).unwrap());
    Ok(request)
}
