//! The `scan-<n>` threads: what must be asked of a log's file system for threads that everything depends on.
//!
//! A call to a file system may never come back (an NFS server that is away). So the watcher and the
//! scheduler ask no file system themselves; they hand jobs over. Each file system has a lane, and each lane
//! a queue. A lane has one thread at a time; while its job hangs, one more takes the jobs behind it, for a
//! path may lead through a link to elsewhere. So a file system that hangs takes two threads and holds up its
//! own lane only.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::Level;

use crate::condition::{Board, Condition};
use crate::panics::catch_or_report;

/// Whose queue a job stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A mount, by its number in /proc/self/mountinfo.
    Mount(u64),
    /// A device, by its number.
    Device(u64),
    /// Nothing is known.
    Unknown,
    /// What an operator asks, which may lead anywhere and holds up other questions only.
    Questions,
}

type Job = Box<dyn FnOnce() + Send>;

/// The lanes and their threads. Clones are the same lanes.
#[derive(Clone)]
pub struct Lanes(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Takes the words of a job that panicked.
    on_panic: Box<dyn Fn(String) + Send + Sync>,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<Lane, Queue>,
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
    /// Threads that are at a job.
    busy: usize,
    /// Jobs in all queues.
    waiting: usize,
    last_number: u64,
    /// No thread can be started, and none comes to what waits.
    shortage: Condition,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Since when each thread of the lane is at its job, with the job's number.
    running: Vec<(u64, Instant)>,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        let (threads, waiting) = (state.threads, state.waiting);
        write!(f, "Lanes {{ threads: {threads}, waiting: {waiting} }}")
    }
}

impl Lanes {
    /// Lanes without a thread yet. `on_panic` is told what a job that panicked said.
    pub fn new(on_panic: impl Fn(String) + Send + Sync + 'static) -> Self {
        Lanes(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            on_panic: Box::new(on_panic),
        }))
    }

    /// Has `board` show it where no thread can be started.
    pub fn report_to(&self, board: &Board) {
        self.0.lock().shortage.shown_on(board);
    }

    /// Has `job` done by a thread of the lane, after the jobs that stand there already.
    pub fn submit(&self, lane: Lane, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        let queue = state.lanes.entry(lane).or_default();
        queue.jobs.push_back(Box::new(job));
        state.waiting += 1;
        self.0.see_to_a_thread(&mut state);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While a job waits, a thread waits for it: it sees when the lane's own thread hangs.
    fn see_to_a_thread(self: &Arc<Self>, state: &mut State) {
        if state.waiting == 0 {
            return;
        }
        if state.threads > state.busy {
            self.changed.notify_one();
            return;
        }
        if state.threads >= MOST_THREADS {
            return;
        }
        state.last_number += 1;
        let shared = self.clone();
        let started = thread::Builder::new()
            .name(format!("scan-{}", state.last_number % 1000))
            .stack_size(STACK_BYTES)
            .spawn(move || work(&shared));
        match started {
            Ok(_) => {
                state.threads += 1;
                if let Some(left) = state.shortage.leave() {
                    log::log!(left.level, "threads that look for files start again{left}");
                }
            }
            Err(error) => {
                let now = Instant::now();
                if !state.all_hang(now) {
                    return;
                }
                let shortage = &mut state.shortage;
                shortage.enter(Level::Warn, &"threads that look for files", &error, now);
                if let Some(passed_over) = shortage.say(now) {
                    log::warn!(
                        "no thread can be started to look for files: {error}; it is tried again{passed_over}"
                    );
                }
            }
        }
    }
}

impl State {
    /// Whether no thread is at a job that ends soon, after which it takes the next one.
    fn all_hang(&self, now: Instant) -> bool {
        let running = self.lanes.values().flat_map(|queue| &queue.running);
        running
            .map(|(_, since)| now.duration_since(*since))
            .all(|time| time >= HANGS)
    }

    /// The next job of a lane that may have one more thread.
    fn next(&mut self, now: Instant) -> Option<(Lane, Job)> {
        let may_run = |(_, queue): &(&Lane, &mut Queue)| {
            let hang = |(_, since): &(u64, Instant)| now.duration_since(*since) >= HANGS;
            !queue.jobs.is_empty()
                && queue.running.len() < PER_LANE
                && queue.running.iter().all(hang)
        };
        let (lane, queue) = self.lanes.iter_mut().find(may_run)?;
        let job = queue.jobs.pop_front()?;
        let lane = *lane;
        self.waiting -= 1;
        Some((lane, job))
    }

