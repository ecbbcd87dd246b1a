//! TLS settings and the files they name.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

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
