//! Every state that a crash can leave, and everything that a disk can refuse.

use std::collections::BTreeSet;
use std::io;

use super::super::append_log::{FILE, Log};
use super::super::read::parse;
use super::disk::{Expected, Fault, Simulated};
use super::sample::{events, saved, sections, some, states};
use super::with_files;
use crate::checkpoint::store::Entry;
use crate::progress::Checkpoint;

/// A run of the agent as far as its positions go: [`events`], in writes of `together`, a sync after every second
/// write, and a new generation after every `generation` writes.
#[derive(Debug, Clone, Copy)]
struct Script {
    together: usize,
    generation: usize,
}

impl Script {
    /// Plays it. What fails is written anew, as the registrar does. Gives what has failed.
    fn play(self, disk: &Simulated) -> Vec<io::Error> {
        let (events, states) = (events(), states());
        let mut log = Log::new(disk.clone());
        let mut expected = Expected::default();
        let mut errors = Vec::new();
        let mut done = 0;
        for write in 0.. {
            let last = expected.begun;
            let next = match write {
                0 => 0,
                _ => (done + self.together).min(events.len()),
            };
            let begins = log.is_full() || write % self.generation == 0;
            expected.begun = next + 1;
            disk.expect(expected);
            let result = match begins {
                true => log.begin(write as u64 + 1, &sections(), states[next].iter()),
                false => log.append(events[done..next].iter().map(|event| event.entry())),
            };
            let result = match result {
                Err(error) if begins && log.can_append() => {
                    errors.push(error);
                    let entries: Vec<Entry<'_>> =
                        events[done..next].iter().map(|e| e.entry()).collect();
                    log.append(entries.into_iter())
                }
                result => result,
            };
            done = next;
            match result {
                Ok(()) => expected.written = next + 1,
                Err(error) => errors.push(error),
            }
            if log.can_append() && log.is_synced() {
                expected.durable = expected.written;
            }
            disk.expect(expected);
            if write % 2 == 1 {
                match log.sync() {
                    Ok(()) if log.can_append() => expected.durable = expected.written,
                    Ok(()) => {}
                    Err(error) => errors.push(error),
                }
                disk.expect(expected);
            }
            // Two writes more than there is something to write: what has failed is written then.
            if last == events.len() + 1 && log.can_append() && expected.written == last {
                break;
            }
            assert!(write < 40, "never done");
        }
        errors
    }
}

/// All checkpoints as they were in state `number`; 0: there are none.
fn state(number: usize, states: &[Vec<Checkpoint>]) -> &[Checkpoint] {
    number.checked_sub(1).map_or(&[], |at| &states[at])
}

/// Fails unless what is left is one of the states from `least` on.
fn assert_kept(left: Option<&[u8]>, least: usize, expected: Expected, states: &[Vec<Checkpoint>]) {
    let known = match left.map(parse) {
        None => Vec::new(),
        Some(Ok(read)) => read.saved.checkpoints,
        Some(Err(damage)) => panic!(
            "{expected:?}: {damage:?} in:\n{}",
            left.unwrap_or_default().escape_ascii()
        ),
    };
    let is_kept = (least..=expected.begun).any(|number| state(number, states) == known);
    assert!(is_kept, "{expected:?} and not {known:#?}");
}

/// Fails unless a kill now leaves all that was written, and a power cut all that was durable; gives what that leaves.
fn assert_survives(disk: &Simulated, states: &[Vec<Checkpoint>]) -> BTreeSet<Option<Vec<u8>>> {
    let expected = disk.expected();
    assert_kept(
        disk.read(FILE).as_deref(),
        expected.written,
        expected,
        states,
    );
    let left = disk.after_a_power_cut(FILE);
    for left in &left {
        assert_kept(left.as_deref(), expected.durable, expected, states);
    }
    left
}

fn scripts() -> impl Iterator<Item = Script> {
    let of = |together| {
        (2..=4).map(move |generation| Script {
            together,
            generation,
        })
    };
    (1..=3).flat_map(of)
}

#[test]
fn a_crash_at_any_call_leaves_all_that_was_durable_and_a_kill_all_that_was_written() {
    let states = states();
    let (mut different, mut moments) = (BTreeSet::new(), 0);
    for script in scripts() {
        let disk = Simulated::default();
        let errors = script.play(&disk);
        assert!(errors.is_empty(), "{errors:?}");
        for disk in disk.moments().iter().chain([&disk]) {
            different.append(&mut assert_survives(disk, &states));
            moments += 1;
        }
    }
    println!("{} states at {moments} moments", different.len());
    assert!(different.len() > 5000, "{}", different.len());
}

#[test]
fn whatever_the_disk_refuses_once_is_written_in_the_end_and_no_crash_loses_what_was_durable() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    let states = states();
    let mut faults = 0;
    for script in scripts().step_by(4) {
        let whole = Simulated::default();
        script.play(&whole);
        for call in 1..=whole.moments().len() {
            let errno = if call % 2 == 0 { EIO } else { ENOSPC };
            let disk = Simulated::failing(Fault { call, errno });
            let errors = script.play(&disk);
            // What is left of an attempt is removed without a word.
            assert!(errors.len() <= 1, "{errors:?}");
            faults += errors.len();
            // The moments behind the fault, until all is well again.
            let moments = disk.moments();
            for disk in moments.iter().skip(call).take(2).chain([&disk]) {
                assert_survives(disk, &states);
            }
            let text = disk.read(FILE).expect("was written");
            let known = parse(&text).expect("is whole").saved.checkpoints;
            assert_eq!(Some(&known), states.last(), "call {call} fails");
        }
    }
    println!("{faults} faults");
    assert!(faults > 60, "{faults}");
}

#[test]
fn whatever_a_crash_leaves_beside_the_file_is_in_nobodys_way() {
    let (states, text) = (states(), super::fuzz::written(&saved(&some())));
    let news = [
        &text[..],
        &text[..text.len() / 2],
        b"",
        &[0; 4096],
        &[0xa5; 4096],
    ];
    for new in news {
        for old in [None, Some(&text[..])] {
            let mut files = vec![("checkpoints.new", new), ("checkpoints.prev", new)];
            files.extend(old.map(|old| ("checkpoints", old)));
            with_files(&files, |mut store| {
                let before = store.load().expect("loads").checkpoints;
                assert_eq!(before, if old.is_some() { some() } else { vec![] });
                store.begin(&sections(), states[3].iter()).expect("begins");
                assert_eq!(store.load().expect("loads").checkpoints, states[3]);
            });
        }
    }
}
