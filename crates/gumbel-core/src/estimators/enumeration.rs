//! The exact gradient, by evaluating the loss at every code.

use candle_core::{D, DType, Device, Tensor};

use super::objective::{Loss, Objective, evaluate, latents};
use crate::logits::Rows;
use crate::{Error, Result, one_hot, rowwise};

/// The largest number of codes that is enumerated.
pub const MAX_CODES: usize = 16_384;

/// The expected loss and its exact gradient, from the loss at every one of the `n_categories ^ n_latents` codes.
///
/// - Bias and variance: none.
/// - Cost: as many evaluations of the loss as there are codes, and the memory of all their graphs until the
///   backward pass.
/// - τ: there is none.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`. The loss takes that and returns `(batch,)`; it must be finite
///   at masked codes too.
/// # Gradient
/// See [`Objective`]; exactly zero for masked (`-inf`) classes.
/// # Errors
/// [`Error::InvalidParameter`] when there are more than [`MAX_CODES`] codes; those of [`reinforce`](super::reinforce).
pub fn enumeration<E: From<Error>>(
    logits: &Tensor,
    f: &mut Loss<'_, E>,
) -> std::result::Result<Objective, E> {
    let rows = latents(logits)?;
    let (batch, n_latents, n_categories) = rows.rows.dims3().map_err(Error::from)?;
    let codes = all_codes(n_latents, n_categories, logits.dtype(), logits.device())?;
    let mut losses = Vec::new();
    for code in 0..codes.dims()[0] {
        let z =
            codes.narrow(0, code, 1).and_then(|z| z.broadcast_as((batch, n_latents, n_categories)));
        let z = z.and_then(|z| z.contiguous()).map_err(Error::from)?;
        losses.push(evaluate(f, &z)?);
    }
    let losses = Tensor::stack(&losses, 1).map_err(Error::from)?;
    Ok(Objective::pathwise(expectation(&rows, &losses)?))
}

/// Every code of `n_latents` variables with `n_categories` each, as one-hot vectors; the last latent changes fastest.
///
/// # Shapes
/// - output: `(n_categories ^ n_latents, n_latents, n_categories)`.
/// # Errors
/// [`Error::InvalidParameter`] when there are more than [`MAX_CODES`].
pub fn all_codes(
    n_latents: usize,
    n_categories: usize,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let n_codes = count_codes(n_latents, n_categories)?;
    let mut indices = Vec::with_capacity(n_codes * n_latents);
    for code in 0..n_codes {
        let digit =
            |latent: usize| code / n_categories.pow((n_latents - 1 - latent) as u32) % n_categories;
        indices.extend((0..n_latents).map(|latent| digit(latent) as u32));
    }
    one_hot(&Tensor::from_vec(indices, (n_codes, n_latents), device)?, n_categories, dtype)
}

/// The expectation of a loss over independent categorical latents, from its values at every code.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`.
/// - losses: `(batch, n_categories ^ n_latents)`, in the order of [`all_codes`], all finite.
/// - output: `(batch,)`.
/// # Gradient
/// Exact, for the logits and for the losses.
/// # Errors
/// [`Error::ShapeMismatch`]; [`Error::InvalidParameter`] when there are more than [`MAX_CODES`];
/// [`Error::InvalidLogit`], [`Error::AllMasked`], [`Error::UnsupportedDType`].
pub fn expected_loss(logits: &Tensor, losses: &Tensor) -> Result<Tensor> {
    let rows = latents(logits)?;
    let (batch, n_latents, n_categories) = rows.rows.dims3()?;
    let n_codes = count_codes(n_latents, n_categories)?;
    if losses.dims() != [batch, n_codes] {
        return Err(Error::ShapeMismatch {
            what: "losses",
            got: losses.dims().to_vec(),
            expected: vec![batch, n_codes],
        });
    }
    expectation(&rows, losses)
}

/// Sums the latents out one by one, the last first: as many products as there are codes, not more.
fn expectation(rows: &Rows, losses: &Tensor) -> Result<Tensor> {
    let (batch, n_latents, n_categories) = rows.rows.dims3()?;
    let probs = rowwise::softmax(&rows.rows, 1.0)?;
    let mut expected = losses.to_dtype(probs.dtype())?;
    for latent in (0..n_latents).rev() {
        let n_left = expected.dim(1)? / n_categories;
        let table = expected.reshape((batch, n_left, n_categories))?;
        let p = probs.narrow(1, latent, 1)?.transpose(1, 2)?.contiguous()?;
        expected = table.matmul(&p)?.squeeze(D::Minus1)?;
    }
    Ok(expected.squeeze(1)?.to_dtype(losses.dtype())?)
}

fn count_codes(n_latents: usize, n_categories: usize) -> Result<usize> {
    let n_codes = u32::try_from(n_latents).ok().and_then(|n| n_categories.checked_pow(n));
    match n_codes {
        Some(n_codes) if n_codes <= MAX_CODES => Ok(n_codes),
        _ => Err(Error::InvalidParameter {
            name: "the number of codes, n_categories ^ n_latents,",
            value: (n_categories as f64).powf(n_latents as f64),
            must: "at most 16,384",
        }),
    }
}
