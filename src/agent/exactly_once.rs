//! How the agent begins with `delivery = exactly_once`: it takes over its transactional ids and learns where the files
//! stand, before anything is read.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::AgentError;
use super::adopt::{adopted, forget_adopted};
use super::standing::Standing;
use crate::checkpoint::positions::{ReadPositions, TopicPositions};
use crate::condition::Board;
use crate::config::Config;
use crate::control::{Answer, Inbox, Request};
use crate::kafka::owner::{Owner, unix_ms};
use crate::kafka::producer::transactional::TakenOver;
use crate::kafka::protocol::api::TransactionVersion;
use crate::kafka::takeover::{Takeover, TakeoverError};
use crate::metrics::Metrics;
use crate::progress::Saved;
use crate::service_manager::ServiceManager;

/// What waits for the brokers, and who may want something meanwhile.
pub(super) struct Start<'a> {
    pub(super) config: &'a Arc<Config>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) signals: &'a Receiver<()>,
    pub(super) inbox: &'a Inbox,
}

impl Start<'_> {
    /// The transactional ids, one for each producer, which no other agent has now; and `saved` is what was committed under
    /// them. Brokers are asked on a thread of its own: whatever hangs there, a stop does not wait for it, operators are
    /// answered, and the service manager is told that the agent runs.
    pub(super) fn take_over(
        &self,
        saved: &mut Saved,
    ) -> Result<(Vec<TakenOver>, TopicPositions), AgentError> {
        let (config, board) = (self.config.clone(), self.metrics.board.clone());
        let asking = thread::Builder::new()
            .name("takeover".into())
            .spawn(move || ask_brokers(&config, &board))
            .map_err(|error| AgentError::Start {
                name: "takeover".into(),
                error,
            })?;
        let manager = ServiceManager::of_this_process();
        let standing = Standing::new(self.config);
        let (began, mut said) = (Instant::now(), Instant::now());
        while !asking.is_finished() {
            if !self.signals.is_empty() {
                return Err(TakeoverError::Stopped.into());
            }
            if began.elapsed() > PATIENCE && said.elapsed() > PATIENCE {
                said = Instant::now();
                manager.status("waits for Kafka to say where the files stand: see the log");
                manager.ready();
                manager.alive();
            }
            if let Ok(request) = self.inbox.requests().recv_timeout(STEP) {
                self.answer(request, &standing);
            }
        }
        let panicked = |_| Err(TakeoverError::Refused("a thread panicked".into()));
        let (taken, read) = asking.join().unwrap_or_else(panicked)?;
        forget_adopted(&self.config.agent.state_dir);
        let agent = agent_id(self.config);
        let (moved, positions) = read.move_on(saved, self.config.agent.producers);
        let version = version_of(&taken);
        log::info!(
            "delivers exactly once as '{agent}', with {version}; {}",
            told(moved)
        );
        if let Some(first) = taken.first() {
            let (topic, partition) = &first.settings.positions;
            self.metrics.delivers(&format!(
                "id {agent}, {version}, positions in {topic}/{partition}"
            ));
        }
        Ok((taken, positions))
    }

    /// Who does not wait any more is not waited for.
    fn answer(&self, request: Request, standing: &Standing) {
        let not_yet = || Answer {
            is_ok: false,
            text: NOT_YET.to_owned(),
        };
        match request {
            Request::Snapshot(answer) => {
                drop(answer.try_send(standing.at_the_start(self.metrics, self.config)));
            }
            Request::Reload(answer) | Request::Why(_, answer) => drop(answer.try_send(not_yet())),
        }
    }
}

