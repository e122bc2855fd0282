//! Fuzzes what `checks/idx.rs` says.
#![no_main]

#[path = "../checks/idx.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
