//! Checkpoints: how far each source is acknowledged, in memory and on disk.
//!
//! [`registrar`] is the thread, [`tracker`] turns acknowledgements in any order into a prefix
//! without gaps, [`store`] is the file, `changes` is what is written, and `schedule` when.

mod changes;
pub mod registrar;
mod schedule;
pub mod store;
pub mod tracker;

pub use registrar::Registrar;
pub use store::{Store, StoreError};
