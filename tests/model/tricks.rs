//! What makes a history harder than writes and rotations alone. A history has one trick at most, so that a seed
//! that fails says which.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use super::{Followed, Manner, Model};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trick {
    None,
    /// Lines are written between the copy and the truncation: the copy is shorter than what the agent has read.
    Copies,
    /// Rotated files are packed while the agent runs, so while it has them open.
    Archives,
    /// The path is a link, and its target is rotated in a folder of its own.
    Targets,
    /// Files cannot be read for a while, by an agent that is bound by permissions.
    Unreadable,
    /// The live file is copied beside itself now and then, for a person.
    Backups,
    /// The names look rotated, or have something odd in them.
    Names,
    /// Times of modification are set back, or ahead.
    Times,
}

impl Trick {
    pub(super) const ALL: [(Trick, &str); 8] = [
        (Trick::None, "none"),
        (Trick::Copies, "copies"),
        (Trick::Archives, "archives"),
        (Trick::Targets, "targets"),
        (Trick::Unreadable, "unreadable"),
        (Trick::Backups, "backups"),
        (Trick::Names, "names"),
        (Trick::Times, "times"),
    ];

    pub(super) fn parse(name: &str) -> Trick {
        let row = Trick::ALL.iter().find(|(_, other)| *other == name);
        row.unwrap_or_else(|| panic!("no trick is called '{name}'"))
            .0
    }

    /// The trick of a seed: each in turn.
    pub(super) fn of(seed: u64) -> Trick {
        Trick::ALL[(seed % Trick::ALL.len() as u64) as usize].0
    }

    /// Whether no seed is known to fail with it, not even now and then. With `Archives` lines are repeated in about one
    /// of a hundred seeds where more runs than the host can: an archive of what was read is not recognised while
    /// names move on around it, and read as a file of its own.
    pub(super) fn holds(self) -> bool {
        self != Trick::Archives
    }

    /// How paths are rotated for it, where it is not for every way.
    pub(super) fn manner(self, manner: Manner) -> Manner {
        match self {
            Trick::Copies => Manner::Copy,
            Trick::Targets => Manner::Target,
            Trick::Archives | Trick::Names if manner == Manner::Link => Manner::Rename,
            _ => manner,
        }
    }

    /// Whether to do a step of the trick instead of another one; draws nothing if there is no such step.
    fn is_due(self, random: &mut fastrand::Rng) -> bool {
        match self {
            Trick::None | Trick::Copies | Trick::Targets | Trick::Names => false,
            Trick::Archives | Trick::Unreadable | Trick::Backups | Trick::Times => {
                random.u32(..100) < 8
            }
        }
    }
}

impl Model {
    /// Does a step of the trick, if it is time for one.
    pub(super) fn trick(&mut self, at: usize) -> bool {
        let is_due = self.trick.is_due(&mut self.random);
        if is_due {
            match self.trick {
                Trick::Archives => self.compress(at),
                Trick::Unreadable => self.hide(at),
                Trick::Backups => self.back_up(at),
                Trick::Times => self.set_time(at),
                Trick::None | Trick::Copies | Trick::Targets | Trick::Names => {}
            }
        }
        is_due
    }

    /// Starts the agent as the trick wants it.
    pub(super) fn start_agent(&mut self) {
        if self.trick == Trick::Unreadable && self.env.start_bound_by_permissions() {
            self.env.agent().wait_until_it_follows(super::DEADLINE);
        } else {
            self.env.start();
        }
    }

    /// Lines that no copy will hold.
    pub(super) fn write_after_the_copy(&mut self, at: usize) {
        if self.trick != Trick::Copies || self.random.u32(..3) == 0 {
            return;
        }
        let first = self.paths[at].lines.len();
        let count = self.random.usize(1..8);
        self.write(at, count);
        for line in &mut self.paths[at].lines[first..] {
            line.may_be_lost = true;
        }
        // Often enough for the agent to read them.
        thread::sleep(Duration::from_millis(self.random.u64(..30)));
    }

    /// One file of a path: the live one or a rotated one.
    fn any_file(&mut self, at: usize) -> String {
        let path = &self.paths[at];
        match self.random.usize(..=path.rotated.len().min(3)) {
            0 => path.file(),
            _ if path.manner == Manner::Link => path.file(),
            number => path.rotated_name(number),
        }
    }

    fn hide(&mut self, at: usize) {
        // Only root writes what may not be read, and only an agent of root's has to be bound.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        if self.random.bool() {
            self.show_all();
            return;
        }
        let name = self.any_file(at);
        if fs::set_permissions(self.env.path(&name), Permissions::from_mode(0o000)).is_ok() {
            self.is_hiding = true;
            // What is known later goes on or waits: which of the two is not for this test.
            self.paths[at].is_unordered = true;
            self.note(format!("nobody may read {name}"));
        }
    }

    /// Everything may be read again.
    pub(super) fn show_all(&mut self) {
        if self.is_hiding {
            self.is_hiding = false;
            self.note("everything may be read");
            show(&self.env.log_dir());
        }
    }

    fn back_up(&mut self, at: usize) {
        // Half a line in a copy alone, once the original is truncated, would be a record of its own.
        self.finish_part(at);
        let name = self.paths[at].file();
        let ending = ["bak", "orig", "save"][self.random.usize(..3)];
        if fs::copy(
            self.env.path(&name),
            self.env.path(&format!("{name}.{ending}")),
        )
        .is_ok()
        {
            self.note(format!("copy {name} to .{ending}"));
        }
    }

    fn set_time(&mut self, at: usize) {
        const DAY: Duration = Duration::from_secs(86_400);
        let name = self.any_file(at);
        let days = self.random.u32(1..1000);
        let now = SystemTime::now();
        let (what, time) = match self.random.u32(..3) {
            0 => ("ahead", now + DAY),
            1 => ("to 1970", SystemTime::UNIX_EPOCH + DAY),
            _ => ("back", now - DAY * days),
        };
        let opened = File::options().write(true).open(self.env.path(&name));
        if opened.is_ok_and(|file| file.set_modified(time).is_ok()) {
            self.note(format!("set the time of {name} {what}"));
        }
    }
}

impl Followed {
    /// Its name, for the trick with names: one that looks like a rotated file of the other path, or is odd.
    pub(super) fn odd_name(id: usize, random: &mut fastrand::Rng) -> Option<&'static str> {
        let odd = [
            "p0.1.log",
            "p0-2026-11-27.log",
            "p0-100001.log",
            "p1 ä [1]; #=%s.log",
            "p1.log.1.log",
        ];
        (id == 1).then(|| odd[random.usize(..odd.len())])
    }
}

fn show(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => show(&entry.path()),
            Ok(kind) if kind.is_file() => {
                let mode = Permissions::from_mode(0o644);
                fs::set_permissions(entry.path(), mode).expect("it is there");
            }
            _ => {}
        }
    }
}
