//! The integration tests: one binary, a module per behaviour.

#![allow(
    clippy::unwrap_used,
    reason = "a test that finds None or Err has failed, and the panic says where"
)]

mod alike;
mod cases;
mod check;
mod cluster;
mod command_line;
mod control_group;
mod copies;
mod delivery;
mod discovery;
mod edits;
mod error_codes;
mod faults;
mod framing;
mod hanging;
mod isolation;
mod layers;
mod limits;
mod links;
mod lost;
mod model;
mod moved;
mod names;
mod oauth;
mod operated;
mod packed;
mod parking;
mod real_kafka;
mod real_kafka_chaos;
mod real_kafka_check;
mod real_kafka_cluster;
mod real_kafka_exactly_once;
mod real_kafka_kill;
mod real_kafka_loggers;
mod real_kafka_logrotate_matrix;
mod real_kafka_many;
mod real_kafka_matrix;
mod real_kafka_records;
mod real_kafka_standing;
mod real_kafka_tenants;
mod real_kafka_verify;
mod record_keys;
mod records;
mod reload;
mod reload_told;
mod restart;
mod rights;
mod rotation;
mod screens;
mod shares;
mod standing;
mod static_binary;
mod support;
mod tenants;
