//! Lines that say who wrote them and as the how manieth, and what became of them: on the disk, and at the broker.
//!
//! A line is `TAG NUMBER LENGTH xxx`, with so many `x` that a torn one is told from a whole one. Programs that are
//! not ours (tests/loggers) write the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::broker::Record;
use super::env::{Env, wait_until};
use super::kafka::RealKafka;

/// The line of that number, without its newline.
pub(crate) fn line(tag: &str, number: usize, filling: usize) -> String {
    format!("{tag} {number} {filling} {}", "x".repeat(filling))
}

/// The number of a whole line of this tag.
pub(crate) fn number_of(line: &[u8], tag: &str) -> Option<usize> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.strip_prefix(tag)?.strip_prefix(' ')?.splitn(3, ' ');
    let number = words.next()?.parse().ok()?;
    let filling: usize = words.next()?.parse().ok()?;
    let is_whole = words.next()?.bytes().eq(std::iter::repeat_n(b'x', filling));
    is_whole.then_some(number)
}

/// The numbers of the lines that lie in a folder and the folders in it, packed or not.
pub(crate) fn on_disk(folder: &Path, tag: &str) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            numbers.extend(on_disk(&path, tag));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap_or_default();
        if path.extension().is_some_and(|ending| ending == "gz") {
            let mut unpacked = Vec::new();
            // What can be read of one that is cut short counts.
            let _ = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked);
            bytes = unpacked;
        }
        let lines = bytes.split(|byte| *byte == b'\n');
        numbers.extend(lines.filter_map(|line| number_of(line, tag)));
    }
    numbers
}

/// What became of the lines of one writer.
#[derive(Debug, Default, Clone)]
pub(crate) struct Verdict {
    /// Lines that lie on the disk in the end.
    pub(crate) on_disk: usize,
    /// Lines at the broker that are on no disk: the agent read them before they went away.
    pub(crate) only_read: usize,
    /// Lines on the disk that are not at the broker.
    pub(crate) missing: Vec<usize>,
    /// Lines that arrived more than once.
    pub(crate) twice: Vec<usize>,
    /// How often the line that arrived most often did.
    pub(crate) most: usize,
    /// Lines whose first copy came after that of a later line.
    pub(crate) out_of_order: Vec<usize>,
    /// Records that are no whole line of this writer.
    pub(crate) foreign: Vec<String>,
}

impl Verdict {
    pub(crate) fn of(disk: &BTreeSet<usize>, records: &[Record], tag: &str) -> Verdict {
        let mut verdict = Verdict {
            on_disk: disk.len(),
            ..Verdict::default()
        };
        let mut arrived: BTreeMap<usize, usize> = BTreeMap::new();
        let mut latest = 0;
        for record in records {
            let value = record.value.as_deref().unwrap_or_default();
            let Some(number) = number_of(value, tag) else {
                let text = String::from_utf8_lossy(value);
                verdict.foreign.push(text.chars().take(60).collect());
                continue;
            };
            let count = arrived.entry(number).or_default();
            *count += 1;
            if *count == 1 && number < latest {
                verdict.out_of_order.push(number);
            }
            latest = latest.max(number);
        }
        verdict.missing = disk
            .iter()
            .filter(|number| !arrived.contains_key(number))
            .copied()
            .collect();
        verdict.only_read = arrived.keys().filter(|n| !disk.contains(n)).count();
        verdict.most = arrived.values().copied().max().unwrap_or(0);
        let twice = arrived.iter().filter(|(_, count)| **count > 1);
        verdict.twice = twice.map(|(number, _)| *number).collect();
        verdict
    }

    /// Whether every line came, in order, and none more often than `most` times.
    pub(crate) fn is_right(&self, most: usize) -> bool {
        self.missing.is_empty()
            && self.out_of_order.is_empty()
            && self.foreign.is_empty()
            && self.most <= most
    }

    /// In words, with the first and last of what is wrong.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} lines on the disk, {} more only read; missing {}; twice {} (at most {} times); \
             out of order {}; foreign {} {:?}",
            self.on_disk,
            self.only_read,
            some_of(&self.missing),
            some_of(&self.twice),
            self.most,
            some_of(&self.out_of_order),
            self.foreign.len(),
            self.foreign.first(),
        )
    }
}

fn some_of(numbers: &[usize]) -> String {
    match numbers {
        [] => "none".to_owned(),
        [.., last] => format!(
            "{} ({:?} to {last})",
            numbers.len(),
            &numbers[..numbers.len().min(3)]
        ),
    }
}

#[test]
fn a_torn_line_and_one_of_another_writer_are_no_lines_of_this_one() {
    let whole = line("m1", 7, 3);
    assert_eq!(whole, "m1 7 3 xxx");
    assert_eq!(number_of(whole.as_bytes(), "m1"), Some(7));
    assert_eq!(number_of(b"m1 7 3 xx", "m1"), None);
    assert_eq!(number_of(b"m1 7 3 xxxm1 8 3 xxx", "m1"), None);
    assert_eq!(number_of(whole.as_bytes(), "m"), None);
}

/// Nothing new for so long, and what is missing counts as missing: longer than the longest pause between retries.
const STALLED: Duration = Duration::from_secs(15);
/// Nothing new for so long after the last line, and nothing comes again.
const QUIET: Duration = Duration::from_millis(1200);
const SOON: Duration = Duration::from_secs(30);

/// Waits until a record has arrived and the file at this path is in the state: what was rotated away before a path
/// was ever known is not looked for.
pub(crate) fn wait_until_known(env: &Env, kafka: &RealKafka, topic: &str, live: &str) {
    kafka.wait_for_records(topic, 1, SOON);
    let live = env.path(live);
    let is_known = || {
        let text = fs::read(env.checkpoints()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        fs::metadata(&live).is_ok_and(|file| {
            let inode = file.ino().to_string();
            text.split_ascii_whitespace().any(|word| word == inode)
        })
    };
    wait_until(SOON, is_known, || format!("inode of '{live}' in the state"));
}

/// Waits until everything on the disk has arrived, or nothing comes any more; then until nothing comes again, not
/// with a stop and one more run either. What happens is added to `history`.
pub(crate) fn settle(
    env: &mut Env,
    kafka: &RealKafka,
    topic: &str,
    tag: &str,
    history: &mut Vec<String>,
) -> Verdict {
    let disk: BTreeSet<usize> = on_disk(&env.log_dir(), tag);
    let verdict = || Verdict::of(&disk, &kafka.fetch_all(topic), tag);
    let (mut count, mut changed) = (0, Instant::now());
    let mut is_complete = false;
    loop {
        let now = kafka.count(topic);
        if now != count {
            (count, changed) = (now, Instant::now());
            // Reading all of it is not for nothing.
            is_complete = now >= disk.len() && verdict().missing.is_empty();
        }
        let patience = if is_complete { QUIET } else { STALLED };
        if changed.elapsed() > patience || !env.agent().is_running() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let live = verdict();
    history.push(format!("live: {}", live.describe()));
    env.stop();
    let once = env.run(&["--once"]);
    history.push(format!("--once ends with {:?}", once.code));
    // What comes only now is missing all the same.
    Verdict {
        missing: live.missing,
        ..verdict()
    }
}
