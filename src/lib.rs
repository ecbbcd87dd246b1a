//! logagent follows log files and delivers every line to Apache Kafka.

pub mod batch;
pub mod budget;
pub mod config;
pub mod identity;
pub mod kafka;
pub mod output;
pub mod stop;
