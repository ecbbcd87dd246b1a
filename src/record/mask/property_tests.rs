//! Random lines with secrets, whole and in pieces: nothing of a secret is shown, and the cuts change nothing.

use fastrand::Rng;

use super::tests::masker;
use std::ops::Range;

use super::*;

/// A line, and what of it must not be shown.
#[derive(Default)]
struct Line {
    text: String,
    secrets: Vec<String>,
    /// The text without the secrets.
    rest: String,
}

impl Line {
    fn random(random: &mut Rng) -> Self {
        let mut line = Self::default();
        for _ in 0..random.usize(1..8) {
            line.push_filler(random);
            line.push_secret(random);
        }
        line.push_filler(random);
        line
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.rest.push_str(text);
    }

    fn push_hidden(&mut self, secret: String) {
        self.text.push_str(&secret);
        self.rest.push('\0');
        self.secrets.push(secret);
    }

    fn push_filler(&mut self, random: &mut Rng) {
        self.push(" ");
        let words = if random.u8(0..20) == 0 { 400 } else { 6 };
        for _ in 0..random.usize(0..words) {
            self.push(FILLERS[random.usize(0..FILLERS.len())]);
            self.push(" ");
        }
    }

    fn push_secret(&mut self, random: &mut Rng) {
        let kind = random.usize(0..8);
        match kind {
            0 => {
                let card = card(random);
                self.push_hidden(card);
            }
            1 => {
                let at = if random.bool() { "@" } else { "%40" };
                let (local, host) = (text(random, 6..20, b"._%+-"), text(random, 6..30, b"-"));
                self.push_hidden(format!("x{local}{at}{host}x.com"));
            }
            2 => {
                let name = ["Bearer ", "bearer  ", "Authorization: Basic ", "Bearer%20"]
                    [random.usize(0..4)];
                self.push(name);
                let len = long(random);
                let secret = text(random, len, b"-._~+/=");
                self.push_hidden(secret);
            }
            3 => {
                let (open, close) = QUOTED[random.usize(0..QUOTED.len())];
                self.push(KEYS[random.usize(0..KEYS.len())]);
                self.push(open);
                let len = long(random);
                let secret = text(random, len, b" ,;&<>[]{}()=:@#");
                self.push_hidden(secret);
                self.push(close);
            }
            4 => {
                // Escapes within one level of quotes.
                self.push("{\"password\":\"");
                let mut secret = String::new();
                for _ in 0..random.usize(1..6) {
                    secret.push_str(&text(random, 3..9, b" ,"));
                    secret.push_str(["\\\"", "\\\\", "\\n", "\\u0041"][random.usize(0..4)]);
                }
                self.push_hidden(secret);
                self.push("\"}");
            }
            5 => {
                self.push(KEYS[random.usize(0..KEYS.len())]);
                self.push(["=", ": ", " = ", ":", "=>", " : "][random.usize(0..6)]);
                let len = long(random);
                let secret = text(random, len, b"!#$%()*+-./:=?@[]^_{|}~\\");
                // What begins with a bracket is a list or an object.
                self.push_hidden(format!("x{secret}"));
                self.push([" ", "&a=b", ";", ", b", ",role=x", "\n"][random.usize(0..6)]);
            }
            6 => {
                self.push("session_");
                let secret = text(random, 6..900, b"-");
                self.push_hidden(secret);
            }
            _ => {
                self.push("id=7 pin<");
                let secret = text(random, 6..60, b"-,;");
                self.push_hidden(secret);
                self.push("> end");
            }
        }
    }
}

fn long(random: &mut Rng) -> Range<usize> {
    match random.u8(0..30) {
        0 => 900..5000,
        _ => 8..40,
    }
}

/// Letters and digits, with some of the `others` between them.
fn text(random: &mut Rng, len: Range<usize>, others: &[u8]) -> String {
    let len = random.usize(len);
    let last = len - 1;
    let byte = |place| match random.u8(0..6) {
        0 if place > 0 && place < last => char::from(others[random.usize(0..others.len())]),
        _ => random.alphanumeric(),
    };
    (0..len).map(byte).collect()
}

