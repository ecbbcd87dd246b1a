//! The chaos run: what writers, rotations, kills and outages do to files and broker, against a real
//! Kafka. Each scenario writes lines that say who wrote them, as the how manieth and with which checksum,
//! reads everything back, prints one row of figures and fails unless they are as promised.
//!
//! `scripts/chaos.sh` runs it alone and prints the rows as one table.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::broker::Record;
use crate::support::env::{Env, losses, wait_until};
use crate::support::kafka::RealKafka;
use crate::support::meanwhile::StopOnDrop;
use crate::support::proxy::Proxy;

/// How long everything that was written may take to arrive, once nothing stands in its way.
const LONG: Duration = Duration::from_secs(40);
/// Between two writes of a busy writer.
const TICK: Duration = Duration::from_millis(5);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

// Writing.

/// A program that logs: one sequence of numbered lines, into one file after the other.
#[derive(Debug)]
struct Writer {
    id: u32,
    path: PathBuf,
    file: File,
    /// Bytes of each line it has written, the newline included.
    lengths: Vec<u64>,
    random: fastrand::Rng,
}

impl Writer {
    fn new(env: &Env, id: u32, name: &str) -> Writer {
        let path = PathBuf::from(env.path(name));
        Writer {
            id,
            file: open(&path),
            path,
            lengths: Vec::new(),
            random: fastrand::Rng::with_seed(u64::from(id)),
        }
    }

    /// The next line, with its newline; it counts as written.
    fn line(&mut self, filling: &[u8]) -> Vec<u8> {
        let mut line = format!("{} {} ", self.id, self.lengths.len()).into_bytes();
        line.extend_from_slice(filling);
        let checksum = crc32c::crc32c(&line);
        line.extend_from_slice(format!(" {checksum:08x}\n").as_bytes());
        self.lengths.push(line.len() as u64);
        line
    }

    fn lines(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let filling: Vec<u8> = (0..self.random.usize(..200))
                .map(|_| self.random.alphanumeric() as u8)
                .collect();
            bytes.extend(self.line(&filling));
        }
        bytes
    }

    /// Writes lines in one write.
    fn write(&mut self, count: usize) {
        let bytes = self.lines(count);
        self.put(&bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
    }

    /// Writes `count` lines each tick for some time.
    fn write_for(&mut self, time: Duration, count: usize) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.write(count);
            thread::sleep(TICK);
        }
    }

    /// Opens the path again, where rotation has made room.
    fn reopen(&mut self) {
        self.file = open(&self.path);
    }

    /// The name after `count` rotations.
    fn rotated(&self, count: usize) -> PathBuf {
        PathBuf::from(format!("{}.{count}", self.path.display()))
    }

    /// Moves `.1` to `.2` and so on, whatever endings they have, so that `.1` is free.
    fn shift(&self) {
        for ending in ["", ".gz"] {
            let name = |count| format!("{}{ending}", self.rotated(count).display());
            let mut last = 0;
            for count in 1..1000 {
                if Path::new(&name(count)).exists() {
                    last = count;
                }
                if count > last + 20 {
                    break;
                }
            }
            for count in (1..=last).rev() {
                let _ = fs::rename(name(count), name(count + 1));
            }
        }
    }

    /// Rotates by renaming; writes go on into the old file until [`Writer::reopen`].
    fn rename(&self) {
        self.shift();
        fs::rename(&self.path, self.rotated(1)).unwrap();
    }

    fn rotate(&mut self) {
        self.rename();
        self.reopen();
    }

    /// Rotates as logrotate's `copytruncate` does.
    fn copytruncate(&mut self) {
        self.shift();
        fs::copy(&self.path, self.rotated(1)).unwrap();
        self.file.set_len(0).unwrap();
    }

    /// Compresses the youngest rotated file as gzip does, which keeps the time of the last change.
    fn gzip(&self) {
        let plain = self.rotated(1);
        let packed = format!("{}.gz", plain.display());
        let mut encoder = flate2::write::GzEncoder::new(
            File::create(packed).unwrap(),
            flate2::Compression::fast(),
        );
        encoder.write_all(&fs::read(&plain).unwrap()).unwrap();
        let modified = fs::metadata(&plain).unwrap().modified().unwrap();
        encoder.finish().unwrap().set_modified(modified).unwrap();
        fs::remove_file(plain).unwrap();
    }

    fn written(&self) -> usize {
        self.lengths.len()
    }
}

