//! The native Kafka output: a client of the project's own, for brokers from 0.11 to 4.x.
//!
//! Four storeys, the highest of which has two rooms, and each uses only those below it (`tests/layers.rs` holds that):
//!
//! ```text
//!  read       wherever it is called topics read back, for who wants to know what is in them
//!  producer   producer-<k> thread   topics, partitions, batches: what goes next, what an answer changes
//!  cluster    producer-<k> thread   brokers, whom to connect to, when to ask for metadata
//!  network    broker-<k>-<id>       one connection: socket, TLS, SASL, requests out, responses in
//!  protocol   wherever it is called bytes: requests, responses, record batches, the table of error codes
//! ```
//! A producer thread and its broker threads share nothing. A `Request` goes down one channel, an `Event` comes
//! up another. Both stay short, since no connection has more than 5 unanswered requests.
//!
//! Traps:
//! - An answer may never come, and then nobody knows whether the records are in the log. They go
//!   again as the same bytes with the same sequence number, and the broker sorts it out.
//! - A broker takes *any* sequence number as the first of a producer id, so the first batch of a
//!   sequence goes alone.
//! - The response to `ApiVersions` has its own rules (KIP-511); see `protocol/api.rs`.
//! - Waiting is done on the raw socket, so nothing may be left inside rustls; see `network/tls.rs`.
//! - With `acks=0` a Produce request has no response at all.

pub(crate) mod cluster;
pub(crate) mod network;
mod own_records;
pub(crate) mod owner;
pub(crate) mod probe;
pub(crate) mod producer;
pub(crate) mod protocol;
pub(crate) mod read;
pub(crate) mod takeover;
#[cfg(test)]
pub(crate) mod testing;

#[doc(hidden)]
pub use producer::encoder::Encoder;
