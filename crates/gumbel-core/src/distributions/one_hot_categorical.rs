//! The categorical distribution over one-hot vectors.

use candle_core::{D, Shape, Tensor};

use super::HardAndSoft;
use super::distribution::distribution;
use super::parameters::{ClassLogits, any, not_below_zero, precise};
use super::shapes::{broadcast, broadcast_as, expand, expand_to_noise, over_batch, sample_dims};
use crate::checks::check_float;
use crate::log_prob::weigh;
use crate::one_hot::positions;
use crate::op::{kl_to_uniform, log_softmax, neg_entropy, one_hot_argmax, perturb, softmax};
use crate::{Generator, Result, gumbel_noise, one_hot};

/// Draws the unit vector `e_k` with probability `softmax(logits)_k`.
///
/// # Shapes
/// - logits: `(batch..., n_classes)`; batch shape `(batch...)`, event shape `(n_classes)`.
/// # Gradient
/// Of every function but `sample`, `mode` and `enumerate_support` for the logits or probabilities.
/// For samples with a gradient see
/// [`StraightThrough`](super::StraightThrough) and [`RelaxedOneHotCategorical`](super::RelaxedOneHotCategorical).
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::OneHotCategorical;
///
/// let d = OneHotCategorical::from_logits(&Tensor::zeros((5, 3), candle_core::DType::F32, &Device::Cpu)?)?;
/// let z = d.sample(100, &mut Generator::new(0))?;
/// assert_eq!(z.dims(), &[100, 5, 3]);
/// assert_eq!(d.log_prob(&z)?.dims(), &[100, 5]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OneHotCategorical {
    logits: ClassLogits,
}

distribution!(OneHotCategorical, event: |d| d.logits.event_shape(), has: entropy mean variance mode logits);

