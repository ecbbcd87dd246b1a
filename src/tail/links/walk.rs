//! A path walked component by component, so that each link on the way is seen; the error of a link that is not
//! followed.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat, fstat, fstatfs, openat, readlinkat,
};
use rustix::io::Errno;

use crate::config::FollowLinks;
use crate::shown::ShownPath;

/// Where a path has led to.
pub(super) struct Walked {
    /// Free of links.
    pub(super) path: PathBuf,
    pub(super) at: At,
    pub(super) is_there: bool,
}

/// Where a walk stands.
pub(super) struct At {
    /// A folder, or at the end anything but a link.
    pub(super) here: OwnedFd,
    /// The folder it lies in, its name there, and what keeps another link from being followed. None after `..`,
    /// which leads to a folder.
    pub(super) from: Option<(OwnedFd, OsString, OFlags)>,
}

/// What is still to be done, the next at the end.
enum Step {
    Name(OsString),
    /// All that a link stands for has been walked.
    LinkEnds {
        link: PathBuf,
        owner: u32,
    },
}

/// Walks `path`.
///
/// # Errors
/// Those of opening what is on the way, ELOOP after as many links as the kernel follows, an [`UnsafeLink`]. That
/// nothing lies where the path leads to is none.
pub(super) fn walk(path: &Path, policy: FollowLinks) -> io::Result<Walked> {
    let mut walk = Walk {
        policy,
        links: 0,
        at: At::start(path)?,
        path: start_of(path),
        steps: Vec::new(),
    };
    walk.push_steps(path);
    let mut is_there = true;
    while let Some(step) = walk.steps.pop() {
        match step {
            Step::LinkEnds { link, owner } => walk.end_link(link, owner)?,
            Step::Name(name) if name == ".." => walk.go_up()?,
            Step::Name(name) => is_there = walk.go_to(name)?,
        }
    }
    Ok(Walked {
        path: walk.path,
        at: walk.at,
        is_there,
    })
}

struct Walk {
    policy: FollowLinks,
    links: usize,
    at: At,
    /// Where that is.
    path: PathBuf,
    steps: Vec<Step>,
}

impl Walk {
    fn push_steps(&mut self, path: &Path) {
        let names = path.as_os_str().as_bytes().split(|&b| b == b'/').rev();
        let names = names.filter(|name| !name.is_empty() && *name != b".");
        self.steps
            .extend(names.map(|name| Step::Name(OsStr::from_bytes(name).to_owned())));
    }

    fn go_up(&mut self) -> io::Result<()> {
        let flags = FOR_STAT | OFlags::DIRECTORY;
        self.at = At {
            here: openat(&self.at.here, c"..", flags, Mode::empty())?,
            from: None,
        };
        self.path.pop();
        Ok(())
    }

    /// Goes to `name`, or over the link of that name. `false`: it is the last one, and nothing is there.
    fn go_to(&mut self, name: OsString) -> io::Result<bool> {
        let flags = FOR_STAT | OFlags::NOFOLLOW;
        let opened = match openat(&self.at.here, &name, flags, Mode::empty()) {
            Err(Errno::NOENT) if self.is_last() => {
                self.path.push(name);
                return Ok(false);
            }
            opened => opened?,
        };
        let stat = fstat(&opened)?;
        if FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return self.follow(name, &opened, &stat).map(|()| true);
        }
        self.path.push(&name);
        self.at.enter(opened, name, OFlags::NOFOLLOW);
        Ok(true)
    }

    fn is_last(&self) -> bool {
        let is_name = |step: &Step| matches!(step, Step::Name(_));
        !self.steps.iter().any(is_name)
    }

    fn follow(&mut self, name: OsString, opened: &OwnedFd, stat: &Stat) -> io::Result<()> {
        let (link, owner) = (self.path.join(&name), stat.st_uid);
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        match self.policy {
            FollowLinks::All => {}
            FollowLinks::None => return Err(self.refused(link, owner)),
            FollowLinks::Safe if is_trusted(owner, agent()) => {}
            // What it leads to is seen when that is reached.
            FollowLinks::Safe => self.steps.push(Step::LinkEnds { link, owner }),
        }
        if fstatfs(opened)?.f_type == PROC_SUPER_MAGIC {
            // The text of such a link may be no path, and what it leads to lie in another namespace: the kernel
            // knows.
            let target = openat(&self.at.here, &name, FOR_STAT, Mode::empty())?;
            self.path.push(&name);
            self.at.enter(target, name, OFlags::empty());
            return Ok(());
        }
        let target = readlinkat(opened, c"", Vec::new())?.into_bytes();
        let target = PathBuf::from(OsString::from_vec(target));
        if target.is_absolute() {
            self.at = At::start(&target)?;
            self.path = start_of(&target);
        }
        self.push_steps(&target);
        Ok(())
    }

    /// Refuses a link that has led here if it does not belong to the owner of what is here. If nothing is, this is
    /// the folder where it may come.
    fn end_link(&self, link: PathBuf, owner: u32) -> io::Result<()> {
        match fstat(&self.at.here)?.st_uid == owner {
            true => Ok(()),
            false => Err(self.refused(link, owner)),
        }
    }

    fn refused(&self, link: PathBuf, owner: u32) -> io::Error {
        let refused = UnsafeLink {
            link,
            owner,
            policy: self.policy,
        };
        io::Error::new(io::ErrorKind::PermissionDenied, refused)
    }
}

impl At {
    fn start(path: &Path) -> io::Result<Self> {
        let start = if path.is_absolute() { c"/" } else { c"." };
        Ok(At {
            here: openat(CWD, start, FOR_STAT | OFlags::DIRECTORY, Mode::empty())?,
            from: None,
        })
    }

    fn enter(&mut self, opened: OwnedFd, name: OsString, flags: OFlags) {
        let folder = std::mem::replace(&mut self.here, opened);
        self.from = Some((folder, name, flags));
    }
}

fn start_of(path: &Path) -> PathBuf {
    PathBuf::from(if path.is_absolute() { "/" } else { "" })
}

/// Whether links of this owner are followed wherever they lead to: whoever can make them can read all that
/// `agent` can.
pub(super) fn is_trusted(owner: u32, agent: u32) -> bool {
    owner == 0 || owner == agent
}

fn agent() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

pub(super) const FOR_STAT: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// A link that `follow_links` does not let the agent follow. It travels within an [`io::Error`] of the kind
/// `PermissionDenied`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tail) struct UnsafeLink {
    /// The link itself; all before it is no link.
    pub(in crate::tail) link: PathBuf,
    /// The user that it belongs to.
    pub(in crate::tail) owner: u32,
    /// What `follow_links` says.
    pub(super) policy: FollowLinks,
}

impl UnsafeLink {
    /// The link that `error` is about, if it is about one.
    pub(in crate::tail) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl std::error::Error for UnsafeLink {}

impl fmt::Display for UnsafeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnsafeLink {
            link,
            owner,
            policy,
        } = self;
        write!(f, "the link '{}' is not followed: ", ShownPath(link))?;
        match policy {
            FollowLinks::None => f.write_str("follow_links = none"),
            _ => write!(
                f,
                "it belongs to user {owner}, not to root, to the agent's user or to the owner of its target \
                 (follow_links = safe; all follows any link)"
            ),
        }
    }
}
