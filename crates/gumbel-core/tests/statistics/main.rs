//! Samples against their laws: a million draws or more, fixed seeds, thresholds from a stated α.
//!
//! Every check has a false-alarm probability of α = 1e-4 (the chance that a right sampler fails at a
//! fresh seed). The seeds are fixed, so a test that passes keeps passing until the sampler changes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod categories;
mod densities;
mod enumeration;
mod law;
mod noise;
mod relaxations;