/// The body of the `takeover` thread.
fn ask_brokers(
    config: &Config,
    board: &Board,
) -> Result<(Vec<TakenOver>, ReadPositions), TakeoverError> {
    let Some(settings) = &config.kafka.exactly_once else {
        return Err(TakeoverError::Stopped);
    };
    let agent = agent_id(config);
    let mut read = ReadPositions::new(&agent);
    let mut take = |key: &[u8], value: Option<&[u8]>| read.take(key, value);
    let mut takeover = Takeover::new(&config.kafka, settings, &agent, config.agent.producers)
        .adopting(adopted(&config.agent.state_dir));
    let taken = takeover.run(board, &mut take)?;
    if read.unreadable() > 0 {
        log::warn!(
            "{} records of topic '{}' are no positions, and are left out",
            read.unreadable(),
            settings.positions_topic
        );
    }
    Ok((taken, read))
}

/// Who has the agent's id, if anybody; `None`: no broker tells in time.
pub(super) fn find_owner(config: &Arc<Config>) -> Option<Option<Owner>> {
    let config = config.clone();
    let (sender, found) = bounded(1);
    let body = move || {
        let settings = config.kafka.exactly_once.as_ref()?;
        let agent = agent_id(&config);
        let mut takeover = Takeover::new(&config.kafka, settings, &agent, 0);
        sender.send(takeover.find_owner()).ok()
    };
    // Without it nobody sends, which is noticed.
    let _ = thread::Builder::new().name("owner".into()).spawn(body);
    found.recv_timeout(OWNER_PATIENCE).ok().flatten()
}

/// The coordinator refuses the transactional ids of the agent that was `me`: another one has them, and says so in its
/// first transaction. If nobody does, it was something else, and the next start takes them over again.
pub(super) fn fenced(config: &Arc<Config>, me: Option<&Owner>) -> AgentError {
    let agent = agent_id(config);
    let until = Instant::now() + OWNER_PATIENCE;
    loop {
        let owner = find_owner(config).flatten();
        let is_me = |owner: &Owner| me.is_some_and(|me| me.is(owner));
        match owner {
            Some(owner) if !is_me(&owner) => {
                let by = format!(" ({})", owner.at(unix_ms()));
                return AgentError::Fenced { agent, by };
            }
            Some(_) if Instant::now() > until => {
                return AgentError::StartAgain(format!(
                    "the transactional ids of '{agent}' were refused, and no other agent says that it has them; \
                     the next start takes them over"
                ));
            }
            None if Instant::now() > until => {
                let by = String::new();
                return AgentError::Fenced { agent, by };
            }
            _ => thread::sleep(OWNER_STEP),
        }
    }
}

/// What this agent is called among all those of a cluster.
pub(crate) fn agent_id(config: &Config) -> String {
    let host = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    config.agent.id.clone().unwrap_or_else(host)
}

/// Where the files stand, of which the topic knows of `moved` more than the state folder.
fn told(moved: usize) -> String {
    match moved {
        0 => "no position is newer in the topic than in the state folder".to_owned(),
        1 => "1 position is newer in the topic than in the state folder, and holds".to_owned(),
        _ => format!("{moved} positions are newer in the topic than in the state folder, and hold"),
    }
}

fn version_of(taken: &[TakenOver]) -> &'static str {
    let is_new = |taken: &TakenOver| taken.features.transaction_version == TransactionVersion::Two;
    match taken.iter().all(is_new) {
        true => "transaction.version 2",
        false => "transaction.version below 2",
    }
}

/// Brokers that start together with the agent are waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// So often the start looks whether it may go on.
const STEP: Duration = Duration::from_millis(5);
/// What is answered that cannot be done before the start is.
const NOT_YET: &str =
    "not yet: the agent waits for the brokers to say where the files stand; see logagent status\n";
/// So long brokers may take to say who has the id.
const OWNER_PATIENCE: Duration = Duration::from_secs(5);
/// The one that has it says so in its first transaction.
const OWNER_STEP: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_that_agree_are_not_told_as_missing() {
        let same = "no position is newer in the topic than in the state folder";
        assert_eq!(told(0), same);
        let newer = "newer in the topic than in the state folder, and hold";
        assert_eq!(told(1), format!("1 position is {newer}s"));
        assert_eq!(told(2), format!("2 positions are {newer}"));
    }
}
