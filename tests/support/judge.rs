//! Waiting and judging for tests whose oracle is what lies on the disk in the end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::thread;
use std::time::{Duration, Instant};

use super::env::{Env, wait_until};
use super::kafka::RealKafka;
use super::ledger::{self, Verdict};

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
    let disk: BTreeSet<usize> = ledger::on_disk(&env.log_dir(), tag);
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
