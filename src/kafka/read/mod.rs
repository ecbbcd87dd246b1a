//! Topics read back: from the first record, or a time, to the end that they had when it was asked, read_committed.
//!
//! ```text
//! places   who leads the partitions, and where each begins and ends
//! reader   one connection for each leader, answer by answer; leaders that move
//! batch    what a broker gives, taken apart
//! ```
//! Memory does not grow with the topic: for each leader there is one answer in memory and one on its way, and one
//! batch that is unpacked.

pub(crate) mod batch;
mod places;
pub(crate) mod reader;