fn open(path: &Path) -> File {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// Judging.

/// What became of the lines of some writers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    written: usize,
    missing: usize,
    missing_bytes: u64,
    duplicate: usize,
    corrupt: usize,
    out_of_order: usize,
    first_missing: Vec<String>,
}

impl Tally {
    fn of(records: &[Record], writers: &[Writer]) -> Tally {
        let mut tally = Tally::default();
        let mut seen: BTreeMap<u32, (Vec<bool>, usize)> = BTreeMap::new();
        for writer in writers {
            tally.written += writer.written();
            seen.insert(writer.id, (vec![false; writer.written()], 0));
        }
        for line in whole_lines(records) {
            let known = parse(&line).and_then(|(id, number)| {
                let (seen, next) = seen.get_mut(&id)?;
                (number < seen.len()).then_some((seen, next, number))
            });
            match known {
                None => tally.corrupt += 1,
                Some((seen, _, number)) if seen[number] => tally.duplicate += 1,
                Some((seen, next, number)) => {
                    seen[number] = true;
                    if number < *next {
                        tally.out_of_order += 1;
                    }
                    *next = number.max(*next);
                }
            }
        }
        for writer in writers {
            for (number, _) in seen[&writer.id].0.iter().enumerate().filter(|(_, s)| !**s) {
                tally.missing += 1;
                tally.missing_bytes += writer.lengths[number];
                if tally.first_missing.len() < 10 {
                    tally.first_missing.push(format!("{} {number}", writer.id));
                }
            }
        }
        tally
    }
}

/// The values, with the pieces of long lines put together.
fn whole_lines(records: &[Record]) -> Vec<Vec<u8>> {
    let mut lines = Vec::with_capacity(records.len());
    let mut begun: BTreeMap<i32, Vec<u8>> = BTreeMap::new();
    for record in records {
        let has = |wanted: &str| record.headers.iter().any(|(name, _)| name == wanted);
        let value = record.value.clone().unwrap_or_default();
        if !has("part") {
            lines.push(value);
            continue;
        }
        begun.entry(record.partition).or_default().extend(value);
        if has("parts") {
            lines.extend(begun.remove(&record.partition));
        }
    }
    lines.extend(begun.into_values());
    lines
}

/// Writer and number of a line, if its checksum is right.
fn parse(line: &[u8]) -> Option<(u32, usize)> {
    let (text, checksum) = line.split_at_checked(line.len().checked_sub(9)?)?;
    if format!(" {:08x}", crc32c::crc32c(text)).as_bytes() != checksum {
        return None;
    }
    let mut words = text.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u32>().ok();
    Some((number()?, number()? as usize))
}

/// Bytes that the agent's log says are lost.
fn lost_bytes(log: &str) -> u64 {
    losses(log).map(|(_, bytes)| bytes).sum()
}

/// What may be other than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Every line once.
    Exact,
    /// So many lines may have come again.
    AtMostTwice(usize),
    /// What is missing was reported, to the byte.
    Reported,
}

/// A broker, a topic, and an agent that sends to it.
struct Scene {
    kafka: RealKafka,
    topic: String,
    env: Env,
    proxy: Option<Proxy>,
}

impl Scene {
    /// On the shared broker.
    fn new(name: &str) -> Scene {
        Scene::on(RealKafka::current(), name, 1)
    }

    fn on(kafka: RealKafka, name: &str, partitions: i32) -> Scene {
        let topic = kafka.fresh_topic(&format!("chaos-{name}"), partitions);
        let mut env = Env::new();
        env.set("kafka", "brokers", kafka.brokers())
            .set("kafka", "topic", &topic)
            .set("agent", "shutdown_timeout", "9s");
        Scene {
            kafka,
            topic,
            env,
            proxy: None,
        }
    }

