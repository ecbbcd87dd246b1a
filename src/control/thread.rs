//! The `control` thread as the main thread has it.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, thread};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::server::{LAST_STEP, Server};
use super::{Request, socket};
use crate::panics::catch_or_report;
use crate::shown::ShownPath;
use crate::tap::Tap;

/// The running `control` thread, owned by the main thread. Dropping it ends the thread and takes the socket away.
#[derive(Debug)]
pub struct Control {
    /// Its other end is what the thread polls.
    stop: Option<UnixStream>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    path: PathBuf,
}

impl Control {
    /// Listens in `state_dir`, whose lock the process holds, and at `metrics`. What cannot be had is said in the log:
    /// the agent does its work without it.
    pub fn start(
        state_dir: &Path,
        metrics: Option<SocketAddr>,
        inbox: Sender<Request>,
        tap: Arc<Tap>,
    ) -> Option<Control> {
        let path = state_dir.join(socket::NAME);
        let socket = socket::listen_in(state_dir);
        let socket = socket
            .inspect_err(|error| {
                log::warn!(
                    "'{}': {error}; 'logagent status' cannot ask this agent",
                    ShownPath(&path)
                );
            })
            .ok();
        if socket.is_none() && metrics.is_none() {
            return None;
        }
        let started = UnixStream::pair().and_then(|(stop, stopped)| {
            let (ends, ended) = bounded::<()>(0);
            let server = Server::new(socket, metrics, stopped, inbox, tap);
            let body = move || {
                let _ends = ends;
                let report = |words: String| {
                    log::error!(
                        "thread 'control' panicked: {words}; status and metrics are not answered any more"
                    );
                };
                if let Err(words) = catch_or_report(report, || server.run()) {
                    report(words);
                }
            };
            thread::Builder::new()
                .name("control".into())
                .stack_size(STACK_BYTES)
                .spawn(body)?;
            Ok(Control {
                stop: Some(stop),
                ended,
                path,
            })
        });
        started
            .inspect_err(|error| log::warn!("thread 'control' cannot be started: {error}"))
            .ok()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.ended.recv_timeout(LAST_STEP);
        let _ = fs::remove_file(&self.path);
    }
}

const STACK_BYTES: usize = 512 << 10;