    fn begin(&mut self, lane: Lane, now: Instant) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        let queue = self.lanes.entry(lane).or_default();
        queue.running.push((number, now));
        self.busy += 1;
        number
    }

    fn end(&mut self, lane: Lane, number: u64) {
        self.busy -= 1;
        if let Some(queue) = self.lanes.get_mut(&lane) {
            queue.running.retain(|(running, _)| *running != number);
            if queue.running.is_empty() && queue.jobs.is_empty() {
                self.lanes.remove(&lane);
            }
        }
    }
}

/// The body of a `scan-<n>` thread: jobs, one after the other, until there was none for a while.
fn work(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    let mut idle_since = Instant::now();
    loop {
        let now = Instant::now();
        if let Some((lane, job)) = state.next(now) {
            let number = state.begin(lane, now);
            shared.see_to_a_thread(&mut state);
            drop(state);
            let told = shared.clone();
            if let Err(words) = catch_or_report(move |words| (told.on_panic)(words), job) {
                (shared.on_panic)(words);
            }
            state = shared.lock();
            state.end(lane, number);
            idle_since = Instant::now();
            continue;
        }
        if idle_since.elapsed() >= IDLE_FOR && (state.waiting == 0 || state.idle > 0) {
            state.threads -= 1;
            return;
        }
        let patience = match state.waiting {
            0 => IDLE_FOR,
            _ => LOOK_AGAIN,
        };
        state.idle += 1;
        let waited = shared.changed.wait_timeout(state, patience);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
    }
}

/// A job that has run for so long counts as hanging.
const HANGS: Duration = Duration::from_secs(2);
/// Threads of one lane; all but the last one hang.
const PER_LANE: usize = 2;
/// Threads of all lanes: enough for 32 file systems that hang.
const MOST_THREADS: usize = 64;
/// How often a thread that waits sees whether a lane hangs.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A thread without a job ends after so long.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// Enough for every job, and untouched pages cost nothing.
const STACK_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{bounded, unbounded};

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_lane_that_hangs_holds_up_no_other_and_not_itself_for_good() {
        let lanes = Lanes::new(|words| panic!("{words}"));
        let (release, released) = bounded::<()>(0);
        let (done, ends) = unbounded();
        let job = |name: &'static str| {
            let done = done.clone();
            move || done.send(name).expect("the test listens")
        };
        let hang = |lane| {
            let released = released.clone();
            lanes.submit(lane, move || {
                let _ = released.recv();
            });
        };
        hang(Lane::Mount(1));
        lanes.submit(Lane::Mount(1), job("behind"));
        lanes.submit(Lane::Mount(2), job("beside"));
        assert_eq!(ends.recv_timeout(SOON), Ok("beside"));
        let start = Instant::now();
        assert_eq!(ends.recv_timeout(SOON), Ok("behind"));
        assert!(
            start.elapsed() >= HANGS / 2,
            "one at a time while all is well"
        );
        // Two of them hang: the lane waits, the others do not.
        hang(Lane::Mount(1));
        lanes.submit(Lane::Mount(1), job("last"));
        for _ in 0..100 {
            hang(Lane::Mount(1));
        }
        lanes.submit(Lane::Device(1), job("beside"));
        assert_eq!(ends.recv_timeout(SOON), Ok("beside"));
        assert!(ends.recv_timeout(HANGS + LOOK_AGAIN * 2).is_err());
        assert!(lanes.0.lock().threads <= PER_LANE + 2);
        drop(release);
        assert_eq!(ends.recv_timeout(SOON), Ok("last"));
    }

    #[test]
    fn one_thread_does_where_there_is_no_other_unless_its_job_hangs() {
        let (start, mut state) = (Instant::now(), State::default());
        assert!(state.all_hang(start), "nobody comes");
        state.begin(Lane::Mount(1), start);
        state.begin(Lane::Mount(2), start + HANGS / 2);
        assert!(!state.all_hang(start + HANGS), "one is at work");
        assert!(state.all_hang(start + HANGS * 2));
    }

    #[test]
    fn a_panic_in_a_job_is_told_and_the_lane_goes_on() {
        let (told, words) = unbounded();
        let lanes = Lanes::new(move |panic| drop(told.send(panic)));
        let (done, ends) = unbounded();
        lanes.submit(Lane::Unknown, || panic!("no bread"));
        lanes.submit(Lane::Unknown, move || {
            let _ = done.send(());
        });
        assert_eq!(words.recv_timeout(SOON).as_deref(), Ok("no bread"));
        assert!(ends.recv_timeout(SOON).is_ok());
    }
}
