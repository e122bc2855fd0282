//! The binary Concrete distribution in logit space.

use candle_core::{Shape, Tensor};

use super::distribution::distribution;
use super::parameters::{BitLogits, checked_bit_temperature, precise, temperature_tensor};
use super::shapes::{broadcast, expand, expand_to_noise};
use crate::checks::check_values;
use crate::gumbel_sigmoid::{perturb_bits, scale_bits};
use crate::op::softplus;
use crate::{Error, Generator, Result, Temperature, logistic_noise};

/// The logit of a relaxed bit, `(logits + l) / τ` with logistic noise `l`: a logistic variable of
/// location `logits / τ` and scale `1 / τ` (Maddison et al. 2017, appendix B and C.3.1).
///
/// The form to take when densities are needed: nothing rounds to the boundary here.
///
/// # Shapes
/// - logits: `(batch...)`, each element a variable; event shape `()`.
/// - temperature: a number, or a tensor that broadcasts to `(batch...)`.
/// # Gradient
/// Of every function for logits or probabilities and a tensor of temperatures (where they enter), of
/// `log_prob` for the value.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::LogitRelaxedBernoulli;
///
/// let d = LogitRelaxedBernoulli::from_logits(0.1, &Tensor::new(&[-80f32, 0.0, 80.0], &Device::Cpu)?)?;
/// let x = d.rsample(5, &mut Generator::new(0))?;
/// assert!(d.log_prob(&x)?.flatten_all()?.to_vec1::<f32>()?.iter().all(|l| l.is_finite()));
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogitRelaxedBernoulli {
    logits: BitLogits,
    tau: Temperature,
}

distribution!(LogitRelaxedBernoulli, event: |_d| &[], has: rsample entropy mean variance mode logits);

impl LogitRelaxedBernoulli {
    /// From a temperature and log-odds. A logit of `-inf` is a bit that is never set: its samples are `-inf`.
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`], [`Error::ShapeMismatch`] for the temperature,
    /// [`Error::InvalidLogit`], [`Error::UnsupportedDType`].
    pub fn from_logits(tau: impl Into<Temperature>, logits: &Tensor) -> Result<Self> {
        Self::new(tau.into(), BitLogits::new(logits)?)
    }

    /// From a temperature and probabilities in [0, 1].
    ///
    /// # Errors
    /// [`Error::InvalidProbability`], and those of [`Self::from_logits`].
    pub fn from_probs(tau: impl Into<Temperature>, probs: &Tensor) -> Result<Self> {
        Self::new(tau.into(), BitLogits::from_probs(probs)?)
    }

    fn new(tau: Temperature, logits: BitLogits) -> Result<Self> {
        let tau = checked_bit_temperature(tau, &logits)?;
        Ok(Self { logits, tau })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.logits.wide.dims()
    }

    /// The temperature.
    pub fn temperature(&self) -> &Temperature {
        &self.tau
    }

    /// The logits as they were given, or `ln p - ln(1 - p)` of the probabilities that were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.logits.finish(self.logits.wide.clone())
    }

    pub(super) fn parameters(&self) -> &BitLogits {
        &self.logits
    }

    /// Draws samples `(sample..., batch...)` with a pathwise gradient.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let perturbed = self.perturbed(sample_shape.into(), g)?;
        self.logits.finish(scale_bits(&perturbed, &self.tau)?)
    }

    /// The sample that logistic noise `(sample..., batch...)` gives; the noise gets a gradient too.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let perturbed = self.perturbed_with_noise(noise)?;
        self.logits.finish(scale_bits(&perturbed, &self.tau)?)
    }

    /// [`Self::rsample`] without a gradient.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        Ok(self.rsample(sample_shape, g)?.detach())
    }

    /// Logits plus fresh logistic noise.
    pub(super) fn perturbed(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        let logits = expand(&self.logits.wide, sample_shape)?;
        let noise = logistic_noise(logits.shape(), logits.dtype(), logits.device(), g)?;
        perturb_bits(&logits, &noise)
    }

    pub(super) fn perturbed_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        perturb_bits(&expand_to_noise(&self.logits.wide, noise)?, noise)
    }

    /// The log-density in logit space (Maddison et al. 2017, eq. 23), in nats:
    /// `ln τ - softplus(d) - softplus(-d)` with `d = τ x - logits`.
    ///
    /// # Shapes
    /// - value: real numbers that broadcast against `(batch...)`; output: the common shape.
    /// # Errors
    /// [`Error::OutsideSupport`] for a value that is not finite, [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let (what, support) = ("LogitRelaxedBernoulli::log_prob", "the real line");
        let bad = |value, index| Error::OutsideSupport { what, value, index, support };
        check_values(value, "value", f64::is_finite, bad)?;
        let (value, logits) = broadcast(&precise(value)?, &precise(&self.logits.wide)?)?;
        self.logits.finish(self.log_density(&value, &logits)?)
    }

    /// The log-density of a value of the logits' shape.
    pub(super) fn log_density(&self, value: &Tensor, logits: &Tensor) -> Result<Tensor> {
        let tau = temperature_tensor(&self.tau, value)?;
        let d = (value.broadcast_mul(&tau)? - logits)?;
        let shape = (softplus(&d)? + softplus(&d.neg()?)?)?;
        Ok(tau.log()?.broadcast_sub(&shape)?)
    }

    /// The differential entropy in logit space, `2 - ln τ`: `(batch...)`, in nats.
    ///
    /// # Gradient
    /// For a tensor of temperatures; there is none for the logits.
    /// # Errors
    /// Those of candle.
    pub fn entropy(&self) -> Result<Tensor> {
        let logits = &self.logits.wide;
        let entropy = temperature_tensor(&self.tau, logits)?.log()?.affine(-1.0, 2.0)?;
        self.logits.finish(entropy.broadcast_as(logits.shape())?.contiguous()?)
    }

    /// The mean, which is the mode too: `logits / τ`, `(batch...)`.
    pub fn mean(&self) -> Result<Tensor> {
        self.logits.finish(scale_bits(&self.logits.wide, &self.tau)?)
    }

    /// The mode, equal to the mean: `(batch...)`.
    pub fn mode(&self) -> Result<Tensor> {
        self.mean()
    }

    /// The variance, `π² / (3 τ²)`: `(batch...)`.
    pub fn variance(&self) -> Result<Tensor> {
        let logits = &self.logits.wide;
        let unit = std::f64::consts::PI.powi(2) / 3.0;
        let variance = (temperature_tensor(&self.tau, logits)?.sqr()?.recip()? * unit)?;
        self.logits.finish(variance.broadcast_as(logits.shape())?.contiguous()?)
    }
}
