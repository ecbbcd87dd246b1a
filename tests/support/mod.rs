//! What the tests stand on.
//!
//! ```text
//! broker/   an in-process Kafka cluster that checks what it receives and fails on command
//! env/      a folder per test, verbs on files, and the agent as a real process
//! kafka.rs  a real Kafka, for what only the real one can judge
//! ```

pub(crate) mod broker;
mod client;
