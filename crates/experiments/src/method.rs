//! Ways to get a gradient through a structured sample.

use std::sync::Arc;

use anyhow::{Error, Result};
use candle_core::Tensor;
use gumbel_core::distributions::Gibbs;
use gumbel_core::estimators::{Estimator, EstimatorState, Loss};
use gumbel_core::structure::Structure;
use gumbel_core::{Generator, Temperature};

/// What draws a sample that carries its gradient.
type Sampler<S> = fn(&Gibbs<S>, &mut Generator) -> Result<Tensor>;

/// A gradient through a sample of a structure.
pub(crate) enum Method<S> {
    /// By name, with a temperature for those that have one.
    By(Estimator, f64),
    /// The loss of what is drawn, by autograd.
    Sample(Sampler<S>),
}

impl<S: Structure> Method<S> {
    /// A loss for each row, `(batch,)`, whose gradient for the logits is the method's.
    pub(crate) fn loss(
        &self,
        q: &Gibbs<S>,
        state: &mut EstimatorState,
        g: &mut Generator,
        f: &mut Loss<'_, Error>,
    ) -> Result<Tensor> {
        match self {
            Self::Sample(sample) => f(&sample(q, g)?),
            Self::By(estimator, tau) => {
                let structure: Arc<dyn Structure> = q.structure().clone();
                let logits = (&q.logits()?, Temperature::new(*tau)?);
                Ok(estimator.objective_on(&structure, state, logits, g, f)?.surrogate)
            }
        }
    }
}
