//! What becomes of the agent while something happens to its files.

use std::sync::atomic::{AtomicBool, Ordering};

use super::env::Env;

/// Where the agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    Up,
    /// Stopped in order before it happens, started afterwards.
    Stopped,
    /// It runs, and its broker is away.
    WithoutBroker,
}

impl Agent {
    /// Each of them.
    pub(crate) const ALL: [Agent; 3] = [Agent::Up, Agent::Stopped, Agent::WithoutBroker];

    /// Has `happen` happen.
    pub(crate) fn meanwhile(self, env: &mut Env, happen: impl FnOnce(&Env)) {
        match self {
            Agent::Up => happen(env),
            Agent::Stopped => {
                env.stop();
                happen(env);
                env.start();
            }
            Agent::WithoutBroker => {
                env.broker.down(1);
                happen(env);
                env.broker.up(1);
            }
        }
    }
}

/// Tells threads that go on until they are told to stop, also where a test fails meanwhile: the scope they are in would
/// wait for them for ever, and nobody would hear why.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
