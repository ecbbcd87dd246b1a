//! A connection that is used by one thread, one question after the other.
//!
//! [`Connection`](super::connection::Connection) begins as one and then sends ahead of the answers.

use std::io;
use std::time::{Duration, Instant};

use crate::config::{BrokerAddress, KafkaConfig};
use crate::kafka::protocol::api::{Versions, api_versions};
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::Response;

use super::error::ConnectionError;
use super::sasl;
use super::token::TokenSource;
use super::transport::Transport;

/// A broker that is connected to and has said what it speaks.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) transport: Transport,
    pub(crate) versions: Versions,
    config: &'a KafkaConfig,
}

impl<'a> Client<'a> {
    /// Connects, and finds out what the broker speaks, and with that whether it is a Kafka broker at all.
    pub(crate) fn connect(
        address: &BrokerAddress,
        config: &'a KafkaConfig,
    ) -> Result<Self, ConnectionError> {
        let timeout = config.request_timeout;
        let mut client = Client {
            transport: Transport::connect(address, config.tls.as_ref(), timeout)?,
            versions: Versions::default(),
            config,
        };
        let within = Transport::within(timeout);
        client.versions = client
            .handshake(Transport::deadline(timeout))
            .map_err(|error| error.waiting_for("answer to the first request", within, timeout))
            .map_err(|error| match error {
                ConnectionError::Io(error) if config.tls.is_none() => unheard(error).into(),
                error => error,
            })?;
        client.transport.set_unacknowledged(timeout);
        Ok(client)
    }

    fn handshake(&mut self, until: Instant) -> Result<Versions, ConnectionError> {
        // Brokers before 2.4 know version 0 but not 3.
        for version in [3, 0] {
            let request = Request::api_versions(&self.config.client_id, version);
            let answer = self.transport.ask(request, until)?;
            let (error, versions) =
                api_versions(&answer, version).map_err(ConnectionError::Malformed)?;
            match error {
                0 => return Ok(versions),
                35 => {}
                code => return Err(ConnectionError::Refused(code)),
            }
        }
        Err(ConnectionError::Refused(35))
    }

    /// What was found there, for people.
    pub(crate) fn about(&self) -> String {
        let release = self.versions.release().unwrap_or("of unknown age");
        let tls = self.transport.tls_version().unwrap_or("no TLS");
        let sasl = self.config.sasl.as_ref();
        let login = sasl.map_or("no login", |sasl| sasl.mechanism());
        ["Kafka ", release, ", ", tls, ", ", login].concat()
    }

    /// Says who we are, if that is wanted. Returns when to say it again.
    pub(crate) fn authenticate(
        &mut self,
        tokens: &TokenSource,
    ) -> Result<Option<Instant>, ConnectionError> {
        let Some(sasl) = &self.config.sasl else {
            return Ok(None);
        };
        let (client_id, timeout) = (&self.config.client_id, self.config.request_timeout);
        let (transport, versions) = (&mut self.transport, &self.versions);
        let within = Transport::within(timeout);
        sasl::authenticate(transport, versions, sasl, tokens, client_id, timeout)
            .map_err(|error| error.waiting_for("answer to the login", within, timeout))
    }

