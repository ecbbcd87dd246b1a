//! logagent follows log files and delivers every line to Apache Kafka.
//!
//! # Words
//! - **Tailer**: what follows one path, on a thread of its own unless it is parked. **Source**: one file identity, from one opening on.
//! - **Batch**: consecutive events of one source. **Span**: the file bytes that a batch covers.
//! - **Record batch**: Kafka's wire format v2.
//! - **Checkpoint**: identity of a source and the offset up to which everything is acknowledged.
//!   **Registrar**: the thread that moves them. **Lag**: bytes in the file past the checkpoint.
//! - **Lost bytes**: bytes that went away unread.
//!
//! # Flow
//! ```text
//! file -> Tailer -> Batch -> channel -> Producer -> Kafka -> ack -> Registrar -> checkpoints file
//! ```
//! Uses go one way: `main -> agent -> {tail, output, kafka, checkpoint} -> {batch, config, ...}`. `tail`,
//! `kafka` and `checkpoint` never import each other. [`agent`] builds the channels and the threads.
//!
//! # Traps
//! - inotify tells what may have happened, never what has: see [`tail`].
//! - A file's bytes are counted in the [`budget`] from before they are read until Kafka has them.
//! - Nothing but [`progress::Progress::Acked`] moves a checkpoint, and [`progress::Progress::Skipped`] over what is a hole.

#![forbid(unsafe_code)]

pub mod agent;
mod backoff;
pub mod batch;
pub mod budget;
pub mod buffer;
pub mod cases;
pub mod checkpoint;
pub mod command_line;
pub mod condition;
pub mod config;
pub mod control;
pub mod deadline;
#[doc(hidden)]
pub mod fuzz;
pub mod identity;
pub mod kafka;
pub mod log_writer;
mod memory;
pub mod metrics;
mod nearest;
pub mod output;
mod partitioner;
pub mod progress;
mod progress_bar;
pub mod record;
pub mod resolve;
mod rights;
pub mod shown;
pub mod snapshot;
pub mod tail;
pub mod tailer_handle;
pub mod verify;
