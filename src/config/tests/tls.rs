//! TLS settings and the files they name; SASL settings, and that no secret is ever shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::config::{Config, SaslConfig, TokenOrigin};

use super::{GOOD, kafka_errors, parse};

/// A folder with a certificate, its key, another key, and files that are neither.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let half = certificate[..certificate.len() / 2].to_owned();
        let files = [
            ("cert.pem", certificate),
            ("key.pem", key.serialize_pem()),
            ("other.pem", KeyPair::generate().unwrap().serialize_pem()),
            ("half.pem", half),
            ("text.pem", "nothing of interest\n".to_owned()),
            (
                "garbage.pem",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            ),
            (
                "locked.pem",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
                    .to_owned(),
            ),
            (
                "traditional.pem",
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                 -----END RSA PRIVATE KEY-----\n"
                    .to_owned(),
            ),
        ];
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Files(folder)
    }

    /// `lines` with each `@` replaced by the folder.
    fn lines(&self, lines: &str) -> String {
        lines.replace('@', &format!("{}/", self.0.path().display()))
    }

    /// The errors of these lines in `[kafka]`, without the folder.
    fn errors(&self, lines: &str) -> String {
        kafka_errors(&self.lines(lines)).replace(&format!("{}/", self.0.path().display()), "@")
    }
}

#[test]
fn a_client_certificate_and_authorities_are_read_at_the_start() {
    let files = Files::new();
    let load = |lines: &str| {
        let lines = files.lines(lines);
        parse(&GOOD.replace("[log:web]", &format!("{lines}\n[log:web]")))
            .unwrap()
            .kafka
            .tls
    };
    assert_eq!(load(""), None);
    let plain = load("tls = on\ntls_ca = @cert.pem").unwrap();
    assert!(!plain.has_identity());
    let both = load("tls = on\ntls_ca = @cert.pem\ntls_cert = @cert.pem\ntls_key = @key.pem");
    let both = both.unwrap();
    assert!(both.has_identity());
    assert_ne!(plain, both);
    assert_eq!(plain, load("tls = on\ntls_ca = @cert.pem").unwrap());
}

#[test]
fn files_that_cannot_be_used_are_refused_with_their_line() {
    let files = Files::new();
    let accepted = "in [kafka]; accepted: a PEM file of certificates, or nothing";
    for (file, why) in [
        ("@none.pem", "no such file"),
        ("@", "a folder, not a regular file"),
        ("@half.pem", "a section of it has no END line"),
        ("@text.pem", "there is no certificate in it"),
        (
            "@garbage.pem",
            "a certificate in it is malformed: invalid peer certificate: BadEncoding",
        ),
    ] {
        assert_eq!(
            files.errors(&format!("tls = on\ntls_ca = {file}")),
            format!("a.ini:5: bad value '{file}' for 'tls_ca' {accepted}\n    {why}")
        );
    }
    let accepted = "in [kafka]; accepted: a PEM file with a private key, or nothing";
    for (file, why) in [
        ("@cert.pem", "there is no private key in it"),
        (
            "@locked.pem",
            "the key is encrypted; write it out plain: openssl pkey -in FILE",
        ),
        (
            "@traditional.pem",
            "the key is encrypted; write it out plain: openssl pkey -in FILE",
        ),
    ] {
        assert_eq!(
            files.errors(&format!("tls = on\ntls_cert = @cert.pem\ntls_key = {file}")),
            format!("a.ini:6: bad value '{file}' for 'tls_key' {accepted}\n    {why}")
        );
    }
}

