//! Decoupled straight-through: one temperature for sampling, another for the gradient.

use candle_core::Tensor;
use candle_core::shape::Dim;

use super::hard_sample::Draw;
use super::straight_through::StraightThrough;
use crate::{Generator, Result, Temperature};

/// Draws an exact one-hot sample of `softmax(logits / τ_f)` whose gradient is that of
/// `softmax(logits / τ_b)` (Shah et al., arXiv 2410.13331, second version, 2026: "Decoupled ST").
///
/// `forward_tau` sets how much is explored, `backward_tau` how the gradient is spread over the classes: two
/// questions to which [`categorical_straight_through`](super::categorical_straight_through) and straight-through
/// Gumbel-softmax have one answer. The paper reports its best pairs far from τ_f = τ_b. (Its first version, of 2024,
/// decouples straight-through Gumbel-softmax instead, whose gradient keeps the noise of the sample.)
///
/// Beware that at τ_f ≠ 1 the sampled distribution is no longer `softmax(logits)`: a KL term computed
/// from the logits is then that of another distribution. τ_f = 1 is
/// [`categorical_straight_through`](super::categorical_straight_through).
///
/// - Bias and variance: those of straight-through, at τ_b.
/// - Cost: one evaluation of the loss.
/// - τ: τ_f = 1 where the sampled distribution matters; τ_b from 1.3.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes.
/// # Errors
/// Those of [`categorical_straight_through`](super::categorical_straight_through), for either temperature.
pub fn decoupled_straight_through<D: Dim>(
    logits: &Tensor,
    forward_tau: f64,
    backward_tau: f64,
    dim: D,
    g: &mut Generator,
) -> Result<Tensor> {
    Temperature::new(forward_tau)?;
    Temperature::new(backward_tau)?;
    let draw = Draw::tempered(logits, forward_tau, dim, g, "decoupled-straight-through")?;
    draw.with(StraightThrough { tau: backward_tau })
}
