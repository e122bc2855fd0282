//! The `catvae` program.
fn main() {}
