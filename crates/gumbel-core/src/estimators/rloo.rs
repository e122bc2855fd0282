//! REINFORCE with a leave-one-out baseline.

use candle_core::Tensor;

use super::objective::{Loss, Objective};
use super::rule::{Request, Rule};
use super::weighted_sum::weighted_sum;
use super::{Estimator, EstimatorState, Proposal};
use crate::{Error, Generator, Result};

/// The mean of `n_samples` score-function estimates, each with the mean of the *other* samples' losses as its
/// baseline: `1 / (n - 1) Σ_k (f(z_k) - f̄) ∇ ln p(z_k)` (Kool et al. 2019; Mnih and Rezende 2016).
///
/// - Bias: none, for any loss, differentiable or not.
/// - Variance: far below plain REINFORCE's, since the baseline knows the very input; it falls with `n_samples`.
/// - Cost: `n_samples` evaluations of the loss, forward and backward.
/// - τ: there is none.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`. The loss takes that and returns `(batch,)`.
/// # Gradient
/// See [`Objective`]; exactly zero for masked (`-inf`) classes.
/// # Errors
/// [`Error::InvalidParameter`] when `n_samples` is below 2; those of [`reinforce`](super::reinforce).
pub fn rloo<E: From<Error>>(
    logits: &Tensor,
    n_samples: usize,
    g: &mut Generator,
    f: &mut Loss<'_, E>,
) -> std::result::Result<Objective, E> {
    let estimator = Estimator::Rloo { samples: n_samples };
    estimator.objective(&mut EstimatorState::default(), logits, 1.0, g, f)
}

/// A score function with a leave-one-out baseline, for every structure.
#[derive(Clone, Copy)]
pub(super) struct Rloo {
    /// How many samples are drawn.
    pub(super) samples: usize,
}

impl Rule for Rloo {
    const NAME: &'static str = "rloo";
    const DEFAULT: Self = Self { samples: 4 };
    const HAS_TEMPERATURE: bool = false;
    const IS_UNBIASED: bool = true;

    fn check(self) -> Result<()> {
        if self.samples < 2 {
            let value = self.samples as f64;
            return Err(Error::InvalidParameter { name: "samples", value, must: "at least 2" });
        }
        Ok(())
    }

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let mut samples = Vec::with_capacity(self.samples);
        for _ in 0..self.samples {
            samples.push(request.structure.sample(request.logits, request.g)?);
        }
        let z = Tensor::cat(&samples, 0)?;
        Proposal::of_stack(z.clone(), self.samples, move |evaluations, _| {
            let losses: Vec<Tensor> = evaluations.iter().map(|e| e.loss.clone()).collect();
            let losses = Tensor::stack(&losses, 0)?.to_dtype(z.dtype())?;
            // ∇ ln p(z_k) = z_k - μ, and the weights sum to zero over k: the marginals μ drop out.
            let weights = losses.broadcast_sub(&losses.mean_keepdim(0)?)?;
            weighted_sum(&z, &(weights / (self.samples - 1) as f64)?)
        })
    }
}
