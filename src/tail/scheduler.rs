//! Which tailers have a thread at the moment.
//!
//! A tailer that has something to do, or had a while ago, has a thread of its own. One that was quiet for
//! 10 s (`PARK_AFTER`) is parked: its state (open file, position, watch) lies here, its thread goes, and it gets
//! one again with its next event. Where very many tailers have something to do at once, those that have to
//! wait are parked without delay, those that have done a piece of work go to the end of the line, and at
//! most 256 (`MOST_THREADS`) run.
//!
//! # Nothing is missed
//! - Who wakes a parked tailer rings its bell first; see [`Waker::wake`]. A bell that was rung while the
//!   tailer was on its way here is seen on its arrival.
//! - Events may be lost. What a tailer with a thread looks at every few seconds, the path, is looked
//!   at here for the parked ones in turn: one system call each, and the tailer gets a thread if anything is
//!   not as it left it.
//! - What must be looked at after a time (a file without a watch, the end of a rotation) is not parked, or,
//!   where many wait for a thread, parked until then.
//!
//! [`Waker::wake`]: crate::wake::Waker::wake

use std::any::Any;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select, unbounded};

use super::turns::Turns;
use super::{End, Tailer};
use crate::config::LogConfig;

/// Whether threads are scarce; written by the scheduler, read by all tailers.
#[derive(Debug, Default)]
pub struct Crowd {
    is_crowded: AtomicBool,
    is_waiting: AtomicBool,
}

impl Crowd {
    /// So many tailers have a thread that those which have to wait should be parked at once.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// Tailers that have something to do wait for a thread.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }
}

/// Why a tailer comes back from its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It has nothing to do any more.
    Ended(End),
    /// Nothing happens until something changes; then an event comes, or the change is to be seen at its path.
    Quiet,
    /// It has to look again at this time, or when it is woken.
    Until(Instant),
    /// It has more to do, and others have waited for longer.
    Yielded,
}

/// A tailer that ended.
#[derive(Debug)]
pub struct Ended {
    /// What it followed.
    pub path: Arc<Path>,
    /// By which section.
    pub log: Arc<LogConfig>,
    /// How; the words of the panic if it panicked.
    pub how: Result<End, String>,
}

/// What the scheduler is told, and what it tells its threads.
#[derive(Debug)]
pub enum Message {
    /// A new tailer; to a thread: one to run.
    Start(Box<Tailer>),
    /// A tailer comes back from its thread.
    Left(Box<Tailer>, Leave),
    /// A tailer has ended on its thread; to a thread: that it is not needed any more.
    Gone,
}

/// The body of the `scheduler` thread: it owns the tailers that have no thread.
#[derive(Debug)]
pub struct Scheduler<R> {
    messages: Receiver<Message>,
    /// For the threads.
    sender: Sender<Message>,
    /// Numbers of parked tailers that were woken.
    woken: Receiver<u64>,
    stop: Receiver<()>,
    report: R,
    crowd: Arc<Crowd>,
    turns: Arc<Turns>,
    /// To the threads, whichever is free.
    work: Sender<Message>,
    taken: Receiver<Message>,
    parked: HashMap<u64, Parked>,
    /// The quiet ones in the order of being looked at, each with its ticket.
    rounds: VecDeque<(u64, u64)>,
    /// When the others must look, each with its number.
    due: BTreeSet<(Instant, u64)>,
    /// Those that have something to do and no thread yet.
    ready: VecDeque<Box<Tailer>>,
    threads: usize,
    most_threads: usize,
    /// Threads with a tailer.
    busy: usize,
    /// Since when there is a thread without one.
    spare_since: Option<Instant>,
    next_tick: Instant,
    last_ticket: u64,
}

#[derive(Debug)]
struct Parked {
    tailer: Box<Tailer>,
    due: Option<Instant>,
    /// Tells this stay from an earlier one.
    ticket: u64,
}

