//! The words by which log lines say how bad what they tell is.

/// How bad a log line says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Warnings and above: a trace may follow.
    Severe,
    /// All others.
    Other,
}

/// The level word that `text` begins with, in any case, and what follows it.
pub(super) fn level_word(text: &[u8]) -> Option<(Level, &[u8])> {
    let length = text
        .iter()
        .take(LONGEST_LEVEL + 1)
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let (word, after) = text.split_at_checked(length)?;
    if after
        .first()
        .is_some_and(|next| next.is_ascii_digit() || *next == b'_')
    {
        return None;
    }
    let (severe, others): (&[&[u8]], &[&[u8]]) = match word.first()?.to_ascii_uppercase() {
        b'A' => (&[b"ALERT"], &[]),
        b'C' => (&[b"CRIT", b"CRITICAL"], &[b"CONFIG"]),
        b'D' => (&[b"DPANIC"], &[b"DEBUG", b"DBUG", b"DBG"]),
        b'E' => (&[b"ERROR", b"ERR", b"ERRO", b"EMERG", b"EMERGENCY"], &[]),
        b'F' => (&[b"FATAL", b"FAIL"], &[b"FINE", b"FINER", b"FINEST"]),
        b'I' => (&[], &[b"INFO", b"INF", b"INFORMATION"]),
        b'L' => (&[], &[b"LOG"]),
        b'N' => (&[], &[b"NOTICE", b"NOTE"]),
        b'S' => (&[b"SEVERE"], &[]),
        b'T' => (&[], &[b"TRACE", b"TRCE"]),
        b'V' => (&[], &[b"VERBOSE"]),
        b'W' => (&[b"WARN", b"WARNING"], &[]),
        _ => return None,
    };
    let is = |words: &[&[u8]]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    if is(severe) {
        Some((Level::Severe, after))
    } else if is(others) {
        Some((Level::Other, after))
    } else {
        None
    }
}

const LONGEST_LEVEL: usize = 11;
