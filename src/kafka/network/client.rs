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
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for commands that ask one question")
    )]
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
    use crate::kafka::protocol::api::METADATA;
    use crate::kafka::testing::{config, encoded};
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{ApiVersionsResponse, MetadataResponse};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

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

    #[test]
    fn a_port_that_is_mute_is_said_to_give_no_answer_to_the_first_request() {
        let (_listener, mut config) = listen();
        config.request_timeout = Duration::from_millis(50);
        let error = Client::connect(&config.brokers[0], &config).expect_err("it is mute");
        let words = "no answer to the first request within 50ms (request_timeout)";
        assert_eq!(error.to_string(), words);
    }
}
