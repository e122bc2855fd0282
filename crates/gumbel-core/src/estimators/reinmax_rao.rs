//! ReinMax-Rao: ReinMax with Gumbel-Rao in place of the straight-through gradient at the midpoint.

use candle_core::Tensor;
use candle_core::shape::Dim;
use gumbel_kernels::StraightThrough;

use super::gumbel_rao::{ReservedNoise, check_draws};
use super::hard_sample::{self, Draw, Pullback};
use super::reinmax::minus_half_first_order;
use crate::{Generator, Result, Temperature};

/// Draws an exact one-hot sample `D` with the gradient `2 J̄ - ½ J(π)`: as [`reinmax`](super::reinmax), but
/// `J̄` is the mean over `draws` noises of the gradient of `softmax((ln π_D + G) / τ)`, with
/// `π_D = ½ (π + D)`, `π = softmax(logits)` and Gumbel noise `G` under which `D` is the largest
/// ("Beyond ReinMax", 2026).
///
/// - Bias: between ReinMax's and that of Gumbel-Rao at the same τ.
/// - Variance: below ReinMax's at large numbers of categories, where it trained best.
/// - Cost: one evaluation of the loss; the noises as in [`gumbel_rao`](super::gumbel_rao).
/// - τ: 0.7 to 1, with 100 draws.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes. Taken twice, it is the same twice.
/// # Errors
/// Those of [`gumbel_rao`](super::gumbel_rao).
pub fn reinmax_rao<D: Dim>(
    logits: &Tensor,
    tau: f64,
    draws: usize,
    dim: D,
    g: &mut Generator,
) -> Result<Tensor> {
    Temperature::new(tau)?;
    check_draws(draws)?;
    let draw = Draw::new(logits, dim, g, "reinmax-rao")?;
    let noise = ReservedNoise::take(&draw.rows.rows, draws, g);
    draw.with(ReinMaxRao { tau, noise })
}

pub(super) struct ReinMaxRao {
    pub(super) tau: f64,
    pub(super) noise: ReservedNoise,
}

impl Pullback for ReinMaxRao {
    fn name(&self) -> &'static str {
        "reinmax-rao"
    }

    fn kernel(&self) -> StraightThrough {
        StraightThrough::ReinMaxRao { temperature: self.tau as f32, draws: self.noise.kernel() }
    }

    fn plain(&self, logits: &Tensor, hard: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let log_middle = ((hard_sample::softmax(logits, 1.0)? + hard)? * 0.5)?.log()?;
        let second = self.noise.mean_gradient(&log_middle, hard, grad, self.tau)?;
        minus_half_first_order(&second, logits, grad)
    }
}
