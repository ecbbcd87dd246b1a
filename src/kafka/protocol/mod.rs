//! What goes over the wire: requests, responses, record batches, and what an error code means. No sockets
//! and no threads, only bytes.
//!
//! `api.rs` has one row for each API. `wire.rs` reads and writes single fields within bounds; `request.rs`,
//! which has both sides of SASL, and `response.rs` make messages of them, `transaction.rs` those of transactions, and
//! `fetch.rs` those that read topics. `record_batch.rs` writes record batches with `compression.rs`
//! and takes them apart. `error_code.rs` is the one table that says what an error code means.

pub(crate) mod api;
pub(crate) mod compression;
pub(crate) mod configs;
pub(crate) mod error_code;
pub(crate) mod fetch;
pub(crate) mod record_batch;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod transaction;
pub(crate) mod wire;
