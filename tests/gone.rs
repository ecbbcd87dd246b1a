//! What is gone is forgotten.
