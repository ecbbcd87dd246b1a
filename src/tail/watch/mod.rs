//! Who is woken by what happens to files, and how new files are found.
//!
//! - `watches`: the [`Watches`], shared by all tailers: which watch belongs to whom.
//! - `watcher`: the `watch` thread. It reads the one inotify instance and its inbox, and nothing else.
//! - `asker`: hands to the `scan-<n>` threads what is to be asked of file systems.
//! - `walk`: what a `scan-<n>` thread does in the folders of the patterns.
//! - `events`: what inotify says, put in order.
//! - `scans` and `folders`: when all folders of a pattern are looked at, and which single ones.
//! - `seen`: what the two tell each other, and what is there at the start.
//! - `notices`: what is said about paths that are not read; `overflow`: about events that are lost.
//!
//! The kernel allows 128 inotify instances per user, so there is one. What it says is a hint, never the
//! truth: events wake tailers, which then look for themselves. Tailers look again every few seconds
//! anyway, all of them do after a queue overflow, and where no watch can be had they poll.

mod asker;
mod entries;
mod events;
mod folders;
mod notices;
mod overflow;
mod scans;
mod seen;
#[cfg(test)]
mod tests;
mod walk;
mod watcher;
mod watches;

pub use seen::FirstLook;
pub use watcher::Watcher;
pub use watches::{FileWatch, Watches};
