//! Loggers of other languages, played: the names they give and the order of their steps.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::programs::rest;
use crate::support::ledger;

const SIZE: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steps {
    /// Go's lumberjack: close, rename to `app-TIME.log`, make a new file.
    Lumberjack,
    /// With `Compress`: meanwhile another goroutine packs each plain backup and unlinks it.
    LumberjackGzip,
    /// The same on a slow machine: the archive grows for a while beside its original.
    LumberjackSlowGzip,
    /// Node's rotating-file-stream: close, rename to `DATE-TIME-NUMBER-app.log`, make a new file.
    FileStream,
    /// With `compress`: close, make the archive's name, pack into it, unlink, make a new file.
    FileStreamGzip,
}

/// Writes the lines, rotating as told, and waits for what is being packed.
pub(super) fn play(steps: Steps, live: &Path, tag: &str, lines: usize) {
    let mut file = open(live);
    let mut size = 0;
    let mut rotations = 0;
    let mut packing: Vec<thread::JoinHandle<()>> = Vec::new();
    for number in 0..lines {
        let line = ledger::line(tag, number, number * 37 % 150) + "\n";
        if size + line.len() as u64 > SIZE {
            drop(file);
            rotations += 1;
            packing.extend(rotate(steps, live, rotations));
            file = open(live);
            size = 0;
        }
        file.write_all(line.as_bytes()).expect("the disk has room");
        size += line.len() as u64;
        rest(number);
    }
    for packing in packing {
        packing.join().expect("it is packed");
    }
}

fn rotate(steps: Steps, live: &Path, rotations: usize) -> Option<thread::JoinHandle<()>> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let (day, seconds) = date(now.as_secs());
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = day;
    let millis = now.subsec_millis();
    match steps {
        Steps::Lumberjack | Steps::LumberjackGzip | Steps::LumberjackSlowGzip => {
            let backup = live.with_file_name(format!(
                "app-{year}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}.log"
            ));
            fs::rename(live, &backup).expect("it is there");
            let pause = match steps {
                Steps::Lumberjack => return None,
                Steps::LumberjackGzip => Duration::ZERO,
                _ => Duration::from_millis(300),
            };
            Some(thread::spawn(move || {
                pack(&backup, &ending(&backup), pause);
                fs::remove_file(&backup).expect("it is there");
            }))
        }
        Steps::FileStream | Steps::FileStreamGzip => {
            let name =
                format!("{year}{month:02}{day:02}-{hour:02}{minute:02}-{rotations:02}-app.log");
            let rotated = live.with_file_name(name);
            if steps == Steps::FileStream {
                fs::rename(live, rotated).expect("it is there");
            } else {
                pack(live, &ending(&rotated), Duration::from_millis(20));
                fs::remove_file(live).expect("it is there");
            }
            None
        }
    }
}

/// Packs in pieces, with pauses that add up to `pause`.
fn pack(plain: &Path, packed: &Path, pause: Duration) {
    const PIECES: usize = 4;
    let target = File::create(packed).expect("a name of its own");
    let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::fast());
    let bytes = fs::read(plain).expect("it is there");
    for piece in bytes.chunks(bytes.len() / PIECES + 1) {
        encoder.write_all(piece).expect("the disk has room");
        encoder.flush().expect("the disk has room");
        thread::sleep(pause / PIECES as u32);
    }
    encoder.finish().expect("the disk has room");
}

fn ending(plain: &Path) -> PathBuf {
    PathBuf::from(format!("{}.gz", plain.display()))
}

fn open(path: &Path) -> File {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Year, month and day, and the seconds of that day, in UTC.
fn date(seconds: u64) -> ((u64, u64, u64), u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut days, mut year) = (seconds / 86_400, 1970);
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    ((year, month, days + 1), seconds % 86_400)
}

#[test]
fn dates_of_backups_are_those_of_the_calendar() {
    assert_eq!(date(951_782_400), ((2000, 2, 29), 0));
    assert_eq!(date(1_795_737_661), ((2026, 11, 27), 61));
}
