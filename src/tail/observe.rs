//! Looking: what lies at the path, what became of the open files, and what rotation left, as data for the plan.
//!
//! The file at the path and the open sources are looked at first, and what lies beside them afterwards. So what is
//! found beside them is older, or a copy of what they hold.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::io::Errno;

use super::apply::fresh;
use super::content::{Content, is_compressed_name};

use super::family::Owner;
use super::links::{self, UnsafeLink};
use super::patterns::Exclude;
use super::plan::{
    Adoption, Candidate, Current, Match, Observation, OpenSource, Place, Readable, Verdict,
};
use super::recognise::{Bytes, ContentMatch, content_of, is_same_inode};
use super::rotated_names::{RotatedName, family_base};
use super::source::Source;
use super::{Tailer, copies, now_ms};
use crate::batch::Trace;
use crate::config::StartAt;
use crate::identity::{Fingerprint, Inode, Look};
use crate::progress::{Checkpoint, SourceState};
use crate::shown::ShownPath;

/// What was seen, and the files that were opened for it: what is planned is done with these very files, whatever
/// lies under their names by then.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) seen: Observation,
    /// What lies at the path, unless it was open already.
    pub(super) current: Option<Content>,
    /// The content that open files have now, if it is not what was read: by the serial number of their sources.
    pub(super) begun: BTreeMap<u64, (Checkpoint, Look)>,
    /// The content of `current`.
    pub(super) begun_current: Option<(Checkpoint, Look)>,
    /// One for each candidate.
    pub(super) files: Vec<CandidateFile>,
    /// Names moved on while they were looked at: a file may have been missed.
    pub(super) is_moving: bool,
    /// Names that lead to other inodes than the listing says. If they do so at every look, nothing moves: on an
    /// overlay, or at a mount point, a listing and a stat differ.
    pub(super) differing: Vec<(PathBuf, u64)>,
    /// What could not be looked at, and why.
    pub(super) trouble: Option<(PathBuf, io::Error)>,
    /// Inode and time of birth of the file at the path that another tailer reads.
    pub(super) elsewhere: Option<(Inode, i64)>,
    /// That file is empty, and may become a copy of what another path holds.
    pub(super) awaits_copy: bool,
}

/// Where a candidate was found.
#[derive(Debug)]
pub(super) struct CandidateFile {
    pub(super) path: PathBuf,
    pub(super) content: Option<Content>,
}

/// A name that may lead to a rotated file.
struct Listed {
    path: PathBuf,
    /// The inode number in the listing, unless it is that of a link.
    inode: Option<u64>,
    name: Option<RotatedName>,
    /// The name does not say that the file is one of the log: it has an inode number that is looked for, which may
    /// have been handed out again, or a name that rotation gives to the log of the family (`family`) as well. Only
    /// what is known counts.
    must_be_known: bool,
}

/// What a candidate is looked at for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    /// What its content may be.
    references: &'a [Checkpoint],
    /// Content is looked for that is not where it was: what is known of a file does not say that it does not hold it.
    /// A copy counts as read when its original is, which may not have been delivered when the agent was killed.
    is_searching: bool,
    is_archive: bool,
}

impl Tailer {
    /// Looks at everything; listings of folders are not older than `not_before`, or nothing has changed since.
    pub(super) fn observe(&mut self, not_before: Instant) -> io::Result<Found> {
        let mut found = Found::default();
        let (known, is_without_skipped) = self.shared.registry.closed_of_path(&self.path);
        found.seen.known = known;
        self.observe_open(&mut found)?;
        found.seen.adoption = if found.seen.known.is_empty() && self.sources.is_empty() {
            Adoption::New {
                from_end: self.honours_start_at && self.log.start_at == StartAt::End,
            }
        } else if is_without_skipped {
            Adoption::KnownFilesOnly
        } else {
            Adoption::Known
        };
        found.seen.was_just_rotated = self.was_just_rotated();
        found.seen.in_place_at_ns = self.in_place_at_ns();
        let look = self.observe_current(&mut found)?;
        if found.awaits_copy {
            return Ok(found);
        }
        // What was written anew before it was rotated away must not be taken for what was overwritten after that.
        found.is_moving |= !self.are_as_seen(&found)?;
        self.observe_rotated(&mut found, look.as_ref(), not_before)?;
        Ok(found)
    }