    /// With a broker of our own behind a proxy.
    fn behind_proxy(name: &str) -> Scene {
        let proxy = Proxy::bind();
        let advertised = format!("advertised.listeners=PLAINTEXT://{}", proxy.address());
        let kafka = RealKafka::own(&format!("chaos-{name}"), "4", &[&advertised]);
        proxy.lead_to(kafka.brokers());
        let mut scene = Scene::on(kafka, name, 1);
        scene.env.set("kafka", "brokers", &proxy.address());
        scene.proxy = Some(proxy);
        scene
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("the scene was made with one")
    }

    fn wait_for(&self, count: usize) {
        self.kafka.wait_for_records(&self.topic, count, LONG);
    }

    /// Waits until every line that was written is there, if it comes at all; stops the agent, prints the
    /// row, and fails unless it is as expected.
    fn judge(mut self, name: &str, writers: &[Writer], expect: Expect) {
        let end = Instant::now() + LONG;
        let mut counted = None;
        loop {
            let count = self.kafka.count(&self.topic);
            if counted != Some(count) {
                counted = Some(count);
                let tally = Tally::of(&self.kafka.fetch_all(&self.topic), writers);
                let reported = lost_bytes(&self.env.all_logs());
                if tally.missing_bytes == 0
                    || expect == Expect::Reported && tally.missing_bytes == reported
                {
                    break;
                }
            }
            if Instant::now() > end {
                break;
            }
            thread::sleep(ms(100));
        }
        self.env.stop();
        let tally = Tally::of(&self.kafka.fetch_all(&self.topic), writers);
        let lost = lost_bytes(&self.env.all_logs());
        let (duplicate, missing) = match expect {
            Expect::Exact => (tally.duplicate.to_string(), tally.missing.to_string()),
            Expect::AtMostTwice(allowed) => (
                format!("{} (of {allowed})", tally.duplicate),
                tally.missing.to_string(),
            ),
            Expect::Reported => (
                tally.duplicate.to_string(),
                format!("{} ({} B)", tally.missing, tally.missing_bytes),
            ),
        };
        // One call: the rows of tests that run at the same time do not mix.
        println!(
            "\nchaos | {name} | {} | {missing} | {duplicate} | {} | {} | {lost}",
            tally.written, tally.corrupt, tally.out_of_order,
        );
        let as_expected = match expect {
            Expect::Exact => tally.missing == 0 && tally.duplicate == 0 && lost == 0,
            Expect::AtMostTwice(allowed) => {
                tally.missing == 0 && tally.duplicate <= allowed && lost == 0
            }
            Expect::Reported => {
                tally.missing > 0 && tally.missing_bytes == lost && tally.duplicate == 0
            }
        };
        assert!(
            as_expected && tally.corrupt == 0 && tally.out_of_order == 0,
            "{name}: {tally:?}, reported as lost {lost}"
        );
    }
}

/// Runs `write` again and again on a thread of its own while `act` runs.
fn meanwhile(writer: &mut Writer, mut write: impl FnMut(&mut Writer) + Send, act: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                write(writer);
            }
        });
        // Also when `act` panics: the scope waits for the writer.
        let _stop = StopOnDrop(&stop);
        act();
    });
}

// The scenarios.

#[test]
fn steady_load() {
    let mut scene = Scene::new("steady");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    writer.write_for(ms(4000), 60);
    scene.judge("steady load", &[writer], Expect::Exact);
}

