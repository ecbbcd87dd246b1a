//! The transitions of a partition.
