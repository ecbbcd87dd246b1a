//! From a path to a configuration, and what is no ini file at all: no sequence of bytes makes the parser panic, or
//! fail without saying why.

use std::fs;
use std::os::unix::net::UnixListener;

use rustix::fs::Mode;
use tempfile::TempDir;

use crate::config::reference;

use super::*;

/// The message about `path` without the path.
fn refusal(path: &Path) -> String {
    let text = Config::load(path).expect_err("it is bad").to_string();
    let path = path.display().to_string();
    text.strip_prefix(&path).expect("the path leads").to_owned()
}

#[test]
fn a_file_is_read_with_the_environment_of_the_process() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.ini");
    fs::write(&path, format!("{GOOD}key = ${{PATH}}\n")).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.file, path);
    assert_eq!(config.logs[0].destination.key, std::env::var("PATH").ok());

    let link = dir.path().join("link.ini");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(Config::load(&link).is_ok());
}

#[test]
fn errors_begin_with_the_path_as_it_was_given() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("logagent.ini");
    fs::write(&path, GOOD.replace("brokers", "brokrs")).unwrap();
    assert_eq!(
        refusal(&path),
        ":2: unknown key 'brokrs' in [kafka]; did you mean 'brokers'?"
    );
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let dir = TempDir::new().unwrap();
    let hint = "\n    name the ini file itself with --config FILE";

    assert_eq!(
        refusal(&dir.path().join("gone.ini")),
        ": no such file\n    name another one with --config FILE"
    );
    assert_eq!(
        refusal(dir.path()),
        format!(": a folder, not a regular file{hint}")
    );

    let fifo = dir.path().join("fifo");
    let cwd = rustix::fs::CWD;
    rustix::fs::mknodat(cwd, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(
        refusal(&fifo),
        format!(": a fifo, not a regular file{hint}")
    );

    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(
        refusal(&socket),
        format!(": a socket, not a regular file{hint}")
    );
    assert_eq!(
        refusal(Path::new("/dev/zero")),
        format!(": a device, not a regular file{hint}")
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_named_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.ini");
    fs::write(&file, GOOD).unwrap();
    assert_eq!(
        refusal(&file.join("b.ini")),
        ": cannot be opened: Not a directory (os error 20)"
    );
}

#[test]
fn a_file_larger_than_any_ini_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.ini");
    let mut text = GOOD.to_owned();
    text.push_str(&"#".repeat((1 << 20) - GOOD.len()));
    fs::write(&path, &text).unwrap();
    assert!(Config::load(&path).is_ok());
    text.push('#');
    fs::write(&path, &text).unwrap();
    assert_eq!(refusal(&path), ": larger than 1048576 bytes");
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// What an ini could trip over.
const PIECES: [&[u8]; 32] = [
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"=",
    b"[",
    b"]",
    b"[log:",
    b"[log:x]\n",
    b"[kafka]\n",
    b"#",
    b";",
    b"${",
    b"}",
    b"$${",
    b"${HOST}",
    b",",
    b":",
    b"::1",
    b"**",
    b"[!",
    b"~/",
    b"\"",
    b" ",
    b"\t",
    b"\xFF",
    b"\xEF\xBB\xBF",
    b"\xC2\x85",
    b"\xE2\x80\xA8",
    b"99999999999999999999",
    b"-1",
    b"GiB",
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let until = (at + random.below(24)).min(bytes.len());
        match random.below(5) {
            0 => drop(bytes.drain(at..until)),
            1 => {
                let copy = bytes[at..until].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            _ => {
                let piece = PIECES[random.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
}

#[test]
fn no_bytes_make_the_parser_panic_or_fail_without_a_reason() {
    let seeds = [
        GOOD.to_owned(),
        reference(),
        reference().replace("\n#", "\n"),
    ];
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut loaded, mut refused) = (0, 0);
    for round in 0..1000 {
        let mut bytes = seeds[round % seeds.len()].clone().into_bytes();
        // One seed is much longer than the other: begin anywhere in it.
        let from = random.below(bytes.len() / 2) * (round % 2);
        bytes.drain(..from);
        mutate(&mut bytes, &mut random);
        match parse_bytes(&bytes) {
            Ok(_) => loaded += 1,
            Err(errors) => {
                refused += 1;
                assert!(!errors.errors().is_empty(), "{:?}", bytes.escape_ascii());
                let shown = errors.to_string();
                assert!(
                    !shown.contains("two ways"),
                    "{shown}\n{:?}",
                    bytes.escape_ascii()
                );
                assert!(
                    shown.chars().all(|c| c == '\n' || !c.is_control()),
                    "{shown:?}"
                );
            }
        }
    }
    assert!(loaded > 20, "{loaded} loaded");
    assert!(refused > 500, "{refused} refused");
}
