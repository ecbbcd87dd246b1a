//! TLS and SASL against a real Kafka: every way in that it offers, and what is said about a wrong one.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use crate::support::broker::Record;
use crate::support::env::{Env, assert_same_lines, lines};
use crate::support::kafka::RealKafka;

const LONG: Duration = Duration::from_secs(30);
const USER: &str = "log,agent=1";
const PASSWORD: &str = "correct horse, battery=staple ü";
/// The broker closes a session of the listener PLAIN that is older.
const SESSION_MS: u64 = 3000;

/// Authorities, certificates and keys, in files of one folder.
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

    /// Writes NAME.pem, NAME.key, and both in NAME.store.
    fn issue(&self, name: &str, names: &[&str], by: &Authority, until: i32) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, names, until).signed_by(&key, by).unwrap();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        let store = format!("{key}{certificate}");
        for (suffix, text) in [("pem", &certificate), ("key", &key), ("store", &store)] {
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
struct Secured {
    kafka: RealKafka,
    ports: Vec<u16>,
    certificates: Certificates,
}

impl Secured {
    fn start() -> Self {
        let certificates = Certificates::new();
        // All are held until all are known, so that they differ.
        let held = LISTENERS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports: Vec<u16> = held
            .iter()
            .map(|held| held.local_addr().unwrap().port())
            .collect();
        drop(held);
        let plain = "PLAINTEXT://127.0.0.1:{port}";
        let mut listeners = format!("listeners={plain},CONTROLLER://127.0.0.1:{{controller_port}}");
        let mut advertised = format!("advertised.listeners={plain}");
        let mut protocols =
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        let mut settings = Vec::new();
        for ((name, protocol, certificate), port) in LISTENERS.iter().zip(&ports) {
            listeners += &format!(",{name}://127.0.0.1:{port}");
            advertised += &format!(",{name}://localhost:{port}");
            protocols += &format!(",{name}:{protocol}");
            if !certificate.is_empty() {
                let prefix = format!("listener.name.{}.ssl", name.to_lowercase());
                let store = certificates.path(&format!("{certificate}.store"));
                settings.push(format!("{prefix}.keystore.type=PEM"));
                settings.push(format!("{prefix}.keystore.location={store}"));
            }
        }
        let login = |listener: &str, mechanism: &str, module: &str| {
            format!(
                "listener.name.{listener}.{mechanism}.sasl.jaas.config=\
                 org.apache.kafka.common.security.{module};"
            )
        };
        let scram = "scram.ScramLoginModule required";
        let plain = "plain.PlainLoginModule required user_agent=\"secret-of-the-test\"";
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
            login("plain", "plain", plain),
            "listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER".to_owned(),
            login("token", "oauthbearer", token),
        ]);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let kafka = RealKafka::own("security", "4", &settings);
        kafka.add_scram_user(USER, PASSWORD);
        Secured {
            kafka,
            ports,
            certificates,
        }
    }

    fn broker(&self, listener: &str) -> String {
        let place = LISTENERS.iter().position(|(name, ..)| *name == listener);
        format!("localhost:{}", self.ports[place.unwrap()])
    }

    fn file(&self, name: &str) -> String {
        self.certificates.path(name)
    }

    /// An agent that sends 1,000 lines to a topic of its own through this listener, and the topic.
    fn agent(&self, listener: &str, keys: &[(&str, &str)]) -> (Env, String) {
        let topic = self.kafka.fresh_topic(&listener.to_lowercase(), 1);
        let mut env = Env::new();
        env.set("kafka", "brokers", &self.broker(listener))
            .set("kafka", "topic", &topic);
        for (key, value) in keys {
            env.set("kafka", key, value);
        }
        env.write_lines("app.log", 0..1000);
        (env, topic)
    }

    /// All 1,000 lines arrive, once and in order.
    fn expect_all(&self, env: &mut Env, topic: &str) {
        self.kafka.wait_for_records(topic, 1000, LONG);
        env.stop();
        assert_same_lines(&lines(0..1000), &self.arrived(topic));
    }

    fn arrived(&self, topic: &str) -> Vec<String> {
        let records = self.kafka.fetch_all(topic);
        records.iter().map(Record::text).collect()
    }
}

fn secret_file(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// An unsigned token, as Kafka's validator for tests takes it, good from `from` to `to` (Unix time).
fn token(from: u64, to: u64) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let head = part("{\"alg\":\"none\"}".to_owned());
    let claims = part(format!("{{\"sub\":\"agent\",\"iat\":{from},\"exp\":{to}}}"));
    format!("{head}.{claims}.")
}

