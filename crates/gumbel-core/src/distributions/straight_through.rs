//! Exact samples with the gradient of soft ones.

use candle_core::{Shape, Tensor};

use super::Distribution;
use crate::{Generator, Result, straight_through};

/// A distribution with exact samples forward and the gradient of a soft form of them backward.
///
/// | base | value | gradient |
/// |---|---|---|
/// | [`OneHotCategorical`](super::OneHotCategorical) | one-hot vectors | of `softmax(logits)` (Bengio et al. 2013) |
/// | [`RelaxedOneHotCategorical`](super::RelaxedOneHotCategorical) | one-hot vectors | of the relaxed sample (Jang et al. 2017, section 2.2) |
/// | [`Bernoulli`](super::Bernoulli) | bits | of `sigmoid(logits)` |
/// | [`RelaxedBernoulli`](super::RelaxedBernoulli) | bits | of the relaxed sample |
///
/// The gradients are biased. Everything else is the base's: the density of a relaxed one is that of the relaxed
/// sample, which [`StraightThrough::rsample_pair`] gives beside the rounded one.
///
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::{RelaxedOneHotCategorical, StraightThrough};
///
/// let logits = Var::new(&[[0f32, 1.0, -1.0]], &Device::Cpu)?;
/// let d = StraightThrough::new(RelaxedOneHotCategorical::from_logits(0.5, &logits)?);
/// let (hard, relaxed) = d.rsample_pair(10, &mut Generator::new(0))?;
/// assert_eq!(hard.sum_all()?.to_scalar::<f32>()?, 10.0);
/// assert_eq!(d.base().log_prob(&relaxed)?.dims(), &[10, 1]);
/// assert!(hard.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StraightThrough<D> {
    base: D,
}

/// A distribution that has an exact sample and a soft one for the same noise.
pub trait HardAndSoft: Distribution {
    /// Fresh noise for samples `(sample..., batch..., event...)`.
    fn noise(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor>;

    /// The exact sample that the noise gives, a constant, and the soft one, in one shape and dtype.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    fn hard_and_soft(&self, noise: &Tensor) -> Result<(Tensor, Tensor)>;
}

impl<D: HardAndSoft> StraightThrough<D> {
    /// Exact samples of `base` with a gradient.
    pub fn new(base: D) -> Self {
        Self { base }
    }

    /// The distribution that has the density, the entropy and the moments.
    pub fn base(&self) -> &D {
        &self.base
    }

    /// Draws exact samples `(sample..., batch..., event...)` with the gradient of the soft ones.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        Ok(self.rsample_pair(sample_shape, g)?.0)
    }

    /// The exact samples, and the soft ones that their gradient is taken of.
    pub fn rsample_pair(
        &self,
        sample_shape: impl Into<Shape>,
        g: &mut Generator,
    ) -> Result<(Tensor, Tensor)> {
        self.pair(&self.base.noise(sample_shape.into(), g)?)
    }

    /// The exact samples that noise `(sample..., batch..., event...)` gives: Gumbel noise for classes, logistic
    /// noise for bits.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        Ok(self.pair(noise)?.0)
    }

    fn pair(&self, noise: &Tensor) -> Result<(Tensor, Tensor)> {
        let (hard, soft) = self.base.hard_and_soft(noise)?;
        Ok((straight_through(&hard, &soft)?, soft))
    }
}

impl<D: HardAndSoft> Distribution for StraightThrough<D> {
    fn name(&self) -> &'static str {
        self.base.name()
    }

    fn batch_shape(&self) -> &[usize] {
        self.base.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.base.event_shape()
    }

    fn sample(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        Ok(self.base.hard_and_soft(&self.base.noise(sample_shape, g)?)?.0.detach())
    }

    fn rsample(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        StraightThrough::rsample(self, sample_shape, g)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.base.log_prob(value)
    }

    fn entropy(&self) -> Result<Tensor> {
        self.base.entropy()
    }

    fn mean(&self) -> Result<Tensor> {
        self.base.mean()
    }

    fn variance(&self) -> Result<Tensor> {
        self.base.variance()
    }

    fn mode(&self) -> Result<Tensor> {
        self.base.mode()
    }

    fn logits(&self) -> Result<Tensor> {
        self.base.logits()
    }
}
