//! How often the path of a line allocates: by the batch, never by the line.
//!
//! Its own binary, since it counts all allocations of its process. The agent runs in it as it is; a
//! broker that only counts records runs beside it, as a process of its own (this binary again).

#![allow(
    unsafe_code,
    reason = "an allocator cannot be written without; it only counts and passes on"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds None or Err has failed, and the panic says where"
)]

#[path = "bench/rows/sink.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod sink;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use logagent::agent::{Agent, Mode};
use logagent::config::Config;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const BYTES: usize = 100 << 20;
/// The environment variable that makes this binary the broker.
const IS_BROKER: &str = "LOGAGENT_TEST_SINK";

/// Not a test of its own: the body of the broker's process, which ends with its standard input.
#[test]
fn broker_process() {
    if std::env::var_os(IS_BROKER).is_some() {
        let sink = sink::Sink::start(1).unwrap();
        println!("port={}", sink.port);
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    }
}

#[test]
fn a_backlog_allocates_by_the_batch_and_not_by_the_line() {
    if std::env::var_os(IS_BROKER).is_some() {
        return;
    }
    let mut broker = Command::new(std::env::current_exe().unwrap())
        .args(["broker_process", "--exact", "--nocapture"])
        .env(IS_BROKER, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(broker.stdout.take().unwrap());
    let port = said
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("port=")?.1.to_owned()))
        .expect("the broker says its port");
    let folder = tempfile::tempdir().unwrap();
    // What is made once (threads, tables, the first buffers) is not counted.
    ship(folder.path(), &port, 1 << 20, 100);
    let long = ship(folder.path(), &port, BYTES, 1000);
    let short = ship(folder.path(), &port, BYTES, 50);
    drop(broker.stdin.take());
    let _ = broker.wait();
    // Some dozen for each read: its batch, what waits for its answer, its way to the checkpoints. Short lines
    // have more overhead in a record batch, so that there are more batches; of lines there are 20 times as many.
    let reads = BYTES as u64 / (256 << 10);
    println!("{long} allocations for long lines, {short} for short ones, in {reads} reads");
    for count in [long, short] {
        assert!(count < 60 * reads, "{count} allocations in {reads} reads");
    }
    let lines = BYTES as u64 / 50;
    assert!(
        short < lines / 50,
        "{short} allocations for {lines} short lines"
    );
}

/// Ships so many bytes in lines of this length and gives the number of allocations.
fn ship(folder: &Path, port: &str, bytes: usize, line_bytes: usize) -> u64 {
    let log = folder.join(format!("{bytes}-{line_bytes}.log"));
    let state = folder.join(format!("state-{bytes}-{line_bytes}"));
    fs::create_dir(&state).unwrap();
    let mut line = vec![b'x'; line_bytes - 1];
    line.push(b'\n');
    let chunk = line.repeat(1 << 10);
    let mut file = fs::File::create(&log).unwrap();
    let mut written = 0;
    while written < bytes {
        let part = &chunk[..chunk.len().min((bytes - written) / line_bytes * line_bytes)];
        if part.is_empty() {
            break;
        }
        file.write_all(part).unwrap();
        written += part.len();
    }
    let ini = folder.join("logagent.ini");
    fs::write(
        &ini,
        format!(
            "[agent]\nstate_dir = {}\n[kafka]\nbrokers = 127.0.0.1:{port}\ntopic = t\n[log:a]\npath = {}\n",
            state.display(),
            log.display()
        ),
    )
    .unwrap();
    let config = Config::load(&ini).unwrap();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mode = Mode {
        once: true,
        ..Mode::default()
    };
    let (_stop, signals) = crossbeam_channel::bounded(1);
    Agent::run(config, mode, &signals, logagent::control::Inbox::new()).unwrap();
    // The threads have ended when it returns, but for those that are about to.
    std::thread::sleep(Duration::from_millis(50));
    ALLOCATIONS.load(Ordering::Relaxed) - before
}
