//! How a command asks the running agent.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, elsewhere, socket, wire_json};
use crate::config::{Config, and_other_default};
use crate::shown::ShownPath;
use crate::snapshot::Snapshot;

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no agent answers at '{}': {error}\n{}",
        ShownPath(path),
        advice(error, ini)
    )]
    NoAgent {
        /// Where it was looked for.
        path: PathBuf,
        /// The ini that named the folder.
        ini: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is nothing that says where an agent would listen.
    #[error("there is no ini '{}'{}: name it with --config FILE", ShownPath(.0), and_other_default(.0))]
    NoIni(PathBuf),
    /// An agent listens and does not answer, or has ended.
    #[error("the agent does not answer any more: {0}")]
    Silent(#[from] io::Error),
    /// It answers, and that is not what was asked for.
    #[error("{0}")]
    Refused(String),
    /// The answer cannot be printed.
    #[error("standard output: {0}")]
    Output(io::Error),
}

/// What to do about it.
fn advice(error: &io::Error, ini: &Path) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "only the user of the agent and root may ask it: try it with sudo".to_owned()
        }
        _ => format!(
            "the folder is [agent] state_dir of '{}'; start the agent with it, or name its ini with --config FILE",
            ShownPath(ini)
        ),
    }
}

/// Asks the agent that runs with `ini`, and returns its answer. `line` is a request without its newline.
pub fn ask(ini: &Path, line: &str) -> Result<Answer, AskError> {
    let mut answer = open(ini, line)?;
    let mut text = String::new();
    answer.lines.read_to_string(&mut text)?;
    Ok(Answer {
        is_ok: answer.is_ok,
        text,
    })
}

/// Has the agent that runs with `ini` read it again.
pub fn reload(ini: &Path) -> Result<Answer, AskError> {
    let answer = ask(ini, "status")?;
    let snapshot = wire_json::from_json::<Snapshot>(&answer.text).filter(|_| answer.is_ok);
    if let Some(words) = snapshot.and_then(|now| other_ini(ini, &now.config.path)) {
        return Err(AskError::Refused(format!(
            "{words}: nothing was reloaded; name that one with --config"
        )));
    }
    ask(ini, "reload")
}

/// What is said if the agent that `ini` leads to runs with another file, whose `state_dir` is the same. Of one that
/// cannot be seen from here, as that of a container, nothing is said.
pub(super) fn other_ini(ini: &Path, running: &Path) -> Option<String> {
    let (asked, used) = (fs::canonicalize(ini).ok()?, fs::canonicalize(running).ok()?);
    (asked != used).then(|| {
        let (running, ini) = (ShownPath(running), ShownPath(ini));
        format!("the agent runs with '{running}', not with '{ini}'")
    })
}

/// An answer whose lines are still to come.
#[derive(Debug)]
pub(super) struct OpenAnswer {
    pub(super) is_ok: bool,
    pub(super) lines: BufReader<UnixStream>,
}

/// Asks, and reads whether the request was taken.
pub(super) fn open(ini: &Path, line: &str) -> Result<OpenAnswer, AskError> {
    if let Err(error) = ini.metadata()
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(AskError::NoIni(ini.to_owned()));
    }
    let folder = Config::state_dir(ini);
    let stream = connect(ini, &folder)?;
    let patience = if line == "status" {
        STATUS_PATIENCE
    } else {
        PATIENCE
    };
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut first = String::new();
    let mut lines = BufReader::new(stream);
    let asked = lines.get_mut().write_all(format!("{line}\n").as_bytes());
    let answered = asked.and_then(|()| lines.read_line(&mut first));
    answered.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::other(format!("no answer within {} s", patience.as_secs()))
        }
        _ => error,
    })?;
    match first.trim_end() {
        word @ ("ok" | "failed") => Ok(OpenAnswer {
            is_ok: word == "ok",
            lines,
        }),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// Connects to the agent in `folder`, which the ini names, or to one that has begun with an earlier `state_dir` of it.
fn connect(ini: &Path, folder: &Path) -> Result<UnixStream, AskError> {
    let error = match socket::connect_in(folder) {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    if elsewhere::is_absent(&error)
        && let Some((other, stream)) = elsewhere::connect(ini)
    {
        let (other, folder) = (ShownPath(&other), ShownPath(folder));
        // Where nobody reads it, the answer is worth something without it.
        let _ = writeln!(
            io::stderr(),
            "the agent runs with state_dir '{other}'; the '{folder}' of the ini counts from its next start on: stop it, \
             move the folder there, start it"
        );
        return Ok(stream);
    }
    Err(AskError::NoAgent {
        path: folder.join(socket::NAME),
        ini: ini.to_owned(),
        error,
    })
}

/// Longer than the agent takes to say how it stands, or that it cannot say so.
const STATUS_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 15 });
/// Longer than it takes for anything.
const PATIENCE: Duration = Duration::from_secs(70);
