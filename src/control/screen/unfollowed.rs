//! What the notes of a screen say of files that no section follows any more.

use super::super::measures::size;
use super::Moment;
use crate::snapshot::Unfollowed;

impl Moment<'_> {
    /// That bytes were left in files when their section was removed, or got another `path`.
    pub(super) fn unfollowed(&self) -> Option<(String, String)> {
        let Unfollowed {
            files,
            bytes,
            first,
        } = &self.now.unfollowed;
        let (about, them, are) = match files {
            0 => return None,
            1 => ("1 file".to_owned(), "it", "is"),
            files => (format!("{files} files"), "them", "are"),
        };
        let more = match files.saturating_sub(first.len() as u64) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let words = format!(
            "{are} in no section any more, and {} of {them} were not sent: {}{more}; a section that names {them} sends \
             that, 'logagent rewind FILE --to end' while the agent is stopped leaves it out",
            size(*bytes),
            first.join(", ")
        );
        Some((about, words))
    }
}
