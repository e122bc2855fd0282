//! The Bernoulli distribution over bits.

use candle_core::{Shape, Tensor};

use super::HardAndSoft;
use super::distribution::distribution;
use super::parameters::{BitLogits, not_below_zero};
use super::shapes::{broadcast, broadcast_as, expand, expand_to_noise, over_batch, sample_dims};
use crate::checks::check_values;
use crate::gumbel_sigmoid::{hard_bits, perturb_bits};
use crate::op::{sigmoid, softplus};
use crate::{Error, Generator, Result, logistic_noise};

/// Draws 1 with probability `sigmoid(logits)`, else 0.
///
/// # Shapes
/// - logits: `(batch...)`, each element a variable; event shape `()`.
/// # Gradient
/// Of every function but `sample`, `mode` and `enumerate_support` for the logits or probabilities;
/// exactly zero at certain bits (probability 0 or 1).
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::Bernoulli;
///
/// let d = Bernoulli::from_probs(&Tensor::new(&[0f64, 0.25, 1.0], &Device::Cpu)?)?;
/// let bits = d.sample(1000, &mut Generator::new(0))?;
/// assert_eq!(bits.sum(0)?.to_vec1::<f64>()?[2], 1000.0);
/// assert_eq!(d.entropy()?.to_vec1::<f64>()?[0], 0.0);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bernoulli {
    logits: BitLogits,
}

distribution!(Bernoulli, event: |_d| &[], has: entropy mean variance mode logits);

impl Bernoulli {
    /// From log-odds, `ln p - ln(1 - p)`. A logit of `-inf` is a bit that is never set.
    ///
    /// # Errors
    /// [`Error::InvalidLogit`] (NaN, `+inf`), [`Error::UnsupportedDType`].
    pub fn from_logits(logits: &Tensor) -> Result<Self> {
        Ok(Self { logits: BitLogits::new(logits)? })
    }

