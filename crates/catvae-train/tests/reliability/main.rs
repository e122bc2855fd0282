//! What a run promises when things go wrong, each promise held against the library itself.
//! The same with real processes: the tests of `catvae-cli`. The table: `docs/reliability.md`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

mod any_config;
mod configurations;
mod corpora;
mod damage;
mod golden;
mod not_finite;
mod resume;
mod saves;
mod tiny;
