//! The memory budget: how many file bytes may be on their way at once.
//!
//! A tailer takes its share before it reads and the share goes back when Kafka has acknowledged the
//! bytes. The budget is shared by routes and then by the files of a route (`budget/grant.rs` has the rule), so
//! that files of a topic that fails, however many, leave the others what they need.
//!
//! # Who waits, and who is woken
//! A file that is refused enters the line of its route. When bytes come back, files are woken that the rule
//! would serve now, as many as the bytes suffice for: those of the same route first, in the order of its line,
//! then those of the other routes in turn. The file whose bytes came back is asked whatever its place is: nobody
//! else may give anything back. A file that was woken and served wakes the next one that can be, so nobody is
//! left waiting beside free bytes and no crowd is woken for one share. While nobody waits, taking and giving
//! back touches counters only.
//!
//! # What is encoded
//! A record batch takes the place of the lines in it, whose permits it keeps. Where it is larger, as short lines
//! with a key and headers make it, the difference is taken as well, whatever is free ([`Permit::with_copy`]). So
//! what is taken can be more than the limit: while it is, no file reads on, and where it is an eighth more, each
//! partition has one small record batch in flight and makes no other.

mod grant;
mod permit;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::tailer_handle::{TailerHandle, clock_ms};
use grant::{Request, Standing, WAKE_BYTES};

pub use permit::Permit;

/// The budget of the process, in bytes.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    most_per_file_bytes: usize,
    used_bytes: AtomicUsize,
    /// What is kept in memory for the followed files themselves.
    overhead_bytes: AtomicUsize,
    /// What those that were woken will take; only who is woken next depends on it.
    promised_bytes: AtomicUsize,
    routes: AtomicUsize,
    /// Entries in all lines. Whoever gives bytes back looks at it before it locks `waiting`.
    entries: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// Files that were refused.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<Line>,
    /// Index of the line that is asked first next time.
    next: usize,
    /// Files that were woken and may not have asked since, with the time.
    woken: VecDeque<(Instant, Weak<Account>)>,
}

impl Waiting {
    /// Drops the promises that were kept, and those to files that have not asked in time: they may have
    /// nothing to read any more.
    fn forget_promises(&mut self) {
        while let Some((at, account)) = self.woken.front() {
            if let Some(account) = account.upgrade() {
                let is_open = account.promised_bytes.load(Ordering::Relaxed) > 0;
                if is_open && at.elapsed() < PROMISE_HOLDS {
                    return;
                }
                account.forget_promise();
            }
            self.woken.pop_front();
        }
    }

    /// The line of a route.
    fn line_of(&mut self, route: usize) -> &mut VecDeque<Weak<Account>> {
        let at = self.lines.iter().position(|line| line.route == route);
        let at = at.unwrap_or_else(|| {
            self.lines.push(Line {
                route,
                accounts: VecDeque::new(),
            });
            self.lines.len() - 1
        });
        &mut self.lines[at].accounts
    }
}

/// The files of one route that were refused.
#[derive(Debug)]
struct Line {
    /// The number of the route.
    route: usize,
    /// Longest waiting first. A file that was woken out of turn keeps its place until that is reached.
    accounts: VecDeque<Weak<Account>>,
}

impl Budget {
    /// Less than this is not worth a read.
    pub const LEAST_BYTES: usize = grant::LEAST_BYTES;
    /// What a followed file takes besides the bytes that are read of it: tailer, source, watch, claim and
    /// checkpoint, with their paths.
    const OVERHEAD_PER_FILE_BYTES: usize = 5 << 10;

