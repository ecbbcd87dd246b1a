//! When a certificate ends: the one field of X.509 (RFC 5280, 4.1) that an operator has to know in advance.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::record::civil::day_of_date;

/// Until when the certificate in `der` is valid; `None` if it cannot be read, or was over before 1970.
pub fn valid_until(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    // The version can be left out; behind it are serial number, algorithm, issuer, validity.
    if rest.first() == Some(&EXPLICIT_0) {
        rest = element(rest)?.2;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, not_after) = element(validity)?;
    let (tag, text, _) = element(not_after)?;
    time(tag, text)
}

/// Tag, content and what comes behind.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 3 {
            return None;
        }
        length = digits
            .iter()
            .fold(0, |length, &digit| length << 8 | usize::from(digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, of the years 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = text.strip_suffix(b"Z")?;
    let century = match tag {
        UTC_TIME if text.first()? < &b'5' => "20",
        UTC_TIME => "19",
        _ => "",
    };
    let digits = [century.as_bytes(), text].concat();
    if digits.len() != 14 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = digits[from..to].iter();
        digits.fold(0i64, |number, digit| number * 10 + i64::from(digit - b'0'))
    };
    let day = day_of_date(number(0, 4), number(4, 6), number(6, 8))?;
    let second = day * 86_400 + number(8, 10) * 3_600 + number(10, 12) * 60 + number(12, 14);
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(second).ok()?))
}

const EXPLICIT_0: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn the_end_of_a_certificate_is_read_and_no_damage_to_it_does_harm() {
        let key = KeyPair::generate().unwrap();
        // Written in two ways: before 2050 and after.
        for (year, day) in [(2031, 22_371), (2061, 33_329)] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 4, 2);
            let der = params.self_signed(&key).unwrap().der().to_vec();
            let end = UNIX_EPOCH + Duration::from_secs(day * 86_400);
            assert_eq!(valid_until(&der), Some(end));
            for at in 0..der.len() {
                assert_eq!(valid_until(&der[..at]), None);
                let mut damaged = der.clone();
                damaged[at] ^= 0xff;
                let _ = valid_until(&damaged);
            }
        }
    }
}
