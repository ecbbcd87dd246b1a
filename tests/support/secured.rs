//! A real Kafka with every way in: TLS, client certificates, and each SASL mechanism.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use super::broker::token;
use super::kafka::RealKafka;
use super::token_endpoint::TokenEndpoint;

const USER: &str = "log,agent=1";
/// Of [`USER`], who comes with SCRAM.
pub(crate) const PASSWORD: &str = "correct horse, battery=staple ü";
/// Of the user who comes with PLAIN.
pub(crate) const PLAIN_PASSWORD: &str = "secret-of-the-test";
/// The broker closes a session of the listener PLAIN that is older.
pub(crate) const SESSION_MS: u64 = 5000;

/// Keys of `[kafka]` that lead through a listener.
pub(crate) type Keys = Vec<(&'static str, String)>;

/// Name, protocol, and the certificate of the broker there.
const LISTENERS: [(&str, &str, &str); 7] = [
    ("TLS", "SSL", "server"),
    ("MUTUAL", "SSL", "server"),
    ("ELSEWHERE", "SSL", "elsewhere"),
    ("EXPIRED", "SSL", "expired"),
    ("SCRAM", "SASL_SSL", "server"),
    ("PLAIN", "SASL_PLAINTEXT", ""),
    ("TOKEN", "SASL_SSL", "server"),
];

/// A broker with all listeners.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) kafka: RealKafka,
    ports: Vec<u16>,
    certificates: Certificates,
}

impl Secured {
    /// Starts it; `version` as for [`RealKafka::own`].
    pub(crate) fn start(version: &str) -> Self {
        let certificates = Certificates::new();
        let ports = unused_ports(LISTENERS.len());
        let plain = "PLAINTEXT://127.0.0.1:{port}";
        // With ZooKeeper there is no such listener.
        let (controller, its_protocol) = match version {
            "2.8" => ("", ""),
            _ => (
                ",CONTROLLER://127.0.0.1:{controller_port}",
                ",CONTROLLER:PLAINTEXT",
            ),
        };
        let mut listeners = format!("listeners={plain}{controller}");
        let mut advertised = format!("advertised.listeners={plain}");
        let mut protocols =
            format!("listener.security.protocol.map=PLAINTEXT:PLAINTEXT{its_protocol}");
        let mut settings = Vec::new();
        for ((name, protocol, certificate), port) in LISTENERS.iter().zip(&ports) {
            listeners += &format!(",{name}://127.0.0.1:{port}");
            advertised += &format!(",{name}://localhost:{port}");
            protocols += &format!(",{name}:{protocol}");
            if !certificate.is_empty() {
                let prefix = format!("listener.name.{}.ssl", name.to_lowercase());
                // Of a file Kafka 2.8 wants an encrypted key. A property is one line.
                let text = |suffix| {
                    let file = certificates.path(&format!("{certificate}.{suffix}"));
                    fs::read_to_string(file).unwrap().replace('\n', "\\n")
                };
                let (chain, key) = (text("pem"), text("key"));
                settings.push(format!("{prefix}.keystore.type=PEM"));
                settings.push(format!("{prefix}.keystore.certificate.chain={chain}"));
                settings.push(format!("{prefix}.keystore.key={key}"));
            }
        }
        let login = |listener: &str, mechanism: &str, module: &str| {
            format!(
                "listener.name.{listener}.{mechanism}.sasl.jaas.config=\
                 org.apache.kafka.common.security.{module};"
            )
        };
        let scram = "scram.ScramLoginModule required";
        let plain = format!("plain.PlainLoginModule required user_agent=\"{PLAIN_PASSWORD}\"");
        let token = "oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"broker\"";
        let ca = certificates.path("ca.pem");
        settings.extend([
            listeners,
            advertised,
            protocols,
            "listener.name.mutual.ssl.client.auth=required".to_owned(),
            "listener.name.mutual.ssl.truststore.type=PEM".to_owned(),
            format!("listener.name.mutual.ssl.truststore.location={ca}"),
            "listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
            login("scram", "scram-sha-256", scram),
            login("scram", "scram-sha-512", scram),
            "listener.name.plain.sasl.enabled.mechanisms=PLAIN".to_owned(),
            format!("listener.name.plain.connections.max.reauth.ms={SESSION_MS}"),
            login("plain", "plain", &plain),
            "listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER".to_owned(),
            login("token", "oauthbearer", token),
        ]);
        if version == "4" {
            // Whoever comes without a name may do everything, others what nothing forbids.
            settings.extend([
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
                    .to_owned(),
                "super.users=User:ANONYMOUS".to_owned(),
                "allow.everyone.if.no.acl.found=true".to_owned(),
            ]);
        }
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let kafka = RealKafka::own("security", version, &settings);
        kafka.add_scram_user(USER, PASSWORD);
        let secured = Secured {
            kafka,
            ports,
            certificates,
        };
        secured.secret("password", &format!("{PASSWORD}\n"));
        secured
    }

