//! Opening a log without following a symbolic link that `follow_links` refuses.
//!
//! Whoever may write to a followed folder may put a link there, and the agent may read more than they. Under
//! `safe` a link is followed if it belongs to root, to the agent's own user, or to the owner of what it leads to:
//! then nobody has the agent read for them what is not theirs. That holds for each link on the way: one
//! to a folder, one that another link leads to, one that is the last component.
//!
//! # The order of events
//! A path that was checked may be another one when it is opened: a link is put in place of the file in between. So
//! what is checked is not the path but what was opened by it. Where no link is on the way the kernel checks and
//! opens in one call (`openat2`). Else [`mod@walk`] opens component by component, each by the descriptor of the folder
//! before and none through a link, and reads a link by the descriptor of the link. The file is opened for reading
//! by the descriptor of its folder, not through a link either, and must be the very one whose owner was checked;
//! if it is not, rotation or somebody else has been there, and all begins anew.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::config::FollowLinks;
use crate::identity::FileStat;

#[cfg(test)]
mod tests;
mod walk;

pub(super) use walk::UnsafeLink;
use walk::{FOR_STAT, Walked, walk};

/// What lies at `path`, links followed as `policy` says.
///
/// # Errors
/// Those of a stat; an [`UnsafeLink`].
#[cfg(test)]
pub(super) fn stat(path: &Path, policy: FollowLinks) -> io::Result<FileStat> {
    match policy {
        FollowLinks::All => FileStat::at_path(path),
        FollowLinks::Safe | FollowLinks::None => {
            FileStat::at_file(&Checked::new(path, policy, without_links)?.target)
        }
    }
}

/// Opens the regular file at `path` for reading, links followed as `policy` says, without ever waiting for a writer
/// and without a terminal becoming the agent's own. `None`: it is a folder, a fifo, a device, and was not opened.
///
/// # Errors
/// Those of opening; an [`UnsafeLink`]; ESTALE if the path leads to another file each time.
pub(super) fn open(path: &Path, policy: FollowLinks) -> io::Result<Option<(File, FileStat)>> {
    open_with(path, policy, without_links)
}

/// Where `path` leads, which is a path without links; what is not there now may come there. For watching the
/// folder that a log really lies in.
///
/// # Errors
/// Those of a stat of the folders on the way; an [`UnsafeLink`]. Where the target is not there the owner of its
/// folder counts.
pub(super) fn resolve(path: &Path, policy: FollowLinks) -> io::Result<PathBuf> {
    Ok(walk(path, policy)?.path)
}

fn open_with(
    path: &Path,
    policy: FollowLinks,
    quick: Quick,
) -> io::Result<Option<(File, FileStat)>> {
    for _ in 0..ATTEMPTS {
        let checked = Checked::new(path, policy, quick)?;
        let stat = FileStat::at_file(&checked.target)?;
        if !stat.is_regular {
            return Ok(None);
        }
        let Some(file) = checked.open_target(path, quick)? else {
            continue;
        };
        let opened = FileStat::at_file(&file)?;
        if opened.inode == stat.inode && opened.born_ns == stat.born_ns {
            return Ok(Some((file, opened)));
        }
    }
    Err(Errno::STALE.into())
}

/// What a path led to, and that it may be read.
struct Checked {
    /// Open, but not for reading: a device or a fifo does not notice.
    target: OwnedFd,
    way: Way,
}

/// How a path led to its target.
enum Way {
    /// Over links of which none is refused.
    AnyLinks,
    NoLinks,
    /// Over links that were checked: the folder that the target lies in, its name there, and what keeps another
    /// link from being followed.
    Beside(OwnedFd, OsString, OFlags),
}

impl Checked {
    fn new(path: &Path, policy: FollowLinks, quick: Quick) -> io::Result<Self> {
        if policy == FollowLinks::All {
            return Ok(Checked {
                target: openat(CWD, path, FOR_STAT, Mode::empty())?,
                way: Way::AnyLinks,
            });
        }
        match quick(path, FOR_STAT) {
            Some(opened) => Ok(Checked {
                target: opened?,
                way: Way::NoLinks,
            }),
            None => Checked::of(walk(path, policy)?),
        }
    }

    fn of(walked: Walked) -> io::Result<Self> {
        if !walked.is_there {
            return Err(Errno::NOENT.into());
        }
        Ok(Checked {
            target: walked.at.here,
            way: match walked.at.from {
                Some((folder, name, flags)) => Way::Beside(folder, name, flags),
                // A folder, which is not opened for reading.
                None => Way::NoLinks,
            },
        })
    }

    /// Opens the target for reading, or what is in its place by now; `None` if nothing is, or a link.
    fn open_target(&self, path: &Path, quick: Quick) -> io::Result<Option<File>> {
        let opened = match &self.way {
            Way::AnyLinks => openat(CWD, path, FOR_READING, Mode::empty()),
            Way::NoLinks => match quick(path, FOR_READING) {
                Some(opened) => opened,
                None => return Ok(None),
            },
            Way::Beside(folder, name, flags) => {
                openat(folder, name, FOR_READING | *flags, Mode::empty())
            }
        };
        match opened {
            Err(Errno::LOOP | Errno::NOENT) => Ok(None),
            opened => Ok(Some(opened?.into())),
        }
    }
}

/// Opens what has no link on its way; `None` where there is one, or where the kernel cannot tell.
type Quick = fn(&Path, OFlags) -> Option<rustix::io::Result<OwnedFd>>;

fn without_links(path: &Path, flags: OFlags) -> Option<rustix::io::Result<OwnedFd>> {
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // A link; a kernel before 5.6; a filter of system calls that does not know this one.
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM | Errno::INVAL) => None,
        // While something is renamed the kernel may not be sure.
        Err(Errno::AGAIN) => None,
        opened => Some(opened),
    }
}

const FOR_READING: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Rotation replaces a file once; who does it more often does not want to be read.
const ATTEMPTS: usize = 10;
