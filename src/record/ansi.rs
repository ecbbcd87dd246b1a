//! Colours and other escape sequences of terminals, taken out of a line.
//!
//! ```text
//! ESC [ 1 ; 31 m                       colours, the cursor: to the final byte 0x40 to 0x7E
//! ESC ] 8 ; ; http://x ESC \           titles, links: to ESC \ or BEL; also with P, X, ^ or _ for ]
//! ESC ( B        ESC 7                 character sets, single orders
//! ```
//! What is no whole sequence never takes text with it. If a colour breaks off, at the end or at a byte that cannot
//! be in one, what there is of it goes and that byte stays. If a title has no end before the next ESC or newline, the
//! two bytes that began it go and its text stays. The bytes 0x80 to 0x9F begin nothing: in UTF-8 they are halves of
//! characters.

/// Adds `line`, one line or several, to `out` without its escape sequences. If it holds no ESC it adds nothing
/// and returns false: then `line` is what was asked for.
#[inline]
pub fn strip(line: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(first) = memchr::memchr(ESC, line) else {
        return false;
    };
    let mut rest = line;
    let mut next = Some(first);
    while let Some((text, sequence)) = next.and_then(|at| rest.split_at_checked(at)) {
        out.extend_from_slice(text);
        rest = sequence.get(sequence_len(sequence)..).unwrap_or_default();
        next = memchr::memchr(ESC, rest);
    }
    out.extend_from_slice(rest);
    true
}

/// As [`strip`], and always adds. `places` in the line, in their order, become places in what was added: one inside
/// of a sequence is where that was.
pub fn strip_around(line: &[u8], places: &mut [usize], out: &mut Vec<u8>) {
    let begin = out.len();
    let (mut at, mut place) = (0, 0);
    let mut move_places = |upto: usize, gone: usize, end: usize| {
        while let Some(next) = places.get_mut(place).filter(|next| **next <= upto) {
            *next = next.saturating_sub(gone).min(end);
            place += 1;
        }
    };
    loop {
        let rest = line.get(at..).unwrap_or_default();
        let text = memchr::memchr(ESC, rest).unwrap_or(rest.len());
        let gone = at - (out.len() - begin);
        out.extend_from_slice(rest.get(..text).unwrap_or_default());
        let end = out.len() - begin;
        move_places(at + text, gone, end);
        let Some(sequence @ [_, ..]) = rest.get(text..) else {
            break;
        };
        at += text + sequence_len(sequence).min(sequence.len());
        move_places(at, 0, end);
    }
}

/// How many bytes go of what begins with ESC; at least 1.
#[inline]
fn sequence_len(sequence: &[u8]) -> usize {
    let after = |begin: usize| sequence.get(begin..).unwrap_or_default();
    let run = |bytes: &[u8], is_in: fn(&u8) -> bool| bytes.iter().take_while(|b| is_in(b)).count();
    match sequence.get(1) {
        Some(b'[') => {
            let begun = 2 + run(after(2), |byte| (0x20..0x40).contains(byte));
            let is_whole = after(begun)
                .first()
                .is_some_and(|b| (0x40..0x7f).contains(b));
            begun + usize::from(is_whole)
        }
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let text = after(2);
            match memchr::memchr3(ESC, BEL, b'\n', text).map(|at| text.split_at(at)) {
                Some((text, [BEL, ..])) => 2 + text.len() + 1,
                Some((text, [ESC, b'\\', ..])) => 2 + text.len() + 2,
                _ => 2,
            }
        }
        _ => {
            let begun = 1 + run(after(1), |byte| (0x20..0x30).contains(byte));
            let is_whole = after(begun)
                .first()
                .is_some_and(|b| (0x30..0x7f).contains(b));
            begun + usize::from(is_whole)
        }
    }
}

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(line: &str) -> String {
        let mut out = Vec::new();
        assert_eq!(strip(line.as_bytes(), &mut out), line.contains('\x1b'));
        String::from_utf8(out).expect("characters stay whole")
    }

    #[test]
    fn places_stay_where_they_are_in_the_text() {
        let line = b"ab\x1b[31mcd\x1b[0m";
        let mut places: Vec<usize> = (0..=line.len()).collect();
        let mut out = b"x".to_vec();
        strip_around(line, &mut places, &mut out);
        assert_eq!(out, b"xabcd");
        assert_eq!(places, [0, 1, 2, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn a_line_without_escapes_is_left_to_the_caller() {
        assert_eq!(stripped("plain, [31m and \u{9b}31m"), "");
    }

    #[test]
    fn sequences_go_and_text_stays() {
        for (line, text) in [
            ("\x1b[32mINFO\x1b[0m ready", "INFO ready"),
            ("\x1b[1;38;2;255;0;0mred\x1b[m\r\nnext", "red\r\nnext"),
            ("\x1b[?25lspin\x1b[2K\x1b[1G", "spin"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bP1$r0m\x1b\\a\x1b_x\x1b\\b", "ab"),
            ("\x1b(Bplain\x1b7\x1b8\x1bc", "plain"),
            ("订\x1b[31m单\x1b[0m", "订单"),
            ("\x1b", ""),
        ] {
            assert_eq!(stripped(line), text, "{line:?}");
        }
    }

    #[test]
    fn what_is_no_whole_sequence_takes_no_text_with_it() {
        for (line, text) in [
            ("a\x1b", "a"),
            ("a\x1b[1;3", "a"),
            ("a\x1b[1;3\nb", "a\nb"),
            ("a\x1b[3订", "a订"),
            ("a\x1b[3\x1b[1mb", "ab"),
            ("\x1b]0;no end", "0;no end"),
            ("\x1b]0;no end\nnext\x07", "0;no end\nnext\x07"),
            ("\x1b]0;no end\x1b[1mred", "0;no endred"),
            ("\x1b订", "订"),
            ("\x1b\n", "\n"),
            ("\x1b\x1b[1mx", "x"),
        ] {
            assert_eq!(stripped(line), text, "{line:?}");
        }
    }

    #[test]
    fn nothing_but_escapes_ever_goes_from_random_bytes() {
        let mut random = fastrand::Rng::with_seed(5);
        let choice = b"\x1b\x1b[]P(m;1\x07\\\n az\xe8\xae\xa2";
        for _ in 0..100_000 {
            let line: Vec<u8> = (0..random.usize(..24))
                .map(|_| choice[random.usize(..choice.len())])
                .collect();
            let mut out = Vec::new();
            if strip(&line, &mut out) {
                assert!(!out.contains(&ESC));
                let newlines = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count();
                assert_eq!(newlines(&line), newlines(&out), "{line:?}");
            } else {
                assert!(!line.contains(&ESC));
            }
        }
    }
}
