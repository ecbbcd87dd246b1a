//! What lies beside the path: which of the files that rotation may have left are candidates, and in which order they were
//! written.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Look;
use super::candidates::Wanted;
use super::listing::{Listed, is_editors_backup};
use crate::identity::{FileStat, Inode};
use crate::progress::Checkpoint;
use crate::tail::Tailer;
use crate::tail::alike::tell_apart;
use crate::tail::compare::find_copies;
use crate::tail::found::Found;
use crate::tail::log_file::{Packing, is_compressed_name};
use crate::tail::observation::{
    COPY_OF_UNKNOWN, Candidate, Current, Match, NEIGHBOUR_NS, Observation, Place, Verdict,
    is_file_of,
};
use crate::tail::recognise::{ContentMatch, is_same_inode};
use crate::tail::rotated_names::{COMPRESSIONS, RotatedName, scheme_of};

/// What nobody knows, and is named after the log in a way that no rotation is known to do.
struct Stranger {
    /// What its name has in common with others.
    scheme: Vec<u8>,
    path: PathBuf,
    stat: FileStat,
    is_archive: bool,
}

/// Where a file is to be read, what its name says, and its stat.
type Placed = (Place, Option<RotatedName>, FileStat);

/// What is known while one name after the other is looked at.
struct Beside {
    names: HashSet<PathBuf>,
    /// The checkpoints whose content a file may hold.
    references: Vec<Checkpoint>,
    is_searching: bool,
    /// Whether content is missing that an archive may hold.
    wants_archives: bool,
    met: HashSet<Inode>,
    places: Vec<Placed>,
    /// The last change of what is known, in ns since 1970, by the scheme of a name that no rotation is known to give.
    schemes: HashMap<Vec<u8>, i64>,
    strangers: Vec<Stranger>,
}

impl Beside {
    fn wanted(&self, is_archive: bool) -> Wanted<'_> {
        Wanted {
            references: &self.references,
            is_searching: self.is_searching,
            is_archive,
        }
    }
}

impl Tailer {
    /// Looks at what rotation may have left.
    pub(super) fn observe_rotated(
        &mut self,
        found: &mut Found,
        current: Option<&FileStat>,
        not_before: Instant,
        look: Look,
    ) -> io::Result<()> {
        let mut listed = self.list(found, not_before, look == Look::Whole)?;
        // The originals first: what is gone by then is packed, and its archive complete.
        listed.sort_by_key(|l| is_compressed_name(&l.path));
        self.note_beside(found, current, &listed, not_before);
        let related = match listed.iter().any(|l| is_compressed_name(&l.path)) {
            true => self.related(),
            false => Vec::new(),
        };
        let is_searching = look == Look::Whole || is_searching(found, &listed);
        let mut open = found.seen.open.iter();
        let mut beside = Beside {
            names: listed.iter().map(|l| l.path.clone()).collect(),
            references: self.references(found, &related),
            is_searching,
            wants_archives: is_searching || open.any(|o| o.verdict == Verdict::Replaced),
            met: current.iter().map(|stat| stat.inode).collect(),
            places: Vec::new(),
            schemes: HashMap::new(),
            strangers: Vec::new(),
        };
        for listed in listed {
            self.observe_listed(found, &mut beside, listed)?;
        }
        self.observe_strangers(found, &mut beside, current)?;
        let order = |seen: &Observation| order_of(seen, beside.places.clone());
        for at in tell_apart(found, &mut self.sources, &order) {
            let candidate = &found.seen.candidates[at];
            let mut known = found.seen.known.iter();
            // Now that it is nothing that is known, its own tailer reads it, if it has one.
            let is_unknown = candidate.matches.is_empty()
                && !candidate.is_archive
                && !known.any(|known| is_file_of(known, candidate));
            if is_unknown && self.is_followed_by_itself(&found.files[at].path) {
                found.seen.candidates[at].is_followed = true;
            }
        }
        find_copies(found);
        found.is_moving |= !self.is_still_at_path(current);
        found.seen.order = order_of(&found.seen, beside.places);
        Ok(())
    }

