//! The agent that runs with an ini whose `state_dir` was changed since: it is not where the ini says, and whoever asks
//! there would take it for stopped, and start another one, which knows no positions.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::socket;
use crate::config::DEFAULT_CONFIGS;

/// The folder of an agent that runs with `ini`, where that is not the `state_dir` that the ini has now.
pub fn other_state_dir(ini: &Path, state_dir: &Path) -> Option<PathBuf> {
    match socket::connect_in(state_dir) {
        Err(error) if is_absent(&error) => Some(connect(ini)?.0),
        _ => None,
    }
}

/// Connects to an agent that runs with `ini` in another folder than that. With the folder.
pub(super) fn connect(ini: &Path) -> Option<(PathBuf, UnixStream)> {
    let ini = fs::canonicalize(ini).ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let agents = processes
        .map(|entry| entry.path())
        .filter(|process| runs_with(process, &ini));
    agents
        .flat_map(|process| state_dirs(&process))
        .find_map(|folder| {
            let stream = socket::connect_in(&folder).ok()?;
            Some((folder, stream))
        })
}

/// Whether an argument of the process is this ini; of one that names none, one of the places where it is looked for.
fn runs_with(process: &Path, ini: &Path) -> bool {
    let Ok(line) = fs::read(process.join("cmdline")) else {
        return false;
    };
    let folder = process.join("cwd");
    let is_ini = |name: &[u8]| {
        let path = folder.join(Path::new(std::ffi::OsStr::from_bytes(name)));
        fs::canonicalize(path).is_ok_and(|path| path == *ini)
    };
    let mut arguments = line.split(|byte| *byte == 0).skip(1);
    let mut defaults = DEFAULT_CONFIGS.iter();
    arguments.any(|argument| {
        let value = argument.iter().position(|byte| *byte == b'=');
        let value = value.map_or(argument, |at| &argument[at + 1..]);
        !value.is_empty() && is_ini(value)
    }) || defaults.any(|name| is_ini(name.as_bytes()))
}

/// The folders in which the process holds a lock and has a socket, as an agent does.
fn state_dirs(process: &Path) -> Vec<PathBuf> {
    let open = fs::read_dir(process.join("fd")).into_iter().flatten();
    let files = open
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    let locks = files.filter(|file| file.file_name().is_some_and(|name| name == "lock"));
    let folders = locks.filter_map(|lock| lock.parent().map(Path::to_owned));
    folders
        .filter(|folder| folder.join(socket::NAME).exists())
        .collect()
}

/// Whether it is worth to look elsewhere: nobody is where the ini says.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
