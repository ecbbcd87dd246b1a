//! Looking until what was seen can be true, and having the sources follow.
//!
//! While names move on (.1 becomes .2) a listing can miss a file, or a name lead to another file than the one that was
//! listed; then everything is looked at again. A name that moves within a folder may even be in no part of its listing,
//! and nothing shows it. So nothing is given up before a look at whatever is there, and not by a look in the time of
//! which a folder has changed, unless several miss it one after the other.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::Tailer;
use super::folder_index::RESTED;
use super::found::Found;
use super::observation::Current;
use super::observe::Look;
use super::plan::{Close, From, Plan, Planned, plan};
use super::recognise::is_same_inode;
use crate::identity::FileStat;
use crate::progress::{Checkpoint, SourceState};

/// The looks of one sync.
struct Looks {
    /// How many there were, with the one under way.
    count: usize,
    most: usize,
    /// How far the next one goes.
    reach: Look,
    /// How many have missed something while a folder changed.
    unsure: u32,
    /// An empty file was given the time to become a copy.
    has_waited_for_copy: bool,
    /// What the listings and the stats of the last one gave different inodes for.
    differing: Vec<(PathBuf, u64)>,
}

impl Looks {
    fn new(most: usize) -> Self {
        Looks {
            count: 0,
            most,
            reach: Look::Usual,
            unsure: 0,
            has_waited_for_copy: false,
            differing: Vec::new(),
        }
    }

    fn begin(&mut self) -> Look {
        self.count += 1;
        self.reach
    }

    fn is_last(&self) -> bool {
        self.count >= self.most
    }

    /// What differs in the same way at each look does not move.
    fn note_differing(&mut self, found: &mut Found) {
        let differing = std::mem::take(&mut found.differing);
        found.is_moving |= differing != self.differing;
        self.differing = differing;
    }
}

impl Tailer {
    /// Looks at everything and has the sources follow.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.last_sync = Instant::now();
        let descriptors = self.shared.descriptors.clone();
        // Files are opened to be compared, more of them than the permit is for.
        let _brief_open = (self.descriptor_permit.is_some() && descriptors.ran_out())
            .then(|| descriptors.brief_open());
        let mut looks = Looks::new(match self.shared.once {
            true => MOST_LOOKS_OF_ONCE,
            false => MOST_LOOKS,
        });
        loop {
            let begun = SystemTime::now();
            let mut found = self.observe(looks.begin())?;
            if found.awaits_copy {
                // Nothing follows from a look at half of it: what lies beside the path may belong to a rotation of it.
                self.read_elsewhere = found.elsewhere;
                self.awaits_copy = true;
                return Ok(());
            }
            looks.note_differing(&mut found);
            let is_missed = self.misses_what_was_found(&found);
            if found.is_moving && looks.is_last() {
                found.seen.is_incomplete = true;
                if is_missed {
                    let error = io::Error::other("its name changes faster than it is looked at");
                    let trouble = (self.path.to_path_buf(), error);
                    found.trouble.get_or_insert(trouble);
                }
            }
            let plan = plan(&found.seen);
            let is_missed = is_missed || !plan.gone.is_empty() || !plan.lost.is_empty();
            if !looks.is_last()
                && let Some(pause) =
                    self.looks_again_after(&mut looks, &found, &plan, is_missed, begun)
            {
                thread::sleep(pause);
                continue;
            }
            self.take_second_files(plan.sources.len())?;
            let is_left_out = plan.is_left_out;
            let refusal = found.refused_link(&self.path).map(io::Error::to_string);
            self.apply(found, plan)?;
            self.tell_whether_left_out(is_left_out, refusal);
            // The older ones were looked at before the newest, and may have grown before that was made. What else
            // became of them is noticed at the next look.
            return self.note_sizes(1).map(drop);
        }
    }

    /// How long after a look that was `begun` then, and is not to be believed, the next one is to begin.
    fn looks_again_after(
        &mut self,
        looks: &mut Looks,
        found: &Found,
        plan: &Plan,
        is_missed: bool,
        begun: SystemTime,
    ) -> Option<Duration> {
        let is_given_up = plan.closed.values().any(|c| *c == Close::ContentGone);
        let is_short = is_missed && looks.reach == Look::Usual;
        if is_missed {
            looks.reach = Look::Whole;
        }
        if found.is_moving || is_short || (looks.count == 1 && is_given_up) {
            return Some(Duration::ZERO);
        }
        if !looks.has_waited_for_copy
            && let Some(pause) = pause_before_a_copy(found, plan)
        {
            looks.has_waited_for_copy = true;
            return Some(pause);
        }
        // What was written since to a file that was finished is read by this run or by none.
        let may_be_missed = is_missed || (self.shared.once && misses_known(found));
        if !may_be_missed
            || looks.unsure == MOST_UNSURE_LOOKS
            || self.have_folders_rested_since(begun)
        {
            return None;
        }
        looks.unsure += 1;
        Some(match looks.unsure {
            1 => FIRST_PAUSE,
            _ => PAUSE,
        })
    }

    /// Whether what lay at the path when it was found is nowhere to be seen, with something that nobody has read.
    fn misses_what_was_found(&self, found: &Found) -> bool {
        let Some(wanted) = self.stat_when_found.as_deref() else {
            return false;
        };
        let is_read = |c: &Checkpoint| {
            is_same_inode(c, wanted) && (c.path != self.path || c.offset >= wanted.size)
        };
        let registry = &self.shared.registry;
        !matches!(found.seen.current, Current::ReadElsewhere | Current::Untold)
            && !has_seen(found, |stat| {
                (stat.inode, stat.born_ns) == (wanted.inode, wanted.born_ns)
            })
            && !registry.is_open(wanted.inode, wanted.born_ns)
            && !registry.of_inode(wanted.inode).iter().any(is_read)
    }

    /// Whether no name has come to the folders in which rotation leaves files, or left one, since then. What cannot be
    /// told is no.
    fn have_folders_rested_since(&mut self, since: SystemTime) -> bool {
        let own = self.folders().into_iter().map(|(folder, _)| folder);
        let globs = self.log.rotated.iter().map(Path::new);
        // One with a glob in its place stands for none that can be asked.
        let of_globs = globs.filter_map(|glob| Some(glob.parent()?.to_owned()));
        let mut folders = own.chain(of_globs);
        folders.all(|folder| self.shared.folders.has_rested_since(&folder, since))
    }
}

