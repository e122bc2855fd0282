//! Estimators for autograd: a proposal is evaluated, and its gradient is put into the graph.

use candle_core::{Tensor, Var};

use super::{EstimatorState, Evaluation, Proposal, Weight};
use crate::op::with_gradient;
use crate::{Error, Result, Temperature};

/// A loss as a function of a sample: takes `(batch, n_latents, n_categories)`, returns `(batch,)`.
///
/// An estimator may call it several times and with relaxed samples; it must be the same function
/// each time, and each element's loss must depend on that element's sample only.
pub type Loss<'a, E> = dyn FnMut(&Tensor) -> std::result::Result<Tensor, E> + 'a;

/// A loss at a sample, ready for the backward pass.
#[derive(Clone, Debug)]
pub struct Objective {
    /// The loss, `(batch,)`, for reporting: no gradient. Where an estimator has several points it is their weighted
    /// sum: the mean of samples, and the exact expectation where every code is enumerated.
    pub loss: Tensor,
    /// `(batch,)`, of the same value. Its backward pass gives the estimator's gradient to the logits, and the
    /// ordinary gradient of `loss` to everything else the loss depends on, such as a decoder's weights.
    pub surrogate: Tensor,
}

/// Evaluates the loss at every point.
pub(super) fn objective<E: From<Error>>(
    name: &'static str,
    proposal: Proposal,
    (logits, tau): (&Tensor, &Temperature),
    state: &mut EstimatorState,
    f: &mut Loss<'_, E>,
) -> std::result::Result<Objective, E> {
    if let Some(z) = proposal.node(name, logits, tau) {
        let surrogate = evaluate(f, &z?)?;
        return Ok(Objective { loss: surrogate.detach(), surrogate });
    }
    let (mut losses, mut evaluations) = (Vec::new(), Vec::new());
    for point in proposal.points() {
        let (loss, gradient) = if point.wants_gradient {
            let z = Var::from_tensor(&point.z).map_err(Error::from)?;
            let loss = evaluate(f, z.as_tensor())?;
            let gradient = gradient(&loss, &z)?;
            (loss, Some(gradient))
        } else {
            (evaluate(f, &point.z.contiguous().map_err(Error::from)?)?, None)
        };
        evaluations.push(Evaluation { loss: loss.detach(), gradient });
        losses.push((loss, &point.weight));
    }
    let loss = weighted_sum(&losses)?;
    let d_logits = proposal.combine(&evaluations, state)?;
    let surrogate = with_gradient(name, &loss, [&loss, logits], move |_, _, grad| {
        Ok([Some(grad.clone()), Some(weigh(&d_logits, grad)?)])
    })?;
    Ok(Objective { loss: loss.detach(), surrogate })
}

/// The expected loss; a point of no weight is left out, with its graph.
fn weighted_sum(losses: &[(Tensor, &Weight)]) -> Result<Tensor> {
    let (mut terms, mut weights) = (Vec::new(), Vec::new());
    for (loss, weight) in losses {
        weights.push(match weight {
            Weight::Uniform(0.0) => continue,
            Weight::Uniform(weight) => Tensor::full(*weight, loss.shape(), loss.device())?,
            Weight::PerRow(weights) => weights.clone(),
        });
        terms.push(loss);
    }
    match terms.as_slice() {
        [loss] => Ok((*loss).clone()),
        // One sum, not a chain of them: backward passes go down a chain by recursion.
        losses => {
            let losses = Tensor::stack(losses, 1)?;
            let weights = Tensor::stack(&weights, 1)?.to_dtype(losses.dtype())?;
            Ok((losses * weights)?.sum(1)?)
        }
    }
}

/// Calls the loss and checks that it returns one value per element of the batch.
fn evaluate<E: From<Error>>(f: &mut Loss<'_, E>, z: &Tensor) -> std::result::Result<Tensor, E> {
    let loss = f(z)?;
    let batch = z.dims()[0];
    if loss.dims() != [batch] {
        return Err(Error::ShapeMismatch {
            what: "the loss",
            got: loss.dims().to_vec(),
            expected: vec![batch],
        }
        .into());
    }
    Ok(loss)
}

/// `d Σ loss / d z`, zero when the loss does not depend on `z`.
fn gradient(loss: &Tensor, z: &Var) -> Result<Tensor> {
    match loss.sum_all()?.backward()?.remove(z) {
        Some(grad) => Ok(grad),
        None => Ok(z.zeros_like()?),
    }
}

/// `x * weights`, one weight per element of the batch: `(batch, …) * (batch,)`.
pub(super) fn weigh(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let mut dims = vec![1; x.rank()];
    dims[0] = x.dims()[0];
    let weights = weights.to_dtype(x.dtype())?.reshape(dims)?;
    Ok(x.broadcast_mul(&weights)?)
}
