//! Straight-through Gumbel-softmax: the exact sample, with the gradient of the relaxed one.

use super::Proposal;
use super::gumbel_softmax::Noisy;
use super::rule::{Request, Rule};
use crate::Result;
use candle_core::Tensor;

/// [`gumbel_softmax`](crate::gumbel_softmax) with `hard` (Jang et al. 2017, section 2.2): the solution of perturbed
/// logits, with the gradient of their marginals, for every structure.
///
/// - Bias: first order: exact at most where the loss is linear.
/// - Variance: grows as τ falls.
/// - Cost: one evaluation of the loss. The relaxed sample is drawn in the backward pass, from the same noise.
/// - τ: 0.3 to 0.7. A tensor gets the gradient of the relaxed sample.
#[derive(Clone, Copy)]
pub(super) struct StGumbelSoftmax;

impl Rule for StGumbelSoftmax {
    const NAME: &'static str = "st-gumbel-softmax";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = true;
    const IS_UNBIASED: bool = false;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let noisy = Noisy::new(&request);
        let z = noisy.structure.perturb_and_solve(&noisy.logits, request.g)?;
        let again = noisy.clone();
        let pull = move |grad: &Tensor| noisy.vjp(&noisy.relaxed()?, grad);
        Ok(Proposal::through(z, pull).with_scores(move || again.scores()))
    }
}
