//! What the threads are to do next.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A line of orders, taken by whichever thread is free.
///
/// A channel would do as well, but who waits at one spins and yields the processor before it sleeps, and is woken for
/// each message: where 200 files have a line each, that costs more than reading them. Here orders come together, and
/// a thread is woken once for as many as it can take.
#[derive(Debug)]
pub(super) struct Orders<O> {
    state: Mutex<State<O>>,
    came: Condvar,
}

#[derive(Debug)]
struct State<O> {
    waiting: VecDeque<O>,
    /// Threads that sleep until an order comes, and are not woken yet.
    asleep: usize,
    /// No order will come any more.
    is_over: bool,
}

impl<O> Orders<O> {
    pub(super) fn new() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            asleep: 0,
            is_over: false,
        };
        Orders {
            state: Mutex::new(state),
            came: Condvar::new(),
        }
    }

    /// Adds orders behind the others.
    pub(super) fn add(&self, orders: impl IntoIterator<Item = O>) {
        let mut state = self.lock();
        state.waiting.extend(orders);
        let to_wake = state.asleep.min(state.waiting.len());
        state.asleep -= to_wake;
        drop(state);
        (0..to_wake).for_each(|_| self.came.notify_one());
    }

    /// Waits for the next order; `None`: no other one will come.
    pub(super) fn take(&self) -> Option<O> {
        let mut state = self.lock();
        loop {
            if let Some(order) = state.waiting.pop_front() {
                return Some(order);
            }
            if state.is_over {
                return None;
            }
            state.asleep += 1;
            let woken = self.came.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether no order waits for a thread.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Threads end when all orders are taken.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.came.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    const NEVER: Duration = Duration::from_secs(30);

    #[test]
    fn each_order_is_taken_by_one_and_who_waits_ends_when_no_other_comes() {
        let orders = Arc::new(Orders::new());
        let take_all = || {
            let orders = orders.clone();
            thread::spawn(move || {
                let mut taken = Vec::new();
                while let Some(order) = orders.take() {
                    taken.push(order);
                }
                taken
            })
        };
        let threads: Vec<_> = (0..3).map(|_| take_all()).collect();
        for round in 0..50 {
            orders.add(round * 10..round * 10 + 10);
            let end = Instant::now() + NEVER;
            while !orders.is_empty() {
                assert!(Instant::now() < end, "nobody takes what waits");
                thread::yield_now();
            }
        }
        orders.end();
        let taken = threads.into_iter().map(|thread| thread.join());
        let mut all: Vec<i32> = taken.flat_map(|taken| taken.expect("no panic")).collect();
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_is_taken_in_its_order_before_the_end() {
        let orders = Orders::new();
        orders.add([1, 2]);
        orders.add([3]);
        orders.end();
        let taken: Vec<i32> = std::iter::from_fn(|| orders.take()).collect();
        assert_eq!(taken, [1, 2, 3]);
    }
}
