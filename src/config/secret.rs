//! Secrets, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret that a file's bytes are, without the newline at their end.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        match text.trim_end_matches(['\n', '\r']) {
            "" => Err("it is empty"),
            text if text.contains(char::is_control) => Err("it holds more than one line"),
            text => Ok(Secret::new(text)),
        }
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Ini,
    Environment,
    File(PathBuf),
}

impl Origin {
    /// The file that the secret stands in.
    pub(super) fn file<'a>(&'a self, ini: &'a Path) -> Option<&'a Path> {
        match self {
            Origin::Ini => Some(ini),
            Origin::Environment => None,
            Origin::File(path) => Some(path),
        }
    }
}
