//! The progress bar of `--once` and `verify`, on a terminal only.

use std::io::IsTerminal;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar as Bar, ProgressStyle};

use crate::metrics::Metrics;

/// Shows how much of what was there at the start is acknowledged, until it is dropped.
#[derive(Debug)]
pub(crate) struct ProgressBar {
    stop: Option<Sender<()>>,
    /// Disconnected once nothing more is drawn.
    drawn: Receiver<()>,
}

impl ProgressBar {
    /// Starts drawing on standard error, as `template` says, if that is a terminal and the machine gives a thread.
    pub(crate) fn start(metrics: Arc<Metrics>, template: &'static str) -> Option<ProgressBar> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let (stop, stopped) = bounded(0);
        let (draws, drawn) = bounded::<()>(0);
        let draw = move || {
            draw(&metrics, template, &stopped);
            drop(draws);
        };
        thread::Builder::new()
            .name("progress".into())
            .spawn(draw)
            .ok()?;
        Some(ProgressBar {
            stop: Some(stop),
            drawn,
        })
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.stop = None;
        // A terminal that is held (Ctrl-S) takes nothing, and must not hold the end.
        let _ = self.drawn.recv_timeout(LAST_DRAWING);
    }
}

fn draw(metrics: &Metrics, template: &str, stopped: &Receiver<()>) {
    let style = ProgressStyle::with_template(template);
    let bar = Bar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    loop {
        let stop =
            stopped.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Disconnected);
        bar.set_length(metrics.to_read_bytes.value());
        bar.set_position(metrics.acked_bytes.value());
        if stop {
            return bar.abandon();
        }
    }
}

/// A bar of bytes.
pub(crate) const BYTES: &str = "{bar:40} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta}";
const LAST_DRAWING: Duration = Duration::from_millis(500);
