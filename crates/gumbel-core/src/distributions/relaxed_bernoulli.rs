//! The binary Concrete distribution on (0, 1).

use candle_core::{DType, Shape, Tensor};

use super::HardAndSoft;
use super::LogitRelaxedBernoulli;
use super::bernoulli::check_bits;
use super::distribution::distribution;
use super::parameters::precise;
use super::relaxed_one_hot_categorical::smallest_positive;
use super::shapes::{broadcast, sample_dims};
use crate::gumbel_sigmoid::{hard_bits, scale_bits};
use crate::op::sigmoid;
use crate::{Generator, Result, Temperature, logistic_noise};

/// A relaxed bit, `sigmoid((logits + l) / τ)` with logistic noise `l`: the binary Concrete
/// distribution (Maddison et al. 2017, appendix B).
///
/// A sample is above one half with probability `sigmoid(logits)` at every temperature. The mean, the
/// variance and the entropy have no closed form.
///
/// # Shapes
/// - logits: `(batch...)`, each element a variable; event shape `()`.
/// - temperature: a number, or a tensor that broadcasts to `(batch...)`.
/// # Gradient
/// Of `rsample` and `log_prob` for logits or probabilities and a tensor of temperatures, of
/// `log_prob` for the value.
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::RelaxedBernoulli;
///
/// let logits = Var::new(&[0f32, 1.0, -1.0], &Device::Cpu)?;
/// let d = RelaxedBernoulli::from_logits(0.5, &logits)?;
/// let y = d.rsample(10, &mut Generator::new(0))?;
/// let grads = d.log_prob(&y)?.mean_all()?.backward()?;
/// assert!(grads.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RelaxedBernoulli {
    logit_space: LogitRelaxedBernoulli,
}

distribution!(RelaxedBernoulli, event: |_d| &[], has: rsample logits);

impl RelaxedBernoulli {
    /// From a temperature and log-odds.
    ///
    /// # Errors
    /// Those of [`LogitRelaxedBernoulli::from_logits`].
    pub fn from_logits(tau: impl Into<Temperature>, logits: &Tensor) -> Result<Self> {
        Ok(Self { logit_space: LogitRelaxedBernoulli::from_logits(tau, logits)? })
    }

    /// From a temperature and probabilities in [0, 1].
    ///
    /// # Errors
    /// Those of [`LogitRelaxedBernoulli::from_probs`].
    pub fn from_probs(tau: impl Into<Temperature>, probs: &Tensor) -> Result<Self> {
        Ok(Self { logit_space: LogitRelaxedBernoulli::from_probs(tau, probs)? })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.logit_space.batch_shape()
    }

    /// The temperature.
    pub fn temperature(&self) -> &Temperature {
        self.logit_space.temperature()
    }

    /// The logits as they were given, or `ln p - ln(1 - p)` of the probabilities that were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.logit_space.logits()
    }

    /// The distribution of the logit of the samples.
    pub fn logit_space(&self) -> &LogitRelaxedBernoulli {
        &self.logit_space
    }

    /// Draws samples `(sample..., batch...)` with a pathwise gradient.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let perturbed = self.logit_space.perturbed(sample_shape.into(), g)?;
        self.logit_space.parameters().finish(self.relax(&perturbed)?)
    }

    /// The sample that logistic noise `(sample..., batch...)` gives; the noise gets a gradient too.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let perturbed = self.logit_space.perturbed_with_noise(noise)?;
        self.logit_space.parameters().finish(self.relax(&perturbed)?)
    }

    /// [`Self::rsample`] without a gradient.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        Ok(self.rsample(sample_shape, g)?.detach())
    }

    /// `sigmoid(perturbed / τ)`, in the dtype it was computed in.
    pub(super) fn relax(&self, perturbed: &Tensor) -> Result<Tensor> {
        sigmoid(&scale_bits(perturbed, self.temperature())?)
    }

    /// The log-density on (0, 1) (Maddison et al. 2017, eq. 24), in nats: that of the logit of `y`,
    /// less `ln y + ln(1 - y)`.
    ///
    /// Values nearer to 0 or 1 than the numbers of their dtype reach are read as the nearest number
    /// inside, and get no gradient: a sample that was rounded to the boundary has a finite density.
    ///
    /// # Shapes
    /// - value: broadcasts against `(batch...)`; output: the common shape.
    /// # Errors
    /// [`Error::OutsideSupport`](crate::Error::OutsideSupport) outside [0, 1],
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        check_bits(value, "RelaxedBernoulli::log_prob")?;
        let logits = self.logit_space.parameters();
        let (least, most) = (smallest_positive(value.dtype()), largest_below_one(value.dtype()));
        let (value, wide) = broadcast(&precise(value)?, &precise(&logits.wide)?)?;
        let constant = |c: f64| value.zeros_like()?.affine(1.0, c);
        let inner = value.detach();
        let y = inner.lt(least)?.where_cond(&constant(least)?, &value)?;
        let y = inner.gt(most)?.where_cond(&constant(most)?, &y)?;
        let (log_y, log_not_y) = (y.log()?, y.affine(-1.0, 1.0)?.log()?);
        let density = self.logit_space.log_density(&(&log_y - &log_not_y)?, &wide)?;
        logits.finish((density - (log_y + log_not_y)?)?)
    }
}

/// The largest number below one.
fn largest_below_one(dtype: DType) -> f64 {
    let bits = match dtype {
        DType::F64 => 53,
        DType::F16 => 11,
        DType::BF16 => 8,
        _ => 24,
    };
    1.0 - 2f64.powi(-bits)
}

impl HardAndSoft for RelaxedBernoulli {
    fn noise(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        let logits = &self.logit_space.parameters().wide;
        logistic_noise(sample_dims(sample_shape, logits), logits.dtype(), logits.device(), g)
    }

    fn hard_and_soft(&self, noise: &Tensor) -> Result<(Tensor, Tensor)> {
        let perturbed = self.logit_space.perturbed_with_noise(noise)?;
        let logits = self.logit_space.parameters();
        Ok((logits.finish(hard_bits(&perturbed)?)?, logits.finish(self.relax(&perturbed)?)?))
    }
}
