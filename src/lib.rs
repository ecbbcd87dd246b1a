//! logagent follows log files and delivers every line to Apache Kafka.
//!
//! # Words
//! - **Tailer**: what follows one path, on a thread of its own unless it is parked. **Source**: one file identity, from one opening on.
//! - **Batch**: consecutive events of one source. **Span**: the file bytes that a batch covers.
//! - **Record batch**: Kafka's wire format v2.
//! - **Checkpoint**: identity of a source and the offset up to which everything is acknowledged.
//!   **Registrar**: the thread that moves them. **Lag**: bytes of whole lines in the file past it.
//! - **Lost bytes**: bytes that went away unread.
//! - **Condition**: something that is wrong for a while, with a reason. The **board** shows those that are entered.
//!
//! # Flow
//! ```text
//! file -> Tailer -> Batch -> channel -> Producer -> Kafka -> ack -> Registrar -> checkpoints file
//! ```
//! Uses go one way: `main -> agent -> {tail, output, kafka, checkpoint} -> {batch, config, ...}`. `tail`,
//! `kafka` and `checkpoint` never import each other. [`agent`] builds the channels and the threads.
//!
//! # Layout
//! - `agent`: the channels and threads between all parts, and what the main thread does. `check` looks at everything
//!   before it runs; `control` is how a running agent is asked.
//! - `config`: one table of keys, all errors at once, then a typed configuration. `command_line`: one table of commands.
//! - `tail`: the watcher (one inotify instance), the tailers and their scheduler; which file is which: observe what
//!   lies where, plan what follows, apply it. `identity`: what a file is recognised by.
//! - `record`: lines to events, filters, masks, fields, formats; a module for each step.
//! - `kafka`: the native output in storeys: protocol, network, cluster, producer. `output`: the outputs behind a trait.
//! - `checkpoint`: acknowledged positions and the file they are kept in. `budget`: the bound of memory.
//! - `resolve`: names to addresses without the C library. `log_writer`: standard error, so that nobody waits for it.
//! - `tests/`: one integration binary, a module per behaviour; figures are in `tests/bench/FIGURES.md`.
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
pub mod certificate;
pub mod check;
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
pub mod left_out;
pub mod log_writer;
mod losses;
mod memory;
pub mod metrics;
mod nearest;
mod no_file;
pub mod output;
pub mod panics;
mod partitioner;
pub mod privileges;
mod process;
pub mod progress;
mod progress_bar;
pub mod record;
pub mod resolve;
pub mod rewinds;
mod rights;
pub mod service_manager;
pub mod shown;
pub mod snapshot;
mod state_file;
pub mod tail;
pub mod tailer_handle;
pub mod tap;
mod topic_names;
mod unreadable;
pub mod users;
pub mod verify;
mod wall_clock;
mod wildcards;