    /// Sends a request and reads its response, which must come within `timeout`.
    pub(crate) fn call(
        &mut self,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, ConnectionError> {
        let (api, version) = (request.api, request.version);
        let limit = self.config.request_timeout;
        let answer = self
            .transport
            .ask(request, Instant::now() + timeout)
            .map_err(|error| error.waiting_for("answer", timeout, limit))?;
        Response::read(api, version, &answer).map_err(ConnectionError::Malformed)
    }
}

/// What is said of a port that ends the connection at the first request. Java's TLS says what it is; other
/// servers hang up.
fn unheard(error: io::Error) -> io::Error {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    match error.kind() {
        ConnectionReset | UnexpectedEof => {
            let words = "closed at the first request; perhaps this port has TLS (tls = on)";
            io::Error::new(error.kind(), words)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::kafka::protocol::api::{METADATA, SASL_AUTHENTICATE, SASL_HANDSHAKE};
    use crate::kafka::testing::{config, encoded};
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{ApiVersionsResponse, MetadataResponse};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;

    fn listen() -> (TcpListener, KafkaConfig) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let host = "127.0.0.1".to_owned();
        (listener, config(&BrokerAddress { host, port }))
    }

    /// Reads a request and answers with `body` under its correlation id.
    fn answer(stream: &mut TcpStream, body: &[u8]) {
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("a request");
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).expect("all of it");
        let length = (body.len() + 4) as u32;
        let frame = [&length.to_be_bytes(), &request[4..8], body].concat();
        stream.write_all(&frame).expect("the client reads");
    }

    #[test]
    fn a_client_connects_finds_out_the_versions_and_asks_one_question_after_the_other() {
        let (listener, config) = listen();
        let broker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let api = ApiVersion::default()
                .with_api_key(METADATA.key)
                .with_max_version(4);
            let versions = ApiVersionsResponse::default().with_api_keys(vec![api]);
            answer(&mut stream, &encoded(&versions, 3));
            for _ in 0..2 {
                answer(&mut stream, &encoded(&MetadataResponse::default(), 4));
            }
        });
        let mut client = Client::connect(&config.brokers[0], &config).expect("it answers");
        assert_eq!(
            client
                .authenticate(&TokenSource::default())
                .expect("not wanted"),
            None
        );
        let version = client.versions.of(METADATA).expect("it is offered");
        for _ in 0..2 {
            let request = Request::metadata("test", version, ["t"].into_iter());
            let answer = client.call(request, Duration::from_secs(10));
            assert!(matches!(answer, Ok(Response::Metadata(_))), "{answer:?}");
        }
        broker.join().expect("no panic");
    }

    // What each time-out says: what was waited for, how long, and the setting.

    const SHORT: Duration = Duration::from_millis(200);

    /// What is said when the first `answered` questions are answered, and then nothing comes.
    fn late(config: &KafkaConfig, listener: TcpListener, answered: usize) -> String {
        let broker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let offered = [METADATA, SASL_HANDSHAKE, SASL_AUTHENTICATE].map(|api| {
                ApiVersion::default()
                    .with_api_key(api.key)
                    .with_max_version(1)
            });
            let versions = ApiVersionsResponse::default().with_api_keys(offered.into());
            for _ in 0..answered {
                answer(&mut stream, &encoded(&versions, 3));
            }
            // Until the client has given up.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let asked = Client::connect(&config.brokers[0], config).and_then(|mut client| {
            client.authenticate(&TokenSource::default())?;
            let request = Request::metadata("test", 1, ["t"].into_iter());
            client.call(request, config.request_timeout)
        });
        let said = asked.expect_err("it is late").to_string();
        broker.join().expect("no panic");
        said
    }

    /// The settings of `[kafka]` with these lines.
    fn with(config: &KafkaConfig, lines: &str) -> KafkaConfig {
        let ini = format!(
            "[kafka]\nbrokers = {}\ntopic = t\n{lines}\n[log:a]\npath = /a\n",
            config.brokers[0]
        );
        let parsed = Config::parse(&ini, Path::new("a.ini"), &|_| None);
        let mut config = parsed.expect("a good ini").kafka;
        config.request_timeout = SHORT;
        config
    }

    #[test]
    fn a_connect_that_takes_too_long_is_a_connection_that_did_not_come_in_time() {
        let (listener, config) = listen();
        // The kernel drops what wants to connect while this one waits to be accepted.
        rustix::net::listen(&listener, 0).expect("a listener");
        let address = listener.local_addr().expect("bound");
        let _waits = TcpStream::connect(address).expect("the first one");
        let config = with(&config, "");
        let error = Client::connect(&config.brokers[0], &config).expect_err("it is late");
        let words = "no connection within 200ms (request_timeout)";
        assert_eq!(error.to_string(), words);
    }

    #[test]
    fn a_tls_handshake_that_takes_too_long_is_named() {
        let (listener, config) = listen();
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        std::fs::write(&ca, certificate.expect("a certificate").cert.pem()).expect("a file");
        let config = with(&config, &format!("tls = on\ntls_ca = {}", ca.display()));
        let words = "no TLS handshake within 200ms (request_timeout)";
        assert_eq!(late(&config, listener, 0), words);
    }

    #[test]
    fn a_first_answer_that_takes_too_long_is_named() {
        let (listener, config) = listen();
        let words = "no answer to the first request within 200ms (request_timeout)";
        assert_eq!(late(&with(&config, ""), listener, 0), words);
    }

    #[test]
    fn a_login_that_takes_too_long_is_named() {
        let (listener, config) = listen();
        let sasl = "sasl_mechanism = PLAIN\nsasl_username = u\nsasl_password = p";
        let words = "no answer to the login within 200ms (request_timeout)";
        assert_eq!(late(&with(&config, sasl), listener, 1), words);
    }

    #[test]
    fn an_answer_that_takes_too_long_is_named() {
        let (listener, config) = listen();
        let words = "no answer within 200ms (request_timeout)";
        assert_eq!(late(&with(&config, ""), listener, 1), words);
    }
}