    /// A budget of `limit_bytes` whose bytes come back when they are acknowledged: more than a few MiB for one file make
    /// nothing faster.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Self::with_most_per_file(limit_bytes, grant::PER_FILE_BYTES)
    }

    /// A budget whose bytes come back when a transaction is committed. One file may fill a transaction, since each commit
    /// takes as long whatever is in it.
    pub fn of_transactions(limit_bytes: usize) -> Arc<Self> {
        Self::with_most_per_file(limit_bytes, usize::MAX)
    }

    fn with_most_per_file(limit_bytes: usize, most_per_file_bytes: usize) -> Arc<Self> {
        Arc::new(Budget {
            limit_bytes,
            most_per_file_bytes,
            used_bytes: AtomicUsize::new(0),
            overhead_bytes: AtomicUsize::new(0),
            promised_bytes: AtomicUsize::new(0),
            routes: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            waiting: Mutex::default(),
        })
    }

    /// The share of one more route.
    pub fn route(self: &Arc<Self>) -> Arc<RouteShare> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        self.routes.fetch_add(1, Ordering::Relaxed);
        Arc::new(RouteShare {
            budget: self.clone(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            held_bytes: AtomicUsize::new(0),
            promised_bytes: AtomicUsize::new(0),
            files: AtomicUsize::new(0),
        })
    }

    /// What may be taken: the limit without what the followed files themselves take, but a quarter of
    /// it at least, so that something flows however many there are.
    fn limit_bytes(&self) -> usize {
        let overhead = self.overhead_bytes.load(Ordering::Relaxed);
        self.limit_bytes - overhead.min(self.limit_bytes / 4 * 3)
    }

    /// Bytes taken at this moment.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::SeqCst)
    }

    /// Wakes files that were refused and would be served now: as many as `returned` bytes suffice for, one at
    /// least, beginning with the route of the account that they come from; and that account as well, if what
    /// the others will take leaves enough for it. Where less than half is taken, few bytes may come back later,
    /// so all that can be served are woken.
    ///
    /// A file may be refused at this very moment. It enters its line and then asks once more; here the bytes
    /// were given back before the lines are looked at. So one of both notices.
    fn wake_waiting(&self, from: &Arc<Account>, returned: usize) {
        if self.entries.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting();
        waiting.forget_promises();
        let Waiting { lines, next, woken } = &mut *waiting;
        let mut wakes = Wakes {
            left: 1 + returned / WAKE_BYTES,
            woken,
        };
        if self.used_bytes() <= self.limit_bytes() / 2 {
            wakes.left = usize::MAX;
        }
        let own_line = lines
            .iter()
            .position(|line| line.route == from.route.number);
        if let Some(at) = own_line {
            wakes.serve(&mut lines[at].accounts);
        }
        for _ in 0..lines.len() {
            if wakes.left == 0 {
                break;
            }
            let at = *next % lines.len();
            *next = at + 1;
            if own_line != Some(at) {
                wakes.serve(&mut lines[at].accounts);
            }
        }
        // Its place in the line may be far behind files that cannot be served, and its bytes may be the last
        // that come back.
        wakes.left = wakes.left.max(1);
        wakes.try_wake(from);
        lines.retain(|line| !line.accounts.is_empty());
        let entries = lines.iter().map(|line| line.accounts.len()).sum();
        self.entries.store(entries, Ordering::SeqCst);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is woken for bytes that came back.
struct Wakes<'a> {
    /// How many more may be woken.
    left: usize,
    woken: &'a mut VecDeque<(Instant, Weak<Account>)>,
}

