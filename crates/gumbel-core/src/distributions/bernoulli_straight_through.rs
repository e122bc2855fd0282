//! Bits whose gradient is that of their probability.

use candle_core::{Shape, Tensor};

use super::Bernoulli;
use super::shapes::expand_to_noise;
use crate::op::sigmoid;
use crate::gumbel_sigmoid::{hard_bits, perturb_bits};
use crate::{Generator, Result, logistic_noise, straight_through};

/// [`Bernoulli`] with an `rsample`: exact bits forward, the gradient of `sigmoid(logits)` backward
/// (the straight-through estimator, Bengio et al. 2013). Biased; needs no temperature.
///
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::BernoulliStraightThrough;
///
/// let logits = Var::new(&[0f32, 1.0, -1.0], &Device::Cpu)?;
/// let bits = BernoulliStraightThrough::from_logits(&logits)?.rsample((), &mut Generator::new(0))?;
/// let grads = bits.sum_all()?.backward()?;
/// assert_eq!(grads.get(&logits).unwrap().to_vec1::<f32>()?[0], 0.25);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BernoulliStraightThrough {
    base: Bernoulli,
}

impl BernoulliStraightThrough {
    /// From log-odds.
    ///
    /// # Errors
    /// Those of [`Bernoulli::from_logits`].
    pub fn from_logits(logits: &Tensor) -> Result<Self> {
        Ok(Self { base: Bernoulli::from_logits(logits)? })
    }

    /// From probabilities in [0, 1].
    ///
    /// # Errors
    /// Those of [`Bernoulli::from_probs`].
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        Ok(Self { base: Bernoulli::from_probs(probs)? })
    }

    /// The distribution of the samples, with its log-probability, entropy, moments and divergences.
    pub fn base(&self) -> &Bernoulli {
        &self.base
    }

    /// Draws bits `(sample..., batch...)` with the gradient of their probabilities.
    ///
    /// # Errors
    /// Those of candle.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let logits = &self.base.logits().wide;
        let mut dims = sample_shape.into().into_dims();
        dims.extend(logits.dims());
        self.rsample_with_noise(&logistic_noise(dims, logits.dtype(), logits.device(), g)?)
    }

    /// The sample that logistic noise `(sample..., batch...)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let logits = self.base.logits();
        let wide = expand_to_noise(&logits.wide, noise)?;
        let hard = hard_bits(&perturb_bits(&wide, noise)?)?;
        logits.finish(straight_through(&hard, &sigmoid(&wide)?)?)
    }
}
