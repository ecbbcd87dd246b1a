//! `logagent adopt`: lets the next start take the agent's id away from another machine.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exactly_once::{agent_id, find_owner};
use crate::checkpoint::{Store, StoreError};
use crate::config::Config;
use crate::kafka::owner::{Owner, unix_ms};
use crate::shown::ShownPath;
use crate::state_file;

/// Why an id cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// There is no id to take over.
    #[error("only an agent with 'delivery = exactly_once' has its id for itself")]
    NoNeed,
    /// The state folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No broker said it.
    #[error("no broker says who has the id: see 'logagent check'")]
    NoAnswer,
    /// The file for the next start cannot be written.
    #[error("'{}': {error}", ShownPath(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Who has the id, and the locked state folder. Shown as what it means.
#[derive(Debug)]
pub struct Adopt {
    agent: String,
    owner: Option<Owner>,
    state_dir: PathBuf,
    _store: Store,
}

impl Adopt {
    /// Asks the brokers who has the id of this agent, which must not run.
    pub fn prepare(config: Config) -> Result<Adopt, AdoptError> {
        if config.kafka.exactly_once.is_none() {
            return Err(AdoptError::NoNeed);
        }
        let store = Store::open(&config.agent.state_dir)?;
        let config = Arc::new(config);
        let owner = find_owner(&config).ok_or(AdoptError::NoAnswer)?;
        let me = Owner::this_process(0, unix_ms());
        Ok(Adopt {
            agent: agent_id(&config),
            owner: owner.filter(|owner| owner.excludes(&me, unix_ms())),
            state_dir: config.agent.state_dir.clone(),
            _store: store,
        })
    }

    /// Whether somebody else has the id.
    pub fn is_needed(&self) -> bool {
        self.owner.is_some()
    }

    /// Writes down for the next start whom the id may be taken away from.
    pub fn apply(self) -> Result<(), AdoptError> {
        let machine = self.owner.map(|owner| owner.machine).unwrap_or_default();
        state_file::replace(&self.state_dir, FILE, machine.as_bytes()).map_err(|error| {
            AdoptError::Write {
                path: self.state_dir.join(FILE),
                error,
            }
        })
    }
}

impl fmt::Display for Adopt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agent = &self.agent;
        match &self.owner {
            Some(owner) => write!(
                f,
                "agent id '{agent}' is in use by {}\n  if that agent runs, the start of this one ends it",
                owner.at(unix_ms())
            ),
            None => write!(
                f,
                "no other machine has agent id '{agent}': start the agent"
            ),
        }
    }
}

/// The machine that an operator has the id taken away from.
pub(super) fn adopted(state_dir: &Path) -> Option<String> {
    let machine = fs::read_to_string(state_dir.join(FILE)).ok()?;
    Some(machine.trim().to_owned())
}

/// It was taken over.
pub(super) fn forget_adopted(state_dir: &Path) {
    let _ = fs::remove_file(state_dir.join(FILE));
}

const FILE: &str = "adopted";
