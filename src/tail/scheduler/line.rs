//! Who gets the next thread.
//!
//! Tailers that have something to do wait in a line for each device, and the devices take turns. A device
//! never has all threads, so that while its file system begins to hang there are threads for the others. A
//! tailer that has been in the file system for seconds without a sign is stuck: it does not count against the
//! others any more, and the tailers of a device on which several are stuck get no further thread until one of
//! those returns.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::tailer_handle::TailerHandle;

/// A device by its number; `None`: nothing was found at the path.
pub(super) type Device = Option<u64>;

/// The tailers that have something to do: those that wait for a thread, and those that have one.
#[derive(Debug)]
pub(super) struct Line<T> {
    devices: BTreeMap<Device, Queue<T>>,
    /// The device that was served last.
    last: Option<Device>,
    /// Those with a thread.
    busy: HashMap<u64, Busy>,
    stuck: usize,
    /// When those with a thread had it, with their ids, the latest last. Some may be back.
    begun: VecDeque<(Instant, u64)>,
    /// How many of them had it less than [`SHORT_RUN`] ago.
    short_runs: usize,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Box<T>>,
    busy: usize,
    stuck: usize,
}

#[derive(Debug)]
struct Busy {
    device: Device,
    handle: TailerHandle,
    begun: Instant,
    is_short_run: bool,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Line {
            devices: BTreeMap::new(),
            last: None,
            busy: HashMap::new(),
            stuck: 0,
            begun: VecDeque::new(),
            short_runs: 0,
        }
    }
}

impl<T> Queue<T> {
    fn may_have_a_thread(&self) -> bool {
        !self.waiting.is_empty()
            && self.stuck < MOST_STUCK
            && self.busy - self.stuck < THREADS_PER_DEVICE
    }
}

impl<T> Line<T> {
    /// The tailer stands at the end of the line of its device.
    pub(super) fn join(&mut self, device: Device, task: Box<T>) {
        let queue = self.devices.entry(device).or_insert_with(|| Queue {
            waiting: VecDeque::new(),
            busy: 0,
            stuck: 0,
        });
        queue.waiting.push_back(task);
    }

    /// The next tailer that may have a thread, if there is a thread for it.
    pub(super) fn next(&mut self) -> Option<(Device, Box<T>)> {
        let may =
            |(device, queue): (&Device, &Queue<T>)| queue.may_have_a_thread().then_some(*device);
        let after = self
            .last
            .map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let later = self.devices.range((after, std::ops::Bound::Unbounded));
        let device = later.chain(self.devices.iter()).find_map(may)?;
        self.last = Some(device);
        let task = self.devices.get_mut(&device)?.waiting.pop_front()?;
        Some((device, task))
    }

    /// The tailer has a thread.
    pub(super) fn begin(&mut self, device: Device, handle: &TailerHandle) {
        if let Some(queue) = self.devices.get_mut(&device) {
            queue.busy += 1;
        }
        let (handle, begun) = (handle.clone(), Instant::now());
        handle.waits_for_thread();
        self.begun.push_back((begun, handle.id()));
        self.short_runs += 1;
        let id = handle.id();
        let busy = Busy {
            device,
            handle,
            begun,
            is_short_run: true,
        };
        self.busy.insert(id, busy);
        self.see_long_runs(begun);
    }

    /// Whether tailers have just been given a thread.
    pub(super) fn has_short_runs(&mut self, now: Instant) -> bool {
        self.see_long_runs(now);
        self.short_runs > 0
    }

    /// Whether so many have that the next ones wait until some are back, for devices to take turns.
    pub(super) fn has_many_short_runs(&mut self, now: Instant) -> bool {
        self.see_long_runs(now);
        self.short_runs >= SHORT_RUNS_AT_ONCE
    }

