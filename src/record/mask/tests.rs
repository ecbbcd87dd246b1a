//! What each rule hides and what it leaves.

use super::*;

pub(super) fn masker(words: &str, rules: &[(&str, &str)]) -> Masker {
    let words = match words {
        "" => Vec::new(),
        words => Word::parse_list(words).expect("words"),
    };
    let rules = rules.iter().map(|(name, rule)| {
        let rule = MaskRule::parse(rule).expect(rule);
        (Arc::from(*name), rule)
    });
    Masker::new(Arc::new(Masks::new(&words, rules.collect())))
}

pub(super) fn masked(masker: &mut Masker, event: &str) -> String {
    let mut out = Vec::new();
    match masker.apply(event.as_bytes(), &mut out) {
        true => String::from_utf8(out).expect("UTF-8"),
        false => {
            assert!(out.is_empty());
            event.to_owned()
        }
    }
}

fn check(words: &str, cases: &[(&str, &str)]) {
    let mut masker = masker(words, &[]);
    for (event, shown) in cases {
        assert_eq!(masked(&mut masker, event), *shown, "{event}");
    }
}

#[test]
fn cards_are_hidden_however_they_are_grouped() {
    check(
        "card",
        &[
            ("pay 4111111111111111 ok", "pay *** ok"),
            ("4111 1111 1111 1111", "***"),
            ("\"card\":\"4111-1111-1111-1111\",", "\"card\":\"***\","),
            ("3782 822463 10005|", "***|"),
            ("378282246310005", "***"),
            ("30569309025904", "***"),
            ("4222222222222", "***"),
            ("card=6011+1111+1111+1117&x=1", "card=***&x=1"),
            ("card4111111111111111x", "card***x"),
            ("cc4111111111111111", "cc***"),
            ("1234 4111 1111 1111 1111 99", "1234 *** 99"),
            ("4111111111111111 5500000000000004", "*** ***"),
            ("6212345678901232 4111 1111 1111 1111", "*** ***"),
            ("\\n4111111111111111\\n", "\\n***\\n"),
            ("12-4111111111111111", "12-***"),
        ],
    );
}

#[test]
fn other_numbers_are_left() {
    let numbers = [
        "order 20261126123456789 paid",
        "order 41111111111111112",
        "4111111111111112",
        "2026-11-26 22:30:54,116 1764253411123456",
        "0.4111111111111111",
        "41111111111111111111111111",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "a4111111111111111bcdef0123456789",
        "550e8400-e29b-41d4-a716-446655440000",
        "10.0.0.1 - - [26/Nov/2026:22:30:54 +0000] \"GET / HTTP/1.1\" 200 612",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        "4111 1111 1111",
        "0000000000000000",
        "",
        "4",
    ];
    let mut masker = masker("card", &[]);
    for number in numbers {
        assert_eq!(masked(&mut masker, number), number);
    }
    assert!(masker.counts().iter().all(|count| *count == 0));
}

#[test]
fn addresses_are_hidden() {
    check(
        "email",
        &[
            ("from bob@example.com to", "from *** to"),
            ("<bob.b+x@mail.example.co.uk>.", "<***>."),
            ("user=bob@example.com,", "user=***,"),
            ("GET /?m=bob%40example.com&x=%40", "GET /?m=***&x=%40"),
            ("git@github.com:x/y", "***:x/y"),
            ("root@localhost", "root@localhost"),
            ("lodash@4.17.21", "lodash@4.17.21"),
            ("@ @. a@ @a.b a@.com", "@ @. a@ @a.b a@.com"),
            ("寄给bob@example.com。", "寄给***。"),
            ("a@b.cd@e.fg", "***"),
        ],
    );
}

