//! REINFORCE with a leave-one-out baseline.

use candle_core::Tensor;

use super::hard_sample::Draw;
use super::objective::{Loss, Objective, evaluate, latents, weigh};
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
    latents(logits)?;
    if n_samples < 2 {
        let value = n_samples as f64;
        return Err(Error::InvalidParameter { name: "n_samples", value, must: "at least 2" }.into());
    }
    let mut draws = Vec::with_capacity(n_samples);
    let mut losses = Vec::with_capacity(n_samples);
    for _ in 0..n_samples {
        let draw = Draw::new(logits, 2, g, "rloo")?;
        losses.push(evaluate(f, &draw.sample()?)?);
        draws.push(draw);
    }
    Ok(score(&draws, &losses)?)
}

fn score(draws: &[Draw], losses: &[Tensor]) -> Result<Objective> {
    let mean = Tensor::stack(losses, 0)?.mean(0)?;
    let mut grad = draws[0].hard.zeros_like()?;
    for (draw, loss) in draws.iter().zip(losses) {
        // ∇ ln p(z_k) = z_k - p, and the weights sum to zero over k: p drops out.
        let weight = ((loss - &mean)?.detach() / (draws.len() - 1) as f64)?;
        grad = (grad + weigh(&draw.hard, &weight)?)?;
    }
    Objective::scored(mean, &draws[0].rows, &grad)
}
