//! The Concrete distribution in log space.

use candle_core::{D, DType, Shape, Tensor};

use super::distribution::distribution;
use super::parameters::{
    ClassLogits, any, checked_row_temperature, log_temperature_of_rows, precise, temperature_tensor,
};
use super::shapes::{broadcast, expand, expand_to_noise};
use crate::checks::check_float;
use crate::checks::check_values;
use crate::gumbel_softmax::{broadcast_temperature, divide_by_temperature};
use crate::op::{EULER_GAMMA, digamma, ln_gamma};
use crate::op::{log_softmax, perturb, zero_where_masked};
use crate::{Error, Generator, Result, Temperature, gumbel_noise};

/// The logarithm of a relaxed one-hot sample: `log_softmax((logits + g) / τ)`, "ExpConcrete"
/// (Maddison et al. 2017, appendix C.3.2).
///
/// The form to take when densities are needed: a simplex coordinate underflows where its logarithm
/// is an ordinary number, at small temperatures and with many classes.
///
/// Masked classes have the value `-inf`, and the density is that of the allowed classes alone.
///
/// # Shapes
/// - logits: `(batch..., n_classes)`; batch shape `(batch...)`, event shape `(n_classes)`.
/// - temperature: a number, or a tensor that broadcasts to `(batch..., 1)`.
/// # Gradient
/// Of `rsample` and `log_prob` for logits or probabilities and a tensor of temperatures, of
/// `log_prob` for the value, of `entropy` for the temperatures.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::ExpRelaxedOneHotCategorical;
///
/// let logits = Tensor::zeros((2, 1000), candle_core::DType::F32, &Device::Cpu)?;
/// let d = ExpRelaxedOneHotCategorical::from_logits(0.1, &logits)?;
/// let x = d.rsample(3, &mut Generator::new(0))?;
/// assert!(d.log_prob(&x)?.flatten_all()?.to_vec1::<f32>()?.iter().all(|l| l.is_finite()));
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExpRelaxedOneHotCategorical {
    logits: ClassLogits,
    tau: Temperature,
}

distribution!(ExpRelaxedOneHotCategorical, event: |d| d.logits.event_shape(), has: rsample entropy logits);

