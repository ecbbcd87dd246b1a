//! The threads that tailers run on: how many there are, and what they are told.

use std::cell::RefCell;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::Level;

use super::line::SHORT_RUN;
use super::orders::Orders;
use super::task::{Message, RunOutcome, TailerReport, Task};
use crate::condition::{Board, Condition};
use crate::panics::{catch, on_panic};

/// The threads of the scheduler. Each runs one tailer after another.
#[derive(Debug)]
pub(super) struct Threads<T, R> {
    /// To the threads, whichever is free.
    orders: Arc<Orders<Order<T>>>,
    /// For the threads, which give tailers back.
    sender: Sender<Message<T>>,
    report: R,
    count: usize,
    /// As many as the system gives.
    most: usize,
    /// Runs are short, and a few threads do for many of them.
    are_shared: bool,
    /// How many runs are over.
    runs_over: u64,
    /// How many were, and since when that is so.
    stall: (u64, Instant),
    /// Since when there is a thread without a tailer.
    idle_since: Option<Instant>,
    /// The system gives no more.
    shortage: Condition,
}

/// What a thread is told.
#[derive(Debug)]
enum Order<T> {
    Run(Box<T>),
    /// It is not needed any more.
    Exit,
}

impl<T, R> Threads<T, R>
where
    T: Task,
    R: Fn(TailerReport) + Clone + Send + 'static,
{
    /// No threads yet. They give tailers back to `sender`, and tell of those that ended by `report`.
    pub(super) fn new(sender: Sender<Message<T>>, report: R) -> Self {
        Threads {
            orders: Arc::new(Orders::new()),
            sender,
            report,
            count: 0,
            most: usize::MAX,
            are_shared: false,
            runs_over: 0,
            stall: (0, Instant::now()),
            idle_since: None,
            shortage: Condition::default(),
        }
    }

    /// Has `board` show it where the system gives no more.
    pub(super) fn report_to(&mut self, board: &Board) {
        self.shortage.shown_on(board);
    }

    /// There are no more than `most`, however many the system would give.
    pub(super) fn allow(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Runs are short from now on: a few threads take them in turn.
    pub(super) fn share(&mut self) {
        self.are_shared = true;
    }

    pub(super) fn are_shared(&self) -> bool {
        self.are_shared
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many there may be, where the line allows `most`.
    pub(super) fn most(&self, most: usize) -> usize {
        most.min(self.most)
    }

    /// Whether tailers that may run wait for a thread to take them.
    pub(super) fn are_awaited(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Has the threads run these, the first one first, whichever is free.
    pub(super) fn run(&self, tasks: Vec<Box<T>>) {
        if !tasks.is_empty() {
            self.orders.add(tasks.into_iter().map(Order::Run));
        }
    }

    /// A tailer has come back, or ended.
    pub(super) fn note_run_over(&mut self) {
        self.runs_over += 1;
    }

    /// So many tailers are with the threads now.
    pub(super) fn note_busy(&mut self, busy: usize) {
        // Where threads are shared, more tailers can be with them than there are threads.
        if busy >= self.count {
            self.idle_since = None;
        }
    }

    /// Whether there are threads for one tailer more than the `busy` ones; one is started if it is missing and there
    /// may be one. Where runs are short, a few threads do, and one more for each that has a long run.
    pub(super) fn suffice_for_one_more(&mut self, busy: usize, most: usize) -> bool {
        let few = match self.are_shared {
            true => FEW_THREADS.min(self.most(most)),
            false => usize::MAX,
        };
        let is_one_missing = busy >= self.count && self.count < few;
        !is_one_missing || self.start()
    }

    /// Where tailers wait for a thread and no run comes to its end, one thread more is started, if the line allows
    /// `most`.
    pub(super) fn see_to_stall(&mut self, now: Instant, most: usize) {
        if self.orders.is_empty() || self.stall.0 != self.runs_over {
            self.stall = (self.runs_over, now);
        } else if now.duration_since(self.stall.1) >= SHORT_RUN {
            self.stall.1 = now;
            if self.count < self.most(most) {
                self.start();
            }
        }
    }

    fn start(&mut self) -> bool {
        let (orders, sender, report) = (
            self.orders.clone(),
            self.sender.clone(),
            self.report.clone(),
        );
        // A thread that has another file with each run is named after none.
        let is_named = !self.are_shared;
        let started = thread::Builder::new()
            .name("tail".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || work(&orders, &sender, is_named, report));
        match started {
            Ok(_) => {
                self.count += 1;
                true
            }
            Err(error) => {
                self.cap(&error);
                false
            }
        }
    }

    /// The system gives no more threads: fewer than there are must do, since connections need some, too.
    fn cap(&mut self, error: &io::Error) {
        self.most = self.count.saturating_sub(LEFT_TO_CONNECTIONS).max(1);
        let reason = format!(
            "no more than {} threads for files can be started: {error}; {} are used, and files take turns",
            self.count, self.most
        );
        let now = Instant::now();
        self.shortage.enter(Level::Warn, &"threads", &reason, now);
        if self.shortage.say(now).is_some() {
            log::warn!("{reason}");
        }
    }

    /// Ends the threads that have had nothing to do for a while.
    pub(super) fn stop_idle(&mut self, now: Instant, busy: usize) {
        if self.count > busy {
            let since = *self.idle_since.get_or_insert(now);
            if now.duration_since(since) >= IDLE_FOR {
                self.orders.add((busy..self.count).map(|_| Order::Exit));
                self.count = busy;
                self.idle_since = None;
            }
        }
    }
}

impl<T, R> Drop for Threads<T, R> {
    fn drop(&mut self) {
        self.orders.end();
    }
}

/// The body of a `tail:<path>` thread: one tailer, and when that is parked or ends, another.
fn work<T: Task>(
    orders: &Orders<Order<T>>,
    sender: &Sender<Message<T>>,
    is_named: bool,
    report: impl Fn(TailerReport) + Clone + 'static,
) {
    // Who is told of a panic is said once for all runs, which may be of microseconds.
    let running = Rc::new(RefCell::new(None));
    let told = (report.clone(), sender.clone(), running.clone());
    on_panic(move |words| {
        let (report, sender, running) = told;
        if let Some((path, id)) = running.take() {
            report(TailerReport {
                path,
                how: Err(words),
            });
            let _ = sender.send(Message::TailerEnded(id));
        }
    });
    while let Some(Order::Run(mut task)) = orders.take() {
        if is_named && let Ok(name) = CString::new(thread_name(task.path())) {
            let _ = rustix::thread::set_name(&name);
        }
        task.handle().moves();
        let id = task.handle().id();
        running.replace(Some((task.path().clone(), id)));
        let how = match catch(|| task.run()) {
            Ok(RunOutcome::Exit(end)) => Ok(end),
            Ok(outcome) => {
                let _ = sender.send(Message::Returned(task, outcome));
                continue;
            }
            Err(words) => Err(words),
        };
        drop(task);
        if let Some((path, id)) = running.take() {
            report(TailerReport { path, how });
            let _ = sender.send(Message::TailerEnded(id));
        }
    }
}

/// The kernel shows the first 15 bytes.
fn thread_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let shown = String::from_utf8_lossy(name.as_bytes()).replace('\0', "?");
    format!("tail:{shown}")
}

/// Where the system gives no more threads, so many of those that follow files are given back.
const LEFT_TO_CONNECTIONS: usize = 4;
/// A thread without a tailer ends after so long.
const IDLE_FOR: Duration = Duration::from_secs(1);
/// Where tailers are woken together, so many threads do for all runs that are short.
const FEW_THREADS: usize = 2;
/// Enough for a tailer, and untouched pages cost nothing.
const STACK_BYTES: usize = 512 << 10;