    /// Who has had a thread for longer than [`SHORT_RUN`] keeps it for itself.
    fn see_long_runs(&mut self, now: Instant) {
        while let Some((begun, id)) = self.begun.front()
            && *begun + SHORT_RUN <= now
        {
            let busy = self.busy.get_mut(id);
            if let Some(busy) = busy.filter(|busy| busy.begun == *begun) {
                busy.is_short_run = false;
                self.short_runs -= 1;
            }
            self.begun.pop_front();
        }
    }

    /// The tailer with this id has come back from its thread; gives its device.
    pub(super) fn end(&mut self, id: u64) -> Device {
        let busy = self.busy.remove(&id);
        let was_short = busy.as_ref().is_some_and(|busy| busy.is_short_run);
        self.short_runs -= usize::from(was_short);
        let device = busy.and_then(|busy| busy.device);
        if let Some(queue) = self.devices.get_mut(&device) {
            queue.busy -= 1;
            // Until they are counted again; else it would wait for nothing.
            let before = queue.stuck;
            queue.stuck = before.min(queue.busy);
            self.stuck -= before - queue.stuck;
            if queue.busy == 0 && queue.waiting.is_empty() {
                self.devices.remove(&device);
            }
        }
        device
    }

    /// Finds out who is stuck.
    pub(super) fn count_stuck(&mut self) {
        for queue in self.devices.values_mut() {
            queue.stuck = 0;
        }
        self.stuck = 0;
        for busy in self.busy.values() {
            if busy.handle.is_stuck(STUCK_AFTER)
                && let Some(queue) = self.devices.get_mut(&busy.device)
            {
                queue.stuck += 1;
                self.stuck += 1;
            }
        }
    }

    /// How many have a thread.
    pub(super) fn busy(&self) -> usize {
        self.busy.len()
    }

    /// How many have a thread and are not stuck.
    pub(super) fn moving(&self) -> usize {
        self.busy.len() - self.stuck
    }

    /// How many threads there may be, given how many the system gives.
    pub(super) fn most_threads(&self) -> usize {
        MOST_THREADS + self.stuck.min(MOST_THREADS_EXTRA)
    }

    /// Whether anybody waits, for whatever reason.
    pub(super) fn is_anybody_waiting(&self) -> bool {
        self.devices.values().any(|queue| !queue.waiting.is_empty())
    }

    /// Whether somebody waits for whom others could make room.
    pub(super) fn is_room_wanted(&self) -> bool {
        let wants = |queue: &Queue<T>| !queue.waiting.is_empty() && queue.stuck < MOST_STUCK;
        self.devices.values().any(wants)
    }

    /// Takes out all that wait.
    pub(super) fn drain(&mut self) -> Vec<(Device, Box<T>)> {
        let drain = |(device, queue): (&Device, &mut Queue<T>)| {
            let device = *device;
            let tasks: Vec<_> = queue.waiting.drain(..).collect();
            tasks.into_iter().map(move |task| (device, task))
        };
        self.devices.iter_mut().flat_map(drain).collect()
    }
}

