//! The values of `encoding`: names, other names for the same, and what is said of a name that is none.

use std::fmt;

/// How the text of a file is written. What a file's lines are decoded with is a
/// [`Decoder`](crate::record::decode::Decoder).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// Bytes are passed on as they are, valid or not.
    #[default]
    Utf8,
    /// 16 bits, the lower byte first.
    Utf16Le,
    /// 16 bits, the upper byte first.
    Utf16Be,
    /// 16 bits, in the order that the byte order mark at the file's beginning tells.
    Utf16,
    /// Simplified Chinese; holds GB2312.
    Gbk,
    /// Simplified Chinese, all of Unicode.
    Gb18030,
    /// Traditional Chinese with the characters of Hong Kong.
    Big5,
    /// Japanese, as Windows has it.
    ShiftJis,
    /// Japanese, as Unix had it.
    EucJp,
    /// Korean; holds what Windows adds (UHC).
    EucKr,
    /// ISO-8859-1: each byte is the character of its number.
    Latin1,
    /// Cyrillic, as Windows has it.
    Windows1251,
    /// Western European, as Windows has it.
    Windows1252,
    /// Cyrillic, as Unix had it.
    Koi8R,
}

/// A name that is no encoding's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEncoding {
    /// What was written.
    pub name: String,
    /// What it may have been meant to be.
    pub nearest: Option<&'static str>,
}

impl Encoding {
    /// Every encoding, in the order in which the reference names them.
    pub const ALL: [Encoding; 14] = [
        Encoding::Utf8,
        Encoding::Utf16Le,
        Encoding::Utf16Be,
        Encoding::Utf16,
        Encoding::Gbk,
        Encoding::Gb18030,
        Encoding::Big5,
        Encoding::ShiftJis,
        Encoding::EucJp,
        Encoding::EucKr,
        Encoding::Latin1,
        Encoding::Windows1251,
        Encoding::Windows1252,
        Encoding::Koi8R,
    ];

    /// The encoding of this name or alias, in upper or lower case, with `-`, `_` or neither.
    ///
    /// # Errors
    /// If there is none.
    pub fn parse(text: &str) -> Result<Encoding, UnknownEncoding> {
        let asked = plain(text);
        let names = || {
            let own = Self::ALL.iter().map(|one| (one.name(), *one));
            own.chain(ALIASES.iter().copied())
        };
        if let Some((_, found)) = names().find(|(name, _)| plain(name) == asked) {
            return Ok(found);
        }
        let distances = names().map(|(name, one)| (distance(&plain(name), &asked), one));
        let nearest = distances.min_by_key(|(distance, _)| *distance);
        Err(UnknownEncoding {
            name: text.to_owned(),
            nearest: nearest
                .filter(|(distance, _)| *distance <= MOST_SLIPS.min((asked.len() + 1) / 3))
                .map(|(_, one)| one.name()),
        })
    }

    /// The name by which the reference knows it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
            Encoding::Utf16 => "utf-16",
            Encoding::Gbk => "gbk",
            Encoding::Gb18030 => "gb18030",
            Encoding::Big5 => "big5",
            Encoding::ShiftJis => "shift_jis",
            Encoding::EucJp => "euc-jp",
            Encoding::EucKr => "euc-kr",
            Encoding::Latin1 => "iso-8859-1",
            Encoding::Windows1251 => "windows-1251",
            Encoding::Windows1252 => "windows-1252",
            Encoding::Koi8R => "koi8-r",
        }
    }

    /// Whether a newline takes two bytes.
    pub fn is_wide(self) -> bool {
        matches!(
            self,
            Encoding::Utf16Le | Encoding::Utf16Be | Encoding::Utf16
        )
    }
}

impl fmt::Display for UnknownEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown encoding '{}'", self.name)?;
        match self.nearest {
            Some(nearest) => write!(f, "; did you mean '{nearest}'?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownEncoding {}

/// The name without what people write in different ways.
fn plain(name: &str) -> String {
    let kept = name
        .trim()
        .chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '));
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// How many characters have to be added, left out or replaced to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, of_a) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (of_b, &above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(of_a != of_b)).min(above.min(left) + 1);
            next.push(left);
            diagonal = above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Other names. Windows' code pages are held to be what they extend.
const ALIASES: [(&str, Encoding); 26] = [
    ("utf8", Encoding::Utf8),
    ("ascii", Encoding::Utf8),
    ("us-ascii", Encoding::Utf8),
    ("ucs-2le", Encoding::Utf16Le),
    ("ucs-2be", Encoding::Utf16Be),
    ("gb2312", Encoding::Gbk),
    ("euc-cn", Encoding::Gbk),
    ("cp936", Encoding::Gbk),
    ("windows-936", Encoding::Gbk),
    ("big5-hkscs", Encoding::Big5),
    ("cp950", Encoding::Big5),
    ("sjis", Encoding::ShiftJis),
    ("cp932", Encoding::ShiftJis),
    ("windows-31j", Encoding::ShiftJis),
    ("ms932", Encoding::ShiftJis),
    ("ujis", Encoding::EucJp),
    ("cp949", Encoding::EucKr),
    ("uhc", Encoding::EucKr),
    ("ks_c_5601-1987", Encoding::EucKr),
    ("latin1", Encoding::Latin1),
    ("iso8859-1", Encoding::Latin1),
    ("l1", Encoding::Latin1),
    ("cp1251", Encoding::Windows1251),
    ("cp1252", Encoding::Windows1252),
    ("koi8", Encoding::Koi8R),
    ("cp20866", Encoding::Koi8R),
];

/// A name that differs in more is not taken for a slip.
const MOST_SLIPS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_and_alias_is_known_in_any_spelling() {
        for one in Encoding::ALL {
            assert_eq!(Encoding::parse(one.name()), Ok(one));
            assert_eq!(Encoding::parse(&one.name().to_uppercase()), Ok(one));
        }
        for (name, one) in ALIASES {
            assert_eq!(Encoding::parse(name), Ok(one), "{name}");
        }
        assert_eq!(Encoding::parse("GB2312"), Ok(Encoding::Gbk));
        assert_eq!(Encoding::parse("Shift-JIS"), Ok(Encoding::ShiftJis));
        assert_eq!(Encoding::parse("KOI8_R"), Ok(Encoding::Koi8R));
    }

    #[test]
    fn an_unknown_name_is_told_with_the_nearest() {
        for (text, words) in [
            ("GB2312x", "unknown encoding 'GB2312x'; did you mean 'gbk'?"),
            (
                "utf-166",
                "unknown encoding 'utf-166'; did you mean 'utf-16'?",
            ),
            (
                "latin",
                "unknown encoding 'latin'; did you mean 'iso-8859-1'?",
            ),
            ("gkb", "unknown encoding 'gkb'"),
            ("ebcdic", "unknown encoding 'ebcdic'"),
            ("", "unknown encoding ''"),
        ] {
            let error = Encoding::parse(text).expect_err(text);
            assert_eq!(error.to_string(), words);
        }
    }
}
