//! What is wrong with files of cases, all at once, by file and line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigErrors;
use crate::shown::ShownPath;

/// Why cases cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// An ini is refused.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Files of cases are, or what they name.
    #[error("{0}")]
    Refused(Errors),
    /// What was asked for is not there.
    #[error("logagent: {0}")]
    Usage(String),
    /// Nobody takes the screen.
    #[error("logagent: standard output: {0}")]
    Output(#[from] io::Error),
}

/// Errors of one file or several.
#[derive(Debug, Default)]
pub struct Errors {
    file: PathBuf,
    /// File, line (0: the file as a whole) and what is wrong.
    errors: Vec<(PathBuf, usize, String)>,
}

impl Errors {
    /// Errors of `file`; none yet.
    #[cfg(test)]
    pub(super) fn of(file: &Path) -> Self {
        Errors {
            file: file.to_owned(),
            errors: Vec::new(),
        }
    }

    /// The next ones are of another file.
    pub(super) fn go_on_with(&mut self, file: &Path) {
        self.file = file.to_owned();
    }

    pub(super) fn add(&mut self, line: usize, message: String) {
        self.errors.push((self.file.clone(), line, message));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.errors.len()
    }

    /// `Err` if there is one.
    pub(super) fn check(self) -> Result<(), CasesError> {
        match self.errors.is_empty() {
            true => Ok(()),
            false => Err(CasesError::Refused(self)),
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors: Vec<_> = self.errors.iter().collect();
        errors.sort_by_key(|(file, line, _)| {
            let at = self.errors.iter().position(|(first, ..)| first == file);
            (at, *line)
        });
        for (index, (file, line, message)) in errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let file = ShownPath(file);
            match line {
                0 => write!(f, "{separator}{file}: {message}")?,
                line => write!(f, "{separator}{file}:{line}: {message}")?,
            }
        }
        Ok(())
    }
}
