//! What is noted of files that are not opened.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, FileStat};
use crate::progress::{Checkpoint, Marks, Progress, SourceState};
use crate::shown::ShownPath;
use crate::tail::Tailer;
use crate::tail::compare::{fresh, identify, identity_of};
use crate::tail::found::{CandidateFile, Found};
use crate::tail::plan::{Plan, Registration};

impl Tailer {
    pub(super) fn register(&mut self, found: &mut Found, plan: &Plan) {
        for (at, registration) in &plan.registered {
            let registered = self.registration_of(*at, *registration, found);
            if let Ok(Some(checkpoint)) = registered {
                if *registration == Registration::Skipped {
                    log::debug!(
                        "'{}': '{}' is no part of it and is skipped",
                        ShownPath(&self.path),
                        ShownPath(&found.files[*at].path),
                    );
                }
                match registration {
                    Registration::OfItself => self.remember_unknown(checkpoint),
                    _ => self.remember(checkpoint),
                }
            }
        }
    }

    fn registration_of(
        &self,
        at: usize,
        registration: Registration,
        found: &mut Found,
    ) -> io::Result<Option<Checkpoint>> {
        let stat = found.seen.candidates[at].stat;
        let CandidateFile { path, content } = &mut found.files[at];
        let content = content.as_mut();
        let (state, content) = match (registration, content) {
            (Registration::Unread, _) => {
                let is_archive = found.seen.candidates[at].is_archive;
                return Ok(Some(Checkpoint {
                    // How much an archive holds is not known.
                    size: if is_archive { 0 } else { stat.size },
                    ..self.unread(&stat)
                }));
            }
            (_, None) => return Ok(None),
            (Registration::Skipped, Some(content)) => (SourceState::Skipped, content),
            (Registration::CopyOf(_), Some(content)) => (SourceState::Finished, content),
            (Registration::OfItself, Some(content)) => {
                let path: Arc<Path> = path.as_path().into();
                return Ok(Some(Checkpoint {
                    // Its tailer has not seen it: it says nothing about when another one was rotated away.
                    modified_ns: 0,
                    ..fresh(&path, content, 0)?.0
                }));
            }
        };
        // What is skipped is known by its first bytes; to find the end of an archive it would have to be unpacked.
        let end = match state {
            SourceState::Skipped => 0,
            _ => content.size()?,
        };
        let (fingerprint, _) = identify(content)?;
        Ok(Some(Checkpoint {
            identity: FileIdentity {
                fingerprint,
                ..identity_of(&stat)
            },
            offset: end,
            size: end,
            tail_checksum: content
                .checksum_before(end, TailChecksum::MAX_LEN.min(end as usize) as u8)?,
            state,
            ..self.unread(&stat)
        }))
    }

    /// A checkpoint for a file that cannot be read yet.
    fn unread(&self, stat: &FileStat) -> Checkpoint {
        Checkpoint {
            path: self.path.clone(),
            identity: identity_of(stat),
            offset: 0,
            size: 0,
            tail_checksum: TailChecksum::default(),
            marks: Marks::default(),
            state: SourceState::Open,
            serial: 0,
            modified_ns: stat.modified_ns,
        }
    }

    pub(super) fn remember(&self, checkpoint: Checkpoint) {
        let registered = self.shared.registry.register(checkpoint);
        let _ = self.progress.send(Progress::Registered(registered));
    }

    /// Remembers a file unless its own tailer has come first.
    fn remember_unknown(&self, checkpoint: Checkpoint) {
        if let Some(registered) = self.shared.registry.register_unknown(checkpoint) {
            let _ = self.progress.send(Progress::Registered(registered));
        }
    }

    pub(super) fn forget(&self, serial: u64) {
        self.shared.registry.remove(serial);
        let _ = self.progress.send(Progress::Forgotten { serial });
    }
}
