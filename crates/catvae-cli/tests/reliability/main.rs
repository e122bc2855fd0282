//! What a run promises when things go wrong, held against real processes and real faults. The same
//! against the library: the tests of `catvae-train`. The table: `docs/reliability.md`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

mod configurations;
mod faults;
mod injected;
mod kills;
mod place;
mod readers;
mod signals;
mod starts;
mod strangers;
mod streams;
mod threads;
mod trace;