#[test]
fn an_authority_that_is_of_no_use_is_left_out_of_its_bundle_and_warned_of() {
    let files = Files::new();
    let part = |name: &str| fs::read_to_string(files.0.path().join(name)).unwrap();
    for (parts, expected) in [
        (["cert.pem", "text.pem", "cert.pem"], None),
        (
            ["cert.pem", "garbage.pem", "cert.pem"],
            Some(
                "certificate 2 is left out: a certificate in it is malformed: invalid peer certificate: \
                 BadEncoding; 2 of 3 are used",
            ),
        ),
        (
            ["garbage.pem", "cert.pem", "half.pem"],
            Some(
                "certificate 1 is left out: a certificate in it is malformed: invalid peer certificate: \
                 BadEncoding, and 1 more; 1 of 3 are used",
            ),
        ),
    ] {
        let bundle = parts.map(part).concat();
        fs::write(files.0.path().join("bundle.pem"), bundle).unwrap();
        let lines = files.lines("tls = on\ntls_ca = @bundle.pem");
        let config = parse(&GOOD.replace("[log:web]", &format!("{lines}\n[log:web]"))).unwrap();
        let expected = expected.map(|words| files.lines(&format!("tls_ca = @bundle.pem: {words}")));
        assert_eq!(config.warnings(), Vec::from_iter(expected), "{parts:?}");
    }
}

#[test]
fn a_certificate_and_a_key_go_together() {
    let files = Files::new();
    assert_eq!(
        files.errors("tls = on\ntls_ca = @cert.pem\ntls_cert = @cert.pem"),
        "a.ini:6: 'tls_cert = @cert.pem' needs 'tls_key' beside it"
    );
    assert_eq!(
        files.errors("tls = on\ntls_ca = @cert.pem\ntls_key = @key.pem"),
        "a.ini:6: 'tls_key = @key.pem' needs 'tls_cert' beside it"
    );
    assert_eq!(
        files.errors("tls = on\ntls_ca = @cert.pem\ntls_cert = @cert.pem\ntls_key = @other.pem"),
        "a.ini:7: 'tls_key = @other.pem' is not the key of tls_cert"
    );
}

#[test]
fn a_private_key_that_others_can_read_is_warned_of() {
    let files = Files::new();
    let lines =
        files.lines("tls = on\ntls_ca = @cert.pem\ntls_cert = @cert.pem\ntls_key = @key.pem");
    let config = parse(&GOOD.replace("[log:web]", &format!("{lines}\n[log:web]"))).unwrap();
    for (mode, expected) in [(0o600, 0), (0o644, 1)] {
        let key = files.0.path().join("key.pem");
        fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = config.warnings();
        assert_eq!(warnings.len(), expected, "{warnings:?}");
    }
}

#[test]
fn what_belongs_to_tls_is_refused_without_it() {
    let files = Files::new();
    assert_eq!(
        files.errors("tls_ca = @cert.pem\ntls_cert = @cert.pem\ntls_key = @key.pem\ntls = off"),
        "\
a.ini:4: 'tls_ca = @cert.pem' cannot stand beside 'tls = off' (line 7)
    write tls = on, or leave it out
a.ini:5: 'tls_cert = @cert.pem' cannot stand beside 'tls = off' (line 7)
    write tls = on, or leave it out
a.ini:6: 'tls_key = @key.pem' cannot stand beside 'tls = off' (line 7)
    write tls = on, or leave it out"
    );
    assert_eq!(
        files.errors("tls = on\nprotocol = legacy"),
        "a.ini:4: 'tls = on' cannot stand beside 'protocol = legacy' (line 5)\n    legacy has no TLS"
    );
}

fn load(lines: &str) -> Config {
    parse(&GOOD.replace("[log:web]", &format!("{lines}\n[log:web]"))).unwrap()
}

#[test]
fn each_mechanism_has_its_settings() {
    assert_eq!(load("").kafka.sasl, None);
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let config = load(&format!(
            "sasl_mechanism = {mechanism}\nsasl_username = me\nsasl_password = p # q"
        ));
        let sasl = config.kafka.sasl.unwrap();
        assert_eq!(sasl.mechanism(), mechanism);
        let (SaslConfig::Plain(login)
        | SaslConfig::ScramSha256(login)
        | SaslConfig::ScramSha512(login)) = &sasl
        else {
            panic!("{sasl:?}");
        };
        assert_eq!(
            (login.username.as_str(), login.password.reveal()),
            ("me", "p # q")
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "of two words\n").unwrap();
    let path = file.display();
    let sasl = load(&format!(
        "sasl_mechanism = PLAIN\nsasl_username = me\nsasl_password_file = {path}"
    ));
    let Some(SaslConfig::Plain(login)) = sasl.kafka.sasl else {
        panic!("not PLAIN");
    };
    assert_eq!(login.password.reveal(), "of two words");
    let sasl = load(&format!(
        "sasl_mechanism = OAUTHBEARER\nsasl_token_file = {path}"
    ));
    assert_eq!(
        sasl.kafka.sasl,
        Some(SaslConfig::OAuthBearer(TokenOrigin::File(file)))
    );
}

