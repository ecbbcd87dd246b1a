//! The configuration changes in the middle of it.

use std::sync::Arc;

use super::{Asked, Run};
use crate::config::KafkaConfig;

impl Run {
    /// The configuration changes: the brokers have what was sent, or some of it, and their answers come too late.
    pub(super) fn go_over(&mut self) {
        self.machine.hold();
        // Without numbers they are waited for, as long as for any answer.
        let patience = match self.oracle.is_idempotent {
            true => self.random.usize(..30),
            false => usize::MAX,
        };
        for _ in 0..patience {
            if !self.machine.has_in_flight() {
                break;
            }
            self.any_connection_goes_on();
            self.settle();
        }
        for at in 0..self.connections.len() {
            self.handle_some(at);
            let number = self.connections[at].opened.number;
            for asked in &self.connections[at].asked {
                if let Asked::Produce(batches) = asked {
                    for sent in batches {
                        self.oracle.answers(number, sent, true);
                    }
                }
            }
        }
        self.connections.clear();
        let mut config = KafkaConfig::clone(&self.machine.config);
        config.batch_bytes = self.random.usize(200..900);
        let dial = Box::new(self.dial.clone());
        self.machine.go_over(Arc::new(config), dial, self.now);
    }
}