/// A run that takes longer waits for something, or has much to do.
pub(super) const SHORT_RUN: Duration = Duration::from_millis(10);
/// So many short runs go on at once.
const SHORT_RUNS_AT_ONCE: usize = 64;
/// More threads than this are not started for tailers, unless some are stuck.
pub(super) const MOST_THREADS: usize = 256;
/// So many more are started for tailers that are stuck.
const MOST_THREADS_EXTRA: usize = 512;
/// The tailers of one device have at most so many, those that are stuck not counted.
const THREADS_PER_DEVICE: usize = 192;
/// With so many tailers stuck on a device, the others of that device wait.
const MOST_STUCK: usize = 16;
/// Longer than any call to a file system that answers.
const STUCK_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tailer_handle::testing::handle;

    /// Gives threads to all that may have one; returns the handles of those of `device`.
    fn hand_out(line: &mut Line<TailerHandle>, device: Device) -> Vec<TailerHandle> {
        let mut given = Vec::new();
        while let Some((of, task)) = line.next() {
            line.begin(of, &task);
            if of == device {
                given.push(*task);
            }
        }
        given
    }

    fn join(line: &mut Line<TailerHandle>, device: Device, count: usize) {
        (0..count).for_each(|_| line.join(device, Box::new(handle())));
    }

    #[test]
    fn devices_take_turns() {
        let mut line = Line::default();
        join(&mut line, Some(1), 5);
        join(&mut line, Some(2), 2);
        join(&mut line, None, 1);
        let mut order = Vec::new();
        while let Some((device, _)) = line.next() {
            order.push(device.unwrap_or(0));
        }
        assert_eq!(order, [0, 1, 2, 1, 2, 1, 1, 1]);
        assert!(!line.is_anybody_waiting());
    }

    #[test]
    fn a_device_leaves_threads_to_the_others_and_gets_no_more_while_it_hangs() {
        let mut line = Line::default();
        join(&mut line, Some(1), 300);
        let hanging = hand_out(&mut line, Some(1));
        assert_eq!(hanging.len(), THREADS_PER_DEVICE);
        assert!(line.is_room_wanted());
        join(&mut line, Some(2), 1);
        assert_eq!(hand_out(&mut line, Some(2)).len(), 1);
        // They have been in the file system for ever.
        hanging.iter().for_each(TailerHandle::moves);
        let stuck = |line: &mut Line<TailerHandle>, count: usize| {
            let handles = hanging.iter().take(count);
            let ids: Vec<u64> = handles.map(TailerHandle::id).collect();
            line.stuck = ids.len();
            line.devices.get_mut(&Some(1)).expect("is there").stuck = ids.len();
        };
        stuck(&mut line, THREADS_PER_DEVICE);
        assert_eq!(hand_out(&mut line, Some(1)).len(), 0);
        assert!(!line.is_room_wanted() && line.is_anybody_waiting());
        assert_eq!(line.moving(), 1);
        assert_eq!(line.most_threads(), MOST_THREADS + THREADS_PER_DEVICE);
        // A few that are stuck take nobody's thread away.
        stuck(&mut line, MOST_STUCK - 1);
        assert_eq!(hand_out(&mut line, Some(1)).len(), MOST_STUCK - 1);
    }

    #[test]
    fn so_many_short_runs_go_on_at_once_beside_any_number_of_long_ones() {
        let mut line = Line::default();
        join(&mut line, Some(1), 2 * SHORT_RUNS_AT_ONCE + 1);
        let start = Instant::now();
        let begin = |line: &mut Line<TailerHandle>| {
            let (device, task) = line.next().expect("one waits");
            line.begin(device, &task);
            task.id()
        };
        for _ in 0..SHORT_RUNS_AT_ONCE {
            assert!(!line.has_many_short_runs(start));
            begin(&mut line);
        }
        assert!(line.has_many_short_runs(start));
        // These are long ones from then on.
        assert!(!line.has_short_runs(Instant::now() + SHORT_RUN));
        for _ in 1..SHORT_RUNS_AT_ONCE {
            begin(&mut line);
        }
        let last = begin(&mut line);
        assert!(line.has_many_short_runs(start));
        line.end(last);
        assert!(!line.has_many_short_runs(start) && line.has_short_runs(start));
    }

    #[test]
    fn who_gives_signs_is_not_stuck_and_what_is_over_is_forgotten() {
        let mut line = Line::default();
        join(&mut line, Some(1), 3);
        let handles = hand_out(&mut line, Some(1));
        handles.iter().for_each(TailerHandle::moves);
        line.count_stuck();
        assert_eq!((line.busy(), line.moving()), (3, 3));
        for handle in &handles {
            assert_eq!(line.end(handle.id()), Some(1));
        }
        assert_eq!(line.busy(), 0);
        assert!(line.devices.is_empty());
    }
}
