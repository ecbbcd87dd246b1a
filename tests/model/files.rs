//! What programs that log and rotations do to the files of the model.

use std::fs::{self, File, OpenOptions};
use std::thread;
use std::time::{Duration, Instant};

use super::Trick;
use super::{FRONT, MOST_ROTATED, Model};

impl Model {
    // What a program that logs does.

    pub(super) fn write(&mut self, at: usize, count: usize) {
        self.finish_part(at);
        let mut text = String::new();
        let first = self.paths[at].next_number;
        for _ in 0..count {
            let line = self.line(at);
            text += &line;
            text.push('\n');
            self.paths[at].expect(line, 1);
        }
        let file = self.paths[at].file();
        self.env.append(&file, &text);
        self.note(format!(
            "write {first}+{count} to {file}, {} bytes",
            text.len()
        ));
    }

    pub(super) fn write_part(&mut self, at: usize) {
        self.finish_part(at);
        let line = self.line(at);
        let cut = self.random.usize(FRONT..line.len());
        let file = self.paths[at].file();
        self.env.append(&file, &line[..cut]);
        self.note(format!("write {cut} of {} bytes to {file}", line.len()));
        self.paths[at].partial = Some((line, cut));
    }

    pub(super) fn finish_part(&mut self, at: usize) {
        let file = self.paths[at].file();
        self.finish_part_in(at, &file);
    }

    pub(super) fn finish_part_in(&mut self, at: usize, file: &str) {
        let Some((line, cut)) = self.paths[at].partial.take() else {
            return;
        };
        self.env.append(file, format!("{}\n", &line[cut..]));
        self.paths[at].expect(line, 1);
        self.note(format!("finish the line in {file}"));
    }

    pub(super) fn line(&mut self, at: usize) -> String {
        let path = &mut self.paths[at];
        let number = path.next_number;
        path.next_number += 1;
        let length = match self.random.u32(..60) {
            0 => self.random.usize(..40_000),
            1..20 => 10,
            _ => self.random.usize(..200),
        };
        let front = format!("p{} {number:07} {}", path.id, "x".repeat(length));
        format!("{front} {:08x}", crc32c::crc32c(front.as_bytes()))
    }

    /// The part of a line that is written is all there will be: a record of its own.
    pub(super) fn break_part(&mut self, at: usize) {
        if let Some((line, cut)) = self.paths[at].partial.take() {
            self.paths[at].expect(line[..cut].to_owned(), 0);
        }
    }

    // Rotation.

    /// Makes place at `.1`.
    pub(super) fn shift(&mut self, at: usize) {
        if self.paths[at].rotated.len() >= MOST_ROTATED {
            self.settle();
            let oldest = self.paths[at].rotated_name(self.paths[at].rotated.len());
            self.env.remove(&oldest);
            self.paths[at].rotated.pop();
            self.note(format!("remove {oldest}"));
        }
        for number in (1..=self.paths[at].rotated.len()).rev() {
            let path = &self.paths[at];
            let from = path.rotated_name(number);
            let ending = if path.rotated[number - 1] { ".gz" } else { "" };
            let to = format!("{}.{}{ending}", path.name(), number + 1);
            self.env.rename(&from, &to);
        }
        self.paths[at].rotated.insert(0, false);
    }

    pub(super) fn is_there(&self, at: usize) -> bool {
        fs::exists(self.env.path(&self.paths[at].file())).unwrap()
    }

    /// What was rotated away before a path was known is not looked for, and a path whose file was deleted is
    /// not known any more.
    pub(super) fn make_known(&mut self, at: usize) {
        if self.paths[at].is_new {
            self.settle_with_marker();
        }
    }

    pub(super) fn rotate(&mut self, at: usize) {
        if !self.is_there(at) {
            return;
        }
        self.make_known(at);
        self.shift(at);
        let name = self.paths[at].name();
        let old = format!("{name}.1");
        self.env.rename(&name, &old);
        let renamed = Instant::now();
        let late = if self.random.u32(..3) == 0 {
            self.random.usize(1..4)
        } else {
            0
        };
        self.note(format!("rename {name}, {late} lines to the old file"));
        let first = self.paths[at].lines.len();
        if late > 0 {
            self.finish_part_in(at, &old);
            for _ in 0..late {
                let line = self.line(at);
                self.env.append(&old, format!("{line}\n"));
                self.paths[at].expect(line, 1);
            }
            if renamed.elapsed() > Duration::from_millis(50) {
                self.note("too late to be sure");
                for line in &mut self.paths[at].lines[first..] {
                    line.may_be_lost = true;
                }
            }
        }
        self.break_part(at);
        if self.random.bool() {
            self.env.open(&name);
        }
    }

