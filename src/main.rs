//! The `logagent` program.
fn main() {}
