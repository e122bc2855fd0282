//! Streams of a run's seed: each purpose has its own, so that none moves another's draws.

/// Initial weights.
pub const INITIALISATION: u64 = 0;
/// Noise of the samples that are trained on.
pub const NOISE: u64 = 1;
/// Noise of the unrelaxed objective beside it.
pub const UNRELAXED: u64 = 2;
/// Exact samples of an evaluation: the same in every epoch, so that epochs differ by their models.
pub const EVALUATION: u64 = 3;
/// Codes of the pictures.
pub const PICTURES: u64 = 4;
/// Draws of gradients that are compared with the exact one.
pub const ESTIMATORS: u64 = 5;
