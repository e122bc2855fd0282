//! The exact gradient, by evaluating the loss at every code.

use candle_core::{D, Tensor};

use super::estimator::latents;
use super::objective::{Loss, Objective};
use super::rule::{Request, Rule};
use super::{Estimator, EstimatorState, Point, Proposal, Weight};
use crate::logits::Rows;
use crate::structure::{Structure, count_codes};
use crate::{Error, Generator, Result, op};

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
/// [`Error::InvalidParameter`] when there are more than [`MAX_CODES`](super::MAX_CODES) codes; those of [`reinforce`](super::reinforce).
pub fn enumeration<E: From<Error>>(
    logits: &Tensor,
    f: &mut Loss<'_, E>,
) -> std::result::Result<Objective, E> {
    let (state, g) = (&mut EstimatorState::default(), &mut Generator::new(0));
    Estimator::Enumeration.objective(state, logits, 1.0, g, f)
}

/// The sum over every code, for every structure.
#[derive(Clone, Copy)]
pub(super) struct Enumeration;

impl Rule for Enumeration {
    const NAME: &'static str = "enumeration";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = false;
    const IS_UNBIASED: bool = true;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        request.structure.check(request.logits)?;
        let codes = request.structure.codes(request.logits)?;
        let (n_codes, logits) = (codes.dim(0)?, request.logits);
        let probs = probabilities(&**request.structure, logits, &codes)?;
        let (by_code, batch) = (probs.t()?.contiguous()?, logits.dim(0)?);
        let mut points = Vec::with_capacity(n_codes);
        for code in 0..n_codes {
            let z = codes.narrow(0, code, 1)?.broadcast_as(logits.shape())?;
            points.push(Point::new(z, Weight::PerRow(by_code.get(code)?)));
        }
        let shape = logits.shape().clone();
        Ok(Proposal::new(points, move |evaluations, _| {
            let losses: Vec<Tensor> = evaluations.iter().map(|e| e.loss.clone()).collect();
            let losses = Tensor::stack(&losses, 1)?.to_dtype(probs.dtype())?;
            let expected = (&probs * &losses)?.sum_keepdim(1)?;
            // Σ p f (z - μ) = Σ p (f - E f) z: the marginals μ drop out.
            let weights = (probs * losses.broadcast_sub(&expected)?)?;
            let codes = codes.reshape((n_codes, shape.elem_count() / batch.max(1)))?;
            Ok(weights.matmul(&codes)?.reshape(shape)?)
        }))
    }
}

/// `exp(⟨θ, z⟩ - A(θ))`, of shape `(batch, n_codes)`.
fn probabilities(structure: &dyn Structure, logits: &Tensor, codes: &Tensor) -> Result<Tensor> {
    let (batch, n_codes) = (logits.dim(0)?, codes.dim(0)?);
    let event = codes.elem_count() / n_codes;
    let codes = codes.reshape((n_codes, event))?.t()?;
    let flat = logits.reshape((batch, event))?;
    let forbidden = flat.eq(f64::NEG_INFINITY)?;
    let scores = forbidden.where_cond(&flat.zeros_like()?, &flat)?.matmul(&codes)?;
    let log_probs = scores.broadcast_sub(&structure.log_partition(logits)?.unsqueeze(1)?)?;
    let forbidden = forbidden.to_dtype(flat.dtype())?.matmul(&codes)?.gt(0.0)?;
    Ok(forbidden.where_cond(&log_probs.zeros_like()?, &log_probs.exp()?)?)
}

/// The expectation of a loss over independent categorical latents, from its values at every code.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`.
/// - losses: `(batch, n_categories ^ n_latents)`, in the order of [`all_codes`](super::all_codes), all finite.
/// - output: `(batch,)`.
/// # Gradient
/// Exact, for the logits and for the losses.
/// # Errors
/// [`Error::ShapeMismatch`]; [`Error::InvalidParameter`] when there are more than [`MAX_CODES`](super::MAX_CODES);
/// [`Error::InvalidLogit`], [`Error::AllMasked`], [`Error::UnsupportedDType`].
pub fn expected_loss(logits: &Tensor, losses: &Tensor) -> Result<Tensor> {
    latents(logits)?;
    let rows = Rows::new(logits, 2)?;
    let (batch, n_latents, n_categories) = rows.rows.dims3()?;
    let n_codes = count_codes(n_categories, n_latents)?;
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
    let probs = op::softmax(&rows.rows, 1.0)?;
    let mut expected = losses.to_dtype(probs.dtype())?;
    for latent in (0..n_latents).rev() {
        let n_left = expected.dim(1)? / n_categories;
        let table = expected.reshape((batch, n_left, n_categories))?;
        let p = probs.narrow(1, latent, 1)?.transpose(1, 2)?.contiguous()?;
        expected = table.matmul(&p)?.squeeze(D::Minus1)?;
    }
    Ok(expected.squeeze(1)?.to_dtype(losses.dtype())?)
}