    /// Whether the content of each open source is still what it was when it was looked at, but for more of it.
    fn are_as_seen(&mut self, found: &Found) -> io::Result<bool> {
        for (source, seen) in self.sources.iter_mut().zip(&found.seen.open) {
            if verdict_on(source)?.0 != seen.verdict {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn observe_open(&mut self, found: &mut Found) -> io::Result<()> {
        let last = self.sources.len().checked_sub(1);
        let has_current = self.has_current;
        for (at, source) in self.sources.iter_mut().enumerate() {
            let (verdict, look) = verdict_on(source)?;
            if matches!(verdict, Verdict::Replaced | Verdict::Begun) {
                let serial = source.checkpoint.serial;
                let begun = fresh(&self.path, &mut source.content, 0)?;
                found.begun.insert(serial, begun);
            }
            found.seen.open.push(OpenSource {
                reached: source.reached(),
                is_current: has_current && Some(at) == last,
                is_beside: look.links > 0,
                verdict,
                look,
            });
        }
        Ok(())
    }

    /// Looks at the path and opens what lies there, unless somebody has it open.
    fn observe_current(&mut self, found: &mut Found) -> io::Result<Option<Look>> {
        let look = match Look::at_path(&self.path) {
            Ok(look) => look,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => {
                found.seen.current = Current::Untold;
                found.seen.is_incomplete = true;
                found.trouble = Some((self.path.to_path_buf(), error));
                return Ok(None);
            }
        };
        if !look.is_regular {
            let error = io::Error::other("is not a regular file");
            found.trouble = Some((self.path.to_path_buf(), error));
            return Ok(None);
        }
        let is_ours = self
            .sources
            .iter()
            .any(|s| is_same_inode(&s.checkpoint, &look));
        if is_ours {
            let matches = Vec::new();
            found.seen.current = Current::File { look, matches };
            return Ok(Some(look));
        }
        if self.shared.registry.of_inode(look.inode).1 {
            found.seen.current = Current::ReadElsewhere;
            found.elsewhere = Some((look.inode, look.born_ns));
            return Ok(Some(look));
        }
        let opened = Content::open(&self.path, self.log.follow_links);
        let (mut content, look) = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(None),
            Err(error) if is_absence(&error) => {
                found.is_moving = true;
                return Ok(None);
            }
            Err(error) if is_shortage(&error) => return Err(error),
            Err(error) if UnsafeLink::of(&error).is_some() => {
                // As if nothing lay there.
                found.trouble = Some((self.path.to_path_buf(), error));
                return Ok(None);
            }
            Err(error) => {
                self.note_unreadable_current(found, look, error);
                return Ok(Some(look));
            }
        };
        // The same file may be known under another path.
        let (mut here, _) = self.shared.registry.of_inode(look.inode);
        here.retain(|c| c.path != self.path && is_same_inode(c, &look));
        let is_here = |c: &Checkpoint| c.state != SourceState::Skipped && is_same_inode(c, &look);
        let is_own = found.seen.known.iter().any(is_here);
        let owner = self.owner(&here, is_own, &mut content, &look)?;
        if owner != Owner::This {
            found.seen.current = Current::ReadElsewhere;
            found.elsewhere = Some((look.inode, look.born_ns));
            found.awaits_copy = owner == Owner::Undecided;
            return Ok(Some(look));
        }
        found.seen.known.extend(here);
        let references = self.references(found, &[]);
        let (begun, look) = fresh(&self.path, &mut content, 0)?;
        let matches = matches_of(&references, &mut content, &look)?;
        // What was compared must be what was looked at.
        let after = Look::at_file(content.file())?;
        let is_same =
            after.size >= look.size && begun.identity.fingerprint.matches(&content.head()?);
        found.is_moving |= !is_same;
        found.begun_current = Some((begun, look));
        found.current = Some(content);
        found.seen.current = Current::File { look, matches };
        Ok(Some(look))
    }

    /// What lies at the path cannot be opened. Its checkpoint, if it has one, must not be taken for one whose file is
    /// gone.
    fn note_unreadable_current(&self, found: &mut Found, look: Look, error: io::Error) {
        found.seen.candidates.push(Candidate {
            look,
            is_archive: false,
            readable: Readable::NotYet,
            matches: Vec::new(),
            was_found_at_path: true,
            is_followed: false,
        });
        found.files.push(CandidateFile {
            path: self.path.to_path_buf(),
            content: None,
        });
        found.trouble = Some((self.path.to_path_buf(), error));
    }

    /// The checkpoints whose content a file may hold: of open sources, of this path, and of `others`.
    fn references(&self, found: &Found, others: &[Checkpoint]) -> Vec<Checkpoint> {
        let open = found.seen.open.iter().map(|open| {
            let serial = open.reached.serial;
            match found.begun.get(&serial) {
                // Nothing was read of it, and it may be packed or copied already.
                Some((begun, _)) if open.verdict == Verdict::Begun => Checkpoint {
                    serial,
                    ..begun.clone()
                },
                _ => open.reached.clone(),
            }
        });
        let all = open.chain(found.seen.known.iter().chain(others).cloned());
        all.filter(|c| !c.is_blank()).collect()
    }

    fn observe_rotated(
        &mut self,
        found: &mut Found,
        current: Option<&Look>,
        not_before: Instant,
    ) -> io::Result<()> {
        let listed = self.list(found, not_before)?;
        self.note_beside(found, current, &listed, not_before);
        let names: HashSet<PathBuf> = listed.iter().map(|l| l.path.clone()).collect();
        let related = match listed.iter().any(|l| is_compressed_name(&l.path)) {
            true => self.related(),
            false => Vec::new(),
        };
        let references = self.references(found, &related);
        let is_searching = is_searching(found, &listed);
        let mut met: HashSet<Inode> = current.iter().map(|look| look.inode).collect();
        let mut places: Vec<(Place, Option<RotatedName>, Look)> = Vec::new();
        for Listed {
            path,
            inode,
            name,
            must_be_known,
        } in listed
        {
            let look = match Look::at_path(&path) {
                Ok(look) => look,
                Err(error) => {
                    found.is_moving |= error.kind() == io::ErrorKind::NotFound;
                    continue;
                }
            };
            if let Some(inode) = inode
                && inode != look.inode.inode
                && !path.is_symlink()
            {
                found.differing.push((path.clone(), inode));
            }
            if !look.is_regular || !met.insert(look.inode) {
                continue;
            }
            let own = self
                .sources
                .iter()
                .find(|s| is_same_inode(&s.checkpoint, &look));
            if let Some(own) = own {
                places.push((Place::Open(own.checkpoint.serial), name, look));
                continue;
            }
            if is_editors_backup(&path) && is_saved(found, &look) {
                continue;
            }
            let is_archive = is_compressed_name(&path);
            // Beside its original an archive is still being written, or of no use.
            if is_archive && names.contains(&path.with_extension("")) {
                continue;
            }
            let look = Look {
                born_ns: if is_archive { 0 } else { look.born_ns },
                ..look
            };
            let wanted = Wanted {
                references: &references,
                is_searching,
                is_archive,
            };
            let probed = self.probe(found, wanted, path, look)?;
            let is_wanted = |c: &Candidate| {
                !must_be_known
                    || !c.matches.is_empty()
                    || c.was_found_at_path
                    || is_known_inode(&found.seen, c)
            };
            if let Some((candidate, file)) = probed.filter(|(c, _)| is_wanted(c)) {
                let place = Place::Candidate(found.seen.candidates.len());
                places.push((place, name, candidate.look));
                found.seen.candidates.push(candidate);
                found.files.push(file);
            }
        }
        copies::find(found)?;
        found.is_moving |= !self.is_still_at_path(current);
        found.seen.order = order_of(&found.seen, places);
        Ok(())
    }

    /// Whether the path leads to what it led to before the names were listed. What was rotated away meanwhile is
    /// listed as if it had nothing to do with what lay there.
    fn is_still_at_path(&self, before: Option<&Look>) -> bool {
        match (Look::at_path(&self.path), before) {
            (Ok(look), Some(before)) => look.inode == before.inode,
            (Err(_), None) => true,
            (Ok(look), None) => !look.is_regular,
            (Err(_), Some(_)) => false,
        }
    }

    /// What a name leads to; `None` if that is no candidate.
    fn probe(
        &mut self,
        found: &mut Found,
        wanted: Wanted<'_>,
        path: PathBuf,
        look: Look,
    ) -> io::Result<Option<(Candidate, CandidateFile)>> {
        let Wanted {
            references,
            is_searching,
            is_archive,
        } = wanted;
        let (here, is_open) = self.shared.registry.of_inode(look.inode);
        if is_open {
            return Ok(None);
        }
        let was_found_at_path = self
            .stat_when_found
            .as_deref()
            .is_some_and(|seen| (seen.inode, seen.born_ns) == (look.inode, look.born_ns));
        // What another path has skipped is no part of that path: that says nothing about this one. The inode of an
        // archive that was removed is soon another's.
        let is_ours = |c: &Checkpoint| c.path == self.path;
        let is_it = |c: &Checkpoint| {
            (is_ours(c) || c.state != SourceState::Skipped)
                && (!is_archive
                    || (is_ours(c) && c.state != SourceState::Skipped)
                    || c.modified_ns == look.modified_ns)
        };
        let here = here.into_iter();
        let here = here.filter(|c| is_same_inode(c, &look) && is_it(c));
        // The latest one, unless an earlier one of this path has not come to its end.
        let known = here.max_by_key(|c| (is_ours(c) && c.is_unfinished(), c.serial));
        let candidate = |look, readable, matches| Candidate {
            look,
            is_archive,
            readable,
            matches,
            was_found_at_path,
            is_followed: false,
        };
        match &known {
            // The inode of an archive may have been handed out again.
            Some(known)
                if known.state == SourceState::Skipped
                    && (!is_archive || known.modified_ns == look.modified_ns) =>
            {
                return Ok(None);
            }
            Some(known) if known.path != self.path && (known.is_unfinished() || !is_searching) => {
                return Ok(None);
            }
            Some(known) if !is_searching && is_unchanged(known, &look, is_archive) => {
                let file = CandidateFile {
                    path,
                    content: None,
                };
                return Ok(Some((candidate(look, Readable::Unchanged, vec![]), file)));
            }
            Some(_) => {}
            None if self.is_excluded(&path) => return Ok(None),
            None => {}
        }
        let (readable, content, look, matches) =
            match self.open_candidate(found, references, &path, look, is_archive) {
                Ok(Some((content, look, matches))) => (Readable::Yes, Some(content), look, matches),
                Ok(None) => return Ok(None),
                Err(error) if is_absence(&error) => {
                    found.is_moving = true;
                    return Ok(None);
                }
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) if UnsafeLink::of(&error).is_some() => {
                    found.trouble.get_or_insert((path, error));
                    return Ok(None);
                }
                // What cannot be unpacked and does not change any more is damaged, or no archive.
                Err(error) if is_archive && known.is_none() && is_old(&look) => {
                    log::debug!("'{}' cannot be unpacked: {error}", ShownPath(&path));
                    return Ok(None);
                }
                Err(error) => {
                    found.trouble.get_or_insert((path.clone(), error));
                    (Readable::NotYet, None, look, vec![])
                }
            };
        // It has a tailer of its own, or is none of ours; but what is known of it is ours.
        let is_of_others = matches.is_empty() && !is_archive && self.is_followed_by_itself(&path);
        if known.is_none() && is_of_others {
            let is_new = matches!(found.seen.adoption, Adoption::New { .. });
            let candidate = Candidate {
                is_followed: true,
                ..candidate(look, readable, matches)
            };
            let content = content.filter(|_| !is_new);
            return Ok(Some((candidate, CandidateFile { path, content })));
        }
        if matches.is_empty() && known.is_some_and(|known| known.path != self.path) {
            return Ok(None);
        }
        let candidate = candidate(look, readable, matches);
        Ok(Some((candidate, CandidateFile { path, content })))
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let mut exclude = self.log.exclude.iter();
        exclude.any(|text| Exclude::new(text).is_ok_and(|exclude| exclude.matches_path(path)))
    }

    fn open_candidate(
        &mut self,
        found: &mut Found,
        references: &[Checkpoint],
        path: &Path,
        listed: Look,
        is_archive: bool,
    ) -> io::Result<Option<(Content, Look, Vec<Match>)>> {
        let Some((mut content, look)) = Content::open(path, self.log.follow_links)? else {
            return Ok(None);
        };
        if look.inode != listed.inode {
            found.is_moving = true;
            return Ok(None);
        }
        let mut matches = matches_of(references, &mut content, &look)?;
        if matches.is_empty() && !is_archive && self.is_copied_now(found, &mut content)? {
            matches.push(Match {
                serial: COPY_OF_UNKNOWN,
                content: ContentMatch::Shorter,
            });
        }
        let look = match is_archive && !matches.is_empty() {
            true => Look {
                size: content.size()?,
                ..look
            },
            false => look,
        };
        Ok(Some((content, look, matches)))
    }

    /// Whether a file is a copy, perhaps still being made, of what lies at the path: of content that the agent
    /// knows too little of to recognise it, because it was empty a moment ago.
    ///
    /// Once a copy is made the original is truncated, so one that has not changed for a while is of content from
    /// before, even if both begin with the same lines.
    fn is_copied_now(&mut self, found: &mut Found, copy: &mut Content) -> io::Result<bool> {
        let Current::File { look: original, .. } = &found.seen.current else {
            return Ok(false);
        };
        let copied = copy.look()?;
        let is_recent = now_ms() - copied.modified_ns / 1_000_000 < COPYING_MS;
        // A copy of a younger file may have been written over that of an older one, whose birth it keeps.
        if !is_recent || original.born_ns > copied.modified_ns || copied.size == 0 {
            return Ok(false);
        }
        let (current, begun) = match (&mut found.current, self.sources.back_mut()) {
            (Some(content), _) => (content, &found.begun_current),
            (None, Some(source)) if self.has_current => {
                let begun = found.begun.get(&source.checkpoint.serial);
                (&mut source.content, &begun.cloned())
            }
            _ => return Ok(false),
        };
        // Truncated since it was looked at: that is noticed at the next look, by what it held at this one.
        if let Some((begun, _)) = begun
            && content_of(begun, &mut Probe::new(copy, copied.size))? != ContentMatch::Other
        {
            return Ok(true);
        }
        let len = Trace::MAX_LEN.min(usize::try_from(copied.size).unwrap_or(usize::MAX));
        let len = u8::try_from(len).unwrap_or(u8::MAX);
        let end = copy.trace_before(copied.size, len)?;
        Ok(current.head()?.starts_with(&copy.head()?)
            && current.trace_before(copied.size, len)? == end)
    }

    /// Every name that may lead to a rotated file of the path.
    fn list(&mut self, found: &mut Found, not_before: Instant) -> io::Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = Vec::new();
        let wanted = self.wanted_inodes(found);
        let own = self.folders();
        let of_family = self.family();
        let is_of_others = |path: &Path| self.is_of_other_log(of_family.as_ref(), path);
        let family = match wanted.is_empty() {
            true => Vec::new(),
            false => family_of(&own),
        };
        let folders = own.into_iter().map(|(folder, base)| (folder, base, false));
        let folders: Vec<_> = folders.chain(family).collect();
        for (folder, base, must_be_known) in folders {
            let index = &self.shared.folders;
            let beside = index.rotated_beside(&folder, &base, not_before);
            let by_inode = wanted
                .iter()
                .map(|inode| Ok((*inode, index.by_inode(&folder, *inode, not_before)?)))
                .collect::<io::Result<Vec<_>>>();
            match beside.and_then(|beside| Ok((beside, by_inode?))) {
                Ok((beside, by_inode)) => {
                    listed.extend(beside.into_iter().map(|l| Listed {
                        must_be_known: must_be_known || is_of_others(&l.path),
                        path: l.path,
                        inode: Some(l.inode),
                        name: Some(l.name),
                    }));
                    for (inode, paths) in by_inode {
                        listed.extend(paths.into_iter().map(|path| Listed {
                            path,
                            inode: Some(inode),
                            name: None,
                            must_be_known: true,
                        }));
                    }
                }
                Err(error) if is_absence(&error) => {}
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => {
                    found.seen.is_incomplete = true;
                    found.trouble.get_or_insert((folder, error));
                }
            }
        }
        self.list_globs(&mut listed);
        let target = self.target.as_deref();
        let mut met = HashSet::new();
        listed.retain(|l| {
            l.path != *self.path && Some(&*l.path) != target && met.insert(l.path.clone())
        });
        Ok(listed)
    }

