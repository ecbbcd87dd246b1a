//! TLS over the socket of a [`Transport`](super::transport::Transport).
//!
//! rustls keeps bytes of its own in both directions, and the connection thread waits on the socket
//! alone. So every call here leaves rustls empty: what was decrypted is handed over at once, what was
//! encrypted is written out.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Instant, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConnection};

use super::error::ConnectionError;
use crate::certificate::valid_until;
use crate::config::TlsConfig;

const READ_BYTES: usize = 16 << 10;

/// A socket and the TLS session on it.
#[derive(Debug)]
pub(crate) struct TlsStream {
    session: ClientConnection,
    socket: TcpStream,
    has_identity: bool,
}

impl TlsStream {
    /// Makes the handshake, in which the broker's certificate is checked, its name included.
    pub(crate) fn connect(
        socket: TcpStream,
        config: &TlsConfig,
        host: &str,
        until: Instant,
    ) -> Result<Self, ConnectionError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            ConnectionError::Tls("no certificate can be for a name like this".to_owned())
        })?;
        let session = ClientConnection::new(config.client().clone(), name)
            .map_err(|error| ConnectionError::Tls(error.to_string()))?;
        let mut stream = TlsStream {
            session,
            socket,
            has_identity: config.has_identity(),
        };
        while stream.session.is_handshaking() {
            stream.flush()?;
            if !stream.session.is_handshaking() {
                break;
            }
            if Instant::now() >= until {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            stream.receive().map_err(|error| match error {
                ConnectionError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let words = "closed in the TLS handshake; perhaps this port has no TLS";
                    io::Error::new(error.kind(), words).into()
                }
                error => error,
            })?;
        }
        stream.flush()?;
        Ok(stream)
    }

    /// Until when the broker's certificate is valid.
    pub(super) fn certificate_end(&self) -> Option<SystemTime> {
        let own = self.session.peer_certificates().and_then(<[_]>::first);
        own.and_then(|der| valid_until(der))
    }

    /// What both sides speak.
    pub(crate) fn version(&self) -> &'static str {
        match self.session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS",
        }
    }

    /// The socket, to wait on and to shut down.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Writes all of `slices` through to the socket.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> Result<(), ConnectionError> {
        for slice in slices {
            let mut left: &[u8] = slice;
            while !left.is_empty() {
                // It takes less than all when its buffer, of 64 KiB, is full.
                let taken = self.session.writer().write(left)?;
                left = &left[taken..];
                if !left.is_empty() {
                    self.flush()?;
                }
            }
        }
        self.flush()
    }

    /// Reads once from the socket, and appends all that this allows to decrypt to `received`, which
    /// may be nothing. The end of the stream is an error.
    pub(crate) fn read(&mut self, received: &mut Vec<u8>) -> Result<(), ConnectionError> {
        self.receive()?;
        // A new key may have to be confirmed.
        self.flush()?;
        let before = received.len();
        loop {
            let from = received.len();
            received.resize(from + READ_BYTES, 0);
            let read = self.session.reader().read(&mut received[from..]);
            received.truncate(from + *read.as_ref().unwrap_or(&0));
            match read {
                // The broker has said that it is the end: what came before it counts first.
                Ok(0) if received.len() > before => return Ok(()),
                Ok(0) => return Err(closed()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive(&mut self) -> Result<(), ConnectionError> {
        match self.session.read_tls(&mut self.socket) {
            Ok(0) => return Err(closed()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match self.session.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => {
                // It has an alert for the broker, which gets it if it still listens.
                let _ = self.flush();
                Err(self.explained(error))
            }
        }
    }

    fn flush(&mut self) -> Result<(), ConnectionError> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.reason_for(error)),
            }
        }
        Ok(())
    }

    /// With TLS 1.3 a broker that does not want our certificate says so after the handshake, and
    /// hangs up: the write fails, and the reason is still to be read.
    fn reason_for(&mut self, error: io::Error) -> ConnectionError {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        if matches!(error.kind(), BrokenPipe | ConnectionReset)
            && matches!(self.session.read_tls(&mut self.socket), Ok(1..))
            && let Err(error) = self.session.process_new_packets()
        {
            return self.explained(error);
        }
        error.into()
    }

    /// What an error of TLS means here.
    fn explained(&self, error: rustls::Error) -> ConnectionError {
        use rustls::Error::{AlertReceived, DecryptError, InvalidCertificate, InvalidMessage};
        let words = match error {
            InvalidCertificate(error) => certificate_words(&error),
            AlertReceived(alert) => self.alert_words(alert),
            InvalidMessage(_) if self.session.is_handshaking() => {
                "what it answers is not TLS; perhaps this port has no TLS".to_owned()
            }
            // Bytes changed on the way.
            DecryptError | InvalidMessage(_) => {
                return io::Error::new(io::ErrorKind::InvalidData, error).into();
            }
            error => format!("TLS: {error}"),
        };
        ConnectionError::Tls(words)
    }

    fn alert_words(&self, alert: AlertDescription) -> String {
        use AlertDescription::{
            AccessDenied, BadCertificate, CertificateExpired, CertificateRequired,
            CertificateRevoked, CertificateUnknown, HandshakeFailure, ProtocolVersion, UnknownCA,
            UnsupportedCertificate,
        };
        match alert {
            // Once the server has chosen a cipher, it is something else that it misses.
            HandshakeFailure if self.session.protocol_version().is_none() => {
                "no key or cipher in common: this client wants ECDHE with AES-GCM or ChaCha20, and certificates with \
                 RSA, P-256, P-384 or Ed25519 keys; RSA key exchange, CBC and P-521 do not go (ssl.cipher.suites, \
                 ssl.keystore of the broker): TLS alert HandshakeFailure"
                    .to_owned()
            }
            CertificateRequired | BadCertificate | HandshakeFailure if !self.has_identity => {
                format!("it wants a client certificate (tls_cert, tls_key): TLS alert {alert:?}")
            }
            AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRevoked
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate
                if self.has_identity =>
            {
                format!("it does not accept the client certificate (tls_cert): TLS alert {alert:?}")
            }
            ProtocolVersion => "it speaks no TLS 1.2 or 1.3 (ssl.enabled.protocols of the broker): TLS alert \
                 ProtocolVersion"
                .to_owned(),
            alert => format!("it ends the session with TLS alert {alert:?}"),
        }
    }
}

