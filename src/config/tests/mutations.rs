//! No sequence of bytes makes the parser panic, or fail without saying why.

use super::*;
use crate::config::reference;

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
    for round in 0..3000 {
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
    assert!(loaded > 50, "{loaded} loaded");
    assert!(refused > 1500, "{refused} refused");
}