#[test]
fn rename_storm() {
    let mut scene = Scene::new("rename");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    for round in 0..50 {
        let next = Instant::now() + ms(100);
        writer.write_for(ms(60), 10);
        writer.rename();
        writer.write(5);
        thread::sleep(ms(round % 10));
        writer.write(5);
        writer.reopen();
        writer.write(5);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    scene.judge("rename storm, 10 a second", &[writer], Expect::Exact);
}

#[test]
fn copytruncate() {
    let mut scene = Scene::new("copytruncate");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    for _ in 0..6 {
        writer.write_for(ms(1000), 20);
        // Something that cannot have been read yet.
        writer.write(500);
        writer.copytruncate();
    }
    writer.write(100);
    scene.judge("copytruncate every second", &[writer], Expect::Exact);
}

#[test]
fn kills() {
    const INTERVAL: Duration = Duration::from_millis(300);
    let mut scene = Scene::new("kills");
    scene.env.set("agent", "checkpoint_interval", "300ms");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    let mut random = fastrand::Rng::new();
    // How many records there were at which time.
    let history = Mutex::new(vec![(Instant::now(), 0)]);
    let mut allowed = 0;
    let mut since_rotation = Instant::now();
    let write = |writer: &mut Writer| {
        writer.write(10);
        thread::sleep(TICK);
        if since_rotation.elapsed() > ms(230) {
            since_rotation = Instant::now();
            writer.rotate();
        }
    };
    let Scene {
        kafka, topic, env, ..
    } = &mut scene;
    meanwhile(&mut writer, write, || {
        for _ in 0..10 {
            env.start();
            let end = Instant::now() + ms(random.u64(50..1200));
            while Instant::now() < end {
                let count = kafka.count(topic);
                history.lock().unwrap().push((Instant::now(), count));
                thread::sleep(ms(20));
            }
            let killed = Instant::now();
            env.kill();
            // The interval before, and the time that an answer and a write to disk take here.
            let before = killed - INTERVAL - ms(300);
            let history = history.lock().unwrap();
            let sure = history.iter().rev().find(|(at, _)| *at <= before);
            thread::sleep(ms(50));
            allowed += kafka.count(topic) - sure.map_or(0, |(_, count)| *count);
        }
        env.start();
    });
    scene.judge(
        "SIGKILL, ten times, with rotations",
        &[writer],
        Expect::AtMostTwice(allowed),
    );
}

#[test]
fn rotations_while_down() {
    let mut scene = Scene::new("down");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    writer.write(2000);
    scene.wait_for(2000);
    writer.write(5000);
    scene.env.stop();
    for round in 0..3 {
        writer.write(1000 + 500 * round);
        writer.rotate();
    }
    writer.write(700);
    scene.env.start();
    writer.write(300);
    scene.judge("three rotations while down", &[writer], Expect::Exact);
}

#[test]
fn gzip_while_down() {
    let mut scene = Scene::new("gzip");
    scene.env.set("kafka", "batch_bytes", "4KiB");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    writer.write(80_000);
    scene.env.start();
    scene.wait_for(1);
    scene.env.stop();
    let arrived = scene.kafka.count(&scene.topic);
    assert!(arrived < 80_000, "it was not stopped in the middle");
    for _ in 0..4 {
        writer.write(2000);
        writer.rotate();
        writer.gzip();
        thread::sleep(ms(20));
    }
    writer.write(700);
    scene.env.start();
    writer.write(300);
    scene.judge(
        "four generations gzipped while down",
        &[writer],
        Expect::Exact,
    );
}

#[test]
fn broker_down() {
    let kafka = RealKafka::own("chaos-down", "4", &[]);
    let mut scene = Scene::on(kafka, "outage", 1);
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    writer.write(1000);
    scene.wait_for(1000);
    let mut since_rotation = Instant::now();
    let write = |writer: &mut Writer| {
        writer.write(10);
        thread::sleep(TICK);
        if since_rotation.elapsed() > ms(500) {
            since_rotation = Instant::now();
            writer.rotate();
        }
    };
    meanwhile(&mut writer, write, || {
        let begin = Instant::now();
        scene.kafka.stop_keep();
        thread::sleep(ms(15_000).saturating_sub(begin.elapsed()));
        scene.kafka.start();
    });
    scene.judge(
        "broker down for 15 s, with rotations",
        &[writer],
        Expect::Exact,
    );
}

#[test]
fn deleted_in_an_outage() {
    let mut scene = Scene::behind_proxy("deleted");
    scene.env.set("agent", "memory_limit", "8MiB");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    writer.write(1000);
    scene.wait_for(1000);
    scene.proxy().cut();
    for generation in 2..5 {
        // More than it can hold in memory.
        writer.write(80_000);
        writer.rename();
        writer.write(10);
        writer.reopen();
        writer.write(10);
        // It has seen the file before rotation takes it away for good.
        let opened = || scene.env.log().matches("is read from offset").count();
        wait_until(
            LONG,
            || opened() >= generation,
            || format!("file {generation} to be opened"),
        );
        fs::remove_file(writer.rotated(1)).unwrap();
    }
    scene.proxy().restore();
    scene.judge(
        "rotated files deleted in an outage",
        &[writer],
        Expect::Exact,
    );
}

#[test]
fn deleted_beyond_the_limit() {
    let mut scene = Scene::behind_proxy("limit");
    scene
        .env
        .set("agent", "memory_limit", "8MiB")
        .set("agent", "deleted_bytes_limit", "20MiB");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    writer.write(1000);
    scene.wait_for(1000);
    scene.proxy().cut();
    for round in 1..6 {
        writer.write(80_000);
        writer.rename();
        writer.reopen();
        writer.write(10);
        let rotated = || scene.env.log().matches("was rotated away").count() >= round;
        wait_until(LONG, rotated, || format!("file {round} to be missed"));
        fs::remove_file(writer.rotated(1)).unwrap();
    }
    let too_much = || scene.env.log().contains("[agent] deleted_bytes_limit");
    wait_until(LONG, too_much, || "a file to be let go".to_owned());
    scene.proxy().restore();
    scene.judge(
        "rotated files deleted in an outage, beyond deleted_bytes_limit",
        &[writer],
        Expect::Reported,
    );
}

#[test]
fn gone_while_down() {
    let mut scene = Scene::behind_proxy("gone");
    scene.env.set("agent", "shutdown_timeout", "1s");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    for round in 0..6 {
        writer.write(500);
        // The 300 lines of each round before are gone.
        scene.wait_for(500 * (round + 1));
        scene.env.wait_for_checkpoint_at_the_end_of("app.log");
        scene.proxy().cut();
        writer.write(300);
        scene.env.wait_for_checkpoint_with_the_size_of("app.log");
        match round % 3 {
            0 => scene.env.kill(),
            _ => drop(scene.env.stop()),
        }
        if round % 2 == 0 {
            writer.file.set_len(0).unwrap();
        } else {
            fs::remove_file(&writer.path).unwrap();
            writer.reopen();
        }
        scene.proxy().restore();
        scene.env.start();
    }
    scene.judge(
        "truncated or deleted while it was down, after an outage",
        &[writer],
        Expect::Reported,
    );
}

#[test]
fn connection_cut_after_append() {
    let mut scene = Scene::behind_proxy("cut");
    scene.env.set("kafka", "batch_bytes", "8KiB");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    for round in 0..20 {
        scene.proxy().swallow_a_produce_answer();
        writer.write_for(ms(200), 20);
        let swallowed = || scene.proxy().swallowed() > round;
        wait_until(LONG, swallowed, || "the connection to be cut".to_owned());
        if round % 4 == 3 {
            // The pause before an attempt doubles with each that fails in a row.
            scene.env.wait_for_checkpoint_at_the_end_of("app.log");
        }
    }
    scene.judge(
        "connection cut after the append, 20 times",
        &[writer],
        Expect::Exact,
    );
}

#[test]
fn restarts_under_load() {
    let mut scene = Scene::new("restarts");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    let mut random = fastrand::Rng::new();
    let mut since_rotation = Instant::now();
    let write = |writer: &mut Writer| {
        writer.write(10);
        thread::sleep(TICK);
        if since_rotation.elapsed() > ms(330) {
            since_rotation = Instant::now();
            writer.rotate();
        }
    };
    meanwhile(&mut writer, write, || {
        for _ in 0..10 {
            scene.env.start();
            thread::sleep(ms(random.u64(0..600)));
            scene.env.stop();
        }
        scene.env.start();
    });
    scene.judge(
        "SIGTERM and restart, ten times, with rotations",
        &[writer],
        Expect::Exact,
    );
}

#[test]
fn inode_reuse() {
    let mut scene = Scene::new("inode");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    let mut reused = 0;
    scene.env.start();
    for (round, count) in [1000, 300, 2000, 10, 500].into_iter().enumerate() {
        writer.write(count);
        scene.wait_for(writer.written());
        let inode = writer.file.metadata().unwrap().ino();
        fs::remove_file(&writer.path).unwrap();
        if round > 0 {
            // While the agent holds it open, its number is not handed out again.
            let closed = || scene.env.log().matches("is read to its end").count() >= round;
            wait_until(LONG, closed, || "the deleted file to be closed".to_owned());
        }
        // Nor while we do.
        writer.file = File::open("/dev/null").unwrap();
        writer.reopen();
        reused += usize::from(writer.file.metadata().unwrap().ino() == inode);
    }
    for count in [700, 100, 1500, 20] {
        writer.write(count);
        scene.wait_for(writer.written());
        scene.env.stop();
        let inode = writer.file.metadata().unwrap().ino();
        fs::remove_file(&writer.path).unwrap();
        writer.file = File::open("/dev/null").unwrap();
        writer.reopen();
        reused += usize::from(writer.file.metadata().unwrap().ino() == inode);
        writer.write(400);
        scene.env.start();
    }
    let name = format!("inode reuse, alive and down ({reused} of 9 reused)");
    scene.judge(&name, &[writer], Expect::Exact);
}

#[test]
fn truncated_and_grown() {
    let mut scene = Scene::new("grown");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    for round in 0..8 {
        writer.write(500);
        scene.wait_for(writer.written());
        scene.env.wait_for_checkpoint_at_the_end_of("app.log");
        let is_down = round % 2 == 1;
        if is_down {
            scene.env.stop();
        }
        let before = fs::metadata(&writer.path).unwrap().len();
        let mut bytes = Vec::new();
        while bytes.len() as u64 <= before {
            bytes.extend(writer.lines(100));
        }
        writer.file.set_len(0).unwrap();
        writer.put(&bytes);
        if is_down {
            scene.env.start();
        }
        scene.wait_for(writer.written());
    }
    scene.judge(
        "truncated and grown past the offset, alive and down",
        &[writer],
        Expect::Exact,
    );
}

#[test]
fn partial_lines() {
    let mut scene = Scene::new("partial");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    for round in 0..8 {
        writer.write(20);
        let line = writer.lines(1);
        let (head, tail) = line.split_at(line.len() / 2);
        writer.put(head);
        if round % 4 == 0 {
            // It waits in the live file for longer than a rotated one would.
            thread::sleep(ms(500));
            writer.put(tail);
            continue;
        }
        // The read half is where it is before things happen.
        scene.wait_for(writer.written() - 1);
        match round % 4 {
            1 => {
                writer.rename();
                thread::sleep(ms(100));
                writer.put(tail);
                writer.reopen();
            }
            2 => {
                scene.env.stop();
                writer.put(tail);
                writer.rotate();
                scene.env.start();
            }
            _ => {
                scene.env.stop();
                scene.env.start();
                writer.put(tail);
                // The last line of a file that is done with needs no newline.
                let line = writer.lines(1);
                writer.put(&line[..line.len() - 1]);
                writer.rotate();
            }
        }
    }
    writer.write(20);
    scene.judge(
        "partial lines across rotations and restarts",
        &[writer],
        Expect::Exact,
    );
}

#[test]
fn long_and_odd_lines() {
    let mut scene = Scene::new("odd");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    let odd: [&[u8]; 8] = [
        b"",
        b"\0",
        b"\0\0\0",
        b"\xff\xfe\x80",
        b"   ",
        b"\t \x0b",
        b"ends in CR\r",
        b"\r",
    ];
    // All of it, as the values should come; the odd ones bear no number.
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for round in 0..6_usize {
        let long = vec![b'x'; round * 900_000];
        for filling in odd.into_iter().chain([&long[..]]) {
            let line = writer.line(filling);
            writer.put(&line);
            expected.push(line[..line.len() - 1].to_vec());
            writer.put(&[filling, b"\n"].concat());
            expected.push(filling.to_vec());
        }
        if round == 3 {
            writer.rotate();
        }
    }
    let deadline = Instant::now() + LONG;
    let mut got = Vec::new();
    let mut counted = 0;
    while got.len() < expected.len() && Instant::now() < deadline {
        let count = scene.kafka.count(&scene.topic);
        if count != counted {
            counted = count;
            got = whole_lines(&scene.kafka.fetch_all(&scene.topic));
        }
        thread::sleep(ms(50));
    }
    scene.env.stop();
    let got = whole_lines(&scene.kafka.fetch_all(&scene.topic));
    let mut counts: BTreeMap<&[u8], i64> = BTreeMap::new();
    for line in &expected {
        *counts.entry(line).or_default() += 1;
    }
    for line in &got {
        *counts.entry(line).or_default() -= 1;
    }
    let sum =
        |of: &dyn Fn(&[u8], i64) -> i64| -> i64 { counts.iter().map(|(l, c)| of(l, *c)).sum() };
    let missing = sum(&|_, count| count.max(0));
    let is_ours = |line: &[u8]| expected.iter().any(|e| e == line);
    let duplicate = sum(&|line, count| if is_ours(line) { -count.min(0) } else { 0 });
    let corrupt = sum(&|line, count| if is_ours(line) { 0 } else { -count.min(0) });
    let in_order = got == expected || missing + duplicate + corrupt > 0;
    let lost = lost_bytes(&scene.env.all_logs());
    println!(
        "\nchaos | long (up to 4.5 MB) and odd lines | {} | {missing} | {duplicate} | {corrupt} | {} | {lost}",
        expected.len(),
        u8::from(!in_order)
    );
    assert!(got == expected && lost == 0);
}

#[test]
fn short_lived_files() {
    const FILES: u32 = 300;
    let mut scene = Scene::on(RealKafka::current(), "short", 3);
    scene.env.start();
    let begin = Instant::now();
    let mut alive: Vec<(Instant, Writer)> = Vec::new();
    let mut done = Vec::new();
    let mut next = 0;
    while next < FILES || !alive.is_empty() {
        while next < FILES && begin.elapsed() > ms(u64::from(next) * 20) {
            let name = format!("request-{next}.log");
            alive.push((Instant::now(), Writer::new(&scene.env, next, &name)));
            next += 1;
        }
        for (_, writer) in &mut alive {
            writer.write(2);
        }
        let ends = |(born, _): &mut (Instant, Writer)| born.elapsed() > ms(3000);
        for (_, mut writer) in alive.extract_if(.., ends) {
            writer.write(3);
            fs::remove_file(&writer.path).unwrap();
            // As many descriptors as files that live.
            writer.file = File::open("/dev/null").unwrap();
            done.push(writer);
        }
        thread::sleep(ms(100));
    }
    scene.judge("300 files that live 3 s each", &done, Expect::Exact);
}

#[test]
fn symlink_switch() {
    let mut scene = Scene::new("symlink");
    let link = scene.env.path("current.log");
    scene.env.set("log:app", "path", &link);
    let mut writer = Writer::new(&scene.env, 1, "app-0.txt");
    scene.env.symlink("app-0.txt", "current.log");
    scene.env.start();
    for round in 1..=10 {
        writer.write_for(ms(300), 5);
        let name = format!("app-{round}.txt");
        writer.path = PathBuf::from(scene.env.path(&name));
        let next = open(&writer.path);
        scene.env.symlink(&name, "next");
        scene.env.rename("next", "current.log");
        writer.write(10);
        thread::sleep(ms(50));
        writer.write(10);
        writer.file = next;
    }
    writer.write(100);
    scene.judge("symlink switched, ten times", &[writer], Expect::Exact);
}

#[test]
fn unreadable_entries() {
    let mut scene = Scene::on(RealKafka::current(), "unreadable", 3);
    let env = &mut scene.env;
    env.make_folder("folder.log");
    let fifo = env.path("fifo.log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o644),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(env.path("socket.log")).unwrap();
    env.symlink("nowhere", "dangling.log");
    env.symlink("loop.log", "loop.log");
    env.append("secret.log", b"1 0 not to be read\n");
    let secret = env.path("secret.log");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let mut writers: Vec<Writer> = (1..=5)
        .map(|id| Writer::new(env, id, &format!("good-{id}.log")))
        .collect();
    let is_bound = env.start_bound_by_permissions();
    if !is_bound {
        env.remove("secret.log");
        env.start();
    }
    for _ in 0..100 {
        for writer in &mut writers {
            writer.write(20);
        }
        thread::sleep(ms(20));
    }
    let mut names = vec!["folder", "fifo", "socket", "dangling", "loop"];
    if is_bound {
        names.push("secret");
    }
    for name in names {
        let words = format!("{name}.log'");
        env.wait_for_log(&words, ms(10_000));
        let log = env.log();
        let warnings = log
            .lines()
            .filter(|l| l.contains("WARN") && l.contains(&words));
        assert_eq!(warnings.count(), 1, "{name}:\n{log}");
    }
    let name = match is_bound {
        true => "unreadable entries beside good files",
        false => "unreadable entries beside good files (permissions not tried)",
    };
    scene.judge(name, &writers, Expect::Exact);
}

#[test]
fn truncated_in_an_outage() {
    let mut scene = Scene::behind_proxy("truncated");
    scene.env.set("agent", "memory_limit", "8MiB");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    writer.write(1000);
    scene.wait_for(1000);
    scene.proxy().cut();
    for _ in 0..3 {
        writer.write(100_000);
        // Nothing tells when it has seen the size, so: the time it takes, many times over.
        thread::sleep(ms(1500));
        writer.file.set_len(0).unwrap();
        writer.write(100);
        thread::sleep(ms(500));
    }
    scene.proxy().restore();
    scene.judge(
        "truncated without a copy in an outage",
        &[writer],
        Expect::Reported,
    );
}

#[test]
fn copytruncate_in_an_outage() {
    let mut scene = Scene::behind_proxy("copies");
    scene.env.set("agent", "memory_limit", "8MiB");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    writer.write(1000);
    scene.wait_for(1000);
    scene.proxy().cut();
    for _ in 0..4 {
        writer.write(30_000);
        thread::sleep(ms(500));
        writer.copytruncate();
        writer.write(100);
        thread::sleep(ms(500));
    }
    scene.proxy().restore();
    scene.judge("copytruncate in an outage", &[writer], Expect::Exact);
}

#[test]
fn python_rotation() {
    let mut scene = Scene::new("python");
    let mut writer = Writer::new(&scene.env, 1, "app.log");
    scene.env.start();
    // RotatingFileHandler(maxBytes=20_000, backupCount=20), at a line a millisecond or so.
    for _ in 0..60 {
        let next = Instant::now() + ms(90);
        let mut size = 0;
        while size < 20_000 {
            let line = writer.lines(1);
            size += line.len();
            writer.put(&line);
            thread::sleep(Duration::from_micros(400));
        }
        for count in (1..20).rev() {
            if writer.rotated(count).exists() {
                fs::rename(writer.rotated(count), writer.rotated(count + 1)).unwrap();
            }
        }
        fs::rename(&writer.path, writer.rotated(1)).unwrap();
        writer.reopen();
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    scene.judge(
        "size rotation as Python's, every 90 ms",
        &[writer],
        Expect::Exact,
    );
}