fn card(random: &mut Rng) -> String {
    let lens: [&[usize]; 8] = [
        &[16],
        &[4, 4, 4, 4],
        &[4, 6, 5],
        &[13],
        &[15],
        &[19],
        &[4, 4, 4, 4, 3],
        &[4, 6, 4],
    ];
    let lens = lens[random.usize(0..lens.len())];
    let count: usize = lens.iter().sum();
    let mut digits: Vec<u8> = (0..count).map(|_| random.u8(0..10)).collect();
    digits[0] = [3, 4, 5, 6][random.usize(0..4)];
    let sum = |digits: &[u8]| -> u8 {
        let doubled = digits
            .iter()
            .rev()
            .enumerate()
            .map(|(place, digit)| match place % 2 {
                1 if *digit > 4 => digit * 2 - 9,
                1 => digit * 2,
                _ => *digit,
            });
        doubled.fold(0, |sum, digit| (sum + digit) % 10)
    };
    digits[count - 1] = 0;
    digits[count - 1] = (10 - sum(&digits)) % 10;
    let separator = [" ", "-"][random.usize(0..2)];
    let mut rest = digits.as_slice();
    let mut groups = Vec::new();
    for len in lens {
        let (group, others) = rest.split_at(*len);
        groups.push(
            group
                .iter()
                .map(|digit| char::from(b'0' + digit))
                .collect::<String>(),
        );
        rest = others;
    }
    groups.join(separator)
}

/// The line in pieces of these sizes.
fn in_pieces(masker: &mut Masker, line: &[u8], mut size: impl FnMut() -> usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut start = 0;
    while start < line.len() {
        let end = (start + size()).min(line.len());
        let first = start.saturating_sub(CONTEXT_BYTES);
        let last = (end + CONTEXT_BYTES).min(line.len());
        let piece = Piece {
            window: &line[first..last],
            bytes: start - first..end - first,
            is_first: start == 0,
            is_last: end == line.len(),
        };
        if !masker.apply_piece(&piece, &mut out) {
            out.extend_from_slice(&line[start..end]);
        }
        start = end;
    }
    out
}

fn check(line: &Line, shown: &[u8]) {
    let shown = String::from_utf8_lossy(shown);
    for secret in &line.secrets {
        for at in 0..(secret.len() + 1).saturating_sub(6) {
            let part = &secret[at..at + 6];
            assert!(
                !shown.contains(part) || line.rest.contains(part),
                "{part:?} of {secret:?} is shown\n{}\n{shown}",
                line.text
            );
        }
    }
}

fn all() -> Masker {
    let rules = [
        ("mask.session", r"(session_)[0-9A-Za-z-]+ => $1#"),
        ("mask.pin", r"(id=\d+) pin<[^>]*(>) => $1 pin<...$2"),
    ];
    masker("card, email, bearer, password", &rules)
}

#[test]
fn nothing_of_a_secret_is_shown_whole_or_in_pieces() {
    let lines = if cfg!(debug_assertions) { 800 } else { 100_000 };
    let (mut masker, mut pieces) = (all(), all());
    for seed in 0..lines {
        let mut random = Rng::with_seed(seed);
        let line = Line::random(&mut random);
        let text = line.text.as_bytes();
        let mut whole = Vec::new();
        assert!(masker.apply(text, &mut whole), "{seed}: {}", line.text);
        check(&line, &whole);
        let largest = [1, 7, 60, 600, 3000][random.usize(0..5)];
        let largest = if text.len() > 3000 {
            largest.max(60)
        } else {
            largest
        };
        let cut = in_pieces(&mut pieces, text, || random.usize(1..=largest));
        let (cut, whole) = (
            String::from_utf8_lossy(&cut),
            String::from_utf8_lossy(&whole),
        );
        assert_eq!(cut, whole, "{seed} {largest}: {}", line.text);
    }
    assert_eq!(masker.counts(), pieces.counts());
}

