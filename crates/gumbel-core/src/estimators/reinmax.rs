//! ReinMax: second-order accurate straight-through, by Heun's method.

use candle_core::Tensor;
use candle_core::shape::Dim;

use super::rule::{ONE, Request, Rule};
use super::{Estimator, Proposal};
use crate::structure::categories::{softmax, softmax_vjp};
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
/// For the logits, exactly zero for masked (`-inf`) classes. None for a tensor of temperatures.
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
pub fn reinmax<D: Dim>(
    logits: &Tensor,
    tau: impl Into<Temperature>,
    dim: D,
    g: &mut Generator,
) -> Result<Tensor> {
    Estimator::ReinMax.sample(logits, tau, dim, g)
}

#[derive(Clone, Copy)]
pub(super) struct ReinMax;

impl Rule for ReinMax {
    const NAME: &'static str = "reinmax";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = true;
    const IS_UNBIASED: bool = false;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let categories = request.categories(Self::NAME)?;
        let tau = categories.temperature(request.tau, request.logits)?;
        request.through_sample(categories, move |logits, hard, grad| {
            let middle = ((softmax(logits, &tau)? + hard)? * 0.5)?;
            minus_half_first_order(&softmax_vjp(&middle, &ONE, grad)?, logits, grad)
        })
    }
}

/// `2 second - ½ J(π) g`, what ReinMax and ReinMax-Rao share.
pub(super) fn minus_half_first_order(
    second: &Tensor,
    logits: &Tensor,
    grad: &Tensor,
) -> Result<Tensor> {
    let first = softmax_vjp(&softmax(logits, &ONE)?, &ONE, grad)?;
    Ok(((second * 2.0)? - (first * 0.5)?)?)
}
