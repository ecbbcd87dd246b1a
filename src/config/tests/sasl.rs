//! SASL settings, and that no secret is ever shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{GOOD, kafka_errors, parse};
use crate::config::{Config, SaslConfig, TokenOrigin};

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
