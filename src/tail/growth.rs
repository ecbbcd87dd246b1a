//! What has come to a source since it was looked at.

use std::io;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::Shared;
use super::source::Source;
use crate::identity::{Fingerprint, Identity, Look};
use crate::progress::{Checkpoint, Progress};

/// Notes a look at content that may have grown.
pub(super) fn note_growth(
    source: &mut Source,
    look: &Look,
    shared: &Shared,
    progress: &Sender<Progress>,
) -> io::Result<()> {
    if (look.size, look.modified_ns) != (source.size, source.modified_ns)
        && let Some(since) = &mut source.detached_since
    {
        *since = Instant::now();
    }
    if look.size > source.size {
        shared.metrics.has_grown.set();
    }
    source.note(look);
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
    begun: &(Checkpoint, Look),
    shared: &Shared,
    progress: &Sender<Progress>,
) {
    let (checkpoint, look) = begun;
    if checkpoint.identity.fingerprint.len > 0 {
        grow_fingerprint(source, checkpoint.identity.fingerprint, shared, progress);
    }
    if let Some(since) = &mut source.detached_since {
        *since = Instant::now();
    }
    shared.metrics.has_grown.set();
    source.note(look);
}

/// The first bytes of a source are better known.
pub(super) fn grow_fingerprint(
    source: &mut Source,
    fingerprint: Fingerprint,
    shared: &Shared,
    progress: &Sender<Progress>,
) {
    let identity = Identity {
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
