//! Checkpoints: how far each source is acknowledged, in memory and on disk.
//!
//! [`registrar`] is the thread, [`tracker`] turns acknowledgements in any order into a prefix
//! without gaps and knows what of it has to be written, [`store`] is the file, and `schedule` says when. `behind` knows
//! how old what is not acknowledged is, and [`positions`] are the same positions as records of a topic.

mod behind;
pub mod positions;
pub mod registrar;
pub mod rewind;
mod schedule;
pub mod store;
pub mod tracker;

pub use registrar::Registrar;
pub use store::{RunMark, Store, StoreError};
