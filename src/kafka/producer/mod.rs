//! The producer: what is sent next, and what an answer changes.
//!
//! ```text
//!             push(batch, now)                                 Dial: connections, requests
//!  channel --------------------> Machine --------------------------------------------------> brokers
//!             on_event(event, now)  |  ^                                                         |
//!                                   |  +----------------------- events <-------------------------+
//!             poll(now) -> when     v
//!                                Effects: spans that are done, records that nobody takes
//! ```
//! [`Machine`](machine::Machine) has no socket, no thread, no clock and no randomness of its own: time comes with
//! every input, random numbers from a seed, connections from a `Dial`. [`NativeOutput`]
//! gives it real ones, the dead letters and the channel to the registrar.
//!
//! | file | what it decides |
//! |---|---|
//! | `machine.rs` | the inputs, and what is due |
//! | `sending.rs` | which batches go into a request now |
//! | `answers.rs` | what an answer or its absence changes |
//! | `topic.rs` | which metadata is believed, whether the topic is parked |
//! | `placement.rs` | which partition a batch goes to |
//! | `partition.rs`, `batch.rs` | order, sequence numbers, what is in flight, which file bytes it covers |
//! | `producer_id.rs` | which producer id is good, and which sequence number is next |
//! | `introduction.rs` | that brokers are asked who they are where nothing is to be sent |
//! | `going_over.rs` | what stays and what is made anew when the configuration changes |
//! | `transaction.rs` | what belongs together: committed, aborted, and when to ask which |
//! | `transactional.rs` | what is in the transaction, and how far it is |
//! | `committing.rs` | what the machine does for it: sealed, asked, committed, sent again |
//! | `setting_apart.rs`, `quarantine.rs` | what is left out of transactions, so that the others go on |
//! | `encoder.rs` | how lines become a record batch, and how large |
//!
//! # When can a record arrive twice, or out of order?
//! With `acks = all` and idempotence never while the process lives, but for these:
//! - The brokers lose track of the producer id while an answer was lost (retention, an unclean election, a topic
//!   that is made again). The batch goes again under a new id. Once, and a WARN says so.
//! - A topic is made again while several batches are in flight: the new log takes any number as the first.
//!
//! Without idempotence, or with `acks` 1 or 0, a lost answer means that the batch is sent again, so it may be there
//! twice. The order of a file holds: one batch of a partition is in flight at a time.

pub(crate) mod answers;
pub(crate) mod batch;
pub(crate) mod committing;
pub(crate) mod dead_letter;
pub(crate) mod encoder;
mod going_over;
mod heartbeat;
mod introduction;
pub(crate) mod machine;
pub(crate) mod output;
pub(crate) mod partition;
pub(crate) mod placement;
pub(crate) mod planted;
pub(crate) mod producer_id;
mod quarantine;
pub(crate) mod sending;
mod setting_apart;
pub(crate) mod topic;
pub(crate) mod transaction;
pub(crate) mod transactional;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(crate) use output::NativeOutput;
