//! Choosing a temperature: candidates run with the same seeds, judged by the exact objective on validation images.

pub(crate) mod budget;
pub(crate) mod candidates;
pub(crate) mod report;
pub(crate) mod rungs;
pub(crate) mod statistics;
