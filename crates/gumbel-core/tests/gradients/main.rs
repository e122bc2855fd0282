//! Gradients: every public function that has one, for every input, against central differences.
//!
//! The table in `table.rs` has an entry for each function. One test compares each entry's gradients,
//! in f64, with differences; another reads the crate's sources and fails when a public function is
//! missing from the table and from the list of those that carry no gradient.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod coverage;
mod differences;
mod estimators;
mod masks;
mod orders;
mod structures;
mod table;
