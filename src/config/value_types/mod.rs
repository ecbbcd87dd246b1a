//! The types of values: what a key accepts, in words and read into its type.

pub(super) mod kafka;
pub(super) mod paths;
pub(super) mod records;
pub(super) mod sasl;
pub(super) mod tls;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::error::Fault;
use super::text::read_small_file;

/// The type of a value. The words of [`ValueType::accepted`] and the bounds of [`ValueType::read`] come from the
/// same fields, so that a message never promises what is then refused.
pub(super) trait ValueType: Sync {
    /// The type it is read into.
    type Value: Debug;
    /// Whether a value of this type must never be printed.
    const SECRET: bool = false;
    /// Whether it names a file whose content is read with the configuration.
    const NAMES_FILE: bool = false;

    /// What is accepted, as it ends a message.
    fn accepted(&self) -> String;

    /// Reads a value; `${NAME}` is replaced already.
    fn read(&self, text: &str) -> Result<Self::Value, BadValue>;
}

/// Why a value is refused, beyond what its type accepts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct BadValue {
    /// The part of it that is wrong; all of it if `None`.
    pub(super) part: Option<String>,
    /// What to do.
    pub(super) hint: Option<String>,
    /// What is wrong at a place of it, which then is all that is said.
    pub(super) fault: Option<Fault>,
}

impl BadValue {
    /// That item of a list is wrong.
    pub(super) fn part(part: &str) -> Self {
        BadValue {
            part: Some(part.to_owned()),
            ..BadValue::default()
        }
    }

    /// Something is wrong at a place, in bytes.
    pub(super) fn at(at: usize, words: impl Into<String>) -> Self {
        let words = words.into();
        BadValue {
            fault: Some(Fault { at, words }),
            ..BadValue::default()
        }
    }

    /// The same with a hint.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The items of a comma separated list, without the blanks around them.
pub(super) fn items(text: &str) -> Result<Vec<&str>, BadValue> {
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    if items.len() > 1 && items.contains(&"") {
        return Err(BadValue::default().hint("a comma has nothing before or after it"));
    }
    Ok(items)
}

/// The bytes of a file that a value names.
pub(super) fn content(path: &str) -> Result<Vec<u8>, BadValue> {
    read_small_file(Path::new(path)).map_err(|words| BadValue::default().hint(words))
}

/// A number of bytes.
pub(super) struct Size {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl ValueType for Size {
    type Value = usize;

    fn accepted(&self) -> String {
        let bounds = match (self.least, self.most) {
            (least, usize::MAX) => format!("at least {}", size_text(least)),
            (least, most) => format!("{} to {}", size_text(least), size_text(most)),
        };
        format!("a size in B, KiB, MiB or GiB, {bounds}")
    }

    fn read(&self, text: &str) -> Result<usize, BadValue> {
        scaled(text, &SIZES)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| (self.least..=self.most).contains(bytes))
            .ok_or_else(BadValue::default)
    }
}

/// A length of time.
pub(super) struct Time {
    pub(super) least: Duration,
    pub(super) most: Duration,
}

impl ValueType for Time {
    type Value = Duration;

    fn accepted(&self) -> String {
        let (least, most) = (time_text(self.least), time_text(self.most));
        match self.most > Duration::from_secs(86_400) {
            true => format!("a time in ms, s, m, h or d, {least} to {most}"),
            false => format!("a time in ms, s, m or h, {least} to {most}"),
        }
    }

    fn read(&self, text: &str) -> Result<Duration, BadValue> {
        scaled(text, &TIMES)
            .map(Duration::from_millis)
            .filter(|time| (self.least..=self.most).contains(time))
            .ok_or_else(BadValue::default)
    }
}

/// A plain number.
pub(super) struct Count {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl ValueType for Count {
    type Value = usize;

    fn accepted(&self) -> String {
        format!("a number from {} to {}", self.least, self.most)
    }

    fn read(&self, text: &str) -> Result<usize, BadValue> {
        scaled(text, &[("", 1)])
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| (self.least..=self.most).contains(count))
            .ok_or_else(BadValue::default)
    }
}

/// Text that is taken as it is, if it is legal.
pub(super) struct Text {
    /// What is accepted.
    pub(super) accepted: fn() -> String,
    pub(super) is_legal: fn(&str) -> bool,
}

impl ValueType for Text {
    type Value = String;

    fn accepted(&self) -> String {
        (self.accepted)()
    }

    fn read(&self, text: &str) -> Result<String, BadValue> {
        if (self.is_legal)(text) {
            Ok(text.to_owned())
        } else {
            Err(BadValue::default())
        }
    }
}

/// Where to listen.
pub(super) struct Listen;

impl ValueType for Listen {
    type Value = SocketAddr;