    /// Notes which open files that do not lie at the path lie beside it. What cannot be told may lie there.
    fn note_beside(
        &mut self,
        found: &mut Found,
        current: Option<&Look>,
        listed: &[Listed],
        not_before: Instant,
    ) {
        let is_at_path = |open: &OpenSource| {
            current.is_some_and(|look| is_same_inode(&open.reached, look)) || !open.is_beside
        };
        if found.seen.open.iter().all(is_at_path) {
            return;
        }
        let folders = self.folders();
        let index = &self.shared.folders;
        for open in found.seen.open.iter_mut().filter(|o| !is_at_path(o)) {
            let inode = open.look.inode;
            let is_listed = listed.iter().any(|l| {
                let look = || Look::at_path(&l.path);
                l.inode.is_none_or(|listed| listed == inode.inode)
                    && !is_editors_backup(&l.path)
                    && look().is_ok_and(|look| look.inode == inode)
            });
            let is_in = |(folder, _): &(PathBuf, OsString)| {
                let paths = index.by_inode(folder, inode.inode, not_before);
                paths.map_or(true, |paths| paths.iter().any(|p| !is_editors_backup(p)))
            };
            open.is_beside = is_listed || folders.iter().any(is_in);
        }
    }

    /// What the `rotated` globs of the section match.
    fn list_globs(&self, listed: &mut Vec<Listed>) {
        let Some(base) = self.path.file_name() else {
            return;
        };
        if self.log.rotated.is_empty() || self.family().is_some() {
            return;
        }
        // Where the section follows one path, whatever they match was rotated from it.
        let is_only_path = matches!(&self.log.paths[..], [path] if Path::new(path) == &*self.path);
        let globs = self.log.rotated.iter();
        for path in globs
            .filter_map(|text| glob::glob(text).ok())
            .flatten()
            .flatten()
        {
            let Some(file_name) = path.file_name() else {
                continue;
            };
            let name = RotatedName::parse(base.as_bytes(), file_name.as_bytes());
            let is_ours = || is_only_path || file_name == base || self.is_named_after(file_name);
            if name.is_some() || is_ours() {
                listed.push(Listed {
                    path,
                    inode: None,
                    name,
                    must_be_known: false,
                });
            }
        }
    }

