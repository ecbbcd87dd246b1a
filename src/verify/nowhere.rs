//! Topics of the ini that do not exist: parked, deleted, or made with the first line, which never came.

use super::disk::Disk;
use super::report::grouped;
use crate::config::{Config, StartAt};
use crate::record::json_text::push_string;
use crate::tail::discover::Discovery;
use crate::tail::survey::survey;

/// A topic that does not exist, and what there is for it.
#[derive(Debug)]
pub(super) struct Nowhere {
    topic: String,
    /// Files that are not empty.
    files: u64,
    /// What of them is to be in the topic.
    pub(super) bytes: u64,
}

/// Looks for files whose lines go to the topics that are missing.
pub(super) fn look(config: &Config, missing: &[&String], disk: &Disk) -> Vec<Nowhere> {
    let nowhere = |topic: &&String| Nowhere {
        topic: topic.to_string(),
        files: 0,
        bytes: 0,
    };
    let mut all: Vec<Nowhere> = missing.iter().map(nowhere).collect();
    let discovery = Discovery::new(&config.logs, &config.agent.state_dir);
    for (log, found) in survey(&discovery).files.values() {
        let topic = &log.destination.topic;
        let Some(nowhere) = all.iter_mut().find(|nowhere| nowhere.topic == *topic) else {
            continue;
        };
        // One that cannot be opened is what `check` and `status` tell of.
        let Ok(stat) = found else { continue };
        let skipped = match log.start_at {
            StartAt::Beginning => 0,
            // Without a position it is not known where the agent begins.
            StartAt::End => disk.position(stat.inode).unwrap_or(stat.size),
        };
        let bytes = stat.size.saturating_sub(skipped);
        nowhere.files += u64::from(bytes > 0);
        nowhere.bytes += bytes;
    }
    all
}

impl Nowhere {
    /// Lines of so many columns at most.
    pub(super) fn shown(&self, width: usize) -> String {
        let room = width.saturating_sub(NAME.len() + 2);
        let topic: String = match self.topic.chars().count() > room {
            true => self
                .topic
                .chars()
                .take(room - 3)
                .chain("...".chars())
                .collect(),
            false => self.topic.clone(),
        };
        let words = match (self.files, self.bytes) {
            (0, _) => "no file has a line for it".to_owned(),
            (1, bytes) => format!("1 file with {} bytes is for it", grouped(bytes)),
            (files, bytes) => {
                let (files, bytes) = (grouped(files), grouped(bytes));
                format!("{files} files with {bytes} bytes are for it")
            }
        };
        format!("{NAME}  {topic}\n{:1$}{words}\n", "", NAME.len() + 2)
    }

    pub(super) fn push_json(&self, json: &mut Vec<u8>) {
        json.extend(b"{\"topic\":");
        push_string(json, self.topic.as_bytes());
        let rest = format!(",\"files\":{},\"bytes\":{}}}", self.files, self.bytes);
        json.extend(rest.into_bytes());
    }
}

const NAME: &str = "no such topic";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_of_a_topic_leaves_no_line_longer_than_the_screen() {
        for (len, files, bytes) in [(1, 0, 0), (65, 1, 7), (66, 2, 12_345_678), (249, 3, 1)] {
            let topic = "t".repeat(len);
            let shown = Nowhere {
                topic: topic.clone(),
                files,
                bytes,
            }
            .shown(80);
            assert!(
                shown.lines().all(|line| line.chars().count() <= 80),
                "{shown}"
            );
            assert_eq!(shown.contains(&format!("  {topic}\n")), len < 66, "{shown}");
        }
    }
}
