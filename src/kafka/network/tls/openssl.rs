//! What is said of servers that cannot be talked to, of those that OpenSSL makes: certificates and servers as
//! people make them by hand.

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::config::{BrokerAddress, Config, KafkaConfig, TlsConfig};
use crate::kafka::network::client::Client;
use crate::kafka::network::error::ConnectionError;
use crate::kafka::network::transport::Transport;
use crate::kafka::protocol::request::Request;
use crate::kafka::testing::config;

const RSA: &str = "rsa:2048";
const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const P521: &str = "ec -pkeyopt ec_paramgen_curve:secp521r1";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `openssl` with the words of `arguments` in `folder`.
fn openssl(folder: &Path, arguments: &str) {
    let mut openssl = Command::new("openssl");
    openssl
        .args(arguments.split_whitespace())
        .current_dir(folder);
    let output = openssl
        .output()
        .expect("this test needs the program openssl");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {words}");
}

/// A folder with keys and certificates: an authority `ca`, what it issues, and the certificates that sign
/// themselves.
fn files() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path();
    fs::write(
        own.join("leaf.ext"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .expect("a file");
    for (name, key, extension) in [
        // As told in a hundred instructions.
        ("own", RSA, "-addext subjectAltName=DNS:localhost"),
        ("away", P256, "-addext subjectAltName=DNS:away"),
        ("ca", P256, ""),
        ("ca521", P521, ""),
    ] {
        let words = "req -x509 -nodes -days 10 -newkey";
        let to = format!("-keyout {name}.key -out {name}.pem -subj /CN={name}");
        openssl(own, &format!("{words} {key} {to} {extension}"));
    }
    let v3 = "-extfile leaf.ext";
    for (name, key, signed, extensions) in [
        ("ca1", P256, "-signkey ca1.key", ""),
        ("leaf", RSA, "-CA ca.pem -CAkey ca.key", v3),
        ("leaf1", P256, "-CA ca.pem -CAkey ca.key", ""),
        ("leaf521", P521, "-CA ca.pem -CAkey ca.key", v3),
        ("of521", P256, "-CA ca521.pem -CAkey ca521.key", v3),
        ("of1", P256, "-CA ca1.pem -CAkey ca1.key", v3),
    ] {
        let to = format!("-keyout {name}.key -out {name}.csr -subj /CN={name}");
        openssl(own, &format!("req -nodes -newkey {key} {to}"));
        let request = format!("x509 -req -days 10 -in {name}.csr -out {name}.pem");
        let serial = if signed.starts_with("-CA ") {
            "-CAcreateserial"
        } else {
            ""
        };
        openssl(own, &format!("{request} {signed} {serial} {extensions}"));
    }
    folder
}

/// `openssl s_server`, which ends with the test.
struct Server {
    child: Child,
    address: BrokerAddress,
}

impl Server {
    /// Shows the certificate `name`.
    fn start(folder: &Path, name: &str, more: &str) -> Self {
        let arguments =
            format!("s_server -accept 127.0.0.1:0 -cert {name}.pem -key {name}.key {more}");
        let mut child = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(folder)
            // It ends when its input does.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs the program openssl");
        let mut output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            let read = output.read_line(&mut line).expect("a line");
            assert!(read > 0, "openssl {arguments} has ended");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                let (_, port) = address.trim().rsplit_once(':').expect("a port");
                break port.parse().expect("a number");
            }
        };
        // What it says must not fill the pipe.
        thread::spawn(move || output.read_to_end(&mut Vec::new()));
        Server {
            child,
            address: at(port),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn at(port: u16) -> BrokerAddress {
    BrokerAddress {
        host: "localhost".into(),
        port,
    }
}

/// The settings that trust `ca`.
fn trusting(folder: &Path, ca: &str) -> TlsConfig {
    let own = folder.display();
    let ini = format!(
        "[kafka]\nbrokers = a\ntopic = t\ntls = on\ntls_ca = {own}/{ca}.pem\n[log:a]\npath = /a\n"
    );
    let config = Config::parse(&ini, &folder.join("a.ini"), &|_| None).expect("a good ini");
    config.kafka.tls.expect("it is on")
}

/// Connects and asks something, which `openssl s_server` does not answer: what is said of the server before it
/// should have answered. Nothing is the best.
fn said(address: &BrokerAddress, tls: &TlsConfig) -> String {
    let patience = Duration::from_secs(1);
    let asked = Transport::connect(address, Some(tls), TIMEOUT).and_then(|mut transport| {
        let mut request = Request::api_versions("test", 0);
        transport.send(&mut request)?;
        let until = Instant::now() + patience;
        loop {
            transport.read_until(until)?;
            transport.frame()?;
        }
    });
    match asked.map(|never: Infallible| never) {
        Err(ConnectionError::Overdue { .. }) => String::new(),
        Err(error) => error.to_string(),
    }
}

/// The certificate of a server, how it is started, who is trusted, and a part of what is said. Nothing is said of
/// a server that can be talked to.
#[rustfmt::skip]
const SERVERS: [(&str, &str, &str, &str); 15] = [
    // A certificate of an authority as the server's own.
    ("own", "", "own", ""),
    ("own", "-tls1_2", "own", ""),
    ("own", "", "ca", "name that very certificate in tls_ca"),
    ("away", "", "away", "its certificate is for another name"),
    ("leaf", "", "ca", ""),
    ("leaf", "", "ca521", "an authority that is not trusted here (tls_ca)"),
    // Version 1: as an authority, and as the server's own.
    ("of1", "", "ca1", ""),
    ("leaf1", "", "ca", "is of version 1; make one with an extension file"),
    // What ring has not.
    ("leaf521", "", "ca", "P-521 do not go"),
    ("of521", "", "ca521", "P-521 and SHA-1 do not"),
    ("leaf", "-tls1_2 -cipher AES128-GCM-SHA256", "ca", "ssl.cipher.suites"),
    ("leaf", "-tls1_2 -cipher ECDHE-RSA-AES128-SHA256", "ca", "ssl.cipher.suites"),
    ("leaf", "-tls1_1 -cipher DEFAULT@SECLEVEL=0", "ca", "ssl.enabled.protocols"),
    // A client certificate is wanted.
    ("leaf", "-tls1_2 -Verify 1", "ca", "it wants a client certificate (tls_cert, tls_key)"),
    ("leaf", "-tls1_3 -Verify 1", "ca", "it wants a client certificate (tls_cert, tls_key)"),
];

#[test]
fn what_is_wrong_with_a_server_is_said_in_words_that_lead_to_the_mend() {
    let folder = files();
    let own = folder.path();
    for (certificate, server, ca, expected) in SERVERS {
        let server_of = Server::start(own, certificate, server);
        let tls = trusting(own, ca);
        let said = said(&server_of.address, &tls);
        let is_as_expected = match expected {
            "" => said.is_empty(),
            expected => said.contains(expected),
        };
        assert!(is_as_expected, "{certificate} {server}: {said}");
    }
}

/// A server that answers the first bytes with `answer` and hangs up.
fn answering(answer: &'static [u8]) -> BrokerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = at(listener.local_addr().expect("bound").port());
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let _ = socket.read(&mut [0; 1 << 14]);
        let _ = socket.write_all(answer);
    });
    address
}

#[test]
fn a_plain_client_on_a_tls_port_and_one_with_tls_on_a_plain_port_are_told_so() {
    let folder = files();
    // OpenSSL hangs up, Java says in an alert what it is.
    let server = Server::start(folder.path(), "leaf", "");
    let java = answering(b"\x15\x03\x03\0\x02\x02\x50");
    for (address, expected) in [
        (&server.address, "perhaps this port has TLS (tls = on)"),
        (&java, "this port speaks TLS: set tls = on"),
    ] {
        let config = KafkaConfig {
            tls: None,
            ..config(address)
        };
        let error = Client::connect(address, &config).expect_err("it has TLS");
        let words = error.to_string();
        assert!(words.contains(expected), "{words}");
    }
    // A broker takes the first bytes for the size of a request, and hangs up; others answer in their own way.
    for answer in ["", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let address = answering(answer.as_bytes());
        let words = said(&address, &trusting(folder.path(), "ca"));
        assert!(words.contains("perhaps this port has no TLS"), "{words}");
    }
}