    /// Inodes that are looked for under any name.
    fn wanted_inodes(&self, found: &Found) -> Vec<u64> {
        let unfinished = found.seen.known.iter().filter(|c| c.is_unfinished());
        let seen = self.stat_when_found.iter().map(|look| look.inode.inode);
        let mut wanted: Vec<u64> = unfinished
            .map(|c| c.identity.inode.inode)
            .chain(seen)
            .filter(|inode| *inode != 0)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// The folders in which rotation leaves files, with the name that they are made from: that of the path, and
    /// that of the file which the path leads to through links.
    fn folders(&mut self) -> Vec<(PathBuf, OsString)> {
        match links::resolve(&self.path, self.log.follow_links) {
            Ok(target) => self.target = (target != *self.path).then_some(target),
            Err(error) if UnsafeLink::of(&error).is_some() => self.target = None,
            // What cannot be told now stays as it was.
            Err(_) => {}
        }
        let both = [Some(&*self.path), self.target.as_deref()];
        let mut folders: Vec<_> = both
            .into_iter()
            .flatten()
            .filter_map(|path| Some((path.parent()?.to_owned(), path.file_name()?.to_owned())))
            .collect();
        folders.dedup();
        folders
    }
}

/// The order in which files were written: what was seen before comes first, then names and times tell.
fn order_of(seen: &Observation, mut places: Vec<(Place, Option<RotatedName>, Look)>) -> Vec<Place> {
    let was_seen = |place: &Place| match place {
        Place::Open(_) => true,
        Place::Candidate(at) => {
            let candidate = &seen.candidates[*at];
            !candidate.matches.is_empty() || is_known_inode(seen, candidate)
        }
    };
    RotatedName::sort_oldest_first(&mut places, |(place, name, look)| {
        let is_known = was_seen(place);
        (name.as_ref(), look.modified_ns, look.born_ns, is_known)
    });
    places.into_iter().map(|(place, ..)| place).collect()
}

fn is_known_inode(seen: &Observation, candidate: &Candidate) -> bool {
    let mut known = seen.known.iter();
    known.any(|known| is_same_inode(known, &candidate.look))
}

/// What became of the content of a source, and a look at what is there. What is there counts as seen if it is the
/// content that was seen before.
///
/// What is certain of a source's content: it is the one that was read, since the bytes before the position are
/// compared at every look and in every read. Before the first read it is the one that begins as it was seen to.
/// Of a file that was empty at every look nothing is certain.
pub(super) fn verdict_on(source: &mut Source) -> io::Result<(Verdict, Look)> {
    let look = source.content.look()?;
    if source.was_truncated(&look)? {
        let is_cut = source.position <= look.size && look.size > 0 && source.is_unchanged()?;
        return Ok(match is_cut {
            true => (Verdict::CutAhead, look),
            false => (Verdict::Replaced, look),
        });
    }
    if source.is_blank() && source.may_have_changed(&look) {
        return Ok((Verdict::Begun, look));
    }
    Ok((Verdict::Intact, look))
}

/// What the bytes of a file are to checkpoints; those to which they are nothing are left out.
pub(super) fn matches_of(
    references: &[Checkpoint],
    content: &mut Content,
    look: &Look,
) -> io::Result<Vec<Match>> {
    let mut probe = Probe::new(content, look.size);
    let mut matches = Vec::new();
    for reference in references {
        let content = content_of(reference, &mut probe)?;
        if content != ContentMatch::Other {
            matches.push(Match {
                serial: reference.serial,
                content,
            });
        }
    }
    Ok(matches)
}

/// Bytes of a file whose first ones are read once, for all comparisons.
pub(super) struct Probe<'a> {
    content: &'a mut Content,
    size: u64,
    head: Option<Vec<u8>>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(content: &'a mut Content, size: u64) -> Self {
        Probe {
            content,
            size,
            head: None,
        }
    }
}

