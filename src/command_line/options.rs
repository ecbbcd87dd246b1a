//! What each command is told.

use std::path::PathBuf;

/// `logagent run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// The ini.
    pub config: PathBuf,
    /// Print instead of sending.
    pub dry_run: bool,
    /// Ship what is there now and end.
    pub once: bool,
}

/// `logagent test`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestOptions {
    /// The ini; `None`: the one beside each file of cases.
    pub config: Option<PathBuf>,
    /// Files of cases; none: the one beside the ini.
    pub files: Vec<PathBuf>,
    /// The section that standard input is given to, instead of cases.
    pub log: Option<String>,
    /// The path that standard input stands for.
    pub path: Option<PathBuf>,
    /// Write what comes out to the files that cases name with `out`.
    pub accept: bool,
    /// A rule that no case tests is a failure.
    pub strict: bool,
}

/// `logagent rewind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewindOptions {
    /// The ini.
    pub config: PathBuf,
    /// The file.
    pub path: PathBuf,
    /// Where to.
    pub to: To,
    /// Do not ask back.
    pub yes: bool,
}

/// Where a position is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// To the first line that begins there or behind.
    Offset(u64),
    /// Behind the last whole line.
    End,
}

/// `logagent check`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// The ini.
    pub config: PathBuf,
    /// Connect to nothing.
    pub offline: bool,
    /// JSON instead of a screen.
    pub json: bool,
    /// Leave out the cases of the configuration.
    pub no_test: bool,
}

/// `logagent verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyOptions {
    /// The ini.
    pub config: PathBuf,
    /// The topics, each once; none: all of the ini.
    pub topics: Vec<String>,
    /// Only records of this time and later, in ms since 1970.
    pub since_ms: Option<i64>,
    /// Only records before this time, in ms since 1970.
    pub until_ms: Option<i64>,
    /// Print one JSON object.
    pub json: bool,
}

/// `logagent status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusOptions {
    /// The ini.
    pub config: PathBuf,
    /// Again and again.
    pub watch: bool,
    /// Numbers for programs.
    pub json: bool,
    /// Files at their end, too.
    pub all: bool,
    /// A section's name or a file's path.
    pub only: Option<String>,
}

/// `logagent tap`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TapOptions {
    /// The ini.
    pub config: PathBuf,
    /// The section, or the path of a file.
    pub log: String,
    /// Wait for an agent where none runs.
    pub wait: bool,
    /// Show headers.
    pub headers: bool,
    /// So many records; `None`: without end.
    pub count: Option<u64>,
}

/// `logagent adopt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptOptions {
    /// The ini.
    pub config: PathBuf,
    /// Do not ask back.
    pub yes: bool,
}