#[test]
fn what_is_missing_or_too_much_is_refused() {
    assert_eq!(
        kafka_errors("sasl_username = me\nsasl_password = hunter2"),
        "\
a.ini:4: 'sasl_username = me' needs 'sasl_mechanism' beside it
a.ini:5: 'sasl_password = (not shown)' needs 'sasl_mechanism' beside it"
    );
    assert_eq!(
        kafka_errors("sasl_mechanism = PLAIN"),
        "\
a.ini:4: 'sasl_mechanism = PLAIN' needs 'sasl_username' beside it
a.ini:4: 'sasl_mechanism = PLAIN' needs 'sasl_password' or 'sasl_password_file' beside it"
    );
    assert_eq!(
        kafka_errors("sasl_mechanism = OAUTHBEARER\nsasl_password = hunter2"),
        "\
a.ini:4: 'sasl_mechanism = OAUTHBEARER' needs 'sasl_token_file' or 'sasl_token_url' beside it
a.ini:5: 'sasl_password = (not shown)' cannot stand beside 'sasl_mechanism = OAUTHBEARER' (line 4)
    OAUTHBEARER takes sasl_token_file alone, or sasl_token_url, sasl_client_id and sasl_client_secret"
    );
    assert_eq!(
        kafka_errors("sasl_mechanism = GSSAPI"),
        "\
a.ini:4: bad value 'GSSAPI' for 'sasl_mechanism' in [kafka]; accepted: SCRAM-SHA-512, SCRAM-SHA-256, PLAIN, OAUTHBEARER, or nothing"
    );
    assert_eq!(
        kafka_errors(
            "sasl_mechanism = PLAIN\nsasl_username = me\nsasl_password = x\nprotocol = legacy"
        ),
        "\
a.ini:4: 'sasl_mechanism = PLAIN' cannot stand beside 'protocol = legacy' (line 7)
    legacy has no SASL"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let lines = format!(
        "sasl_mechanism = PLAIN\nsasl_username = me\nsasl_password = hunter2\nsasl_password_file = {}",
        file.display()
    );
    for (content, why) in [
        ("\n", "it is empty"),
        ("hunter2\nhunter3\n", "it holds more than one line"),
        ("hunter2\n", "one of them is enough"),
    ] {
        fs::write(&file, content).unwrap();
        let errors = kafka_errors(&lines);
        assert!(
            errors.starts_with("a.ini:7: ") && errors.ends_with(why),
            "{errors}"
        );
        assert!(!errors.contains("hunter"), "{errors}");
    }
}