impl Wakes<'_> {
    /// Wakes files of one line in its order, as long as they would be served. Those that would not be go to
    /// its end.
    fn serve(&mut self, line: &mut VecDeque<Weak<Account>>) {
        let mut in_vain = 0;
        for _ in 0..line.len() {
            if self.left == 0 || in_vain == ASKED_IN_VAIN {
                return;
            }
            let Some(entry) = line.pop_front() else {
                return;
            };
            let Some(account) = entry.upgrade() else {
                continue;
            };
            self.try_wake(&account);
            if account.waits.load(Ordering::Relaxed) {
                line.push_back(entry);
                in_vain += 1;
            } else {
                account.is_in_line.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Wakes a file that waits, if it would be served beside those that were woken before it.
    fn try_wake(&mut self, account: &Arc<Account>) {
        if self.left == 0 || !account.waits.load(Ordering::Relaxed) {
            return;
        }
        let (route, budget) = (&account.route, account.budget());
        let mut standing = account.standing();
        standing.used += budget.promised_bytes.load(Ordering::Relaxed);
        standing.route_held += route.promised_bytes.load(Ordering::Relaxed);
        let request = account.refused();
        if !standing.is_worth_a_wake(request) {
            return;
        }
        let bytes = standing.grant(request);
        budget.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
        route.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
        account.promised_bytes.store(bytes, Ordering::Relaxed);
        account.waits.store(false, Ordering::Relaxed);
        self.woken
            .push_back((Instant::now(), Arc::downgrade(account)));
        self.left -= 1;
        account.tailer.wake();
    }
}

/// What the files of one route share.
#[derive(Debug)]
pub struct RouteShare {
    budget: Arc<Budget>,
    number: usize,
    held_bytes: AtomicUsize,
    promised_bytes: AtomicUsize,
    files: AtomicUsize,
}

impl RouteShare {
    /// An account for one file. `tailer` is woken when a refused request may succeed.
    pub fn account(self: &Arc<Self>, tailer: TailerHandle) -> Arc<Account> {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.budget
            .overhead_bytes
            .fetch_add(Budget::OVERHEAD_PER_FILE_BYTES, Ordering::Relaxed);
        Arc::new(Account {
            route: self.clone(),
            held_bytes: AtomicUsize::new(0),
            tailer,
            waits: AtomicBool::new(false),
            is_in_line: AtomicBool::new(false),
            promised_bytes: AtomicUsize::new(0),
            refused_want: AtomicUsize::new(0),
            refused_least: AtomicUsize::new(0),
            short_since_ms: AtomicU64::new(0),
        })
    }
}

impl Drop for RouteShare {
    fn drop(&mut self) {
        self.budget.routes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One file's part in the [`Budget`].
#[derive(Debug)]
pub struct Account {
    route: Arc<RouteShare>,
    held_bytes: AtomicUsize,
    tailer: TailerHandle,
    // The following are written under the lock of `Budget::waiting`; a promise is dropped without it.
    /// The file was refused and not woken since.
    waits: AtomicBool,
    /// An entry of the file is in the line of its route.
    is_in_line: AtomicBool,
    /// The file was woken to take so much, and has not asked since.
    promised_bytes: AtomicUsize,
    /// What was refused.
    refused_want: AtomicUsize,
    refused_least: AtomicUsize,
    /// Since when it gets no full step, in ms of [`clock_ms`]; 0 if it got one the last time.
    short_since_ms: AtomicU64,
}

impl Account {
    /// Acquires up to `want` bytes, and at least `min(want, least)`; `None` if that much is not to be
    /// had now, in which case the file is woken when bytes come back.
    pub fn acquire(self: &Arc<Self>, want: usize, least: usize) -> Option<Permit> {
        let request = Request {
            want,
            least,
            is_starved: self.is_starved(),
        };
        let was_woken = self.forget_promise();
        if let Some(permit) = self.try_acquire(request) {
            if was_woken {
                self.budget().wake_waiting(self, 0);
            }
            return Some(permit);
        }
        self.enter_line(request);
        // The bytes may have come back between the refusal and the entry in the line.
        let permit = self.try_acquire(request)?;
        self.waits.store(false, Ordering::Relaxed);
        Some(permit)
    }

    /// Bytes of this file on their way.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::SeqCst)
    }

    fn budget(&self) -> &Budget {
        &self.route.budget
    }

    fn standing(&self) -> Standing {
        let (route, budget) = (&*self.route, self.budget());
        Standing {
            limit: budget.limit_bytes(),
            used: budget.used_bytes(),
            routes: budget.routes.load(Ordering::Relaxed),
            route_held: route.held_bytes.load(Ordering::SeqCst),
            files: route.files.load(Ordering::Relaxed),
            file_held: self.held_bytes(),
            most_per_file: budget.most_per_file_bytes,
        }
    }

    /// The file has asked, or will not; returns whether it was woken for it.
    fn forget_promise(&self) -> bool {
        if self.promised_bytes.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let bytes = self.promised_bytes.swap(0, Ordering::Relaxed);
        let promised = [&self.route.promised_bytes, &self.budget().promised_bytes];
        for promised in promised {
            promised.fetch_sub(bytes, Ordering::Relaxed);
        }
        bytes > 0
    }

    fn refused(&self) -> Request {
        Request {
            want: self.refused_want.load(Ordering::Relaxed),
            least: self.refused_least.load(Ordering::Relaxed),
            is_starved: self.is_starved(),
        }
    }

    fn try_acquire(self: &Arc<Self>, request: Request) -> Option<Permit> {
        let used_bytes = &self.budget().used_bytes;
        let mut standing = self.standing();
        loop {
            let bytes = standing.grant(request);
            if bytes == 0 {
                return None;
            }
            let used = standing.used;
            match used_bytes.compare_exchange_weak(
                used,
                used + bytes,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => {
                    let is_full_step = standing.grant(request.if_not_starved()) > 0;
                    if is_full_step {
                        self.short_since_ms.store(0, Ordering::Relaxed);
                    }
                    self.hold(bytes);
                    return Some(Permit {
                        account: self.clone(),
                        bytes,
                    });
                }
                Err(now) => {
                    standing = Standing {
                        used: now,
                        ..self.standing()
                    }
                }
            }
        }
    }

    /// Whether it was refused [`STARVES_AFTER_MS`] ago or earlier and has had no full step since.
    fn is_starved(&self) -> bool {
        match self.short_since_ms.load(Ordering::Relaxed) {
            0 => false,
            since_ms => clock_ms().saturating_sub(since_ms) >= STARVES_AFTER_MS,
        }
    }

    /// The file was refused because others hold what it needs for a full step: when to ask again though nothing
    /// comes back, since it is served with less then.
    pub fn asks_again_after(&self) -> Option<Duration> {
        let since_ms = self.short_since_ms.load(Ordering::Relaxed);
        let waits = since_ms != 0 && self.held_bytes() == 0 && !self.is_starved();
        waits.then_some(Duration::from_millis(STARVES_AFTER_MS))
    }

    fn hold(&self, bytes: usize) {
        self.route.held_bytes.fetch_add(bytes, Ordering::SeqCst);
        self.held_bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn enter_line(self: &Arc<Self>, request: Request) {
        let mut waiting = self.budget().waiting();
        self.refused_want.store(request.want, Ordering::Relaxed);
        self.refused_least.store(request.least, Ordering::Relaxed);
        self.waits.store(true, Ordering::Relaxed);
        if self.short_since_ms.load(Ordering::Relaxed) == 0 {
            self.short_since_ms.store(clock_ms(), Ordering::Relaxed);
        }
        if self.is_in_line.swap(true, Ordering::Relaxed) {
            return;
        }
        waiting
            .line_of(self.route.number)
            .push_back(Arc::downgrade(self));
        // Under the lock, as all writes of it.
        self.budget().entries.fetch_add(1, Ordering::SeqCst);
    }

    /// Gives bytes back.
    fn release(self: &Arc<Self>, bytes: usize) {
        self.held_bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.route.held_bytes.fetch_sub(bytes, Ordering::SeqCst);
        let budget = self.budget();
        budget.used_bytes.fetch_sub(bytes, Ordering::SeqCst);
        budget.wake_waiting(self, bytes);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.forget_promise();
        self.route.files.fetch_sub(1, Ordering::Relaxed);
        self.budget()
            .overhead_bytes
            .fetch_sub(Budget::OVERHEAD_PER_FILE_BYTES, Ordering::Relaxed);
    }
}

/// So many files of a line are asked in vain before the next line has its turn: a line may hold thousands.
const ASKED_IN_VAIN: usize = 4;
/// A file that was refused for so long is served with less than a step.
const STARVES_AFTER_MS: u64 = 1000;
/// A file that was woken has asked by then, unless it has no use for more.
const PROMISE_HOLDS: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