impl Bytes for Probe<'_> {
    fn size(&mut self) -> io::Result<u64> {
        match self.content {
            Content::Plain(_) => Ok(self.size),
            Content::Packed(_) => self.content.size(),
        }
    }

    fn head(&mut self) -> io::Result<&[u8]> {
        if self.head.is_none() {
            self.head = Some(self.content.head()?);
        }
        Ok(self.head.as_deref().unwrap_or_default())
    }

    fn trace_before(&mut self, offset: u64, len: u8) -> io::Result<Trace> {
        self.content.trace_before(offset, len)
    }
}

/// Whether the content of some checkpoint that has something unread lies neither at the path nor at its inode.
fn is_searching(found: &Found, listed: &[Listed]) -> bool {
    let inodes: HashSet<u64> = listed.iter().filter_map(|l| l.inode).collect();
    let is_missing = |c: &Checkpoint| {
        let is_at_path = match &found.seen.current {
            Current::File { look, matches } => {
                matches.iter().any(|m| m.serial == c.serial)
                    || (c.is_blank() && is_same_inode(c, look))
            }
            _ => false,
        };
        c.is_unfinished() && !is_at_path && !inodes.contains(&c.identity.inode.inode)
    };
    found.seen.known.iter().any(is_missing)
}

/// Whether a file is, by its size and times, what its checkpoint knows, with nothing to read.
fn is_unchanged(known: &Checkpoint, look: &Look, is_archive: bool) -> bool {
    known.state == SourceState::Finished
        && known.modified_ns == look.modified_ns
        && (is_archive || look.size <= known.size)
}

