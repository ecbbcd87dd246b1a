//! The stream against servers made of rustls, and what is said of servers made of OpenSSL.

use super::*;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::config::Config;

type ServerStream = StreamOwned<ServerConnection, TcpStream>;

/// A client that is connected to a server which does as told.
fn connected<T: Send + 'static>(
    server: impl FnOnce(ServerStream) -> T + Send + 'static,
) -> (TlsStream, JoinHandle<T>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).expect("a file");
    let ini = format!(
        "[kafka]\nbrokers = a\ntopic = t\ntls = on\ntls_ca = {}\n[log:a]\npath = /a\n",
        ca.display()
    );
    let config = Config::parse(&ini, &ca, &|_| None).expect("a good ini");
    let tls = config.kafka.tls.expect("it is on");

    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
        })
        .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        let session = ServerConnection::new(Arc::new(config)).expect("a session");
        server(StreamOwned::new(session, socket))
    });
    let socket = TcpStream::connect_timeout(&address, Duration::from_secs(10)).expect("it listens");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a socket");
    let until = Instant::now() + Duration::from_secs(10);
    let client = TlsStream::connect(socket, &tls, "localhost", until).expect("a handshake");
    (client, server)
}

#[test]
fn all_that_a_read_decrypts_is_handed_over_and_a_close_is_a_close() {
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let (mut client, server) = connected(move |mut stream| {
        stream.write_all(&sent).expect("the client reads");
        stream.conn.send_close_notify();
        stream.flush().expect("the client reads");
        stream
    });
    let mut received = Vec::new();
    let error = loop {
        match client.read(&mut received) {
            Ok(()) => assert!(
                matches!(client.session.reader().read(&mut [0; 1]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock)
                    || received.len() == expected.len(),
                "something was left inside"
            ),
            Err(error) => break error,
        }
    };
    assert!(received == expected, "{} bytes", received.len());
    assert_eq!(error.to_string(), "closed by the broker");
    server.join().expect("no panic");
}

#[test]
fn a_write_goes_out_in_full_whatever_its_size() {
    let (mut client, server) = connected(|mut stream| {
        let mut received = vec![0; 1_000_003];
        stream.read_exact(&mut received).expect("all of it");
        received
    });
    let large = vec![7; 1_000_000];
    client
        .write(&[
            IoSlice::new(b"a"),
            IoSlice::new(&large),
            IoSlice::new(b"bc"),
        ])
        .expect("the server reads");
    let received = server.join().expect("no panic");
    assert_eq!((received[0], &received[1_000_001..]), (b'a', &b"bc"[..]));
    assert!(received[1..1_000_001] == large);
}

#[test]
fn a_certificate_of_an_authority_as_the_brokers_own_is_called_what_it_is() {
    let other = rustls::OtherError(Arc::new(io::Error::other("CaUsedAsEndEntity")));
    let words = certificate_words(&CertificateError::Other(other));
    assert!(
        words.contains("CA:TRUE") && words.contains("CA:FALSE"),
        "{words}"
    );
}
