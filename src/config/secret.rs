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

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Ini,
    Environment,
    File(PathBuf),
}

impl Origin {
    pub(super) fn file<'a>(&'a self, ini: &'a Path) -> Option<&'a Path> {
        match self {
            Origin::Ini => Some(ini),
            Origin::Environment => None,
            Origin::File(path) => Some(path),
        }
    }
}