    fn accepted(&self) -> String {
        "an IP address of this host and a port, such as 127.0.0.1:9787 or [::1]:9787".to_owned()
    }

    fn read(&self, text: &str) -> Result<SocketAddr, BadValue> {
        text.parse().map_err(|_| BadValue::default())
    }
}

/// Another type, or nothing.
pub(super) struct Optional<K>(pub(super) K);

impl<K: ValueType> ValueType for Optional<K> {
    type Value = Option<K::Value>;
    const SECRET: bool = K::SECRET;
    const NAMES_FILE: bool = K::NAMES_FILE;

    fn accepted(&self) -> String {
        format!("{}, or nothing", self.0.accepted())
    }

    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        match text {
            "" => Ok(None),
            text => self.0.read(text).map(Some),
        }
    }
}

/// One of some words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + Debug + Sync> ValueType for Choice<T> {
    type Value = T;

    fn accepted(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        words.join(", ")
    }

    fn read(&self, text: &str) -> Result<T, BadValue> {
        self.0
            .iter()
            .find(|(word, _)| *word == text)
            .map(|&(_, value)| value)
            .ok_or_else(BadValue::default)
    }
}

/// Digits and one of `units`, multiplied out; `None` also when the product is too large.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (number, unit) = text.split_at(text.len() - digits.len());
    let &(_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn size_text(bytes: usize) -> String {
    match bytes {
        0 => "0B".to_owned(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

fn time_text(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0ms".to_owned(),
        _ if ms > 86_400_000 && ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// Units of a size, in bytes.
const SIZES: [(&str, u64); 5] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Units of a time, in ms. None goes without saying: `5` could be seconds or ms.
const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    const ANY_SIZE: Size = Size {
        least: 0,
        most: usize::MAX,
    };
    const ANY_TIME: Time = Time {
        least: Duration::ZERO,
        most: Duration::MAX,
    };

    #[test]
    fn sizes_take_binary_units_and_plain_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("512KiB", 512 << 10),
            ("64MiB", 64 << 20),
            ("3GiB", 3 << 30),
            ("007KiB", 7 << 10),
        ] {
            assert_eq!(ANY_SIZE.read(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "B",
            "KiB",
            "64MB",
            "64M",
            "64mib",
            "64 MiB",
            "-1",
            "+1",
            "1.5MiB",
            "1e3",
            "0x10",
            "１",
            "64MiBB",
            "18446744073709551616",
            "17179869184GiB",
        ] {
            assert_eq!(ANY_SIZE.read(text), Err(BadValue::default()), "{text}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        for (text, ms) in [
            ("0ms", 0),
            ("50ms", 50),
            ("8s", 8_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(ANY_TIME.read(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "+5s",
            "5 s",
            "5S",
            "1.5s",
            "5min",
            "1w",
            "18446744073709551615h",
            "99999999999999999999ms",
        ] {
            assert_eq!(ANY_TIME.read(text), Err(BadValue::default()), "{text}");
        }
    }

    #[test]
    fn bounds_belong_to_what_is_accepted_and_are_named() {
        let size = Size {
            least: 1 << 10,
            most: 900 << 10,
        };
        assert_eq!(
            size.accepted(),
            "a size in B, KiB, MiB or GiB, 1KiB to 900KiB"
        );
        assert_eq!(size.read("1KiB"), Ok(1 << 10));
        assert_eq!(size.read("900KiB"), Ok(900 << 10));
        assert!(size.read("1023").is_err());
        assert!(size.read("921601").is_err());

        let time = Time {
            least: Duration::from_millis(1),
            most: Duration::from_secs(90),
        };
        assert_eq!(time.accepted(), "a time in ms, s, m or h, 1ms to 90s");
        assert!(time.read("0ms").is_err());
        assert!(time.read("90001ms").is_err());

        let count = Count { least: 1, most: 64 };
        assert_eq!(count.accepted(), "a number from 1 to 64");
        assert_eq!(count.read("64"), Ok(64));
        for text in ["0", "65", "-1", "+1", "2B", "", "two"] {
            assert!(count.read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_empty_item_of_a_list_is_refused_and_an_empty_list_is_one_empty_item() {
        assert_eq!(items(" a , b "), Ok(vec!["a", "b"]));
        assert_eq!(items(""), Ok(vec![""]));
        for text in ["a,", ",a", "a,,b", ","] {
            assert!(items(text).is_err(), "{text}");
        }
    }
}
