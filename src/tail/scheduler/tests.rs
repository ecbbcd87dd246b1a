//! The scheduler with tasks that do what a test says.

use std::sync::Mutex;
use std::thread::JoinHandle;

use crossbeam_channel::{bounded, unbounded};

use super::*;
use crate::identity::FileStat;
use crate::tailer_handle::TailerHandle;

const SOON: Duration = Duration::from_secs(20);

/// A task that tells of each run, and then does what it is told.
struct Fake {
    path: Arc<Path>,
    handle: TailerHandle,
    runs: Sender<Arc<Path>>,
    does: Box<dyn FnMut(&TailerHandle) -> RunOutcome + Send>,
    expected: Option<Expected>,
}

impl Task for Fake {
    fn run(&mut self) -> RunOutcome {
        self.handle.clear();
        self.runs.send(self.path.clone()).expect("the test listens");
        (self.does)(&self.handle)
    }

    fn handle(&self) -> &TailerHandle {
        &self.handle
    }

    fn path(&self) -> &Arc<Path> {
        &self.path
    }

    fn expected(&self) -> Option<Expected> {
        self.expected
    }

    fn holds_descriptor_permit(&self) -> bool {
        false
    }
}

/// A running scheduler.
struct Running {
    messages: Sender<Message<Fake>>,
    woken: Sender<u64>,
    stop: Option<Sender<()>>,
    runs: (Sender<Arc<Path>>, Receiver<Arc<Path>>),
    ended: Receiver<TailerReport>,
    thread_pressure: Arc<ThreadPressure>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        let (messages, taken) = unbounded();
        let (woken, calls) = unbounded();
        let (stop, stopped) = bounded(0);
        let (report, ended) = unbounded();
        let thread_pressure = Arc::<ThreadPressure>::default();
        let scheduler = Scheduler::new(
            (messages.clone(), taken),
            (calls, stopped),
            thread_pressure.clone(),
            DescriptorPermits::new(1024),
            Lanes::new(|words| panic!("{words}")),
            move |one| drop(report.send(one)),
        );
        Running {
            messages,
            woken,
            stop: Some(stop),
            runs: unbounded(),
            ended,
            thread_pressure,
            thread: Some(thread::spawn(move || scheduler.run())),
        }
    }

    /// Starts a task on a device; gives its handle.
    fn task(
        &self,
        name: &str,
        device: Option<u64>,
        expected: Option<Expected>,
        does: impl FnMut(&TailerHandle) -> RunOutcome + Send + 'static,
    ) -> TailerHandle {
        let handle = TailerHandle::new(self.woken.clone());
        let fake = Fake {
            path: Path::new(name).into(),
            handle: handle.clone(),
            runs: self.runs.0.clone(),
            does: Box::new(does),
            expected,
        };
        let start = Message::Start(Box::new(fake), device);
        self.messages.send(start).expect("the scheduler listens");
        handle
    }

    /// Waits until a task of this name runs; others may run before.
    fn wait_for_run(&self, name: &str) {
        let end = Instant::now() + SOON;
        while let Ok(path) = self.runs.1.recv_deadline(end) {
            if *path == *Path::new(name) {
                return;
            }
        }
        panic!("'{name}' does not run");
    }

    fn runs_nothing(&self, patience: Duration) -> bool {
        self.runs.1.recv_timeout(patience).is_err()
    }

    fn stop(&mut self) {
        self.stop = None;
        let thread = self.thread.take().expect("it runs");
        thread.join().expect("it does not panic");
    }
}

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_quiet_task_runs_again_when_it_is_woken() {
    let mut running = Running::start();
    let handle = running.task("a", Some(1), None, |_| RunOutcome::Park);
    running.wait_for_run("a");
    assert!(running.runs_nothing(SHORT));
    for _ in 0..3 {
        handle.wake();
        running.wait_for_run("a");
    }
    assert!(running.runs_nothing(SHORT));
    running.stop();
    let ended = running.ended.recv().expect("is reported");
    assert_eq!(ended.how, Ok(TailerExit::Stopped));
}

#[test]
fn a_task_that_is_woken_on_its_way_to_be_parked_runs_again() {
    let mut running = Running::start();
    let mut runs = 0;
    running.task("a", Some(1), None, move |handle| {
        runs += 1;
        if runs < 4 {
            handle.wake();
        }
        RunOutcome::Park
    });
    (0..4).for_each(|_| running.wait_for_run("a"));
    assert!(running.runs_nothing(SHORT));
    running.stop();
}