impl ExpRelaxedOneHotCategorical {
    /// From a temperature and unnormalised log-probabilities.
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`], [`Error::ShapeMismatch`] for the temperature, [`Error::InvalidLogit`],
    /// [`Error::AllMasked`], [`Error::TooFewClasses`], [`Error::UnsupportedDType`].
    pub fn from_logits(tau: impl Into<Temperature>, logits: &Tensor) -> Result<Self> {
        Self::new(tau.into(), ClassLogits::new(logits)?)
    }

    /// From a temperature and probabilities, which need not sum to one.
    ///
    /// # Errors
    /// [`Error::InvalidProbability`], and those of [`Self::from_logits`].
    pub fn from_probs(tau: impl Into<Temperature>, probs: &Tensor) -> Result<Self> {
        Self::new(tau.into(), ClassLogits::from_probs(probs)?)
    }

    fn new(tau: Temperature, logits: ClassLogits) -> Result<Self> {
        let tau = checked_row_temperature(tau, &logits)?;
        Ok(Self { logits, tau })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.logits.batch_shape()
    }

    /// The number of classes, masked ones included: the event shape's only entry.
    pub fn n_classes(&self) -> usize {
        self.logits.n_classes()
    }

    /// The temperature.
    pub fn temperature(&self) -> &Temperature {
        &self.tau
    }

    /// The logits as they were given, or `ln p` of the probabilities that were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.logits.finish(self.logits.wide.clone())
    }

    pub(super) fn parameters(&self) -> &ClassLogits {
        &self.logits
    }

    /// Draws samples `(sample..., batch..., n_classes)` with a pathwise gradient.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let scaled = self.scaled(&self.perturbed(sample_shape.into(), g)?)?;
        self.logits.finish(log_softmax(&scaled)?)
    }

    /// The sample that Gumbel noise `(sample..., batch..., n_classes)` gives; the noise gets a gradient too.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let scaled = self.scaled(&self.perturbed_with_noise(noise)?)?;
        self.logits.finish(log_softmax(&scaled)?)
    }

    /// [`Self::rsample`] without a gradient.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        Ok(self.rsample(sample_shape, g)?.detach())
    }

    /// Logits plus fresh Gumbel noise, up to a constant per row.
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

    /// Perturbed logits divided by the temperature.
    pub(super) fn scaled(&self, perturbed: &Tensor) -> Result<Tensor> {
        match &self.tau {
            Temperature::Fixed(tau) => Ok((perturbed / *tau)?),
            Temperature::Tensor(tau) => {
                let tau = broadcast_temperature(&tau.to_dtype(perturbed.dtype())?, perturbed)?;
                divide_by_temperature(perturbed, &tau)
            }
        }
    }

    /// The log-density in log space (Maddison et al. 2017, eq. 26), in nats:
    /// `lnΓ(K) + (K-1) ln τ + Σ_k (s_k - ln Σ e^s)` with `s = logits - τ x` and `K` the number of
    /// allowed classes.
    ///
    /// `-inf` for a vector that gives a masked class some weight. That `Σ e^x = 1` is not checked.
    ///
    /// # Shapes
    /// - value: log-simplex vectors that broadcast against `(batch..., n_classes)`; output: the
    ///   common shape without the classes.
    /// # Errors
    /// [`Error::OutsideSupport`] for NaN, `+inf`, or `-inf` at a class that is allowed,
    /// [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        check_float(value, "value")?;
        let (value, logits) = broadcast(&precise(value)?, &precise(&self.logits.wide)?)?;
        let allowed = logits.detach().gt(f64::NEG_INFINITY)?;
        let checked = allowed.where_cond(&value.detach(), &value.zeros_like()?)?;
        let support = "the log-simplex, finite at every allowed class";
        let what = "ExpRelaxedOneHotCategorical::log_prob";
        let bad = |value, index| Error::OutsideSupport { what, value, index, support };
        check_values(&checked, "value", f64::is_finite, bad)?;
        self.logits.finish(self.log_density(&value, &logits, &allowed)?)
    }

    /// The log-density of a value of the logits' shape, which is finite wherever `allowed`.
    pub(super) fn log_density(
        &self,
        value: &Tensor,
        logits: &Tensor,
        allowed: &Tensor,
    ) -> Result<Tensor> {
        let zero = value.zeros_like()?;
        let masked = zero.affine(1.0, f64::NEG_INFINITY)?;
        let x = allowed.where_cond(value, &zero)?;
        let l = allowed.where_cond(logits, &zero)?;
        let score = (l - x.broadcast_mul(&temperature_tensor(&self.tau, &x)?)?)?;
        let score = allowed.where_cond(&score, &masked)?;
        let shape = zero_where_masked(&log_softmax(&score)?)?.sum(D::Minus1)?;
        let density = (shape + self.log_scale(allowed, logits.dtype())?)?;

        let weighs_masked = allowed.where_cond(&masked, &value.detach())?.gt(f64::NEG_INFINITY)?;
        let outside = any(&weighs_masked)?;
        let nothing = density.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?;
        Ok(outside.where_cond(&nothing, &density)?)
    }

    /// `lnΓ(K) + (K-1) ln τ` for each row, with `K` its number of allowed classes.
    fn log_scale(&self, allowed: &Tensor, dtype: DType) -> Result<Tensor> {
        let n_allowed = allowed.to_dtype(dtype)?.sum(D::Minus1)?;
        let log_tau = log_temperature_of_rows(&self.tau, &n_allowed)?;
        Ok((ln_gamma(&n_allowed)? + n_allowed.affine(1.0, -1.0)? * log_tau)?)
    }

    /// The differential entropy in log space, `(batch...)`, in nats:
    /// `K (ψ(K) + γ) - lnΓ(K) - (K-1) ln τ`, with `K` the number of allowed classes.
    ///
    /// It does not depend on the logits: `s_k` above is `-g_k` up to a constant, and the sum of
    /// `e^(-g_k)` is a gamma variable, whose expected logarithm is `ψ(K)`.
    ///
    /// # Gradient
    /// For a tensor of temperatures; there is none for the logits.
    /// # Errors
    /// Those of candle.
    pub fn entropy(&self) -> Result<Tensor> {
        let logits = &self.logits.wide;
        let allowed = logits.detach().gt(f64::NEG_INFINITY)?;
        let n_allowed = allowed.to_dtype(logits.dtype())?.sum(D::Minus1)?;
        let disorder = (&n_allowed * digamma(&n_allowed)?.affine(1.0, EULER_GAMMA)?)?;
        self.logits.finish((disorder - self.log_scale(&allowed, logits.dtype())?)?)
    }
}
