//! One training step: the objective, its gradient, the update.
//!
//! Two forms. [`layers`] runs a model that is made of layers on slices: the CPU's step, for every estimator,
//! network and likelihood. [`tensors`] runs any model through candle's autograd: for other devices, for
//! models of one's own, and as the oracle of the tests.

pub(crate) mod choice;
pub(crate) mod layers;
pub(crate) mod team;
pub(crate) mod tensors;
pub(crate) mod times;

use std::time::Duration;

use gumbel_core::Generator;
use gumbel_core::estimators::{Estimator, EstimatorState};

use crate::Rescue;

/// What a step works on besides the model and its own buffers.
pub(crate) struct Request<'a> {
    /// `(batch, n_pixels)`, values in [0, 1].
    pub(crate) images: &'a [f32],
    pub(crate) batch: usize,
    pub(crate) estimator: Estimator,
    pub(crate) temperature: f64,
    /// What the estimator learns.
    pub(crate) state: &'a mut EstimatorState,
    pub(crate) noise: &'a mut Generator,
    /// For the unrelaxed objective, where the run tracks it.
    pub(crate) unrelaxed_noise: Option<&'a mut Generator>,
    pub(crate) clip_gradient_norm: Option<f64>,
    /// Told before the first parameter changes.
    pub(crate) rescue: &'a Rescue,
}

/// The value of a step's objectives before its update: means over the batch, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// Negative log-likelihood, summed over pixels.
    pub bce: f64,
    /// KL to the prior, summed over latents.
    pub kl: f64,
    /// Negative log-likelihood of the unrelaxed objective, where the run tracks it.
    pub bce_unrelaxed: Option<f64>,
    /// Time of the unrelaxed pass, which does not count as training.
    pub untimed: Duration,
}

impl StepLoss {
    /// # Errors
    /// [`Failure::NotFinite`] for the first value that is not.
    fn check(&self) -> Result<(), Failure> {
        let unrelaxed = self.bce_unrelaxed.unwrap_or_default();
        for (what, nats) in [("the loss", self.bce + self.kl), ("the unrelaxed loss", unrelaxed)] {
            if !nats.is_finite() {
                return Err(Failure::NotFinite(format!("{what} is {nats}")));
            }
        }
        Ok(())
    }
}

/// Why a step was not taken.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What is not finite, as the start of a sentence. The parameters are as they were.
    NotFinite(String),
    /// Anything else.
    Error(crate::Error),
}

impl<E: Into<crate::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}