/// Why a certificate is not accepted.
fn certificate_words(error: &CertificateError) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, UnknownIssuer,
    };
    match error {
        Expired | ExpiredContext { .. } => "its certificate has expired".to_owned(),
        NotValidYet | NotValidYetContext { .. } => {
            "its certificate is not valid yet; is the clock of this host right?".to_owned()
        }
        NotValidForName => "its certificate is for another name".to_owned(),
        NotValidForNameContext { presented, .. } => format!(
            "its certificate is for another name: {}",
            presented.join(", ")
        ),
        UnknownIssuer => {
            "its certificate comes from an authority that is not trusted here (tls_ca)".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its own certificate is one of an authority (CA:TRUE), as `openssl req -x509` makes it; name that very \
             certificate in tls_ca, or give the broker one with basicConstraints = CA:FALSE"
                .to_owned()
        }
        error if format!("{error:?}").starts_with("UnsupportedSignatureAlgorithm") => {
            "its certificate or an authority's is signed in a way that this client does not know; keys with RSA, \
             P-256, P-384 or Ed25519 go, P-521 and SHA-1 do not"
                .to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "its certificate is of version 1; make one with an extension file (openssl x509 -req -extfile)".to_owned()
        }
        error => format!("its certificate is not accepted: {error}"),
    }
}

fn closed() -> ConnectionError {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the broker").into()
}

#[cfg(test)]
mod openssl;
#[cfg(test)]
mod tests {
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
        let socket =
            TcpStream::connect_timeout(&address, Duration::from_secs(10)).expect("it listens");
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
}
