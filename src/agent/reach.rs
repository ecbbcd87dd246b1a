//! Whether the addresses of `brokers` can be reached, which no producer needs to know of all of them: it connects when
//! it has something to send, and to no other once one has answered. A mistyped address would stay unseen.
//!
//! Each address is connected to from a thread of its own, and nothing is sent there: when they have changed; at the
//! start if no producer is connected soon, since with thousands of agents each connection counts; and those that were
//! not tried yet or have failed, while somebody looks.

use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, never, unbounded};

use super::Agent;
use crate::config::BrokerAddress;
use crate::metrics::Metrics;
use crate::resolve;
use crate::snapshot::{BootstrapStatus, Snapshot};

/// What is known of each address.
#[derive(Debug, Default)]
pub(super) struct Reach {
    addresses: Vec<BrokerAddress>,
    known: Vec<BootstrapStatus>,
    /// Where the threads tell what has become of it; `None`: nobody is at it.
    heard: Option<Receiver<Heard>>,
    /// When they began, and what for.
    began: Option<(Instant, Occasion)>,
    /// Until then a producer that starts may connect to one of them.
    starts: Option<Instant>,
}

/// Which address, and whether it was reached.
type Heard = (usize, Result<(), String>);

/// Why the addresses are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// They are new: what cannot be reached is said in the log.
    New,
    /// Some could not be reached.
    Again,
}

impl Reach {
    /// The addresses that an agent starts with.
    pub(super) fn know(&mut self, addresses: &[BrokerAddress]) {
        self.addresses = addresses.to_vec();
        let known = addresses.iter().map(|address| BootstrapStatus {
            address: address.to_string(),
            ..BootstrapStatus::default()
        });
        self.known = known.collect();
        self.starts = Some(Instant::now() + START_PATIENCE);
    }

    /// Tries all of `addresses`, which are new.
    pub(super) fn ask(&mut self, addresses: &[BrokerAddress]) {
        self.know(addresses);
        self.starts = None;
        self.begin(Occasion::New, |_| true);
    }

    /// Somebody looks: tries those that were not tried yet or have failed.
    fn ask_again(&mut self, metrics: &Metrics) {
        let began = self.began.map(|(began, _)| began.elapsed());
        let is_soon = self.starts.is_some() || began.is_some_and(|since| since < AGAIN_AFTER);
        if self.is_awaited() || is_soon {
            return;
        }
        let is_tried =
            |one: &BootstrapStatus| !one.is_asked && !metrics.has_connected_to(&one.address);
        let is_tried = |one: &BootstrapStatus| one.error.is_some() || is_tried(one);
        if self.known.iter().any(is_tried) {
            self.begin(Occasion::Again, is_tried);
        }
    }

    /// When the producers have had their time.
    pub(super) fn start_is_over(&self) -> Receiver<Instant> {
        self.starts.map_or_else(never, crossbeam_channel::at)
    }

    fn begin(&mut self, occasion: Occasion, is_tried: impl Fn(&BootstrapStatus) -> bool) {
        let (sender, heard) = unbounded();
        let until = Instant::now() + PATIENCE;
        for (at, address) in self.addresses.iter().enumerate() {
            if !self.known.get(at).is_some_and(&is_tried) {
                continue;
            }
            let (address, sender) = (address.clone(), sender.clone());
            let body = move || {
                let reached = resolve::connect(&address.host, address.port, until);
                // Who does not wait any more is not waited for.
                let _ = sender.send((at, reached.map(drop).map_err(|error| words(&error))));
            };
            if let Err(error) = thread::Builder::new().name("reach".to_owned()).spawn(body) {
                log::debug!("a thread cannot be started: {error}");
            }
        }
        self.heard = Some(heard);
        self.began = Some((Instant::now(), occasion));
    }

    /// Where the threads tell what they find; it ends with the last of them.
    pub(super) fn heard(&self) -> Receiver<Heard> {
        self.heard.clone().unwrap_or_else(never)
    }

    /// When they are waited for no longer.
    pub(super) fn overdue(&self) -> Receiver<Instant> {
        match self.began.filter(|_| self.is_awaited()) {
            Some((began, _)) => crossbeam_channel::at(began + PATIENCE + SPARE),
            None => never(),
        }
    }

