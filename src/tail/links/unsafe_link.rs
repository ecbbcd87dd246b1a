//! The error of a link that is not followed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::config::FollowLinks;
use crate::shown::ShownPath;

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
                "it belongs to user {owner}, not to root, to the agent's user or to the owner of its target"
            ),
        }
    }
}
