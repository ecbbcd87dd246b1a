//! What lets the agent read what it may not: for `check`, for the log, and for the status of a running agent.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

use crate::shown::ShownPath;
use crate::users::user_name;

/// What is said behind an error of `path`, where it is one of rights: whose it is, and what mends it. Looks at the file
/// system, which may hang.
pub(crate) fn mend(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        // The agent's own refusal of a link says itself what is about it.
        _ if error.raw_os_error().is_none() => String::new(),
        io::ErrorKind::PermissionDenied => match closed_folder(path) {
            Some(folder) => format!(
                ", as folder '{}' is closed{}",
                ShownPath(folder),
                mend_folder(folder)
            ),
            None => format!("{}: {}", rights(path), command("r")),
        },
        _ => String::new(),
    }
}

/// The upper folder that may not be entered, if that is what keeps `path` from being looked at.
fn closed_folder(path: &Path) -> Option<&Path> {
    let is_denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let is_hidden = path.metadata().err().is_some_and(is_denied);
    let mut upper = path.ancestors().skip(1);
    upper
        .find(|folder| folder.metadata().is_ok())
        .filter(|_| is_hidden)
}

/// The same of a folder.
pub(crate) fn mend_folder(folder: &Path) -> String {
    format!("{}: {}", rights(folder), command("rx"))
}

/// What gives the user of this process `rights` on a file or folder.
pub(crate) fn command(rights: &str) -> String {
    let name = user_name(geteuid().as_raw());
    format!("setfacl -m u:{name}:{rights}, or CAP_DAC_READ_SEARCH")
}

fn rights(path: &Path) -> String {
    let Ok(metadata) = path.metadata() else {
        return String::new();
    };
    let (owner, mode) = (user_name(metadata.uid()), metadata.mode() & 0o7777);
    format!(" (owner {owner}, mode {mode:04o})")
}
