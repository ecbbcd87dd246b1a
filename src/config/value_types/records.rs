//! Values that say what records are made of.

use super::{BadValue, ValueType};
use crate::record::Parse;
use crate::record::encoding::Encoding;
use crate::record::filter::Sample;
use crate::record::mask::{MaskRule, Word};
use crate::record::multiline::Multiline;
use crate::record::pattern::{Pattern, PatternError};
use crate::record::rate::Rate;
use crate::record::time_format::TimeFormat;
use crate::record::zone::Zone;

/// A regex.
pub(crate) struct Regex;

impl ValueType for Regex {
    type Value = Pattern;

    fn accepted(&self) -> String {
        "a regex".to_owned()
    }

    fn read(&self, text: &str) -> Result<Pattern, BadValue> {
        pattern(text, 0)
    }
}

/// The regex that `text` is, which stands at `at` of the value.
fn pattern(text: &str, at: usize) -> Result<Pattern, BadValue> {
    Pattern::new(text).map_err(|error| moved(error, at))
}

fn moved(PatternError { at, words }: PatternError, by: usize) -> BadValue {
    BadValue::at(at + by, words)
}

/// `encoding`.
pub(crate) struct Encodings;

impl ValueType for Encodings {
    type Value = Encoding;

    fn accepted(&self) -> String {
        let names: Vec<&str> = Encoding::ALL.iter().map(|one| one.name()).collect();
        names.join(", ")
    }

    fn read(&self, text: &str) -> Result<Encoding, BadValue> {
        Encoding::parse(text).map_err(|error| BadValue::at(0, error.to_string()))
    }
}

/// `multiline`.
pub(crate) struct Multilines;

impl ValueType for Multilines {
    type Value = Option<Multiline>;

    fn accepted(&self) -> String {
        "off, auto, timestamp, trace, indent, start:REGEX, continue:REGEX, end:REGEX".to_owned()
    }

    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        let (word, regex) = match text.split_once(':') {
            Some((word, regex)) => (word, Some(regex)),
            None => (text, None),
        };
        let regex = || {
            let regex = regex.unwrap_or_default();
            let blanks = regex.len() - regex.trim_start().len();
            Ok(pattern(regex.trim_start(), word.len() + 1 + blanks)?
                .regex()
                .clone())
        };
        Ok(Some(match (word, text.contains(':')) {
            ("off", false) => return Ok(None),
            ("auto", false) => Multiline::Auto,
            ("timestamp", false) => Multiline::Timestamp,
            ("trace", false) => Multiline::Trace,
            ("indent", false) => Multiline::Indent,
            ("start", true) => Multiline::Start(regex()?),
            ("continue", true) => Multiline::Continue(regex()?),
            ("end", true) => Multiline::End(regex()?),
            _ => return Err(BadValue::default()),
        }))
    }
}

/// `sample`.
pub(crate) struct Samples;

impl ValueType for Samples {
    type Value = Sample;

    fn accepted(&self) -> String {
        "1/N or 1/N REGEX".to_owned()
    }

    fn read(&self, text: &str) -> Result<Sample, BadValue> {
        Sample::parse(text).map_err(|error| moved(error, 0))
    }
}

/// `rate_limit`.
pub(crate) struct Rates;

impl ValueType for Rates {
    type Value = Rate;

    fn accepted(&self) -> String {
        "N/s or a size and /s, either followed by 'drop'".to_owned()
    }

    fn read(&self, text: &str) -> Result<Rate, BadValue> {
        Rate::parse(text).map_err(|error| BadValue::at(0, error.words))
    }
}

/// The words of `mask`.
pub(crate) struct MaskWords;

impl ValueType for MaskWords {
    type Value = Vec<Word>;

    fn accepted(&self) -> String {
        "card, email, bearer, password, comma separated".to_owned()
    }

    fn read(&self, text: &str) -> Result<Vec<Word>, BadValue> {
        Word::parse_list(text).map_err(|error| moved(error, 0))
    }
}

/// `mask.NAME`.
pub(crate) struct MaskRules;

impl ValueType for MaskRules {
    type Value = MaskRule;

    fn accepted(&self) -> String {
        "REGEX or REGEX => TEXT".to_owned()
    }

    fn read(&self, text: &str) -> Result<MaskRule, BadValue> {
        if text.starts_with("=>") {
            return Err(BadValue::at(0, "no regex before '=>'"));
        }
        MaskRule::parse(text).map_err(|error| moved(error, 0))
    }
}

/// `parse`.
pub(crate) struct Parses;

impl ValueType for Parses {
    type Value = Parse;

    fn accepted(&self) -> String {
        "none, json, regex:REGEX".to_owned()
    }

    fn read(&self, text: &str) -> Result<Parse, BadValue> {
        match (text, text.strip_prefix("regex:")) {
            ("none", _) => Ok(Parse::None),
            ("json", _) => Ok(Parse::Json),
            (_, Some(regex)) => {
                let at = text.len() - regex.trim_start().len();
                let pattern = pattern(regex.trim_start(), at)?;
                let mut names: Vec<&str> = pattern.group_names().collect();
                if names.is_empty() {
                    return Err(BadValue::at(at, "no named group; write (?<name>...)"));
                }
                names.sort_unstable();
                if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
                    return Err(BadValue::at(at, format!("group '{}' twice", twice[0])));
                }
                Ok(Parse::Regex(pattern))
            }
            _ => Err(BadValue::default()),
        }
    }
}

/// `time`.
pub(crate) struct Times;

impl ValueType for Times {
    type Value = Option<TimeFormat>;

    fn accepted(&self) -> String {
        "none, rfc3339, epoch, epoch_ms, or a format of %Y %m %d %H %M %S %f %b %z and so on"
            .to_owned()
    }

    fn read(&self, text: &str) -> Result<Self::Value, BadValue> {
        if text == "none" {
            return Ok(None);
        }
        let format = TimeFormat::parse(text);
        format
            .map(Some)
            .map_err(|error| BadValue::at(error.at, error.to_string()))
    }
}

/// `time_zone`.
pub(crate) struct Zones;

impl ValueType for Zones {
    type Value = Zone;

    fn accepted(&self) -> String {
        "local, UTC, or an offset as +08:00".to_owned()
    }

    fn read(&self, text: &str) -> Result<Zone, BadValue> {
        let tz = std::env::var("TZ").ok();
        Zone::parse(text, tz.as_deref()).map_err(|error| BadValue::at(0, error.to_string()))
    }
}
