//! logagent follows log files and delivers every line to Apache Kafka.

pub mod agent;
pub mod batch;
pub mod budget;
pub mod checkpoint;
pub mod config;
pub mod identity;
pub mod metrics;
mod once;
pub mod output;
pub mod stop;
pub mod tail;