#[test]
fn a_task_runs_again_at_its_time_and_one_that_yields_at_once() {
    let mut running = Running::start();
    let (start, due) = (Instant::now(), Duration::from_secs(2));
    let mut leaves = vec![
        RunOutcome::Park,
        RunOutcome::ParkUntil(start + due),
        RunOutcome::Yield,
    ];
    running.task("a", None, None, move |_| {
        leaves.pop().unwrap_or(RunOutcome::Park)
    });
    running.wait_for_run("a");
    running.wait_for_run("a");
    assert!(start.elapsed() < due);
    running.wait_for_run("a");
    assert!(start.elapsed() >= due);
    running.stop();
}

#[test]
fn a_parked_task_runs_again_when_its_path_has_changed_without_an_event() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.log");
    std::fs::write(&path, "x").expect("is written");
    let stat = FileStat::at_path(&path).expect("is there");
    let expected = Expected {
        inode: stat.inode,
        born_ns: stat.born_ns,
        content: Some((stat.size, stat.modified_ns)),
    };
    let elsewhere = Expected {
        content: None,
        ..expected
    };
    let mut running = Running::start();
    let name = path.to_str().expect("is UTF-8");
    running.task(name, Some(1), Some(expected), |_| RunOutcome::Park);
    running.wait_for_run(name);
    // Another tailer reads the file: that it grows is no news.
    running.task(name, Some(1), Some(elsewhere), |_| RunOutcome::Park);
    running.wait_for_run(name);
    assert!(running.runs_nothing(CHECK_INTERVAL + Duration::from_secs(2)));
    std::fs::write(&path, "xy").expect("is written");
    running.wait_for_run(name);
    assert!(running.runs_nothing(CHECK_INTERVAL / 2));
    running.stop();
}

#[test]
fn tasks_of_a_device_that_hangs_hold_up_no_other() {
    let mut running = Running::start();
    let (release, released) = bounded::<()>(0);
    for n in 0..600 {
        let released = released.clone();
        running.task(&format!("hang{n}"), Some(1), None, move |_| {
            let _ = released.recv();
            RunOutcome::Park
        });
    }
    running.wait_for_run("hang150");
    let start = Instant::now();
    let well = running.task("well", Some(2), None, |_| RunOutcome::Park);
    running.wait_for_run("well");
    // Before it is known that the others hang, and after.
    while start.elapsed() < Duration::from_secs(4) {
        let woken = Instant::now();
        well.wake();
        running.wait_for_run("well");
        assert!(
            woken.elapsed() < Duration::from_secs(1),
            "{:?}",
            woken.elapsed()
        );
    }
    assert!(
        !running.thread_pressure.has_waiters(),
        "nobody could make room for those that wait"
    );
    assert!(!running.thread_pressure.is_near_limit());
    // One device after the other may hang.
    for n in 0..100 {
        let released = released.clone();
        running.task(&format!("next{n}"), Some(3), None, move |_| {
            let _ = released.recv();
            RunOutcome::Park
        });
    }
    well.wake();
    running.wait_for_run("well");
    drop(release);
    running.wait_for_run("hang599");
    running.stop();
    assert_eq!(running.ended.try_iter().count(), 701);
}

#[test]
fn a_task_that_panics_or_ends_is_reported() {
    let mut running = Running::start();
    running.task("a", Some(1), None, |_| panic!("no bread"));
    let ended = running.ended.recv_timeout(SOON).expect("is reported");
    assert_eq!(ended.how, Err("no bread".to_owned()));
    running.task("b", Some(1), None, |_| {
        RunOutcome::Exit(TailerExit::PathGone)
    });
    let ended = running.ended.recv_timeout(SOON).expect("is reported");
    assert_eq!(
        (&*ended.path, ended.how),
        (Path::new("b"), Ok(TailerExit::PathGone))
    );
    running.stop();
}

#[test]
fn a_stop_ends_parked_tasks_at_once_and_waits_for_the_others() {
    let mut running = Running::start();
    running.task("parked", Some(1), None, |_| RunOutcome::Park);
    running.wait_for_run("parked");
    let (release, released) = bounded::<()>(0);
    let is_released = Arc::new(Mutex::new(false));
    let seen = is_released.clone();
    running.task("busy", Some(1), None, move |_| {
        let _ = released.recv();
        *seen.lock().expect("not poisoned") = true;
        RunOutcome::Exit(TailerExit::Stopped)
    });
    running.wait_for_run("busy");
    running.stop = None;
    let ended = running.ended.recv_timeout(SOON).expect("is reported");
    assert_eq!(&*ended.path, Path::new("parked"));
    drop(release);
    running.stop();
    assert!(*is_released.lock().expect("not poisoned"));
}
