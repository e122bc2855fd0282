//! Bits whose gradient is that of the relaxed sample.

use candle_core::{Shape, Tensor};

use super::RelaxedBernoulli;
use crate::gumbel_sigmoid::hard_bits;
use crate::{Generator, Result, Temperature, straight_through};

/// [`RelaxedBernoulli`] rounded to bits forward, with the relaxed sample's gradient backward.
///
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::RelaxedBernoulliStraightThrough;
///
/// let logits = Var::new(&[0f32, 1.0, -1.0], &Device::Cpu)?;
/// let d = RelaxedBernoulliStraightThrough::from_logits(0.5, &logits)?;
/// let bits = d.rsample(10, &mut Generator::new(0))?;
/// assert!(bits.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RelaxedBernoulliStraightThrough {
    relaxed: RelaxedBernoulli,
}

impl RelaxedBernoulliStraightThrough {
    /// From a temperature and log-odds.
    ///
    /// # Errors
    /// Those of [`RelaxedBernoulli::from_logits`].
    pub fn from_logits(tau: impl Into<Temperature>, logits: &Tensor) -> Result<Self> {
        Ok(Self { relaxed: RelaxedBernoulli::from_logits(tau, logits)? })
    }

    /// From a temperature and probabilities in [0, 1].
    ///
    /// # Errors
    /// Those of [`RelaxedBernoulli::from_probs`].
    pub fn from_probs(tau: impl Into<Temperature>, probs: &Tensor) -> Result<Self> {
        Ok(Self { relaxed: RelaxedBernoulli::from_probs(tau, probs)? })
    }

    /// The distribution before rounding, which has the density.
    pub fn relaxed(&self) -> &RelaxedBernoulli {
        &self.relaxed
    }

    /// Draws bits `(sample..., batch...)` with the relaxed sample's gradient.
    ///
    /// # Errors
    /// Those of candle.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        Ok(self.rsample_pair(sample_shape, g)?.0)
    }

    /// The bits, and the relaxed sample that was rounded to them.
    ///
    /// # Errors
    /// Those of candle.
    pub fn rsample_pair(
        &self,
        sample_shape: impl Into<Shape>,
        g: &mut Generator,
    ) -> Result<(Tensor, Tensor)> {
        self.round(&self.relaxed.logit_space().perturbed(sample_shape.into(), g)?)
    }

    /// The bits that logistic noise `(sample..., batch...)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        Ok(self.round(&self.relaxed.logit_space().perturbed_with_noise(noise)?)?.0)
    }

    fn round(&self, perturbed: &Tensor) -> Result<(Tensor, Tensor)> {
        let soft = self.relaxed.relax(perturbed)?;
        let hard = straight_through(&hard_bits(perturbed)?, &soft)?;
        let logits = self.relaxed.logit_space().logits();
        Ok((logits.finish(hard)?, logits.finish(soft)?))
    }
}