impl OneHotCategorical {
    /// From unnormalised log-probabilities.
    ///
    /// # Errors
    /// [`Error::InvalidLogit`](crate::Error::InvalidLogit), [`Error::AllMasked`](crate::Error::AllMasked), [`Error::TooFewClasses`](crate::Error::TooFewClasses), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn from_logits(logits: &Tensor) -> Result<Self> {
        Ok(Self { logits: ClassLogits::new(logits)? })
    }

    /// From probabilities, which are divided by their sum. A probability of 0 masks its class: its gradient is exactly
    /// zero, so that it stays 0 in training.
    ///
    /// # Errors
    /// [`Error::InvalidProbability`](crate::Error::InvalidProbability), and those of [`Self::from_logits`].
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        Ok(Self { logits: ClassLogits::from_probs(probs)? })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.logits.batch_shape()
    }

    /// The number of classes, masked ones included: the event shape's only entry.
    pub fn n_classes(&self) -> usize {
        self.logits.n_classes()
    }

    /// The logits as they were given, or `ln p` of the probabilities that were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.logits.finish(self.logits.wide.clone())
    }

    pub(super) fn parameters(&self) -> &ClassLogits {
        &self.logits
    }

    /// `ln softmax(logits)`, `(batch..., n_classes)`.
    pub fn log_probs(&self) -> Result<Tensor> {
        self.logits.finish(log_softmax(&self.logits.wide)?)
    }

    /// Draws exact samples, `(sample..., batch..., n_classes)`.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let hot = one_hot_argmax(&self.perturbed(sample_shape.into(), g)?)?;
        self.logits.finish(hot)
    }

    /// The sample that Gumbel noise `(sample..., batch..., n_classes)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn sample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let hot = one_hot_argmax(&self.perturbed_with_noise(noise)?)?;
        self.logits.finish(hot)
    }

    /// Logits plus fresh Gumbel noise, up to a constant per row; their argmax is the sample.
    pub(super) fn perturbed(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        let logits = expand(&self.logits.wide, sample_shape)?;
        let noise = gumbel_noise(logits.shape(), logits.dtype(), logits.device(), g)?;
        perturb(&logits, &noise)
    }

    pub(super) fn perturbed_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        check_float(noise, "noise")?;
        let logits = expand_to_noise(&self.logits.wide, noise)?;
        perturb(&logits, &noise.to_dtype(logits.dtype())?)
    }

    /// `Σ value · ln p`: the log-probability of one-hot vectors, the negated cross entropy of relaxed ones.
    ///
    /// # Shapes
    /// - value: broadcasts against `(batch..., n_classes)`; output: the common shape without the classes.
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        check_float(value, "value")?;
        let log_probs = log_softmax(&self.logits.wide)?;
        let (value, log_probs) = broadcast(&value.to_dtype(log_probs.dtype())?, &log_probs)?;
        self.logits.finish(weigh(&value, &log_probs)?)
    }

    /// The entropy, `(batch...)`, in nats.
    pub fn entropy(&self) -> Result<Tensor> {
        self.logits.finish(neg_entropy(&self.logits.wide)?.neg()?)
    }

    /// The probabilities, `(batch..., n_classes)`.
    pub fn mean(&self) -> Result<Tensor> {
        self.logits.finish(softmax(&self.logits.wide, 1.0)?)
    }

    /// The variance of each coordinate, `p (1 - p)`: `(batch..., n_classes)`.
    pub fn variance(&self) -> Result<Tensor> {
        let p = softmax(&self.logits.wide, 1.0)?;
        // 1 - p of a class above one half is the sum of the others, which keeps its digits.
        let likely = p.detach().gt(0.5)?;
        let others = likely.where_cond(&p.zeros_like()?, &p)?.sum_keepdim(D::Minus1)?;
        let not_p = likely.where_cond(&others.broadcast_as(p.shape())?, &p.affine(-1.0, 1.0)?)?;
        self.logits.finish((p * not_p)?)
    }

    /// The most probable vector, the first of equals: `(batch..., n_classes)`.
    pub fn mode(&self) -> Result<Tensor> {
        self.logits.finish(one_hot_argmax(&self.logits.wide)?)
    }

    /// `KL(self || other)`, in nats; `+inf` where `other` masks a class that `self` allows.
    ///
    /// # Shapes
    /// The logits of the two broadcast against each other; output without the classes.
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch).
    pub fn kl_divergence(&self, other: &Self) -> Result<Tensor> {
        let log_p = log_softmax(&precise(&self.logits.wide)?)?;
        let log_q = log_softmax(&precise(&other.logits.wide)?)?;
        let (log_p, log_q) = broadcast_as("the other distribution", &log_p, &log_q)?;
        let masked = |x: &Tensor| x.detach().eq(f64::NEG_INFINITY);
        let (p_masked, q_masked) = (masked(&log_p)?, masked(&log_q)?);
        let unused = (&p_masked + &q_masked)?.gt(0u8)?;
        let zero = log_p.zeros_like()?;
        let ratio = unused.where_cond(&zero, &(&log_p - &log_q)?)?;
        let finite = (log_p.exp()? * ratio)?.sum(D::Minus1)?;
        let infinite = any(&q_masked.gt(&p_masked)?)?;
        let infinity = finite.zeros_like()?.affine(1.0, f64::INFINITY)?;
        self.logits.finish(infinite.where_cond(&infinity, &not_below_zero(&finite)?)?)
    }

    /// The divergence from the uniform distribution over all classes, `(batch...)`, in nats.
    pub fn kl_to_uniform(&self) -> Result<Tensor> {
        self.logits.finish(kl_to_uniform(&self.logits.wide)?)
    }

    /// Every unit vector, masked classes included: `(n_classes, batch..., n_classes)`.
    pub fn enumerate_support(&self) -> Result<Tensor> {
        let n = self.n_classes();
        let units = one_hot(&positions(n, self.logits.wide.device())?, n, self.logits.dtype)?;
        over_batch(&units, self.batch_shape())
    }
}

impl HardAndSoft for OneHotCategorical {
    fn noise(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        let dims = sample_dims(sample_shape, &self.logits.wide);
        gumbel_noise(dims, self.logits.wide.dtype(), self.logits.wide.device(), g)
    }

    fn hard_and_soft(&self, noise: &Tensor) -> Result<(Tensor, Tensor)> {
        let hard = self.sample_with_noise(noise)?;
        Ok((hard, expand_to_noise(&self.mean()?, noise)?))
    }
}