    /// Whether something is still to be heard.
    pub(super) fn is_awaited(&self) -> bool {
        self.heard.is_some()
    }

    fn hear(&mut self, (at, reached): Heard) {
        let now = SystemTime::now();
        let Some(known) = self.known.get_mut(at) else {
            return;
        };
        known.is_asked = true;
        match reached {
            Ok(()) => (known.error, known.error_since) = (None, None),
            Err(error) => {
                known.error = Some(error);
                known.error_since = known.error_since.or(Some(now));
            }
        }
    }

    /// Those that could not be reached, and why.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = self.known.iter();
        known.filter_map(|one| Some((&*one.address, one.error.as_deref()?)))
    }

    /// Adds the addresses to a snapshot that has its brokers.
    pub(super) fn complete(&self, metrics: &Metrics, snapshot: &mut Snapshot) {
        snapshot.bootstrap.clone_from(&self.known);
        for one in &mut snapshot.bootstrap {
            one.is_asked |= metrics.has_connected_to(&one.address);
            let mut brokers = snapshot.brokers.iter();
            if brokers.any(|broker| broker.address == one.address && broker.up_since.is_some()) {
                (one.error, one.error_since) = (None, None);
            }
        }
    }
}

impl Agent {
    /// The producers have had their time to connect.
    pub(super) fn on_start_is_over(&mut self) {
        self.reach.starts = None;
        let metrics = &self.shared.metrics;
        let mut known = self.reach.known.iter();
        let was_connected = known.any(|one| metrics.has_connected_to(&one.address));
        let mut brokers = metrics.brokers(&[]).into_iter();
        if !was_connected && !brokers.any(|broker| broker.up_since.is_some()) {
            self.reach.begin(Occasion::New, |_| true);
        }
    }

    /// Somebody looks at how everything stands.
    pub(super) fn look_at_brokers(&mut self) {
        self.reach.ask_again(&self.shared.metrics);
    }

    /// Something was heard of an address; `None`: no more will be.
    pub(super) fn on_reach(&mut self, heard: Option<Heard>) {
        if let Some(heard) = heard {
            return self.reach.hear(heard);
        }
        self.reach.heard = None;
        let is_new = matches!(self.reach.began, Some((_, Occasion::New)));
        // A reload says it itself.
        if is_new && !self.reloading.waits_for_brokers() {
            for (address, error) in self.reach.failures() {
                log::warn!("broker {address} cannot be reached: {error}");
            }
        }
        self.on_brokers_asked();
    }
}

/// What the system says of a connection that could not be made, in few words.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {} s", PATIENCE.as_secs_f32().round())
        }
        _ => error.to_string(),
    }
}

/// So long after the start it is seen whether a producer is connected.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// An address that has not answered by then counts as silent.
const PATIENCE: Duration = Duration::from_millis(1800);
/// What a thread may take beyond that.
const SPARE: Duration = Duration::from_millis(200);
/// Those that failed are tried again after so long, if somebody looks.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::BrokerStatus;

    #[test]
    fn an_address_that_a_producer_is_connected_to_can_be_reached_whatever_was_seen_before() {
        let known = |address: &str| BootstrapStatus {
            address: address.to_owned(),
            error: Some(words(&io::ErrorKind::TimedOut.into())),
            ..BootstrapStatus::default()
        };
        let reach = Reach {
            known: vec![known("a:1"), known("b:1")],
            ..Reach::default()
        };
        let mut snapshot = Snapshot {
            brokers: vec![BrokerStatus {
                address: "a:1".to_owned(),
                up_since: Some(SystemTime::now()),
                ..BrokerStatus::default()
            }],
            ..Snapshot::default()
        };
        let metrics = Metrics::default();
        metrics.broker("b:1").is_up("Kafka 4.1");
        reach.complete(&metrics, &mut snapshot);
        let errors = snapshot.bootstrap.iter().map(|one| one.error.as_deref());
        let expected = [None, Some("no answer within 2 s")];
        assert_eq!(errors.collect::<Vec<_>>(), expected);
        let asked = snapshot.bootstrap.iter().map(|one| one.is_asked);
        assert_eq!(asked.collect::<Vec<_>>(), [false, true]);
    }
}
