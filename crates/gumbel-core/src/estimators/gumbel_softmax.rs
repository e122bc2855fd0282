//! The relaxed sample: the loss sees it, and its gradient is the ordinary one.

use std::sync::Arc;

use super::Proposal;
use super::rule::{Request, Rule};
use crate::structure::Structure;
use crate::{Generator, Result, Temperature};
use candle_core::Tensor;

/// [`gumbel_softmax`](crate::gumbel_softmax): the marginals of perturbed logits, for every structure.
///
/// - Bias: the gradient is exact for the relaxed loss, which is another loss than the one at exact samples; the bias falls with τ.
/// - Variance: grows as τ falls.
/// - Cost: one evaluation of the loss.
/// - τ: 0.5 to 1. A tensor gets its gradient.
#[derive(Clone, Copy)]
pub(super) struct GumbelSoftmax;

impl Rule for GumbelSoftmax {
    const NAME: &'static str = "gumbel-softmax";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = true;
    const IS_UNBIASED: bool = false;
    const SAMPLES_ARE_EXACT: bool = false;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let noisy = Noisy::new(&request);
        let z = noisy.structure.relax(&noisy.logits, &noisy.tau, request.g)?;
        let (relaxed, again) = (z.clone(), noisy.clone());
        let pull = move |grad: &Tensor| noisy.vjp(&relaxed, grad);
        Ok(Proposal::through(z, pull).with_scores(move || again.scores()))
    }
}

/// A relaxed sample that can be drawn again from the same noise, so that only those who want a gradient pay for it.
#[derive(Clone)]
pub(super) struct Noisy {
    pub(super) structure: Arc<dyn Structure>,
    pub(super) logits: Tensor,
    pub(super) tau: Temperature,
    start: Generator,
}

impl Noisy {
    pub(super) fn new(request: &Request<'_>) -> Self {
        Self {
            structure: request.structure.clone(),
            logits: request.logits.clone(),
            tau: request.tau.clone(),
            start: request.g.clone(),
        }
    }

    /// The perturbed logits.
    pub(super) fn scores(&self) -> Result<Tensor> {
        self.structure.perturb(&self.logits, &mut self.start.clone())
    }

    pub(super) fn relaxed(&self) -> Result<Tensor> {
        self.structure.relax(&self.logits, &self.tau, &mut self.start.clone())
    }

    pub(super) fn vjp(&self, relaxed: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let mut g = self.start.clone();
        self.structure.relax_vjp(&self.logits, relaxed, &self.tau, &mut g, grad)
    }
}
