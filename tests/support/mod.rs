//! What the tests stand on.
//!
//! ```text
//! env.rs           a folder per test, an ini builder, verbs on files, what arrived
//! agent.rs         the agent as a real process
//! broker/          an in-process Kafka cluster that checks what it receives and fails on command
//! kafka.rs         a real Kafka, for what only the real one can judge
//! secured.rs       a real Kafka with TLS and SASL
//! proxy.rs         between the agent and a real Kafka, to make the network fail; one for each of many agents
//! ledger.rs        numbered lines, what became of them on the disk and at the broker, and the judgement by the disk
//! client.rs        a minimal Kafka client, for the broker's tests and the real Kafka, and the Java client's partitioner
//! dns.rs           a name server
//! token.rs         tokens for OAUTHBEARER
//! token_endpoint.rs  gives out tokens for OAUTHBEARER
//! remote.rs        a folder without events and with failing reads, as on a network file system
//! meanwhile.rs     what becomes of the agent while something happens to its files, and who is told when that is over
//! record_batch.rs  reads a record batch, by hand, strictly
//! ```

#![allow(
    dead_code,
    reason = "a vocabulary: verbs stay when the last test that used them is rewritten"
)]

pub(crate) mod agent;
pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod env;
pub(crate) mod kafka;
pub(crate) mod ledger;
pub(crate) mod meanwhile;
pub(crate) mod proxy;
mod record_batch;
pub(crate) mod remote;
pub(crate) mod secured;
pub(crate) mod token_endpoint;