#[test]
fn bearer_tokens_and_authorization_are_hidden() {
    check(
        "bearer",
        &[
            ("Bearer eyJhbGciOi.J9-_x/+~=", "Bearer ***"),
            ("x bearer abcdefgh, y", "x bearer ***, y"),
            ("t=BEARER%20abcdefgh&x", "t=BEARER%20***&x"),
            ("a bearer of news", "a bearer of news"),
            ("forbearer abcdefgh", "forbearer abcdefgh"),
            ("Authorization: Basic Ym9iOmI=", "Authorization: Basic ***"),
            (
                "authorization=basic Ym9i next",
                "authorization=basic *** next",
            ),
            (
                "\"Authorization\":\"Bearer abc\",\"x\":1",
                "\"Authorization\":\"Bearer ***\",\"x\":1",
            ),
            (
                "{\\\"authorization\\\": \\\"Basic Ym9i\\\"}",
                "{\\\"authorization\\\": \\\"Basic ***\\\"}",
            ),
            (
                "-H 'Authorization: token ghp_1' x",
                "-H 'Authorization: token ***' x",
            ),
            (
                "Proxy-Authorization: Digest a=\"b\", r=\"c\"\nnext",
                "Proxy-Authorization: Digest ***\nnext",
            ),
            ("Authorization: abcdef ghijkl m", "Authorization: *** *** m"),
            ("{'Authorization': 'abc def'}", "{'Authorization': '***'}"),
        ],
    );
}