#[test]
fn every_single_cut_gives_the_same() {
    for seed in 0..if cfg!(debug_assertions) { 20 } else { 1_000 } {
        let line = Line::random(&mut Rng::with_seed(1_000_000 + seed));
        let text = line.text.as_bytes();
        if text.len() > 1_000 {
            continue;
        }
        let whole = in_pieces(&mut all(), text, || text.len());
        let mut pieces = all();
        for cut in 1..text.len() {
            assert_eq!(in_pieces(&mut pieces, text, || cut), whole, "{seed} {cut}");
        }
    }
}

#[test]
fn lines_without_secrets_are_unchanged() {
    let mut masker = all();
    let mut out = Vec::new();
    for seed in 0..20_000 {
        let mut random = Rng::with_seed(seed);
        let mut line = Line::default();
        line.push_filler(&mut random);
        assert!(
            !masker.apply(line.text.as_bytes(), &mut out),
            "{}",
            line.text
        );
        let cut = in_pieces(&mut masker, line.text.as_bytes(), || random.usize(1..300));
        assert_eq!(cut, line.text.as_bytes());
    }
}

#[test]
fn order_numbers_of_17_digits_are_left_if_their_checksum_fails() {
    let mut masker = all();
    let mut random = Rng::with_seed(17);
    let mut is_masked = |number: &str| masker.apply(number.as_bytes(), &mut Vec::new());
    let mut hits = 0;
    for _ in 0..20_000 {
        let first = random.u64(3_000_000_000_000_000..7_000_000_000_000_000);
        let by_last = (0..10)
            .filter(|last| is_masked(&format!("order {first}{last} paid")))
            .count();
        hits += by_last;
        assert!(by_last <= 1);
    }
    // One last digit of ten makes a checksum, and 7… at the beginning is no card: so all of these have one.
    assert_eq!(hits, 20_000);
}

#[test]
fn a_match_of_a_regex_that_goes_beyond_the_context_hides_the_rest_of_the_line() {
    let mut masker = masker("", &[("mask.a", r"(key=)\S+ => $1#")]);
    let line = format!("x key={} y key=b z", "a".repeat(5000));
    let cut = in_pieces(&mut masker, line.as_bytes(), || 100);
    assert_eq!(String::from_utf8_lossy(&cut), "x ***");
    // The next line begins anew.
    assert_eq!(in_pieces(&mut masker, b"x key=a y", || 100), b"x key=# y");
}

#[test]
fn after_a_restart_in_the_middle_of_a_line_the_value_is_still_known() {
    let mut masker = all();
    let line = format!("x password={} y", "a".repeat(5000)).into_bytes();
    let mut out = Vec::new();
    masker.catch_up(&line[..4000], 3000);
    let piece = Piece {
        window: &line[1976..],
        bytes: 1024..line.len() - 1976,
        is_first: false,
        is_last: true,
    };
    assert!(masker.apply_piece(&piece, &mut out));
    assert_eq!(out, b" y");
}

const FILLERS: [&str; 16] = [
    "GET",
    "/index.html?a=1",
    "HTTP/1.1\"",
    "200",
    "error:",
    "{\"k\":1}",
    "订单",
    "10.0.0.1",
    "2026-11-26",
    "22:30:54,116",
    "max_tokens=512",
    "http://x/",
    "a, b",
    "it's",
    "\"x\"",
    "Bob",
];
const KEYS: [&str; 12] = [
    "password",
    "DB_PASSWORD",
    "passwd",
    "Pwd",
    "client_secret",
    "api_key",
    "apiKey",
    "X-Api-Key",
    "access_token",
    "token",
    "user[password]",
    "secret-key",
];
const QUOTED: [(&str, &str); 7] = [
    ("\":\"", "\""),
    ("\": \"", "\""),
    ("=\"", "\""),
    (": '", "'"),
    ("\\\":\\\"", "\\\""),
    ("\\\\\\\":\\\\\\\"", "\\\\\\\""),
    (" => \"", "\""),
];
