//! The learning rate over the steps of a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate changes over a run. What falls reaches 0 after the last step, so the run's length may not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LearningRateSchedule {
    /// Not at all.
    #[default]
    Constant,
    /// Along a line.
    Linear,
    /// Along half a cosine (Loshchilov & Hutter 2017, equation 5, without restarts).
    Cosine,
}

impl LearningRateSchedule {
    /// What the learning rate is multiplied with in the step after `step` of `n_steps` steps.
    pub fn factor(self, step: u64, n_steps: u64) -> f64 {
        let done = step.min(n_steps) as f64 / n_steps.max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - done,
            Self::Cosine => 0.5 * (1.0 + (PI * done).cos()),
        }
    }

    /// Whether runs of different lengths begin alike.
    pub fn is_constant(&self) -> bool {
        *self == Self::Constant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_begins_at_the_whole_rate_and_ends_at_nothing() {
        use LearningRateSchedule::{Constant, Cosine, Linear};
        for (schedule, expected) in [
            (Constant, [1.0, 1.0, 1.0, 1.0]),
            (Linear, [1.0, 0.75, 0.5, 0.0]),
            (Cosine, [1.0, 0.5 + 0.125_f64.sqrt(), 0.5, 0.0]),
        ] {
            for (step, expected) in [0, 2, 4, 8].into_iter().zip(expected) {
                let found = schedule.factor(step, 8);
                assert!((found - expected).abs() < 1e-15, "{schedule:?} {step}: {found}");
            }
        }
        assert_eq!(Linear.factor(9, 8), 0.0);
    }
}
