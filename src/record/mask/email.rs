//! Mail addresses.
//!
//! Letters, digits and `._%+-` (at most 256), `@` or `%40`, a domain of at least two labels (at most 255), the last of which
//! is no number. ASCII only.

use memchr::memchr2_iter;

use super::hidden::Hidden;
use super::piece::Word;

/// Finds them in `text`.
pub(super) fn find(text: &[u8], found: &mut Vec<Hidden>) {
    for at in memchr2_iter(b'@', b'%', text) {
        let (local, rest) = text.split_at_checked(at).unwrap_or_default();
        let sign = match rest {
            [b'@', ..] => 1,
            [b'%', b'4', b'0', ..] => 3,
            _ => continue,
        };
        let is_local = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
        let len = local
            .iter()
            .rev()
            .take(MAX_LOCAL)
            .take_while(is_local)
            .count();
        let domain = domain_len(rest.get(sign..).unwrap_or_default());
        if len > 0 && domain > 0 {
            found.push(Hidden::of(Word::Email, at - len, at + sign + domain));
        }
    }
}

/// The length of the domain that `text` begins with; 0 if it does not.
fn domain_len(text: &[u8]) -> usize {
    let is_domain = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let run = text.iter().take(MAX_DOMAIN).take_while(is_domain).count();
    let text = text.get(..run).unwrap_or_default();
    let len = text
        .iter()
        .rposition(u8::is_ascii_alphanumeric)
        .map_or(0, |last| last + 1);
    let text = text.get(..len).unwrap_or_default();
    let Some(dot) = memchr::memrchr(b'.', text) else {
        return 0;
    };
    let last = text.get(dot + 1..).unwrap_or_default();
    let is_name = last.len() >= 2 && last.iter().any(u8::is_ascii_alphabetic);
    if dot > 0 && is_name { len } else { 0 }
}

const MAX_LOCAL: usize = 256;
const MAX_DOMAIN: usize = 255;