impl<R> Scheduler<R>
where
    R: Fn(Ended) + Clone + Send + 'static,
{
    /// A scheduler that takes tailers from `messages` (whose other end is `sender`), hears of parked ones
    /// that are woken from `woken`, and tells of those that ended by `report`, until `stop` is disconnected.
    pub fn new(
        (sender, messages): (Sender<Message>, Receiver<Message>),
        woken: Receiver<u64>,
        stop: Receiver<()>,
        crowd: Arc<Crowd>,
        turns: Arc<Turns>,
        report: R,
    ) -> Self {
        let (work, taken) = unbounded();
        Scheduler {
            messages,
            sender,
            woken,
            stop,
            report,
            crowd,
            turns,
            work,
            taken,
            parked: HashMap::new(),
            rounds: VecDeque::new(),
            due: BTreeSet::new(),
            ready: VecDeque::new(),
            threads: 0,
            most_threads: MOST_THREADS,
            busy: 0,
            spare_since: None,
            next_tick: Instant::now(),
            last_ticket: 0,
        }
    }

    /// Runs on the `scheduler` thread. Ends when it was told to stop and every tailer has ended.
    pub fn run(mut self) {
        loop {
            self.hand_out();
            let wait = self.wait(Instant::now());
            select! {
                recv(self.messages) -> message => if let Ok(message) = message {
                    self.take(message);
                },
                recv(self.woken) -> number => if let Ok(number) = number {
                    self.fetch(number);
                },
                recv(self.stop) -> _ => break,
                default(wait) => {}
            }
            for number in self.woken.try_iter().collect::<Vec<_>>() {
                self.fetch(number);
            }
            let now = Instant::now();
            while let Some((at, number)) = self.due.first().copied()
                && at <= now
            {
                self.fetch(number);
            }
            if now >= self.next_tick {
                let tick = self.tick();
                self.patrol(tick);
                self.dismiss_spare(now);
                self.next_tick = now + tick;
            }
        }
        let parked = self.parked.drain().map(|(_, parked)| parked.tailer);
        let idle: Vec<_> = parked.chain(self.ready.drain(..)).collect();
        idle.into_iter().for_each(|tailer| self.stopped(tailer));
        while self.busy > 0 || !self.messages.is_empty() {
            match self.messages.recv() {
                Ok(Message::Start(tailer)) => self.stopped(tailer),
                Ok(Message::Left(tailer, _)) => {
                    self.busy -= 1;
                    self.stopped(tailer);
                }
                Ok(Message::Gone) => self.busy -= 1,
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Start(tailer) => self.ready.push_back(tailer),
            Message::Gone => self.busy -= 1,
            Message::Left(tailer, leave) => {
                self.busy -= 1;
                match leave {
                    Leave::Quiet => self.park(tailer, None),
                    Leave::Until(at) => self.park(tailer, Some(at)),
                    Leave::Yielded | Leave::Ended(_) => self.ready.push_back(tailer),
                }
            }
        }
    }

    fn park(&mut self, tailer: Box<Tailer>, due: Option<Instant>) {
        tailer.waker().park();
        if tailer.waker().is_rung() {
            // On its way here, or before: whoever did so may have seen no mark.
            tailer.waker().unpark();
            self.ready.push_back(tailer);
            return;
        }
        let number = tailer.waker().number();
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        match due {
            Some(at) => drop(self.due.insert((at, number))),
            None => self.rounds.push_back((number, ticket)),
        }
        let parked = Parked {
            tailer,
            due,
            ticket,
        };
        self.parked.insert(number, parked);
    }

    /// Tailer `number` has something to do, if it is parked.
    fn fetch(&mut self, number: u64) {
        let Some(parked) = self.parked.remove(&number) else {
            return;
        };
        if let Some(at) = parked.due {
            self.due.remove(&(at, number));
        }
        parked.tailer.waker().unpark();
        self.ready.push_back(parked.tailer);
    }

    /// Gives threads to those that wait for one, as far as there are any.
    fn hand_out(&mut self) {
        while let Some(tailer) = self.ready.pop_front() {
            if self.busy == self.threads && !self.hire(&tailer) {
                if self.threads == 0 {
                    // Without a single thread nothing will ever happen.
                    let error = "no thread can be started".to_owned();
                    self.ended(tailer, Err(error));
                    continue;
                }
                self.ready.push_front(tailer);
                break;
            }
            self.busy += 1;
            let _ = self.work.send(Message::Start(tailer));
        }
        if self.threads == self.busy {
            self.spare_since = None;
        }
        let is_waiting = !self.ready.is_empty();
        let is_crowded = is_waiting || self.busy >= CROWD;
        self.crowd.is_waiting.store(is_waiting, Ordering::Relaxed);
        self.crowd.is_crowded.store(is_crowded, Ordering::Relaxed);
    }

    /// Starts one more thread, if it may be.
    fn hire(&mut self, first: &Tailer) -> bool {
        if self.threads >= self.most_threads {
            return false;
        }
        let (taken, sender, report) =
            (self.taken.clone(), self.sender.clone(), self.report.clone());
        let started = thread::Builder::new()
            .name(thread_name(first.path()))
            .stack_size(STACK_BYTES)
            .spawn(move || work(&taken, &sender, report));
        match started {
            Ok(_) => {
                self.threads += 1;
                true
            }
            Err(error) => {
                self.make_do(&error);
                false
            }
        }
    }

    /// The system gives no more threads: those there are must do.
    fn make_do(&mut self, error: &io::Error) {
        log::warn!(
            "no more than {} threads can be started: {error}; files take turns",
            self.threads
        );
        self.most_threads = self.threads;
    }

    /// How long until the next tick: where all is quiet, being woken costs more than what is done then.
    fn tick(&self) -> Duration {
        match self.threads > self.busy || self.turns.are_wanted() {
            true => TICK,
            false => QUIET_TICK,
        }
    }

    /// Looks at as many of the quiet ones as are due in one `tick`, so that in [`ROUND`] all of them had their
    /// turn.
    fn patrol(&mut self, tick: Duration) {
        let ticks = (ROUND.as_millis() / tick.as_millis()) as usize;
        for _ in 0..self.rounds.len().min(IN_ROUND).div_ceil(ticks) {
            let Some((number, ticket)) = self.rounds.pop_front() else {
                break;
            };
            match self.parked.get(&number) {
                Some(parked) if parked.ticket == ticket => {
                    if parked.tailer.is_as_it_was() {
                        self.rounds.push_back((number, ticket));
                    } else {
                        self.fetch(number);
                    }
                }
                _ => {}
            }
        }
        // Who waits for a turn at open files cannot wait for those that will never look again.
        let wanted = self.turns.wanted();
        if wanted > 0 {
            let holders = self.parked.iter().filter(|(_, p)| p.tailer.holds_turn());
            let numbers: Vec<u64> = holders.map(|(number, _)| *number).take(wanted).collect();
            numbers.into_iter().for_each(|number| self.fetch(number));
        }
    }

    /// Ends the threads that have had nothing to do for a while.
    fn dismiss_spare(&mut self, now: Instant) {
        if self.threads > self.busy {
            let since = *self.spare_since.get_or_insert(now);
            if now.duration_since(since) >= SPARE_FOR {
                for _ in self.busy..self.threads {
                    let _ = self.work.send(Message::Gone);
                }
                self.threads = self.busy;
                self.spare_since = None;
            }
        }
    }

    /// How long nothing happens by itself.
    fn wait(&self, now: Instant) -> Duration {
        let is_ticking = !self.parked.is_empty() || self.threads > self.busy;
        let tick = is_ticking.then_some(self.next_tick);
        let due = self.due.first().map(|(at, _)| *at);
        let next = tick.into_iter().chain(due).min();
        next.map_or(Duration::from_secs(3600), |at| {
            at.saturating_duration_since(now)
        })
    }

    fn stopped(&self, tailer: Box<Tailer>) {
        self.ended(tailer, Ok(End::Stopped));
    }

    fn ended(&self, tailer: Box<Tailer>, how: Result<End, String>) {
        let (path, log) = tailer.followed();
        drop(tailer);
        (self.report)(Ended { path, log, how });
    }
}

/// The body of a `tail:<path>` thread: one tailer, and when that is parked or ends, another.
fn work(taken: &Receiver<Message>, sender: &Sender<Message>, report: impl Fn(Ended)) {
    while let Ok(Message::Start(mut tailer)) = taken.recv() {
        let (path, log) = tailer.followed();
        if let Ok(name) = CString::new(thread_name(&path)) {
            let _ = rustix::thread::set_name(&name);
        }
        let how = match catch_unwind(AssertUnwindSafe(|| tailer.run())) {
            Ok(Leave::Ended(end)) => Ok(end),
            Ok(leave) => {
                let _ = sender.send(Message::Left(tailer, leave));
                continue;
            }
            Err(panic) => Err(panic_message(&*panic)),
        };
        drop(tailer);
        report(Ended { path, log, how });
        let _ = sender.send(Message::Gone);
    }
}

/// The kernel shows the first 15 bytes.
fn thread_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let shown = String::from_utf8_lossy(name.as_bytes()).replace('\0', "?");
    format!("tail:{shown}")
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}

/// A tailer is parked when it was quiet for so long.
pub(super) const PARK_AFTER: Duration = Duration::from_secs(10);
/// More threads than this are not started for tailers.
const MOST_THREADS: usize = 256;
/// With so many tailers on threads, those that have to wait are parked at once.
const CROWD: usize = MOST_THREADS / 2;
/// A thread without a tailer ends after so long.
const SPARE_FOR: Duration = Duration::from_secs(1);
/// How often parked tailers are looked at, a few each time, while there is something else to see to.
const TICK: Duration = Duration::from_millis(200);
/// How often, while there is nothing else.
const QUIET_TICK: Duration = Duration::from_secs(1);
/// In which time each had its turn.
const ROUND: Duration = Duration::from_secs(5);
/// At most so many are looked at in that time: with very many files a round takes longer.
const IN_ROUND: usize = 2500;
/// Enough for a tailer, and untouched pages cost nothing.
const STACK_BYTES: usize = 512 << 10;
