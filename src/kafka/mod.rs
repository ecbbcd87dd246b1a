//! The native Kafka output: a client of the project's own, for brokers from 0.11 to 4.x.
//!
//! ```text
//!  producer-<k> thread                              broker-<k>-<id> thread, one per broker
//!  NativeOutput (producer.rs)                       Connection (connection.rs)
//!    Topic (topic.rs): which partition                Transport (transport.rs): socket, handshake
//!      Partition (partition.rs): what is queued,
//!        what is in flight, in which order   --Request-->  writes it (request.rs)
//!    Cluster (cluster.rs): links, metadata    <--Event---  reads and decodes the answer (answer.rs)
//!                                                         TLS (tls.rs), who we are (sasl.rs, scram.rs,
//!                                                         token.rs with http.rs)
//! ```
//! Record batches are written by `record_batch.rs`, straight from the read buffer, and signed with
//! what `producer_id.rs` got from a broker. What an error code means is decided in `error.rs` and
//! nowhere else.
//!
//! Bounds: a connection has at most 5 requests unanswered and each about 1 MiB, so its two channels,
//! which have no limit of their own, stay short; encoded batches exist for what is in flight only;
//! all else are the raw file bytes, which the memory budget counts.
//!
//! Traps:
//! - An answer may never come, and then nobody knows whether the records are in the log. They go
//!   again as the same bytes with the same sequence number, and the broker sorts it out.
//! - A broker takes *any* sequence number as the first of a producer id, so the first batch of a
//!   numbering goes alone.
//! - The answer to `ApiVersions` has its own rules (KIP-511); see `answer.rs`.
//! - Waiting is done on the raw socket, so nothing may be left inside rustls; see `tls.rs`.
//! - With `acks=0` a Produce request has no answer at all.

pub(crate) mod cluster;
#[cfg(test)]
mod fake;
pub(crate) mod fuzz;
pub(crate) mod network;
pub(crate) mod producer;
pub(crate) mod protocol;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use producer::encoder::Encoder;