/// An editor that saves a file leaves what it was under such a name, and the whole content at the path.
fn is_editors_backup(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"~")
}

/// Whether the file at the path holds all that is known of the content that the file of `look` had.
fn is_saved(found: &Found, look: &Look) -> bool {
    let Current::File { matches, .. } = &found.seen.current else {
        return false;
    };
    let mut known = found.seen.known.iter().filter(|c| is_same_inode(c, look));
    known.any(|c| {
        let mut matches = matches.iter();
        matches.any(|m| m.serial == c.serial && m.content == ContentMatch::Continues)
    })
}

/// Where a glob matches rotated files too, each is followed by its own name, and rotated again: the bases that
/// those names were made from.
fn family_of(own: &[(PathBuf, OsString)]) -> Vec<(PathBuf, OsString, bool)> {
    let bases = own.iter().filter_map(|(folder, base)| {
        let family = family_base(base.as_bytes())?;
        Some((folder.clone(), OsString::from_vec(family), true))
    });
    bases.collect()
}

/// Whether nothing lies there.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether the agent, not the file, is the reason.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOMEM | Errno::NFILE | Errno::MFILE)
    )
}

fn is_old(look: &Look) -> bool {
    now_ms() - look.modified_ns / 1_000_000 > ARCHIVING_MS
}

/// Stands for what lies at the path where that has no serial number yet.
pub(super) const COPY_OF_UNKNOWN: u64 = u64::MAX;
/// How long after the last change of a copy its original may not be truncated yet.
const COPYING_MS: i64 = 5000;
/// An archive that was not written to for so long is not being made any more.
const ARCHIVING_MS: i64 = 60_000;
/// As much as a fingerprint covers.
const _: () = assert!(Fingerprint::MAX_LEN <= 1024);
