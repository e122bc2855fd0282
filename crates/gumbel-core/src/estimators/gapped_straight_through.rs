//! Gapped straight-through: the gradient of logits moved until they agree with the sample.

use candle_core::Tensor;
use candle_core::shape::Dim;

use super::rule::{Request, Rule};
use super::{Estimator, Proposal};
use crate::structure::categories::{below_largest, softmax, softmax_vjp};
use crate::{Error, Generator, Result, Temperature};

/// Draws an exact one-hot sample with the gradient of `softmax((logits + m) / τ)`, where the
/// perturbation `m` is computed from the sample instead of being drawn (Fan et al. 2022, eq. 6 to 9).
///
/// `m` is a constant for the gradient. It raises the sampled class to the largest logit, and lowers
/// each other class that is then nearer than `gap` until it is `gap` below: the least change that makes
/// the sample the clear maximum, as Gumbel noise that led to it would, without its randomness. GST-1.0
/// of the paper is `gap = 1`.
///
/// - Bias: like straight-through Gumbel-softmax.
/// - Variance: given the sample nothing is random.
/// - Cost: one evaluation of the loss.
/// - τ: 0.5 to 1 (Liu et al. 2023).
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes; for a tensor of temperatures, that of the moved logits' softmax.
/// # Errors
/// [`Error::InvalidParameter`] unless `gap` is finite and >= 0; those of
/// [`categorical_straight_through`](super::categorical_straight_through).
pub fn gapped_straight_through<D: Dim>(
    logits: &Tensor,
    tau: impl Into<Temperature>,
    gap: f64,
    dim: D,
    g: &mut Generator,
) -> Result<Tensor> {
    Estimator::GappedStraightThrough { gap }.sample(logits, tau, dim, g)
}

#[derive(Clone, Copy)]
pub(super) struct GappedStraightThrough {
    /// The least distance between the sampled class and the others.
    pub(super) gap: f64,
}

impl Rule for GappedStraightThrough {
    const NAME: &'static str = "gapped-straight-through";
    const DEFAULT: Self = Self { gap: 1.0 };
    const HAS_TEMPERATURE: bool = true;
    const IS_UNBIASED: bool = false;

    fn check(self) -> Result<()> {
        if !(self.gap.is_finite() && self.gap >= 0.0) {
            let must = "finite and >= 0";
            return Err(Error::InvalidParameter { name: "gap", value: self.gap, must });
        }
        Ok(())
    }

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let categories = request.categories(Self::NAME)?;
        let tau = categories.temperature(request.tau, request.logits)?;
        let logits = request.logits.clone();
        let proposal = request.through_sample(categories, move |logits, hard, grad| {
            softmax_vjp(&softmax(&self.moved(logits, hard)?, &tau)?, &tau, grad)
        })?;
        let hard = proposal.points()[0].z.clone();
        Ok(proposal.with_scores(move || {
            let moved = self.moved(&categories.rows(&logits)?, &categories.rows(&hard)?)?;
            categories.restore(&moved)
        }))
    }
}

impl GappedStraightThrough {
    /// The moved logits, relative to the largest: 0 for the class of the sample, at most `-gap` for the others.
    fn moved(self, logits: &Tensor, hard: &Tensor) -> Result<Tensor> {
        let below = below_largest(logits)?.minimum(-self.gap)?;
        Ok(hard.gt(0.0)?.where_cond(&logits.zeros_like()?, &below)?)
    }
}
