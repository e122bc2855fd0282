//! Where the time of a training step goes.

use std::time::{Duration, Instant};

/// Time by operation, summed over steps. A step makes a dozen clock readings for it, together far
/// below a microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// How many steps were taken.
    pub steps: u64,
    /// Layers of both networks, with bias and activation.
    pub forward: Duration,
    /// Noise, the sample, and its gradient.
    pub sampling: Duration,
    /// Likelihood and KL, with their gradients.
    pub losses: Duration,
    /// Gradients of the layers' inputs and parameters.
    pub backward: Duration,
    /// The optimiser.
    pub update: Duration,
}

/// Adds the time that `body` takes to `total`.
pub(crate) fn timed<T>(total: &mut Duration, body: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = body();
    *total += start.elapsed();
    result
}
