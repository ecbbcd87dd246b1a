//! What the tests stand on.
//!
//! ```text
//! env.rs           a folder per test, an ini builder, verbs on files, what arrived
//! agent.rs         the agent as a real process
//! broker/          an in-process Kafka cluster that checks what it receives and fails on command
//! kafka.rs         a real Kafka, for what only the real one can judge
//! secured.rs       a real Kafka with TLS and SASL
//! proxy.rs         between the agent and a real Kafka, to make the network fail
//! proxied.rs       a real Kafka that each of many agents reaches through a proxy of its own
//! ledger.rs        numbered lines, and what became of them on the disk and at the broker
//! judge.rs         waits until nothing comes any more, and judges by the disk
//! java.rs          the Java client's partitioner
//! client.rs        a minimal Kafka client, for the two above
//! dns.rs         a name server
//! token.rs       tokens for OAUTHBEARER
//! token_endpoint.rs  gives out tokens for OAUTHBEARER
//! remote.rs        a folder without events and with failing reads, as on a network file system
//! meanwhile.rs     what becomes of the agent while something happens to its files
//! record_batch.rs  reads a record batch, by hand, strictly
//! ```

#![allow(
    dead_code,
    reason = "a vocabulary: verbs stay when the last test that used them is rewritten"
)]

pub(crate) mod agent;
pub(crate) mod broker;
mod client;
pub(crate) mod dns;
pub(crate) mod env;
pub(crate) mod java;
pub(crate) mod judge;
pub(crate) mod kafka;
pub(crate) mod ledger;
pub(crate) mod meanwhile;
pub(crate) mod proxied;
pub(crate) mod proxy;
mod record_batch;
pub(crate) mod remote;
pub(crate) mod secured;
pub(crate) mod token;
pub(crate) mod token_endpoint;
