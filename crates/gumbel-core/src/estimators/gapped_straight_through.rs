//! Gapped straight-through: the gradient of logits moved until they agree with the sample.

use candle_core::shape::Dim;
use candle_core::{D, Tensor};
use gumbel_kernels::StraightThrough;

use super::hard_sample::{self, Draw, Pullback};
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
/// For the logits, exactly zero for masked (`-inf`) classes.
/// # Errors
/// [`Error::InvalidParameter`] unless `gap` is finite and >= 0; those of
/// [`categorical_straight_through`](super::categorical_straight_through).
pub fn gapped_straight_through<D: Dim>(
    logits: &Tensor,
    tau: f64,
    gap: f64,
    dim: D,
    g: &mut Generator,
) -> Result<Tensor> {
    Temperature::new(tau)?;
    check_gap(gap)?;
    Draw::new(logits, dim, g, "gapped-straight-through")?.with(Gapped { tau, gap })
}

pub(super) fn check_gap(gap: f64) -> Result<()> {
    if !(gap.is_finite() && gap >= 0.0) {
        return Err(Error::InvalidParameter { name: "gap", value: gap, must: "finite and >= 0" });
    }
    Ok(())
}

pub(super) struct Gapped {
    pub(super) tau: f64,
    pub(super) gap: f64,
}

impl Pullback for Gapped {
    fn name(&self) -> &'static str {
        "gapped-straight-through"
    }

    fn kernel(&self) -> StraightThrough {
        StraightThrough::Gapped { temperature: self.tau as f32, gap: self.gap as f32 }
    }

    fn plain(&self, logits: &Tensor, hard: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let top = logits.max_keepdim(D::Minus1)?;
        let below = logits.broadcast_sub(&top)?.minimum(-self.gap)?;
        let moved = hard.gt(0.0)?.where_cond(&logits.zeros_like()?, &below)?;
        hard_sample::softmax_grad(&hard_sample::softmax(&moved, self.tau)?, grad, self.tau)
    }
}
