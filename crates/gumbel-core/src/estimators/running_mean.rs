//! An exponential mean of what was seen so far.

use serde::{Deserialize, Serialize};

/// How much of the past is kept at each update: the mean reaches back about 100 updates.
const DECAY: f64 = 0.99;

/// `Σ 0.99^age x / Σ 0.99^age`: not drawn towards zero at the start, as a plain exponential mean is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct RunningMean {
    sum: f64,
    weight: f64,
}

impl RunningMean {
    /// The mean, unless nothing was seen yet.
    pub(super) fn get(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }

    pub(super) fn update(&mut self, x: f64) {
        self.sum = DECAY * self.sum + (1.0 - DECAY) * x;
        self.weight = DECAY * self.weight + (1.0 - DECAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_its_own_mean_from_the_first_update() {
        let mut mean = RunningMean::default();
        assert_eq!(mean.get(), None);
        for _ in 0..5 {
            mean.update(3.0);
            assert!((mean.get().unwrap() - 3.0).abs() < 1e-14);
        }
    }

    #[test]
    fn the_past_fades_by_the_decay() {
        let mut mean = RunningMean::default();
        mean.update(1.0);
        mean.update(0.0);
        assert!((mean.get().unwrap() - DECAY / (1.0 + DECAY)).abs() < 1e-14);
    }
}
