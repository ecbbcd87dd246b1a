//! The plan, situation by situation.