    /// Looks at one name, unless it leads to a file that was looked at under another one.
    fn observe_listed(
        &mut self,
        found: &mut Found,
        beside: &mut Beside,
        listed: Listed,
    ) -> io::Result<()> {
        let Listed {
            path,
            inode,
            name,
            must_be_known,
        } = listed;
        let stat = look_at_listed(found, &path, inode).filter(|stat| stat.is_regular);
        let Some(stat) = stat.filter(|stat| beside.met.insert(stat.inode)) else {
            return Ok(());
        };
        let mut own = self.sources.iter();
        if let Some(own) = own.find(|s| is_same_inode(&s.checkpoint, &stat)) {
            let place = Place::Open(own.checkpoint.serial);
            beside.places.push((place, name, stat));
            return Ok(());
        }
        if is_editors_backup(&path) && is_saved(found, &stat) {
            return Ok(());
        }
        let packing = Packing::of(&path, self.log.follow_links);
        let is_archive = packing.is_some();
        let original = match is_archive {
            true => original_of(&beside.names, &path),
            false => Original::None,
        };
        // Of an intact one the archive may still be being written, and is of no use.
        if original == Original::Intact || (original == Original::Later && !beside.wants_archives) {
            return Ok(());
        }
        // Somebody may have written to what was packed, and the archive be an older one.
        let must_be_known = must_be_known || original == Original::Later;
        if packing == Some(Packing::Other) {
            if original == Original::None {
                found.packed = Some(path);
            }
            return Ok(());
        }
        let stat = FileStat {
            born_ns: if is_archive { 0 } else { stat.born_ns },
            ..stat
        };
        let scheme = match &name {
            None if must_be_known => path.file_name().and_then(|n| scheme_of(n.as_bytes())),
            _ => None,
        };
        let probed = self.probe(found, beside.wanted(is_archive), path, stat)?;
        let Some((mut candidate, file)) = probed else {
            return Ok(());
        };
        let is_known = is_known_candidate(&found.seen, &candidate, name.is_some());
        if !is_known && self.was_overwritten(&stat) && is_packed(&beside.names, &file.path) {
            // What lies there now was never lines of the log.
            return Ok(());
        }
        if !must_be_known || is_known {
            if let Some(scheme) = scheme {
                let last = beside.schemes.entry(scheme).or_insert(stat.modified_ns);
                *last = stat.modified_ns.max(*last);
            }
            candidate.is_numbered = name.as_ref().is_some_and(RotatedName::is_numbered);
            let stat = candidate.stat;
            beside.places.push((found.add(candidate, file), name, stat));
        } else if self.begins_with_stem(&file.path) {
            beside.strangers.extend(scheme.map(|scheme| Stranger {
                scheme,
                path: file.path,
                stat,
                is_archive,
            }));
        }
        Ok(())
    }

    fn was_overwritten(&self, stat: &FileStat) -> bool {
        let overwritten = self.overwritten.as_ref();
        overwritten.is_some_and(|(inode, born_ns, since)| {
            (*inode, *born_ns) == (stat.inode, stat.born_ns) && since.elapsed() < OVERWRITING
        })
    }

    /// Looks at what nobody knows under names like that under which something known was found, and which was written
    /// later, before what lies at the path was made. No rotation is known to give such names; this one does. A packer
    /// that does not give the archive the time of its original (`gzip -c`) hides what was written before it packed.
    fn observe_strangers(
        &mut self,
        found: &mut Found,
        beside: &mut Beside,
        current: Option<&FileStat>,
    ) -> io::Result<()> {
        let made_ns = current.map_or(0, |stat| stat.born_ns);
        for stranger in std::mem::take(&mut beside.strangers) {
            let modified_ns = stranger.stat.modified_ns;
            let known = beside.schemes.get(&stranger.scheme);
            let is_later = known.is_some_and(|last| modified_ns > *last);
            let is_neighbour = made_ns > 0 && modified_ns > made_ns.saturating_add(NEIGHBOUR_NS);
            if !is_later || is_neighbour || self.is_followed_by_itself(&stranger.path) {
                continue;
            }
            let wanted = beside.wanted(stranger.is_archive);
            let probed = self.probe(found, wanted, stranger.path, stranger.stat)?;
            if let Some((mut candidate, file)) = probed {
                candidate.is_numbered = true;
                let stat = candidate.stat;
                beside.places.push((found.add(candidate, file), None, stat));
            }
        }
        Ok(())
    }

    /// Whether the path leads to what it led to before the names were listed. What was rotated away meanwhile is
    /// listed as if it had nothing to do with what lay there.
    fn is_still_at_path(&self, before: Option<&FileStat>) -> bool {
        match (FileStat::at_path(&self.path), before) {
            (Ok(stat), Some(before)) => stat.inode == before.inode,
            (Err(_), None) => true,
            (Ok(stat), None) => !stat.is_regular,
            (Err(_), Some(_)) => false,
        }
    }
}

/// What lies under the name of a file beside its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Original {
    None,
    /// As it was when it was packed, or is being packed.
    Intact,
    /// It was written later: by shred, which goes over what is packed.
    Later,
}

/// The original of an archive. What svlogd packs ends in `.u` meanwhile. One that was listed and is gone by now was packed
/// in between: whoever looks in neither of the two misses it.
fn original_of(names: &HashSet<PathBuf>, archive: &Path) -> Original {
    let originals = ["", "u"].map(|ending| archive.with_extension(ending));
    let listed = originals.iter().find(|path| names.contains(*path));
    match listed.and_then(|path| modified_ns(path)) {
        None => Original::None,
        // While an archive is written it is the younger one, and afterwards it has the time that its original had.
        Some(original) => match modified_ns(archive) {
            Some(archive) if original > archive => Original::Later,
            _ => Original::Intact,
        },
    }
}

fn modified_ns(path: &Path) -> Option<i64> {
    Some(FileStat::at_path(path).ok()?.modified_ns)
}

/// Whether an archive of a file is beside it.
fn is_packed(names: &HashSet<PathBuf>, original: &Path) -> bool {
    COMPRESSIONS.iter().any(|ending| {
        let mut archive = original.as_os_str().to_owned();
        archive.push(OsStr::from_bytes(ending));
        names.contains(Path::new(&archive))
    })
}