    pub(super) fn copytruncate(&mut self, at: usize) {
        if !self.is_there(at) {
            return;
        }
        self.make_known(at);
        self.shift(at);
        let name = self.paths[at].name();
        if self.trick == Trick::Copies {
            // What only the agent sees is whole lines.
            self.finish_part(at);
        }
        self.note(format!("copytruncate {name}"));
        fs::copy(self.env.path(&name), self.env.path(&format!("{name}.1"))).unwrap();
        self.write_after_the_copy(at);
        self.env.truncate(&name);
        self.break_part(at);
    }

    /// Only one file may lie between the one that the agent has opened and the new one.
    pub(super) fn turn_link(&mut self, at: usize) {
        if !self.paths[at].target_is_open {
            self.settle_durably();
            let count = self.random.usize(..5);
            self.write(at, count);
        }
        self.break_part(at);
        let path = &mut self.paths[at];
        path.target += 1;
        path.target_is_open = false;
        let (file, name) = (path.file(), path.name());
        self.env.open(&file);
        self.env.symlink(&file, "link.new");
        self.env.rename("link.new", &name);
        self.note(format!("turn {name} to {file}"));
    }

    pub(super) fn compress(&mut self, at: usize) {
        let path = &self.paths[at];
        let plain = path.rotated.iter().position(|is_archive| !is_archive);
        let Some(place) = plain.filter(|_| !self.is_running || self.trick == Trick::Archives)
        else {
            return;
        };
        let name = path.rotated_name(place + 1);
        let modified = fs::metadata(self.env.path(&name)).unwrap().modified();
        self.env.gzip(&name);
        // As gzip does.
        let archive = File::options()
            .write(true)
            .open(self.env.path(&format!("{name}.gz")));
        archive.unwrap().set_modified(modified.unwrap()).unwrap();
        self.paths[at].rotated[place] = true;
        self.note(format!("gzip {name}"));
    }

    // Destruction: of what has arrived, or under the eyes of the agent.

    /// Makes it certain that the agent has the file open, and goes on writing.
    pub(super) fn race(&mut self, at: usize) -> usize {
        self.settle_with_marker();
        let first = self.paths[at].lines.len();
        let count = self.random.usize(1..20);
        self.write(at, count);
        if self.random.bool() {
            thread::sleep(Duration::from_millis(self.random.u64(..8)));
        }
        self.is_fragile = true;
        first
    }

    pub(super) fn truncate(&mut self, at: usize, in_a_race: bool) {
        if !self.is_there(at) {
            return;
        }
        if in_a_race {
            let first = self.race(at);
            for line in &mut self.paths[at].lines[first..] {
                line.may_be_lost = true;
            }
        } else {
            self.settle();
        }
        let first = self.paths[at].lines.len();
        self.break_part(at);
        for line in &mut self.paths[at].lines[first..] {
            line.may_be_lost = true;
        }
        let file = self.paths[at].file();
        let size = fs::metadata(self.env.path(&file)).unwrap().len();
        let opened = OpenOptions::new().write(true).open(self.env.path(&file));
        opened.unwrap().set_len(0).unwrap();
        self.paths[at].has_raced |= in_a_race;
        self.note(format!("truncate {file} at {size}, in a race: {in_a_race}"));
        // Shorter, of about the same length, or longer than before.
        let longest = [0, size, 2 * size + 100][self.random.usize(..3)];
        while fs::metadata(self.env.path(&file)).unwrap().len() < longest.min(20_000) {
            self.write(at, 1);
        }
    }

    pub(super) fn delete(&mut self, at: usize, in_a_race: bool) {
        if !self.is_there(at) {
            return;
        }
        if in_a_race {
            self.race(at);
            if self.random.bool() {
                self.write_part(at);
            }
            self.break_part(at);
        } else {
            self.settle();
            let first = self.paths[at].lines.len();
            self.break_part(at);
            for line in &mut self.paths[at].lines[first..] {
                line.may_be_lost = true;
            }
        }
        let file = self.paths[at].file();
        self.env.remove(&file);
        self.paths[at].is_new = true;
        self.paths[at].has_raced |= in_a_race;
        self.note(format!("delete {file}, in a race: {in_a_race}"));
        if self.random.bool() {
            self.write(at, 1);
        }
    }
}
