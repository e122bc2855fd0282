//! Samples and their gradients on slices, for training loops that keep their own buffers.

use std::sync::Arc;

use candle_core::{Device, Shape, Tensor};

use super::proposal::Pull;
use super::{Estimator, EstimatorState};
use crate::op::read_slices;
use crate::{Error, Generator, Result};

impl Estimator {
    /// Whether one sample is drawn and the gradient goes through it: straight-through and relaxed estimators, which
    /// never see the loss's value. These can be had as [`SampledRows`] too.
    pub fn is_pathwise(self) -> bool {
        use Estimator::*;
        !matches!(self, Reinforce | Rloo { .. } | DisArm | Rebar | Enumeration)
    }
}

/// The sample of an estimator that draws one and whose gradient goes through it, without tensors.
///
/// What [`Estimator::objective`] hands to the loss for f32 logits on the CPU, from the same noise, and the gradient
/// that its backward pass gives to the logits. Buffers are kept between draws.
///
/// # Example
/// ```
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::{Estimator, SampledRows};
///
/// let logits = [0.5, -1.0, 2.0];
/// let mut sample = SampledRows::default();
/// sample.draw(Estimator::ReinMax, 1.0, 3, &logits, &mut Generator::new(0))?;
/// assert_eq!(sample.values().iter().sum::<f32>(), 1.0);
///
/// let d_values = [1.0, 0.0, -1.0]; // of some loss
/// let mut d_logits = [0.0; 3];
/// sample.backward(&logits, &d_values, &mut d_logits)?;
/// assert!(d_logits.iter().any(|&d| d != 0.0));
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct SampledRows {
    values: Vec<f32>,
    pull: Option<(Arc<Pull>, Shape)>,
}

impl std::fmt::Debug for SampledRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.values.fmt(f)
    }
}

impl SampledRows {
    /// Draws a sample for each row, in place of the one drawn before.
    ///
    /// # Shapes
    /// - logits: rows of `n_classes`, one after the other.
    /// # Errors
    /// [`Error::NotPathwise`] for the estimators that are not [pathwise](Estimator::is_pathwise); those of
    /// [`Estimator::objective`].
    pub fn draw(
        &mut self,
        estimator: Estimator,
        tau: f64,
        n_classes: usize,
        logits: &[f32],
        g: &mut Generator,
    ) -> Result<()> {
        if !estimator.is_pathwise() {
            return Err(Error::NotPathwise { estimator: estimator.name() });
        }
        let shape = (logits.len() / n_classes, 1, n_classes);
        let logits = Tensor::from_slice(logits, shape, &Device::Cpu)?;
        let proposal = estimator.propose(&logits, tau, &EstimatorState::default(), g)?;
        self.values.resize(logits.elem_count(), 0.0);
        read_slices([&proposal.points()[0].z], |[z]| {
            self.values.copy_from_slice(z);
            Ok(())
        })?;
        self.pull = proposal.into_pull().map(|pull| (pull, logits.shape().clone()));
        Ok(())
    }

    /// The sample: relaxed for [`Estimator::GumbelSoftmax`], one-hot rows for the others. Empty before the first draw.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The estimator's gradient at the logits from the gradient at the sample; exactly zero for a masked class.
    ///
    /// # Shapes
    /// - logits (those of the draw), d_values, d_logits: that of the sample.
    /// # Errors
    /// [`Error::ShapeMismatch`].
    pub fn backward(&self, logits: &[f32], d_values: &[f32], d_logits: &mut [f32]) -> Result<()> {
        let z = self.values.as_slice();
        for (what, len) in
            [("logits", logits.len()), ("d_values", d_values.len()), ("d_logits", d_logits.len())]
        {
            if len != z.len() {
                return Err(Error::ShapeMismatch { what, got: vec![len], expected: vec![z.len()] });
            }
        }
        let Some((pull, shape)) = &self.pull else { return Ok(()) };
        let d_values = Tensor::from_slice(d_values, shape, &Device::Cpu)?;
        read_slices([&pull(&d_values)?], |[d]| {
            d_logits.copy_from_slice(d);
            Ok(())
        })
    }
}