/// A look at a name of a listing that gives it this `inode`.
fn look_at_listed(found: &mut Found, path: &Path, inode: Option<u64>) -> Option<FileStat> {
    let stat = FileStat::at_path(path);
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    found.is_moving |= stat.as_ref().err().is_some_and(is_gone);
    let stat = stat.ok()?;
    if let Some(inode) = inode
        && inode != stat.inode.inode
        && !path.is_symlink()
    {
        found.differing.push((path.to_owned(), inode));
    }
    Some(stat)
}

/// The order in which files were written: what was seen before comes first, then names and times tell.
fn order_of(seen: &Observation, mut places: Vec<Placed>) -> Vec<Place> {
    let was_seen = |place: &Place| match place {
        Place::Open(_) => true,
        Place::Candidate(at) => {
            let candidate = &seen.candidates[*at];
            !candidate.matches.is_empty() || is_known_file(seen, candidate)
        }
    };
    RotatedName::sort_oldest_first(&mut places, |(place, name, stat)| {
        let was_seen = was_seen(place);
        let tells = was_seen || stat.size > 0;
        let was_seen = tells.then_some(was_seen);
        (name.as_ref(), stat.modified_ns, stat.born_ns, was_seen)
    });
    places.into_iter().map(|(place, ..)| place).collect()
}

/// Whether there is a reason to take the file for one of the log, though its name is none. A copy that is being made of
/// what nobody knows begins as many files may: that is none where no rotation gives its name.
fn is_known_candidate(seen: &Observation, candidate: &Candidate, is_name_known: bool) -> bool {
    let is_of_known = |m: &Match| is_name_known || m.serial != COPY_OF_UNKNOWN;
    candidate.matches.iter().any(is_of_known)
        || candidate.was_found_at_path
        || is_known_file(seen, candidate)
}

fn is_known_file(seen: &Observation, candidate: &Candidate) -> bool {
    let mut known = seen.known.iter();
    known.any(|known| {
        // The inode of an archive that was empty, or never read, is handed out again as well.
        let is_recycled = candidate.is_archive
            && known.never_had_content()
            && known.modified_ns != candidate.stat.modified_ns;
        is_file_of(known, candidate) && !is_recycled
    })
}

/// Whether the content of some checkpoint that has something unread lies neither at the path nor at its inode.
fn is_searching(found: &Found, listed: &[Listed]) -> bool {
    // The number may have been handed out again: to any file beside it, once it was packed.
    let is_listed = |c: &Checkpoint| {
        let number = Some(c.identity.inode.inode);
        let mut same = listed.iter().filter(|l| l.inode == number);
        same.any(|l| FileStat::at_path(&l.path).is_ok_and(|stat| is_same_inode(c, &stat)))
    };
    let is_missing = |c: &Checkpoint| {
        let is_at_path = match &found.seen.current {
            Current::File { stat, matches } => {
                matches.iter().any(|m| m.serial == c.serial)
                    || (c.never_had_content() && is_same_inode(c, stat))
            }
            _ => false,
        };
        c.is_unfinished() && !is_at_path && !is_listed(c)
    };
    found.seen.known.iter().any(is_missing)
}

/// Whether the file at the path holds all that is known of the content that the file of `look` had.
fn is_saved(found: &Found, stat: &FileStat) -> bool {
    let Current::File { matches, .. } = &found.seen.current else {
        return false;
    };
    let mut known = found.seen.known.iter().filter(|c| is_same_inode(c, stat));
    known.any(|c| {
        let mut matches = matches.iter();
        matches.any(|m| m.serial == c.serial && m.content == ContentMatch::Continues)
    })
}

/// For so long what was packed may be overwritten.
const OVERWRITING: Duration = Duration::from_secs(60);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn an_archive_is_looked_into_where_its_original_was_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, seconds: u64| {
            let path = folder.path().join(name);
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            File::create(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let packed = place("app.log.1.gz", 100);
        for (name, seconds, expected) in [
            ("app.log.1", 99, Original::Intact),
            ("app.log.1", 100, Original::Intact),
            ("app.log.1", 101, Original::Later),
            // Not of this archive.
            ("app.log.2", 101, Original::None),
        ] {
            let names = HashSet::from([packed.clone(), place(name, seconds)]);
            assert_eq!(original_of(&names, &packed), expected, "{name}, {seconds}");
            assert_eq!(
                is_packed(&names, &folder.path().join(name)),
                name == "app.log.1"
            );
        }
        let gone = folder.path().join("app.log.1");
        std::fs::remove_file(&gone).unwrap();
        let names = HashSet::from([packed.clone(), gone]);
        assert_eq!(original_of(&names, &packed), Original::None);
        let label = place("@4000000069281f6a2a3b4c5d.gz", 100);
        let names = HashSet::from([label.clone(), place("@4000000069281f6a2a3b4c5d.u", 50)]);
        assert_eq!(
            original_of(&names, &label),
            Original::Intact,
            "svlogd packs it"
        );
    }
}
