//! What a panic, a defect of this program, does: its words go to the log, the agent stops in order, and the exit code is 1.
//!
//! The released binary has no code to unwind stacks, which is a tenth of its size. There a thread that panics reports that
//! and waits for the end of the process; the main thread, if it is another one, brings that about in order. What a thread
//! holds locked then stays so: if nobody has ended the process after half a minute, the thread does. The tests' build
//! unwinds, and the panic is caught where the thread begins.

use std::any::Any;
use std::cell::RefCell;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use std::{process, thread};

/// How long an orderly end may take; longer than `shutdown_timeout` is as a rule.
const PATIENCE: Duration = Duration::from_secs(30);
const ABORTS: bool = cfg!(panic = "abort");

type Report = Box<dyn FnOnce(String)>;

thread_local! {
    /// Who is told if this thread panics.
    static REPORT: RefCell<Option<Report>> = const { RefCell::new(None) };
}

/// Runs `body`, and gives the words of its panic. Where nothing unwinds they are given to `report` instead, and a body that
/// panics never ends.
pub(crate) fn catch_or_report<T>(
    report: impl FnOnce(String) + 'static,
    body: impl FnOnce() -> T,
) -> Result<T, String> {
    on_panic(report);
    let done = catch(body);
    REPORT.take();
    done
}

/// Where nothing unwinds, has `report` be given the words when this thread panics, whatever it does then.
pub(crate) fn on_panic(report: impl FnOnce(String) + 'static) {
    if ABORTS {
        REPORT.set(Some(Box::new(report)));
    }
}

/// Runs `body`, and where stacks are unwound gives the words of its panic. Where they are not, the one is told who was
/// named by [`on_panic`], and a body that panics never ends.
pub(crate) fn catch<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    match ABORTS {
        true => Ok(body()),
        false => catch_unwind(AssertUnwindSafe(body)).map_err(|panic| panic_message(&*panic)),
    }
}

/// Has panics end the process with exit code 1 as long as there is no log to take their words.
pub fn end_the_process() {
    panic::set_hook(Box::new(|panic| {
        let _ = writeln!(io::stderr(), "logagent: {panic}");
        process::exit(1);
    }));
}

/// What the hook does after it has logged the words, where nothing unwinds.
pub(crate) fn reported(payload: &(dyn Any + Send), flush: impl FnOnce()) {
    if !ABORTS {
        return;
    }
    let report = REPORT.try_with(RefCell::take).ok().flatten();
    if let Some(report) = report {
        report(panic_message(payload));
        thread::sleep(PATIENCE);
    }
    flush();
    process::exit(1);
}

/// The words of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_panic_are_given_to_who_has_started_the_body() {
        let told = |_| unreachable!("the tests' build unwinds");
        assert_eq!(catch_or_report(told, || 7), Ok(7));
        let words = catch_or_report(told, || -> u8 { panic!("no {} here", "bread") });
        assert_eq!(words, Err("no bread here".to_owned()));
    }
}
