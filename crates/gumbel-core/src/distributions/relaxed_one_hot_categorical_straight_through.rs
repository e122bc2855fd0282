//! One-hot samples whose gradient is that of the relaxed sample.

use candle_core::{Shape, Tensor};

use super::RelaxedOneHotCategorical;
use crate::op::one_hot_argmax;
use crate::{Generator, Result, Temperature, straight_through};

/// [`RelaxedOneHotCategorical`] rounded to one-hot vectors forward, with the relaxed sample's gradient
/// backward: straight-through Gumbel-softmax (Jang et al. 2017, section 2.2).
///
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::RelaxedOneHotCategoricalStraightThrough;
///
/// let logits = Var::new(&[[0f32, 1.0, -1.0]], &Device::Cpu)?;
/// let d = RelaxedOneHotCategoricalStraightThrough::from_logits(0.5, &logits)?;
/// let (hard, relaxed) = d.rsample_pair(10, &mut Generator::new(0))?;
/// assert_eq!(hard.sum_all()?.to_scalar::<f32>()?, 10.0);
/// let density = d.relaxed().log_prob(&relaxed)?;
/// # assert_eq!(density.dims(), &[10, 1]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RelaxedOneHotCategoricalStraightThrough {
    relaxed: RelaxedOneHotCategorical,
}

impl RelaxedOneHotCategoricalStraightThrough {
    /// From a temperature and unnormalised log-probabilities.
    ///
    /// # Errors
    /// Those of [`RelaxedOneHotCategorical::from_logits`].
    pub fn from_logits(tau: impl Into<Temperature>, logits: &Tensor) -> Result<Self> {
        Ok(Self { relaxed: RelaxedOneHotCategorical::from_logits(tau, logits)? })
    }

    /// From a temperature and probabilities, which need not sum to one.
    ///
    /// # Errors
    /// Those of [`RelaxedOneHotCategorical::from_probs`].
    pub fn from_probs(tau: impl Into<Temperature>, probs: &Tensor) -> Result<Self> {
        Ok(Self { relaxed: RelaxedOneHotCategorical::from_probs(tau, probs)? })
    }

    /// The distribution before rounding, which has the density.
    pub fn relaxed(&self) -> &RelaxedOneHotCategorical {
        &self.relaxed
    }

    /// Draws one-hot vectors `(sample..., batch..., n_classes)` with the relaxed sample's gradient.
    ///
    /// # Errors
    /// Those of candle.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        Ok(self.rsample_pair(sample_shape, g)?.0)
    }

    /// The one-hot vectors, and the relaxed sample that was rounded to them.
    ///
    /// # Errors
    /// Those of candle.
    pub fn rsample_pair(
        &self,
        sample_shape: impl Into<Shape>,
        g: &mut Generator,
    ) -> Result<(Tensor, Tensor)> {
        self.round(&self.relaxed.log_space().perturbed(sample_shape.into(), g)?)
    }

    /// The one-hot vectors that Gumbel noise `(sample..., batch..., n_classes)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        Ok(self.round(&self.relaxed.log_space().perturbed_with_noise(noise)?)?.0)
    }

    fn round(&self, perturbed: &Tensor) -> Result<(Tensor, Tensor)> {
        let soft = self.relaxed.relax(perturbed)?;
        let hard = straight_through(&one_hot_argmax(perturbed)?, &soft)?;
        let logits = self.relaxed.log_space().logits();
        Ok((logits.finish(hard)?, logits.finish(soft)?))
    }
}