#[test]
fn a_token_endpoint_needs_a_client_and_its_secret_and_no_more() {
    let config = load(
        "sasl_mechanism = OAUTHBEARER\nsasl_token_url = http://idp:8080/token?a=b\n\
         sasl_client_id = me\nsasl_client_secret = hunter2\nsasl_scope = kafka logs",
    );
    let printed = format!("{config:?}");
    let Some(SaslConfig::OAuthBearer(TokenOrigin::Endpoint(client))) = config.kafka.sasl else {
        panic!("{printed}");
    };
    assert_eq!(client.endpoint.to_string(), "http://idp:8080/token");
    assert_eq!(
        (&*client.client_id, client.client_secret.reveal()),
        ("me", "hunter2")
    );
    assert_eq!(client.scope.as_deref(), Some("kafka logs"));
    assert!(!printed.contains("hunter2"), "{printed}");

    let bearer = "sasl_mechanism = OAUTHBEARER\nsasl_token_url = http://idp/";
    assert_eq!(
        kafka_errors(bearer),
        "\
a.ini:5: 'sasl_token_url = http://idp/' needs 'sasl_client_id' beside it
a.ini:5: 'sasl_token_url = http://idp/' needs 'sasl_client_secret' or 'sasl_client_secret_file' beside it"
    );
    assert_eq!(
        kafka_errors("sasl_mechanism = OAUTHBEARER\nsasl_client_secret = hunter2\nsasl_scope = a"),
        "\
a.ini:4: 'sasl_mechanism = OAUTHBEARER' needs 'sasl_token_file' or 'sasl_token_url' beside it
a.ini:5: 'sasl_client_secret = (not shown)' needs 'sasl_token_url' beside it
a.ini:6: 'sasl_scope = a' needs 'sasl_token_url' beside it"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "hunter2\n").unwrap();
    let path = file.display();
    assert_eq!(
        kafka_errors(&format!(
            "{bearer}\nsasl_client_id = me\nsasl_client_secret = x\nsasl_client_secret_file = {path}"
        )),
        format!(
            "\
a.ini:8: 'sasl_client_secret_file = {path}' cannot stand beside 'sasl_client_secret = (not shown)' (line 7)
    one of them is enough"
        )
    );
    assert_eq!(
        kafka_errors(&format!("{bearer}\nsasl_token_file = {path}")),
        format!(
            "\
a.ini:5: 'sasl_token_url = http://idp/' cannot stand beside 'sasl_token_file = {path}' (line 6)
    one of them is enough"
        )
    );
    assert_eq!(
        kafka_errors(
            "sasl_mechanism = PLAIN\nsasl_username = me\nsasl_password = x\nsasl_token_url = http://idp/"
        ),
        "\
a.ini:7: 'sasl_token_url = http://idp/' cannot stand beside 'sasl_mechanism = PLAIN' (line 4)
    only OAUTHBEARER takes a token"
    );
    assert_eq!(
        kafka_errors("sasl_mechanism = OAUTHBEARER\nsasl_token_url = https://me:hunter2@idp/"),
        "\
a.ini:5: bad value '@' for 'sasl_token_url' in [kafka]; accepted: a URL that begins with https:// or http://, or nothing
    name and secret go to sasl_client_id and sasl_client_secret"
    );
}

#[test]
fn no_secret_is_in_what_a_programmer_prints() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let config = load(&format!(
            "sasl_mechanism = {mechanism}\nsasl_username = me\nsasl_password = hunter2"
        ));
        let printed = format!("{config:?} {config:#?}");
        assert!(
            printed.contains("me") && !printed.contains("hunter2"),
            "{printed}"
        );
    }
}

#[test]
fn what_exposes_a_secret_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.ini");
    let warnings = |mode: u32, lines: &str| {
        let text = GOOD.replace("[log:web]", &format!("{lines}\n[log:web]"));
        fs::write(&file, &text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let env = |name: &str| (name == "PASSWORD").then(|| "hunter2".to_owned());
        let config = Config::parse(&text, Path::new(&file), &env).unwrap();
        let warnings = config.warnings();
        assert!(!warnings.concat().contains("hunter2"));
        warnings.len()
    };
    let scram = "sasl_mechanism = SCRAM-SHA-512\nsasl_username = me\nsasl_password = ";
    let plain = "sasl_mechanism = PLAIN\nsasl_username = me\nsasl_password = ";
    assert_eq!(warnings(0o644, ""), 0);
    assert_eq!(warnings(0o600, &format!("{scram}hunter2")), 0);
    assert_eq!(warnings(0o640, &format!("{scram}hunter2")), 1);
    assert_eq!(warnings(0o644, &format!("{scram}${{PASSWORD}}")), 0);
    assert_eq!(warnings(0o600, &format!("{plain}hunter2")), 1);
    assert_eq!(warnings(0o644, &format!("{plain}hunter2")), 2);
}