    /// From probabilities in [0, 1], both ends included.
    ///
    /// # Errors
    /// [`Error::InvalidProbability`], [`Error::UnsupportedDType`].
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        Ok(Self { logits: BitLogits::from_probs(probs)? })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.logits.wide.dims()
    }

    /// The logits as they were given, or `ln p - ln(1 - p)` of the probabilities that were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.logits.finish(self.logits.wide.clone())
    }

    /// Draws exact samples, `(sample..., batch...)`.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let logits = expand(&self.logits.wide.detach(), sample_shape.into())?;
        let noise = logistic_noise(logits.shape(), logits.dtype(), logits.device(), g)?;
        self.logits.finish(hard_bits(&perturb_bits(&logits, &noise)?)?)
    }

    /// The sample that logistic noise `(sample..., batch...)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn sample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let logits = expand_to_noise(&self.logits.wide.detach(), noise)?;
        self.logits.finish(hard_bits(&perturb_bits(&logits, noise)?)?)
    }

    /// `v ln p + (1 - v) ln(1 - p)`, from logits, with `0 · -inf = 0`; a value between 0 and 1 gives
    /// its negated cross entropy.
    ///
    /// # Shapes
    /// - value: broadcasts against `(batch...)`; output: the common shape.
    /// # Gradient
    /// For the logits `v - sigmoid(logits)`, for the value the logits.
    /// # Errors
    /// [`Error::OutsideSupport`] for a value outside [0, 1], [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        check_bits(value, "Bernoulli::log_prob")?;
        let logits = &self.logits.wide;
        let (value, logits) = broadcast(&value.to_dtype(logits.dtype())?, logits)?;
        let set = times_cost(&value, &softplus(&logits.neg()?)?)?;
        let unset = times_cost(&value.affine(-1.0, 1.0)?, &softplus(&logits)?)?;
        self.logits.finish((set + unset)?.neg()?)
    }

    /// The entropy, `(batch...)`, in nats.
    pub fn entropy(&self) -> Result<Tensor> {
        let logits = &self.logits.wide;
        let (p, not_p) = (sigmoid(logits)?, sigmoid(&logits.neg()?)?);
        let set = times_cost(&p, &softplus(&logits.neg()?)?)?;
        let unset = times_cost(&not_p, &softplus(logits)?)?;
        self.logits.finish((set + unset)?)
    }

    /// The probability of a one, `(batch...)`.
    pub fn mean(&self) -> Result<Tensor> {
        self.logits.finish(sigmoid(&self.logits.wide)?)
    }

    /// `p (1 - p)`, `(batch...)`, without cancellation.
    pub fn variance(&self) -> Result<Tensor> {
        let logits = &self.logits.wide;
        self.logits.finish((sigmoid(logits)? * sigmoid(&logits.neg()?)?)?)
    }

    /// The more probable bit, 0 when both are equal: `(batch...)`.
    pub fn mode(&self) -> Result<Tensor> {
        self.logits.finish(hard_bits(&self.logits.wide)?)
    }

    /// `KL(self || other)`, in nats; `+inf` where `other` excludes a bit that `self` allows.
    ///
    /// # Shapes
    /// The logits of the two broadcast against each other.
    /// # Errors
    /// [`Error::ShapeMismatch`].
    pub fn kl_divergence(&self, other: &Self) -> Result<Tensor> {
        let logits = &self.logits.wide;
        let other = other.logits.wide.to_dtype(logits.dtype())?;
        let (l, m) = broadcast_as("the other distribution", logits, &other)?;
        // p (ln p - ln q) + (1 - p) (ln(1 - p) - ln(1 - q)), each from its own softplus.
        let side = |l: &Tensor, m: &Tensor| -> Result<Tensor> {
            let p = sigmoid(l)?;
            let impossible = p.detach().eq(0.0)?;
            let ratio = (softplus(&m.neg()?)? - softplus(&l.neg()?)?)?;
            let ratio = impossible.where_cond(&l.zeros_like()?, &ratio)?;
            Ok((p * ratio)?)
        };
        let kl = (side(&l, &m)? + side(&l.neg()?, &m.neg()?)?)?;
        self.logits.finish(not_below_zero(&kl)?)
    }

    /// The divergence from a fair coin, `(batch...)`, in nats: `ln 2 - entropy`.
    pub fn kl_to_uniform(&self) -> Result<Tensor> {
        let logits = &self.logits.wide;
        let side = |l: &Tensor| -> Result<Tensor> {
            let gain = softplus(&l.neg()?)?.affine(-1.0, std::f64::consts::LN_2)?;
            times_cost(&sigmoid(l)?, &gain)
        };
        self.logits.finish(not_below_zero(&(side(logits)? + side(&logits.neg()?)?)?)?)
    }

    /// Both bits: `(2, batch...)`.
    pub fn enumerate_support(&self) -> Result<Tensor> {
        let bits = Tensor::new(&[0f32, 1.0], self.logits.wide.device())?;
        over_batch(&bits.to_dtype(self.logits.dtype)?, self.batch_shape())
    }
}

impl HardAndSoft for Bernoulli {
    fn noise(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        let logits = &self.logits.wide;
        logistic_noise(sample_dims(sample_shape, logits), logits.dtype(), logits.device(), g)
    }

    fn hard_and_soft(&self, noise: &Tensor) -> Result<(Tensor, Tensor)> {
        let hard = self.sample_with_noise(noise)?;
        Ok((hard, expand_to_noise(&self.mean()?, noise)?))
    }
}

pub(super) fn check_bits(value: &Tensor, what: &'static str) -> Result<()> {
    let support = "the interval [0, 1]";
    let bad = |value, index| Error::OutsideSupport { what, value, index, support };
    check_values(value, "value", |v| (0.0..=1.0).contains(&v), bad)
}

/// `w x`, where a weight of zero makes an infinite `x` a constant: `0 · inf = 0` in value and gradient.
fn times_cost(w: &Tensor, x: &Tensor) -> Result<Tensor> {
    let unused = (w.detach().eq(0.0)? * x.detach().abs()?.eq(f64::INFINITY)?)?;
    let safe = unused.where_cond(&x.zeros_like()?, x)?;
    Ok((w * safe)?)
}
