//! The Concrete distribution on the simplex.

use candle_core::{D, DType, Shape, Tensor};

use super::ExpRelaxedOneHotCategorical;
use super::HardAndSoft;
use super::distribution::distribution;
use super::parameters::precise;
use super::shapes::{broadcast, sample_dims};
use crate::checks::check_values;
use crate::op::{one_hot_argmax, softmax};
use crate::{Error, Generator, Result, Temperature, gumbel_noise};

/// A relaxed one-hot vector, `softmax((logits + g) / τ)`: the Concrete or Gumbel-softmax distribution
/// (Maddison et al. 2017; Jang et al. 2017).
///
/// The largest coordinate is `k` with probability `softmax(logits)_k` at every temperature. Masked
/// classes are exactly 0, and the density is that of the allowed classes alone. The mean, the
/// variance and the entropy have no closed form.
///
/// # Shapes
/// - logits: `(batch..., n_classes)`; batch shape `(batch...)`, event shape `(n_classes)`.
/// - temperature: a number, or a tensor that broadcasts to `(batch..., 1)`.
/// # Gradient
/// Of `rsample` and `log_prob` for logits or probabilities and a tensor of temperatures, of
/// `log_prob` for the value.
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::RelaxedOneHotCategorical;
///
/// let logits = Var::new(&[[0f32, 1.0, -1.0]], &Device::Cpu)?;
/// let d = RelaxedOneHotCategorical::from_logits(0.5, &logits)?;
/// let y = d.rsample(10, &mut Generator::new(0))?;
/// let grads = d.log_prob(&y)?.mean_all()?.backward()?;
/// assert!(grads.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RelaxedOneHotCategorical {
    log_space: ExpRelaxedOneHotCategorical,
}

distribution!(RelaxedOneHotCategorical, event: |d| d.log_space.parameters().event_shape(), has: rsample logits);

impl RelaxedOneHotCategorical {
    /// From a temperature and unnormalised log-probabilities.
    ///
    /// # Errors
    /// Those of [`ExpRelaxedOneHotCategorical::from_logits`].
    pub fn from_logits(tau: impl Into<Temperature>, logits: &Tensor) -> Result<Self> {
        Ok(Self { log_space: ExpRelaxedOneHotCategorical::from_logits(tau, logits)? })
    }

    /// From a temperature and probabilities, which need not sum to one.
    ///
    /// # Errors
    /// Those of [`ExpRelaxedOneHotCategorical::from_probs`].
    pub fn from_probs(tau: impl Into<Temperature>, probs: &Tensor) -> Result<Self> {
        Ok(Self { log_space: ExpRelaxedOneHotCategorical::from_probs(tau, probs)? })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.log_space.batch_shape()
    }

    /// The number of classes, masked ones included: the event shape's only entry.
    pub fn n_classes(&self) -> usize {
        self.log_space.n_classes()
    }

    /// The temperature.
    pub fn temperature(&self) -> &Temperature {
        self.log_space.temperature()
    }

    /// The logits as they were given, or `ln p` of the probabilities that were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.log_space.logits()
    }

    /// The distribution of the logarithm of the samples.
    pub fn log_space(&self) -> &ExpRelaxedOneHotCategorical {
        &self.log_space
    }

    /// Draws samples `(sample..., batch..., n_classes)` with a pathwise gradient.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let perturbed = self.log_space.perturbed(sample_shape.into(), g)?;
        self.log_space.parameters().finish(self.relax(&perturbed)?)
    }

    /// The sample that Gumbel noise `(sample..., batch..., n_classes)` gives; the noise gets a gradient too.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let perturbed = self.log_space.perturbed_with_noise(noise)?;
        self.log_space.parameters().finish(self.relax(&perturbed)?)
    }

    /// [`Self::rsample`] without a gradient.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        Ok(self.rsample(sample_shape, g)?.detach())
    }

    /// `softmax(perturbed / τ)`, in the dtype it was computed in.
    pub(super) fn relax(&self, perturbed: &Tensor) -> Result<Tensor> {
        match self.temperature() {
            Temperature::Fixed(tau) => softmax(perturbed, *tau),
            Temperature::Tensor(_) => softmax(&self.log_space.scaled(perturbed)?, 1.0),
        }
    }

    /// The log-density on the simplex (Maddison et al. 2017, eq. 10; Jang et al. 2017, eq. 13), in
    /// nats: that of `ln y` in log space, less `Σ ln y`.
    ///
    /// Coordinates below the smallest positive number of the value's dtype are read as that number,
    /// and get no gradient: a sample that was rounded to the boundary has a finite density. That
    /// `Σ y = 1` is not checked.
    ///
    /// # Shapes
    /// - value: simplex vectors that broadcast against `(batch..., n_classes)`; output: the common
    ///   shape without the classes.
    /// # Errors
    /// [`Error::OutsideSupport`] for a coordinate outside [0, 1], [`Error::ShapeMismatch`],
    /// [`Error::UnsupportedDType`].
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let (what, support) = ("RelaxedOneHotCategorical::log_prob", "[0, 1]");
        let bad = |value, index| Error::OutsideSupport { what, value, index, support };
        // Rounding may carry the sum's largest coordinate past one by some units.
        check_values(value, "value", |y| (0.0..=1.0 + 1e-2).contains(&y), bad)?;
        let logits = self.log_space.parameters();
        let least = smallest_positive(value.dtype());
        let (value, wide) = broadcast(&precise(value)?, &precise(&logits.wide)?)?;
        let allowed = wide.detach().gt(f64::NEG_INFINITY)?;
        let zero = value.zeros_like()?;
        let inside = value.detach().ge(least)?;
        let log_inside = inside.where_cond(&value, &value.ones_like()?)?.log()?;
        let log_value = inside.where_cond(&log_inside, &zero.affine(1.0, least.ln())?)?;
        // A masked class is allowed no weight at all, so its zero stays one.
        let masked_zero = (allowed.eq(0u8)? * value.detach().eq(0.0)?)?;
        let log_value =
            masked_zero.where_cond(&zero.affine(1.0, f64::NEG_INFINITY)?, &log_value)?;
        let jacobian = allowed.where_cond(&log_value, &zero)?.sum(D::Minus1)?;
        let density = (self.log_space.log_density(&log_value, &wide, &allowed)? - jacobian)?;
        logits.finish(density)
    }
}

/// The smallest number above zero that samples of a dtype can have without losing digits, f16 aside,
/// where it is the smallest subnormal.
pub(super) fn smallest_positive(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 2f64.powi(-24),
        _ => f64::from(f32::MIN_POSITIVE),
    }
}

impl HardAndSoft for RelaxedOneHotCategorical {
    fn noise(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        let logits = &self.log_space.parameters().wide;
        gumbel_noise(sample_dims(sample_shape, logits), logits.dtype(), logits.device(), g)
    }

    fn hard_and_soft(&self, noise: &Tensor) -> Result<(Tensor, Tensor)> {
        // The perturbed logits decide, not the relaxed values: those can tie after rounding.
        let perturbed = self.log_space.perturbed_with_noise(noise)?;
        let logits = self.log_space.parameters();
        Ok((logits.finish(one_hot_argmax(&perturbed)?)?, logits.finish(self.relax(&perturbed)?)?))
    }
}
