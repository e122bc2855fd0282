//! The law of codes before an image is seen: uniform over every category.

use candle_core::{D, Tensor};
use gumbel_core::kl_to_uniform;

use crate::Result;

/// KL divergence from the posterior to the uniform prior, in nats, summed over latents:
/// `Σ_n (Σ_k q_nk ln q_nk + ln K)`, exact at saturated logits.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`; output: `(batch,)`.
///
/// # Gradient
/// With respect to the logits: `q ⊙ (ln q − Σ q ln q)`.
///
/// # Errors
/// Those of [`gumbel_core::kl_to_uniform`].
pub fn kl_to_uniform_prior(logits: &Tensor) -> Result<Tensor> {
    Ok(kl_to_uniform(logits)?.sum(D::Minus1)?)
}

/// `ln p(z)` of a code, the same for all of them: `−n_latents · ln n_categories`, in nats.
pub fn log_uniform_prior([n_latents, n_categories]: [usize; 2]) -> f64 {
    -(n_latents as f64) * (n_categories as f64).ln()
}
