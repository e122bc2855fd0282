//! The categorical distribution over class indices.

use candle_core::{D, Shape, Tensor};

use super::distribution::distribution;
use super::one_hot_categorical::OneHotCategorical;
use super::shapes::{common_dims, over_batch};
use crate::one_hot::{checked_indices, positions};
use crate::op::{argmax, log_softmax};
use crate::{Generator, Result};

/// Draws class `k` with probability `softmax(logits)_k`; values are u32 indices.
///
/// Classes have no order, so there is no mean and no variance: for those see [`OneHotCategorical`].
///
/// # Shapes
/// - logits: `(batch..., n_classes)`; batch shape `(batch...)`, event shape `()`.
/// # Gradient
/// Of `log_prob`, `entropy` and the divergences for the logits or probabilities; samples carry none.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::Categorical;
///
/// let d = Categorical::from_probs(&Tensor::new(&[0.2f64, 0.3, 0.5], &Device::Cpu)?)?;
/// let classes = d.sample((4, 2), &mut Generator::new(0))?;
/// assert_eq!(classes.dims(), &[4, 2]);
/// let support = d.enumerate_support()?;
/// let total = d.log_prob(&support)?.exp()?.sum_all()?.to_scalar::<f64>()?;
/// assert!((total - 1.0).abs() < 1e-12);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Categorical {
    one_hot: OneHotCategorical,
}

distribution!(Categorical, event: |_d| &[], has: entropy mode logits);

impl Categorical {
    /// From unnormalised log-probabilities.
    ///
    /// # Errors
    /// [`Error::InvalidLogit`](crate::Error::InvalidLogit), [`Error::AllMasked`](crate::Error::AllMasked),
    /// [`Error::TooFewClasses`](crate::Error::TooFewClasses), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn from_logits(logits: &Tensor) -> Result<Self> {
        Ok(Self { one_hot: OneHotCategorical::from_logits(logits)? })
    }

    /// From probabilities, which are divided by their sum. A probability of 0 masks its class: its gradient is exactly
    /// zero, so that it stays 0 in training.
    ///
    /// # Errors
    /// [`Error::InvalidProbability`](crate::Error::InvalidProbability), and those of [`Self::from_logits`].
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        Ok(Self { one_hot: OneHotCategorical::from_probs(probs)? })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.one_hot.batch_shape()
    }

    /// The number of classes, masked ones included.
    pub fn n_classes(&self) -> usize {
        self.one_hot.n_classes()
    }

    /// The logits as they were given, or `ln p` of the probabilities that were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.one_hot.logits()
    }

    /// `ln softmax(logits)`, `(batch..., n_classes)`.
    pub fn log_probs(&self) -> Result<Tensor> {
        self.one_hot.log_probs()
    }

    /// `softmax(logits)`, `(batch..., n_classes)`.
    pub fn probs(&self) -> Result<Tensor> {
        self.one_hot.mean()
    }

    /// Draws exact samples: u32, `(sample..., batch...)`.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        argmax(&self.one_hot.perturbed(sample_shape.into(), g)?)
    }

    /// The sample that Gumbel noise `(sample..., batch..., n_classes)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn sample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        argmax(&self.one_hot.perturbed_with_noise(noise)?)
    }

    /// The log-probability of class indices; `-inf` for a masked class.
    ///
    /// # Shapes
    /// - value: integers that broadcast against `(batch...)`; output: the common shape.
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange), [`Error::ShapeMismatch`](crate::Error::ShapeMismatch),
    /// [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let logits = self.one_hot.parameters();
        let value = checked_indices(value, self.n_classes())?;
        let mut dims = common_dims("value", value.dims(), self.batch_shape())?;
        let value = value.broadcast_as(dims.as_slice())?.contiguous()?;
        dims.push(self.n_classes());
        let log_probs = log_softmax(&logits.wide)?.broadcast_as(dims)?.contiguous()?;
        let chosen = log_probs.gather(&value.unsqueeze(D::Minus1)?, D::Minus1)?;
        logits.finish(chosen.squeeze(D::Minus1)?)
    }

    /// The entropy, `(batch...)`, in nats.
    pub fn entropy(&self) -> Result<Tensor> {
        self.one_hot.entropy()
    }

    /// The most probable class, the first of equals: u32, `(batch...)`.
    pub fn mode(&self) -> Result<Tensor> {
        argmax(&self.one_hot.parameters().wide)
    }

    /// `KL(self || other)`, in nats; `+inf` where `other` masks a class that `self` allows.
    ///
    /// # Shapes
    /// The logits of the two broadcast against each other; output without the classes.
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch).
    pub fn kl_divergence(&self, other: &Self) -> Result<Tensor> {
        self.one_hot.kl_divergence(&other.one_hot)
    }

    /// The divergence from the uniform distribution over all classes, `(batch...)`, in nats.
    pub fn kl_to_uniform(&self) -> Result<Tensor> {
        self.one_hot.kl_to_uniform()
    }

    /// Every class index, masked ones included: u32, `(n_classes, batch...)`.
    pub fn enumerate_support(&self) -> Result<Tensor> {
        let classes = positions(self.n_classes(), self.one_hot.parameters().wide.device())?;
        over_batch(&classes, self.batch_shape())
    }
}
