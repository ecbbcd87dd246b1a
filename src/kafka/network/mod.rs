//! The connection to one broker: a socket, TLS over it, SASL before the first request, and the thread that
//! serves it. This storey knows messages and no topics.
//!
//! `transport.rs` is the byte stream, with `tls.rs` over it where the ini asks for it. `sasl.rs` logs in, with
//! SCRAM or with a token from `token.rs`, which asks its endpoint by `http.rs`. `client.rs` is all
//! that for one question after the other, `connection.rs` the thread that sends ahead. `error.rs` says why a connection could not be made or is over.

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod http;
pub(crate) mod sasl;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod transport;
