//! One-hot samples whose gradient is that of the probabilities.

use candle_core::{Shape, Tensor};

use super::OneHotCategorical;
use super::shapes::expand_to_noise;
use crate::op::{one_hot_argmax, softmax};
use crate::{Generator, Result, gumbel_noise, straight_through};

/// [`OneHotCategorical`] with an `rsample`: exact one-hot samples forward, the gradient of
/// `softmax(logits)` backward (the straight-through estimator, Bengio et al. 2013).
///
/// The gradient is biased. It needs no temperature; the relaxed form with one is
/// [`RelaxedOneHotCategoricalStraightThrough`](super::RelaxedOneHotCategoricalStraightThrough).
///
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::OneHotCategoricalStraightThrough;
///
/// let logits = Var::new(&[[0f32, 1.0, -1.0]], &Device::Cpu)?;
/// let d = OneHotCategoricalStraightThrough::from_logits(&logits)?;
/// let z = d.rsample(10, &mut Generator::new(0))?;
/// let grads = (z.narrow(2, 0, 1)? * 2.0)?.sum_all()?.backward()?;
/// assert!(grads.get(&logits).is_some());
/// let entropy = d.base().entropy()?;
/// # assert_eq!(entropy.dims(), &[1]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OneHotCategoricalStraightThrough {
    base: OneHotCategorical,
}

impl OneHotCategoricalStraightThrough {
    /// From unnormalised log-probabilities; errors as [`OneHotCategorical::from_logits`].
    ///
    /// # Errors
    /// Those of [`OneHotCategorical::from_logits`].
    pub fn from_logits(logits: &Tensor) -> Result<Self> {
        Ok(Self { base: OneHotCategorical::from_logits(logits)? })
    }

    /// From probabilities, which are divided by their sum.
    ///
    /// # Errors
    /// Those of [`OneHotCategorical::from_probs`].
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        Ok(Self { base: OneHotCategorical::from_probs(probs)? })
    }

    /// The distribution of the samples, with its log-probability, entropy, moments and divergences.
    pub fn base(&self) -> &OneHotCategorical {
        &self.base
    }

    /// Draws one-hot vectors `(sample..., batch..., n_classes)` with the gradient of the probabilities.
    ///
    /// # Errors
    /// Those of candle.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let logits = &self.base.logits().wide;
        let mut dims = sample_shape.into().into_dims();
        dims.extend(logits.dims());
        self.rsample_with_noise(&gumbel_noise(dims, logits.dtype(), logits.device(), g)?)
    }

    /// The sample that Gumbel noise `(sample..., batch..., n_classes)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let hard = one_hot_argmax(&self.base.perturbed_with_noise(noise)?)?;
        let logits = self.base.logits();
        let soft = expand_to_noise(&softmax(&logits.wide, 1.0)?, noise)?;
        logits.finish(straight_through(&hard, &soft)?)
    }
}