/// How long to wait before an empty file that has just been made is begun as one that lay at the path: a copy is empty,
/// too, before it is one.
fn pause_before_a_copy(found: &Found, plan: &Plan) -> Option<Duration> {
    let begun = plan.sources.iter().filter_map(|planned| match planned {
        Planned::Open(at, From::Start) => found.seen.candidates.get(*at),
        _ => None,
    });
    let youngest = begun
        .filter(|candidate| candidate.stat.size == 0)
        .map(|candidate| candidate.stat.born_ns)
        .max()?;
    let ends_ns = youngest.saturating_add(COPY_BEGINS.as_nanos() as i64);
    let left_ns = ends_ns.saturating_sub(found.seen.looked_at_ns);
    let left = Duration::from_nanos(u64::try_from(left_ns).ok()?);
    (!left.is_zero()).then_some(left.min(COPY_BEGINS))
}

/// Whether a file with nothing unread, as far as it is known, is nowhere to be seen.
fn misses_known(found: &Found) -> bool {
    let is_missed = |c: &Checkpoint| {
        let mut candidates = found.seen.candidates.iter();
        c.state == SourceState::Finished
            && !has_seen(found, |stat| is_same_inode(c, stat))
            && !candidates.any(|one| one.matches.iter().any(|m| m.serial == c.serial))
    };
    found.seen.known.iter().any(is_missed)
}

/// Whether some file that was seen is it.
fn has_seen(found: &Found, is_it: impl Fn(&FileStat) -> bool) -> bool {
    let seen = &found.seen;
    let current = match &seen.current {
        Current::File { stat, .. } => Some(stat),
        _ => None,
    };
    let open = seen.open.iter().map(|open| &open.stat);
    let candidates = seen.candidates.iter().map(|candidate| &candidate.stat);
    current.into_iter().chain(open).chain(candidates).any(is_it)
}

/// How often everything is looked at while names move on.
const MOST_LOOKS: usize = 20;

/// The same where no later look finds what these miss.
const MOST_LOOKS_OF_ONCE: usize = 60;

/// How often something is missed while its folder changes, until it is taken to be gone. A name that goes back and forth
/// without a rest is missed by one look of a few, and by so many in a row hardly ever.
const MOST_UNSURE_LOOKS: u32 = 12;

/// What is gone has just changed its folder, whose time tells after this pause that it has rested.
const FIRST_PAUSE: Duration = RESTED.saturating_add(Duration::from_millis(10));

/// After this time a file that is still empty is not about to become a copy.
const COPY_BEGINS: Duration = Duration::from_millis(80);

/// A folder that has not rested by then may never do so.
const PAUSE: Duration = Duration::from_millis(5);
