//! Topics that placeholders of a file make and that Kafka does not take: records go to another name, which is said, so
//! that nobody looks for them where they are not.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::record::topic_name::legal;
use crate::shown::ShownPath;

/// Those that were said.
#[derive(Debug, Default)]
pub(super) struct ChangedTopics(HashSet<Arc<[u8]>>);

impl ChangedTopics {
    /// A file is followed for `log`.
    pub(super) fn meet(&mut self, log: &LogConfig, path: &Path) {
        let record = log.record.as_ref();
        if let Some(made) = record.and_then(|record| record.file_topic(path)) {
            for line in self.news(made, path) {
                log::warn!("{line}");
            }
        }
    }

    /// What is to be said of a topic that was made for `path`.
    fn news(&mut self, made: Arc<[u8]>, path: &Path) -> Vec<String> {
        let Cow::Owned(name) = legal(&made) else {
            return Vec::new();
        };
        if self.0.len() == MOST || !self.0.insert(made.clone()) {
            return Vec::new();
        }
        let made = String::from_utf8_lossy(&made);
        let made = made.escape_debug();
        let path = ShownPath(path);
        let mut lines = vec![format!("'{path}': topic '{made}' is written '{name}'")];
        if self.0.len() == MOST {
            lines.push("no more topics that are written otherwise are said".to_owned());
        }
        lines
    }
}

/// So many are said in the life of an agent.
const MOST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_written_otherwise_is_said_once_and_not_more_than_so_many_are() {
        let mut topics = ChangedTopics::default();
        let mut news = |made: &str| topics.news(made.as_bytes().into(), Path::new("/a b.log"));
        assert_eq!(news("t.a_b"), [""; 0]);
        let first = "'/a b.log': topic 't.a b' is written 't.a_b'";
        assert_eq!(news("t.a b"), [first]);
        assert_eq!(news("t.a b"), [""; 0]);
        let said: usize = (0..2 * MOST).map(|n| news(&format!("t {n}")).len()).sum();
        assert_eq!(said, MOST, "with the line that there will be no more");
    }
}