#[test]
fn every_way_in_delivers_every_line_and_a_wrong_one_is_named_and_loses_nothing() {
    let secured = Secured::start();
    let (ca, other_ca) = (secured.file("ca.pem"), secured.file("other-ca.pem"));
    let (cert, key) = (secured.file("client.pem"), secured.file("client.key"));
    let tls = [("tls", "on"), ("tls_ca", ca.as_str())];
    let with = |more: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        let all = tls.iter().chain(more);
        all.map(|(key, value)| (*key, (*value).to_owned()))
            .collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let password = secret_file(folder.path(), "password", &format!("{PASSWORD}\n"));
    let password = password.to_str().unwrap();
    let bearer = secret_file(folder.path(), "token", &token(1_700_000_000, 4_000_000_000));
    let old_bearer = secret_file(folder.path(), "old", &token(1_600_000_000, 1_600_000_001));
    let scram = |mechanism| {
        with(&[
            ("sasl_mechanism", mechanism),
            ("sasl_username", USER),
            ("sasl_password_file", password),
        ])
    };
    let plain = |password: &str| -> Vec<(&'static str, String)> {
        [
            ("sasl_mechanism", "PLAIN"),
            ("sasl_username", "agent"),
            ("sasl_password", password),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .to_vec()
    };
    let mutual = with(&[("tls_cert", &cert), ("tls_key", &key)]);
    let by_token = |file: &Path| {
        with(&[
            ("sasl_mechanism", "OAUTHBEARER"),
            ("sasl_token_file", file.to_str().unwrap()),
        ])
    };

    // The right ways in.
    let right = [
        ("TLS", with(&[])),
        ("MUTUAL", mutual.clone()),
        ("SCRAM", scram("SCRAM-SHA-256")),
        ("SCRAM", scram("SCRAM-SHA-512")),
        ("PLAIN", plain("secret-of-the-test")),
        ("TOKEN", by_token(&bearer)),
    ];
    fn borrowed<'a>(keys: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
        keys.iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect()
    }
    let mut running: Vec<(Env, String)> = right
        .iter()
        .map(|(listener, keys)| secured.agent(listener, &borrowed(keys)))
        .collect();
    for (env, _) in &mut running {
        env.start();
    }
    for (mut env, topic) in running {
        secured.kafka.wait_for_records(&topic, 1000, LONG);
        let log = env.log();
        assert!(!log.contains("ERROR"), "{log}");
        assert!(!log.contains("secret-of-the-test") && !log.contains(PASSWORD));
        secured.expect_all(&mut env, &topic);
    }

    // Wrong ones, with what is said and what mends it.
    let wrong = [
        (
            "TLS",
            with(&[("tls_ca", &other_ca)]),
            "an authority that is not trusted here (tls_ca)",
            Some(with(&[])),
        ),
        (
            "ELSEWHERE",
            with(&[]),
            "its certificate is for another name: ",
            None,
        ),
        ("EXPIRED", with(&[]), "its certificate has expired", None),
        (
            "MUTUAL",
            with(&[]),
            "it wants a client certificate (tls_cert, tls_key)",
            Some(mutual),
        ),
        (
            "SCRAM",
            with(&[
                ("sasl_mechanism", "SCRAM-SHA-512"),
                ("sasl_username", USER),
                ("sasl_password", "wrong-secret"),
            ]),
            "SCRAM-SHA-512: the broker refuses the credentials: ",
            Some(scram("SCRAM-SHA-512")),
        ),
        (
            "PLAIN",
            plain("wrong-secret"),
            "PLAIN: the broker refuses the credentials: ",
            Some(plain("secret-of-the-test")),
        ),
        (
            "SCRAM",
            with(&[
                ("sasl_mechanism", "PLAIN"),
                ("sasl_username", USER),
                ("sasl_password", "wrong-secret"),
            ]),
            "PLAIN: the broker does not offer it; it offers SCRAM-SHA-",
            Some(scram("SCRAM-SHA-256")),
        ),
        (
            "TOKEN",
            by_token(&old_bearer),
            "OAUTHBEARER: the broker refuses the ",
            Some(by_token(&bearer)),
        ),
        (
            "PLAIN",
            with(&[]),
            "perhaps this port has no TLS",
            Some(plain("secret-of-the-test")),
        ),
        (
            "PLAIN",
            Vec::new(),
            "perhaps it wants sasl_mechanism",
            Some(plain("secret-of-the-test")),
        ),
    ];
    let mut running = Vec::new();
    for (listener, keys, words, mended) in &wrong {
        let (mut env, topic) = secured.agent(listener, &borrowed(keys));
        env.start();
        running.push((env, topic, *words, listener, keys, mended));
    }
    // Enough for several attempts of each.
    thread::sleep(Duration::from_secs(1));
    for (mut env, topic, words, listener, keys, mended) in running {
        env.wait_for_log(words, LONG);
        let log = env.log();
        let told = log.lines().filter(|line| line.contains(words)).count();
        assert_eq!(told, 1, "'{words}' is said once in:\n{log}");
        let errors = log.lines().filter(|line| line.contains("ERROR")).count();
        assert!(errors <= 1, "one line is enough:\n{log}");
        assert!(!log.contains("wrong-secret"), "{log}");
        env.kill();
        assert_eq!(secured.kafka.count(&topic), 0);
        // What cannot be mended here is got round by another listener.
        let (listener, mended) = match mended {
            Some(mended) => (*listener, mended.clone()),
            None => ("TLS", with(&[])),
        };
        for (key, _) in keys {
            env.unset("kafka", key);
        }
        env.set("kafka", "brokers", &secured.broker(listener));
        for (key, value) in &mended {
            env.set("kafka", key, value);
        }
        env.start();
        secured.expect_all(&mut env, &topic);
    }

    // Sessions of limited time: renewed on the same connection, between requests.
    let keys = plain("secret-of-the-test");
    let (mut env, topic) = secured.agent("PLAIN", &borrowed(&keys));
    env.set("kafka", "batch_bytes", "1KiB");
    env.start();
    let steps = 2 * SESSION_MS as usize / 100;
    for step in 0..steps {
        env.write_lines("app.log", 1000 + step * 10..1010 + step * 10);
        thread::sleep(Duration::from_millis(100));
    }
    let all = 1000 + steps * 10;
    secured.kafka.wait_for_records(&topic, all, LONG);
    let log = env.log();
    let troubles = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"));
    // PLAIN without TLS, and an ini with a password that others can read.
    assert_eq!(troubles.count(), 2, "{log}");
    assert!(
        log.contains("PLAIN without tls = on") && log.contains("chmod 600"),
        "{log}"
    );
    env.stop();
    assert_same_lines(&lines(0..all), &secured.arrived(&topic));
}
