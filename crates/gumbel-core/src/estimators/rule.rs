//! What a file of this folder states about its estimator.

use std::any::Any;
use std::sync::Arc;

use candle_core::Tensor;

use super::{EstimatorState, Proposal};
use crate::structure::{Categories, Structure};
use crate::{Error, Generator, Result, Temperature};

/// An estimator, with its parameters as fields.
pub(super) trait Rule: Copy {
    /// The name in texts.
    const NAME: &'static str;
    /// The parameters where none are given.
    const DEFAULT: Self;
    /// Whether the temperature matters to it.
    const HAS_TEMPERATURE: bool;
    /// Whether its mean is the exact gradient for every loss.
    const IS_UNBIASED: bool;
    /// Whether the loss only ever sees exact samples.
    const SAMPLES_ARE_EXACT: bool = true;

    /// Refuses parameters that are out of their range.
    fn check(self) -> Result<()> {
        Ok(())
    }

    /// Where the loss is wanted, and what becomes of it.
    fn propose(self, request: Request<'_>) -> Result<Proposal>;
}

/// What a rule works with.
pub(super) struct Request<'a> {
    pub(super) structure: &'a Arc<dyn Structure>,
    /// f32 or f64, without a graph. Their values are not checked yet: that is done where they are first read.
    pub(super) logits: &'a Tensor,
    /// Checked; a tensor has no graph, and the dtype of the logits.
    pub(super) tau: &'a Temperature,
    pub(super) state: &'a EstimatorState,
    pub(super) g: &'a mut Generator,
}

/// τ = 1.
pub(super) const ONE: Temperature = Temperature::Fixed(1.0);

impl Request<'_> {
    pub(super) fn is<S: Structure>(&self) -> bool {
        let structure: &dyn Any = &**self.structure;
        structure.is::<S>()
    }

    /// The structure, for estimators that are made for categories.
    pub(super) fn categories(&self, estimator: &'static str) -> Result<Categories> {
        let structure: &dyn Any = &**self.structure;
        structure.downcast_ref::<Categories>().copied().ok_or_else(|| Error::UnsupportedStructure {
            estimator,
            structure: self.structure.name(),
            takes: Categories::default().name(),
        })
    }

    /// An exact sample of categories whose gradient is `pull(logits, sample, gradient at the sample)`, all with classes
    /// last and contiguous.
    pub(super) fn through_sample(
        self,
        categories: Categories,
        pull: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Proposal> {
        let z = categories.sample(self.logits, self.g)?;
        let (logits, hard) = (self.logits.clone(), z.clone());
        Ok(Proposal::through(z, move |grad| {
            let rows = |x: &Tensor| categories.rows(x);
            categories.restore(&pull(&rows(&logits)?, &rows(&hard)?, &rows(grad)?)?)
        }))
    }
}
