//! `[agent] user`: root becomes another user before the first thread exists, and keeps no other right than that to
//! read any file.
//!
//! Credentials belong to a thread, and a new thread has those of the one that starts it. So this is the first thing
//! that the main thread does.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::Path;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::users::User;

/// Why this process cannot become another user.
#[derive(Debug, thiserror::Error)]
#[error("[agent] user = {name}: {why}")]
pub struct UserError {
    name: String,
    why: String,
}

/// Makes the calling thread, which must be the only one, one of the user `name`. What was `name` already stays so.
///
/// # Errors
/// If there is no such user, if this is neither root nor that user, or the system refuses.
pub fn become_user(name: &str) -> Result<(), UserError> {
    let failed = |why: String| UserError {
        name: name.to_owned(),
        why,
    };
    let user = User::named(name).ok_or_else(|| failed("no such user in /etc/passwd".to_owned()))?;
    if geteuid() == user.uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(failed("only root can become another user".to_owned()));
    }
    change(&user).map_err(|error| failed(error.to_string()))
}

/// Makes the calling thread, which must be the only one, one of the user that `folder` belongs to, if it is root's: so
/// that what is written there can be read by that user.
///
/// # Errors
/// If the system refuses. A folder that is not there changes nothing.
pub fn become_owner(folder: &Path) -> io::Result<()> {
    match fs::metadata(folder) {
        Ok(metadata) if geteuid().is_root() && metadata.uid() != 0 => change(&User {
            uid: Uid::from_raw(metadata.uid()),
            gid: Gid::from_raw(metadata.gid()),
            groups: Vec::new(),
        }),
        _ => Ok(()),
    }
}

fn change(user: &User) -> io::Result<()> {
    let kept = capabilities(None)?.permitted & CapabilitySet::DAC_READ_SEARCH;
    set_keep_capabilities(true)?;
    set_thread_groups(&user.groups)?;
    set_thread_res_gid(user.gid, user.gid, user.gid)?;
    set_thread_res_uid(user.uid, user.uid, user.uid)?;
    set_keep_capabilities(false)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(set_no_new_privs(true)?)
}

/// Makes `folder` for the user `name` if it is not there, as long as this is root.
pub fn make_folder(folder: &Path, name: &str) -> io::Result<()> {
    if let Some(user) = User::named(name)
        && geteuid().is_root()
        && !fs::exists(folder)?
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}
