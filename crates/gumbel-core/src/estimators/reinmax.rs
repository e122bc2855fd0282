//! ReinMax: second-order accurate straight-through, by Heun's method.

use candle_core::Tensor;
use candle_core::shape::Dim;
use gumbel_kernels::StraightThrough;

use super::hard_sample::{self, Draw, Pullback};
use crate::{Generator, Result, Temperature};

/// Draws an exact one-hot sample `D` with the gradient `2 J(π_D) - ½ J(π)`, where
/// `J(p) = diag p - p pᵀ`, `π = softmax(logits)` and `π_D = ½ (softmax(logits / τ) + D)`
/// (Liu et al. 2023, algorithm 2).
///
/// At τ = 1 it equals `½ [π ∘ (g - π·g) + (D - π) (g_D - π·g)]` for a gradient `g` at the sample: the mean
/// of straight-through and of a score-function estimator that uses the first-order expansion of the loss.
///
/// - Bias: none at τ = 1 for a loss that is quadratic in each latent given the others, since the
///   trapezoidal rule between two classes is exact there; of third order otherwise (theorem 3.2).
/// - Variance: somewhat above straight-through's, and bounded: no term is divided by a probability.
/// - Cost: one evaluation of the loss.
/// - τ: 1 to 1.5; τ < 1 sharpens what should be smooth and is not recommended.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes.
/// # Errors
/// Those of [`categorical_straight_through`](super::categorical_straight_through).
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::reinmax;
///
/// let logits = Var::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu)?;
/// let z = reinmax(&logits, 1.0, 1, &mut Generator::new(0))?;
/// assert!(z.to_vec2::<f32>()?[0].contains(&1.0));
/// assert!(z.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn reinmax<D: Dim>(logits: &Tensor, tau: f64, dim: D, g: &mut Generator) -> Result<Tensor> {
    Temperature::new(tau)?;
    Draw::new(logits, dim, g, "reinmax")?.with(ReinMax { tau })
}

pub(super) struct ReinMax {
    pub(super) tau: f64,
}

impl Pullback for ReinMax {
    fn name(&self) -> &'static str {
        "reinmax"
    }

    fn kernel(&self) -> StraightThrough {
        StraightThrough::ReinMax { temperature: self.tau as f32 }
    }

    fn plain(&self, logits: &Tensor, hard: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let middle = ((hard_sample::softmax(logits, self.tau)? + hard)? * 0.5)?;
        let second = hard_sample::softmax_grad(&middle, grad, 1.0)?;
        minus_half_first_order(&second, logits, grad)
    }
}

/// `2 second - ½ J(π) g`, what ReinMax and ReinMax-Rao share.
pub(super) fn minus_half_first_order(
    second: &Tensor,
    logits: &Tensor,
    grad: &Tensor,
) -> Result<Tensor> {
    let first = hard_sample::softmax_grad(&hard_sample::softmax(logits, 1.0)?, grad, 1.0)?;
    Ok(((second * 2.0)? - (first * 0.5)?)?)
}
