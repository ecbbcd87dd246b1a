//! What the main thread does while the agent runs, and how it stops everything in order.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select, tick};

use super::exactly_once::agent_id;
use super::rates;
use super::standing::SUMMARY_INTERVAL;
use super::threads::{Outcome, Role, ThreadExit};
use super::{Agent, AgentError};
use crate::kafka::producer::transaction::Stop;
use crate::progress::Progress;
use crate::shown::Size;
use crate::tail::forgetting::{FORGET_INTERVAL, Forgetting, LookedFor};

impl Agent {
    /// Until it is time to stop.
    pub(super) fn supervise(
        &mut self,
        signals: &Receiver<()>,
        (mut forgetting, looked_for): (Forgetting, Receiver<LookedFor>),
    ) {
        let forget = match self.mode.once {
            true => never(),
            false => tick(FORGET_INTERVAL),
        };
        let watchdog = self.service_manager.watchdog().map_or(never(), tick);
        let minute = tick(SUMMARY_INTERVAL);
        let sample = tick(rates::INTERVAL);
        loop {
            if self.failure.is_some() || (self.mode.once && self.tailers.is_empty()) {
                return;
            }
            select! {
                recv(signals) -> _ => {
                    log::info!("stopping");
                    self.interrupted = true;
                    return;
                }
                recv(self.found) -> found => match found {
                    Ok(found) => {
                        self.follow_later(found);
                        self.shared.descriptors.follows(self.tailers.len());
                    }
                    // The watcher has ended: with `--once` it is not needed any more.
                    Err(_) => self.found = never(),
                },
                recv(self.exited) -> exited => if let Ok(exited) = exited {
                    self.on_exit(exited);
                },
                recv(self.inbox.requests()) -> request => if let Ok(request) = request {
                    self.on_request(request);
                },
                recv(self.standing.answers()) -> positions => self.on_positions(positions.ok()),
                recv(self.sight.looked()) -> seen => self.on_looked_around(seen.ok()),
                recv(self.held_back()) -> _ => self.look_for_taps(),
                recv(self.standing.overdue()) -> _ => self.on_overdue(),
                recv(self.reloading.due(self.config.agent.reload)) -> _ => self.reloading.look(),
                recv(self.reloading.looked()) -> looked => if let Ok(looked) = looked {
                    // What was found belongs to the sections as they were.
                    self.let_go();
                    self.on_looked(looked);
                },
                recv(self.reloading.first_look()) -> first => self.on_reloaded(first.ok()),
                recv(self.reach.heard()) -> heard => self.on_reach(heard.ok()),
                recv(self.reach.start_is_over()) -> _ => self.on_start_is_over(),
                recv(self.reach.overdue()) -> _ => self.on_reach(None),
                recv(minute) -> _ => self.on_minute(),
                recv(sample) -> _ => self.standing.rates.sample(&self.shared.metrics, Instant::now()),
                recv(forget) -> _ => forgetting.look(),
                recv(watchdog) -> _ => self.service_manager.alive(),
                recv(looked_for) -> looked_for => if let Ok(looked_for) = looked_for {
                    for serial in forgetting.on_looked_for(looked_for, Instant::now()) {
                        self.tell(Progress::Forgotten { serial });
                    }
                },
            }
        }
    }

    fn on_exit(&mut self, exited: ThreadExit) {
        let ThreadExit {
            name,
            role,
            outcome,
        } = exited;
        match &role {
            Role::Tailer(path) => {
                if let Some(tailer) = self.tailers.remove(path) {
                    self.shared.changes.forget(&tailer.handle);
                }
                self.shared.metrics.left_out.forget(path);
                self.watches.unregister(path);
            }
            Role::Producer => self.producers -= 1,
            Role::Registrar => self.has_registrar = false,
            Role::Watcher | Role::Scheduler => {}
        }
        match outcome {
            Outcome::Panicked(message) => {
                log::error!("thread '{name}' panicked: {message}; stopping");
                self.failure
                    .get_or_insert(AgentError::Panicked { name, message });
            }
            Outcome::Complete => {}
            Outcome::Incomplete => self.left_undone = true,
            Outcome::Output(end) => {
                self.left_undone |= !end.is_complete;
                self.refused += end.refused;
                if let Some(error) = end.failure {
                    let stop = error.get_ref().and_then(|error| error.downcast_ref());
                    self.failure.get_or_insert(match stop {
                        Some(Stop::Fenced) => AgentError::Fenced {
                            agent: agent_id(&self.config),
                            by: String::new(),
                        },
                        Some(stop @ Stop::StartAgain) => AgentError::StartAgain(stop.to_string()),
                        None => AgentError::Output(error),
                    });
                }
            }
        }
        // The file may have come back between the tailer's last look and now.
        if let Role::Tailer(path) = role
            && self.stop_tailers.is_some()
            && !self.mode.once
        {
            self.watches.reconsider(path);
        }
    }