#[test]
fn values_of_keys_are_hidden() {
    check(
        "password",
        &[
            ("password=hunter2 x", "password=*** x"),
            (
                "GET /?user=bob&password=hunter2&x=1 HTTP",
                "GET /?user=bob&password=***&x=1 HTTP",
            ),
            ("Password: hunter2", "Password: ***"),
            ("PWD = hunter2;x", "PWD = ***;x"),
            ("DB_PASSWORD='a b' c", "DB_PASSWORD='***' c"),
            (
                r#"{"password":"a\"b\\","x":1}"#,
                r#"{"password":"***","x":1}"#,
            ),
            (
                r#"{"apiKey" : "abc", "x":1}"#,
                r#"{"apiKey" : "***", "x":1}"#,
            ),
            (
                r#""{\"pwd\":\"a\\\"b\\\\\",\"x\":1}""#,
                r#""{\"pwd\":\"***\",\"x\":1}""#,
            ),
            (r#"{"pwd":1234,"x":1}"#, r#"{"pwd":"***","x":1}"#),
            (
                r#"{"token":null,"secret":true}"#,
                r#"{"token":null,"secret":true}"#,
            ),
            (r#"{"secret":["a","b"],"x":1}"#, r#"{"secret":"***","x":1}"#),
            (
                r#"{"secret":{"password":"a"}}"#,
                r#"{"secret":{"password":"***"}}"#,
            ),
            (
                "{'passwd': u'abc', 'x': b'y'}",
                "{'passwd': u'***', 'x': b'y'}",
            ),
            ("C { secret: Some(\"abc\") }", "C { secret: Some(\"***\") }"),
            ("User{password=a,b, name=x}", "User{password=***, name=x}"),
            ("secret_key=a,b,role=x", "secret_key=***,role=x"),
            ("X-Api-Key: abc", "X-Api-Key: ***"),
            (":access_token => \"abc\"", ":access_token => \"***\""),
            ("user[password]=abc&x", "user[password]=***&x"),
            ("user%5Bpassword%5D=abc&x", "user%5Bpassword%5D=***&x"),
            (
                "<db:password>abc</db:password> x",
                "<db:password>***</db:password> x",
            ),
            (
                "\x1b[36mpassword\x1b[0m=\x1b[33mabc\x1b[0m",
                "\x1b[36mpassword\x1b[0m=\x1b[33m***\x1b[0m",
            ),
            (
                r#""msg":"password=abc","x":1"#,
                r#""msg":"password=***","x":1"#,
            ),
            (r#"{\"q\":\"password=abc\"}"#, r#"{\"q\":\"password=***\"}"#),
            ("password=\"abc", "password=\"***"),
            ("password=", "password="),
            ("password=\"\"", "password=\"\""),
            ("token: Bearer abc", "token: *** abc"),
            ("passphrase=订单7", "passphrase=***"),
            // Not keys.
            ("max_tokens=512 tokens: 7", "max_tokens=512 tokens: 7"),
            ("auth::token::verify", "auth::token::verify"),
            ("if token>5", "if token>5"),
            ("the password is wrong", "the password is wrong"),
            ("=: >", "=: >"),
        ],
    );
}

#[test]
fn a_regex_hides_its_match_but_for_the_groups_it_keeps() {
    for (rule, event, shown) in [
        (r"ab+", "xabbbx abx", "x***x ***x"),
        (
            r"/home/[a-z0-9_]+ => /home/***",
            "cd /home/bob/x",
            "cd /home/***/x",
        ),
        (
            r#"([?&](?:token|key)=)[^&"\\]+ => $1***"#,
            "/?a=1&token=abc&key=d\"",
            "/?a=1&token=***&key=***\"",
        ),
        (r"(?<a>\d+)-(\d+)-(?<b>\d+) => ${a}/$b", "1-22-3", "1/3"),
        (r"(a)(x)?(b) => <$1|$2|$3>", "ab", "<a||b>"),
        (r"(a(b)) => $1$2", "ab", "ab"),
        (r"\d+ => $$5", "cost 12", "cost $5"),
        (r"\d+ =>", "a12b", "ab"),
        (r"^a => b", "aa", "ba"),
        (r"x$ => $$", "xx", "x$"),
        (r"a => b => c", "a => b", "c"),
        (r"(a) => $1!", "xa", "xa!"),
    ] {
        assert_eq!(
            masked(&mut masker("", &[("mask.a", rule)]), event),
            shown,
            "{rule}"
        );
    }
}

#[test]
fn a_secret_that_two_rules_know_in_part_is_hidden_as_a_whole() {
    let rules = [
        ("mask.user", r"(user=\S+) id=\d+ => $1 id=*"),
        ("mask.x", "example"),
    ];
    let mut masker = masker("card,email,bearer,password", &rules);
    for (event, shown) in [
        ("user=bob@example.com id=7", "user=*** id=*"),
        ("password=bob@example.com12!xy z", "password=*** z"),
        ("password=4111111111111111-tail", "password=***"),
        ("Bearer abc.def@x.com/ghi z", "Bearer *** z"),
        ("4111111111111111@example.com", "***"),
        ("x 4111 1111 1111 1111@example.com y", "x *** y"),
        ("example", "***"),
    ] {
        assert_eq!(masked(&mut masker, event), shown, "{event}");
    }
}

#[test]
fn counts_are_by_rule() {
    let mut masker = masker("email, card", &[("mask.a", "a(b)c => $1"), ("mask.z", "z")]);
    let _ = masked(&mut masker, "abc abc q@example.com 4111111111111111");
    let names = masker.masks.names().iter().map(|name| name.to_string());
    let counts: Vec<_> = names.zip(masker.counts().to_vec()).collect();
    let expected = [
        ("card", 1),
        ("email", 1),
        ("bearer", 0),
        ("password", 0),
        ("mask.a", 2),
        ("mask.z", 0),
    ];
    assert_eq!(
        counts,
        expected.map(|(name, count)| (name.to_owned(), count))
    );
}

#[test]
fn what_is_no_mask_is_refused_at_its_place() {
    let error = Word::parse_list("card, token=\\S+").expect_err("a regex");
    assert_eq!(error.at, 6);
    assert!(
        error
            .words
            .starts_with("'token=\\S+' is not one of card, email, bearer, password;")
    );
    assert!(Word::parse_list("").is_err() && Word::parse_list("card,").is_err());
    for (rule, at, words) in [
        ("(a => b", 0, "'(' has no ')'"),
        ("a* => b", 0, "nothing at all"),
        ("(a) => $2", 7, "no group '2'"),
        ("(a) => x$name", 8, "no group 'name'"),
        ("(a) => $0", 7, "'$0' would show"),
        ("(a) => ${0}", 7, "'$0' would show"),
        ("(a)(b) => $2$1", 12, "'$1' is not in the order"),
        ("(a) => $1$1", 9, "not in the order"),
        ("(a) => $", 7, "'$' is followed by"),
        ("(a) => ${1", 7, "'$' is followed by"),
        ("(a) => $-", 7, "'$' is followed by"),
        ("", 0, "is empty"),
    ] {
        let error = MaskRule::parse(rule).expect_err(rule);
        assert!(error.words.contains(words), "{rule}: {error}");
        assert_eq!(error.at, at, "{rule}: {error}");
    }
}

#[test]
fn an_event_that_is_no_text_is_masked_on_its_bytes() {
    let mut out = Vec::new();
    assert!(masker("password", &[]).apply(b"\xff\xfe password=\xff\x00\xfe x", &mut out));
    assert_eq!(out, b"\xff\xfe password=***\x00\xfe x");
}
