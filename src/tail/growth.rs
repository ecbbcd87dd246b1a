//! What has come to a source since it was looked at.

use std::io;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::Shared;
use super::source::Source;
use crate::identity::{FileIdentity, FileStat, Fingerprint};
use crate::progress::{Checkpoint, Progress};

/// Records a stat of content that may have grown.
pub(super) fn note_growth(
    source: &mut Source,
    stat: &FileStat,
    shared: &Shared,
    progress: &Sender<Progress>,
) -> io::Result<()> {
    if (stat.size, stat.modified_ns) != (source.size, source.modified_ns)
        && let Some(since) = &mut source.detached_since
    {
        *since = Instant::now();
    }
    if stat.size > source.size {
        shared.metrics.has_grown.set();
    }
    source.record_stat(stat);
    if source.position == 0
        && let Some(fingerprint) = source.grown_fingerprint()?
    {
        // It may be truncated before the first byte is read, and its copy be looked for.
        grow_fingerprint(source, fingerprint, shared, progress);
    }
    Ok(())
}

/// Notes the first content of a source, `begun` with it.
pub(super) fn note_begun(
    source: &mut Source,
    begun: &(Checkpoint, FileStat),
    shared: &Shared,
    progress: &Sender<Progress>,
) {
    let (checkpoint, stat) = begun;
    if checkpoint.identity.fingerprint.len > 0 {
        grow_fingerprint(source, checkpoint.identity.fingerprint, shared, progress);
    }
    if let Some(since) = &mut source.detached_since {
        *since = Instant::now();
    }
    shared.metrics.has_grown.set();
    source.record_stat(stat);
}

/// The first bytes of a source are better known.
pub(super) fn grow_fingerprint(
    source: &mut Source,
    fingerprint: Fingerprint,
    shared: &Shared,
    progress: &Sender<Progress>,
) {
    let identity = FileIdentity {
        fingerprint,
        ..source.checkpoint.identity
    };
    source.checkpoint.identity = identity;
    let serial = source.checkpoint.serial;
    shared.registry.update_identity(serial, identity);
    let _ = progress.send(Progress::Known {
        source: source.id,
        identity,
    });
}