    /// Stops the tailers, lets the producers send what they have, then has the checkpoints written.
    pub(super) fn stop(&mut self, signals: &Receiver<()>) {
        self.service_manager.stopping();
        // While those that say it are still there.
        let held_up = self.held_up();
        let mut signals = signals.clone();
        let (mut until, mut positions) = (None, None);
        // A thread that has panicked may hold what others wait for.
        if !self.mode.once || !self.tailers.is_empty() || self.failure.is_some() {
            until = Some(self.set_deadline());
            signals = never();
        }
        self.watches.stop();
        self.stop_tailers = None;
        self.watches.wake_all();
        self.batches.clear();
        while !self.tailers.is_empty() || self.producers > 0 {
            // With --once the producers take as long as they need, until somebody has enough.
            let timeout = until.map_or(never(), crossbeam_channel::at);
            let last_look = until.filter(|_| positions.is_none());
            let last_look = last_look.map_or(never(), |at| crossbeam_channel::at(at - LAST_LOOK));
            select! {
                recv(self.exited) -> exited => if let Ok(exited) = exited {
                    self.on_exit(exited);
                },
                recv(signals) -> _ => {
                    log::info!("stopping");
                    until = Some(self.set_deadline());
                    signals = never();
                }
                recv(self.inbox.requests()) -> request => if let Ok(request) = request {
                    self.on_request(request);
                },
                recv(self.standing.answers()) -> positions => self.end_snapshot(positions.ok()),
                recv(self.standing.overdue()) -> _ => self.on_overdue(),
                recv(last_look) -> _ => positions = Some(self.ask_for_positions()),
                recv(timeout) -> _ => {
                    self.left_undone = true;
                    break;
                }
            }
        }
        if self.left_undone {
            let positions = positions.unwrap_or_else(|| self.ask_for_positions());
            self.say_what_is_left(&held_up, &positions);
        }
        // While the lock of the folder is still held: the next agent's socket has the same name.
        self.control = None;
        self.progress = None;
        if self.left_undone {
            // The registrar must not wait for senders that hang.
            self.deadline.set(Instant::now());
        }
        let last = Instant::now() + LAST_WRITE;
        while self.has_registrar {
            match self.exited.recv_deadline(last) {
                Ok(exited) => self.on_exit(exited),
                Err(_) => {
                    log::error!("the checkpoints could not be written in time");
                    return;
                }
            }
        }
        let metrics = &self.shared.metrics;
        let acked = metrics.acked_bytes.value();
        let (size, logs) = (Size(acked), metrics.logs());
        let records: u64 = logs.iter().map(|log| log.acked_records).sum();
        if self.mode.dry_run {
            log::info!(
                "stopped; {size} of log files ({acked} bytes, {records} records) would have been sent"
            );
        } else {
            log::info!(
                "stopped; {size} of log files ({acked} bytes) were delivered by this run as {records} records"
            );
        }
    }

    fn set_deadline(&self) -> Instant {
        let at = Instant::now() + self.config.agent.shutdown_timeout;
        self.deadline.set(at);
        at
    }
}

/// So long before its deadline, at which the registrar ends, a stop asks how the files stand.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// How long the last write of the checkpoints may take on top of the shutdown's deadline.
const LAST_WRITE: Duration = Duration::from_millis(1500);