    /// Where a listener is, as `[kafka] brokers` takes it.
    pub(crate) fn broker(&self, listener: &str) -> String {
        let place = LISTENERS.iter().position(|(name, ..)| *name == listener);
        format!("localhost:{}", self.ports[place.unwrap()])
    }

    /// A file of certificates.
    pub(crate) fn file(&self, name: &str) -> String {
        self.certificates.path(name)
    }

    /// Writes a file that nobody else can read, and gives its path.
    pub(crate) fn secret(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.certificates.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    // The right ways in.

    pub(crate) fn tls(&self) -> Keys {
        vec![("tls", "on".to_owned()), ("tls_ca", self.file("ca.pem"))]
    }

    pub(crate) fn tls_and(&self, more: &[(&'static str, &str)]) -> Keys {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        self.tls().into_iter().chain(more).collect()
    }

    pub(crate) fn mutual(&self) -> Keys {
        let (cert, key) = (self.file("client.pem"), self.file("client.key"));
        self.tls_and(&[("tls_cert", &cert), ("tls_key", &key)])
    }

    pub(crate) fn scram(&self, mechanism: &str) -> Keys {
        self.tls_and(&[
            ("sasl_mechanism", mechanism),
            ("sasl_username", USER),
            ("sasl_password_file", &self.file("password")),
        ])
    }

    /// As [`Secured::scram`], with a password in the ini.
    pub(crate) fn scram_with(&self, mechanism: &str, password: &str) -> Keys {
        self.tls_and(&[
            ("sasl_mechanism", mechanism),
            ("sasl_username", USER),
            ("sasl_password", password),
        ])
    }

    /// Without TLS.
    pub(crate) fn plain(&self, password: &str) -> Keys {
        let keys = [
            ("sasl_mechanism", "PLAIN"),
            ("sasl_username", "agent"),
            ("sasl_password", password),
        ];
        keys.map(|(key, value)| (key, value.to_owned())).to_vec()
    }

    /// With a token that is good from `from` to `to` (Unix time).
    pub(crate) fn token(&self, from: u64, to: u64) -> Keys {
        let file = self.secret(&format!("token-{from}"), &token(from, to));
        self.tls_and(&[
            ("sasl_mechanism", "OAUTHBEARER"),
            ("sasl_token_file", &file),
        ])
    }

    /// An endpoint whose certificate comes from the same authority as that of the broker.
    pub(crate) fn token_endpoint(&self) -> TokenEndpoint {
        let [chain, key] =
            ["server.pem", "server.key"].map(|name| fs::read_to_string(self.file(name)).unwrap());
        TokenEndpoint::start(Some((&chain, &key)))
    }
}

/// Authorities, certificates and keys, in files of one folder.
#[derive(Debug)]
struct Certificates(TempDir);

type Authority = CertifiedIssuer<'static, KeyPair>;

impl Certificates {
    fn new() -> Self {
        let certificates = Certificates(tempfile::tempdir().unwrap());
        let ours = certificates.authority("ca");
        certificates.authority("other-ca");
        certificates.issue("server", &["localhost", "127.0.0.1"], &ours, 2100);
        certificates.issue("elsewhere", &["kafka.example.net"], &ours, 2100);
        certificates.issue("expired", &["localhost"], &ours, 2020);
        certificates.issue("client", &["logagent"], &ours, 2100);
        certificates
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn authority(&self, name: &str) -> Authority {
        let mut params = params(name, &[], 2100);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(self.path(&format!("{name}.pem")), authority.pem()).unwrap();
        authority
    }

    /// Writes NAME.pem and NAME.key.
    fn issue(&self, name: &str, names: &[&str], by: &Authority, until: i32) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, names, until).signed_by(&key, by).unwrap();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        for (suffix, text) in [("pem", &certificate), ("key", &key)] {
            fs::write(self.path(&format!("{name}.{suffix}")), text).unwrap();
        }
    }
}

fn params(name: &str, names: &[&str], until: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

/// Ports that nobody has: below those that the kernel gives to connections, which come and go while the broker starts,
/// and below those of `scripts/kafka.sh`.
fn unused_ports(number: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 8_000) as u16;
    // All are held until all are known, so that they differ.
    let held: Vec<_> = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .filter_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port)).ok()?)))
        .take(number)
        .collect();
    held.iter().map(|(port, _)| *port).collect()
}
