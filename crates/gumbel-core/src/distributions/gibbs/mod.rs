//! The distribution of any structure: `p(z) = exp(⟨θ, z⟩ − A(θ))`.

mod divergence;
mod samples;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{DType, Shape, Tensor};

use super::Distribution;
use super::shapes::{common_dims, over_batch};
use crate::checks::{check_float, unravel};
use crate::op::{allowed, widen, with_gradient, zero_where_masked};
use crate::structure::Structure;
use crate::structure::host::values;
use crate::{Error, Generator, Result, Temperature};

pub(crate) use samples::{check_lambda, implicit_mle};

const ONE: Temperature = Temperature::Fixed(1.0);

/// A structured variable: the codes `z` of a [`Structure`] with probabilities `exp(⟨θ, z⟩ − A(θ))`.
///
/// Everything follows from the structure's kernels for the log-partition `A`, the marginals `μ` and the vector products
/// of its Hessian `H` (Wainwright and Jordan 2008):
///
/// | | value | gradient |
/// |---|---|---|
/// | [`log_partition`](Self::log_partition) | `A` | `μ` |
/// | [`marginals`](Self::marginals), the mean | `μ = E z` | `H g` |
/// | [`log_prob`](Self::log_prob) | `⟨θ, z⟩ − A` | `z − μ` |
/// | [`entropy`](Self::entropy) | `A − ⟨θ, μ⟩` | `−H θ` |
/// | [`kl_divergence`](Self::kl_divergence) | `A_q − A_p − ⟨μ_p, θ_q − θ_p⟩` | `H_p (θ_p − θ_q)` and `μ_q − μ_p` |
/// | [`rsample`](Self::rsample) | `μ((θ + G) / τ)`, or its code | `H g / τ` there |
/// | [`exact_straight_through`](Self::exact_straight_through) | an exact sample | `H g` at `θ` |
/// | [`implicit_mle`](Self::implicit_mle) | the best code of `θ + G` | the difference of two best codes |
///
/// Gradients are first order. Sums of logits are in f64, so entropies and divergences keep their digits where logits are large. A logit of
/// `-inf` forbids the codes that use it: they are never drawn, and marginal and gradient are exactly zero. Rows
/// depend neither on their neighbours nor on the number of threads.
///
/// Estimators for losses without a gradient, such as RLOO, are in [`estimators`](crate::estimators) and take every structure
/// ([`Estimator::objective_on`](crate::estimators::Estimator::objective_on)).
///
/// # Shapes
/// - logits, samples, marginals: `(batch…, event…)`. A structure knows how many dimensions its event has; for
///   categories and bits the first dimension is the batch.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::Gibbs;
/// use gumbel_core::structure::KSubset;
///
/// let logits = Tensor::new(&[[0f32, 1.0, 2.0, 0.5]], &Device::Cpu)?;
/// let d = Gibbs::new(KSubset::new(2), &logits)?;
/// let z = d.sample(100, &mut Generator::new(0))?;
/// assert_eq!(z.dims(), [100, 1, 4]);
/// assert_eq!(d.log_prob(&z)?.dims(), [100, 1]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Gibbs<S: ?Sized> {
    structure: Arc<S>,
    /// f32 or f64, with their history.
    logits: Tensor,
    dtype: DType,
    event_rank: usize,
}

impl<S: ?Sized> Clone for Gibbs<S> {
    fn clone(&self) -> Self {
        let (structure, logits) = (self.structure.clone(), self.logits.clone());
        Self { structure, logits, ..*self }
    }
}

impl<S: Structure> Gibbs<S> {
    /// The distribution with these logits, which are checked.
    ///
    /// # Errors
    /// [`Error::InvalidLogit`], [`Error::UnsupportedDType`], and those of [`Structure::check`] for masks that leave a row without any code.
    pub fn new(structure: S, logits: &Tensor) -> Result<Self> {
        Self::on(Arc::new(structure), logits)
    }
}

impl<S: Structure + ?Sized> Gibbs<S> {
    /// [`Self::new`] for a structure that is shared, or known when the program runs only.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn on(structure: Arc<S>, logits: &Tensor) -> Result<Self> {
        check_float(logits, "logits")?;
        let dtype = logits.dtype();
        let event_rank = structure.event_rank(logits).min(logits.rank());
        let this = Self { structure, logits: widen(logits)?, dtype, event_rank };
        this.structure.check(&this.flat(&this.logits)?.detach())?;
        Ok(this)
    }

    /// Which codes there are.
    pub fn structure(&self) -> &Arc<S> {
        &self.structure
    }

    /// The dimensions of independent rows.
    pub fn batch_shape(&self) -> &[usize] {
        &self.logits.dims()[..self.logits.rank() - self.event_rank]
    }

    /// The dimensions of one code.
    pub fn event_shape(&self) -> &[usize] {
        &self.logits.dims()[self.logits.rank() - self.event_rank..]
    }

    /// The logits as they were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.finish(&self.logits)
    }

    pub(crate) fn wide_logits(&self) -> &Tensor {
        &self.logits
    }

    /// A result in the dtype of the logits.
    pub(crate) fn finish(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.to_dtype(self.dtype)?)
    }

    /// `(rows, event…)`.
    fn flat(&self, x: &Tensor) -> Result<Tensor> {
        let event = self.event_shape();
        let per_row: usize = event.iter().product();
        let lead = &x.dims()[..x.rank() - event.len()];
        let rows: usize = lead.iter().product();
        debug_assert_eq!(x.elem_count(), rows * per_row);
        Ok(x.contiguous()?.reshape([&[rows], event].concat())?)
    }

    /// The inverse of [`Self::flat`], for samples of the given shape.
    fn unflat(&self, x: &Tensor, sample: &[usize]) -> Result<Tensor> {
        Ok(x.reshape([sample, self.logits.dims()].concat())?)
    }

    /// A sum over the event.
    fn sum_event(&self, x: &Tensor) -> Result<Tensor> {
        let lead = x.dims()[..x.rank() - self.event_rank].to_vec();
        let rows: usize = lead.iter().product();
        let event: usize = self.event_shape().iter().product();
        Ok(x.reshape((rows, event))?.sum(1)?.reshape(lead)?)
    }

    /// `A` of logits `(batch…, event…)`, with the gradient `μ`.
    fn log_partition_of(&self, logits: &Tensor) -> Result<Tensor> {
        let flat = self.flat(logits)?;
        let value = self.structure.log_partition(&flat.detach())?;
        let structure = self.structure.clone();
        let value = with_gradient("log-partition", value, [&flat], move |[x], _, grad| {
            let mut dims = vec![1; x.rank()];
            dims[0] = x.dims()[0];
            let mu = structure.marginals(&x.detach(), &ONE)?;
            Ok([Some(mu.broadcast_mul(&grad.reshape(dims)?)?)])
        })?;
        Ok(value.reshape(self.batch_shape())?)
    }

    /// `μ` of scores `(sample…, batch…, event…)`, with its gradient.
    fn marginals_of(&self, scores: &Tensor) -> Result<Tensor> {
        let flat = self.flat(scores)?;
        let value = self.structure.marginals(&flat.detach(), &ONE)?;
        let structure = self.structure.clone();
        let mu = with_gradient("marginals", value, [&flat], move |[x], _, grad| {
            Ok([Some(structure.marginals_vjp(&x.detach(), &ONE, grad)?)])
        })?;
        Ok(mu.reshape(scores.dims())?)
    }

    /// Logits in f64, for differences of large numbers.
    fn precise(&self) -> Result<Tensor> {
        Ok(self.logits.to_dtype(DType::F64)?)
    }

    /// The logarithm of the sum over all codes, `(batch…)`, in nats. Gradient: the marginals.
    pub fn log_partition(&self) -> Result<Tensor> {
        self.finish(&self.log_partition_of(&self.logits)?)
    }

    /// The same in f64, whatever the dtype of the logits.
    pub(crate) fn precise_log_partition(&self) -> Result<Tensor> {
        self.log_partition_of(&self.precise()?)
    }

    /// The probability of every entry to be one, `(batch…, event…)`: the mean.
    pub fn marginals(&self) -> Result<Tensor> {
        self.finish(&self.marginals_of(&self.logits)?)
    }

    /// The variance of each entry, `μ (1 − μ)`.
    pub fn variance(&self) -> Result<Tensor> {
        let mu = self.marginals_of(&self.logits)?;
        self.finish(&(&mu * mu.affine(-1.0, 1.0)?)?)
    }

    /// The log-probability of codes, in nats; `-inf`, with gradient zero, for a code that uses a masked entry.
    ///
    /// # Shapes
    /// - value: `(sample…, batch…, event…)`, or what broadcasts to it; output: `(sample…, batch…)`.
    /// # Errors
    /// [`Error::OutsideSupport`] for a value that is no code, [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let value = self.check_value("log_prob", value)?.to_dtype(DType::F64)?;
        let logits = self.precise()?;
        let masked = allowed(&logits)?.eq(0u8)?.to_dtype(DType::F64)?;
        let score = self.sum_event(&value.broadcast_mul(&zero_where_masked(&logits)?)?)?;
        let forbidden = self.sum_event(&value.broadcast_mul(&masked)?)?.gt(0.0)?;
        let log_p = score.broadcast_sub(&self.log_partition_of(&logits)?)?;
        let never = log_p.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?;
        self.finish(&forbidden.where_cond(&never, &log_p)?)
    }

    /// The value in the shape that it broadcasts to, when every row of it is a code.
    pub(crate) fn check_value(&self, what: &'static str, value: &Tensor) -> Result<Tensor> {
        check_float(value, "value")?;
        let dims = common_dims("value", value.dims(), self.logits.dims())?;
        if !dims.ends_with(self.logits.dims()) {
            let (got, expected) = (value.dims().to_vec(), self.logits.dims().to_vec());
            return Err(Error::ShapeMismatch { what: "value", got, expected });
        }
        let value = value.detach().broadcast_as(dims.as_slice())?.contiguous()?;
        let list = values(&value)?;
        let outside = |at: usize| Error::OutsideSupport {
            what,
            value: list[at],
            index: unravel(at, &dims),
            support: self.structure.support(),
        };
        if let Some(at) = list.iter().position(|&z| z != 0.0 && z != 1.0) {
            return Err(outside(at));
        }
        let (event, rows) = (self.event_shape(), self.batch_shape().iter().product::<usize>());
        let per_row: usize = event.iter().product();
        for (row, z) in list.chunks(per_row.max(1)).enumerate() {
            if let Some(at) = self.structure.misfit(row % rows.max(1), event, z) {
                return Err(outside(row * per_row + at));
            }
        }
        Ok(value)
    }

    /// The entropy, `(batch…)`, in nats.
    pub fn entropy(&self) -> Result<Tensor> {
        let logits = self.precise()?;
        let mean = (zero_where_masked(&logits)? * self.marginals_of(&logits)?)?;
        self.finish(&(self.log_partition_of(&logits)? - self.sum_event(&mean)?)?)
    }

    /// The logarithm of the number of codes that are allowed, `(batch…)`. No gradient.
    pub fn log_count(&self) -> Result<Tensor> {
        let zeros = self.logits.detach().zeros_like()?;
        let masks = zeros.affine(1.0, f64::NEG_INFINITY)?;
        let flat = allowed(&self.logits)?.where_cond(&zeros, &masks)?;
        self.finish(&self.log_partition_of(&flat)?)
    }

    /// The most probable code, the first of equals: `(batch…, event…)`. No gradient.
    pub fn mode(&self) -> Result<Tensor> {
        self.finish(&self.unflat(&self.structure.solve(&self.flat(&self.logits.detach())?)?, &[])?)
    }

    /// Every code, masked ones included: `(n_codes, batch…, event…)`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::InvalidParameter`] when there are more than [`MAX_CODES`](crate::structure::MAX_CODES).
    pub fn enumerate_support(&self) -> Result<Tensor> {
        let codes = self.structure.codes(&self.flat(&self.logits.detach())?)?;
        self.finish(&over_batch(&codes, self.batch_shape())?)
    }
}

impl<S: Structure + ?Sized> Distribution for Gibbs<S> {
    fn name(&self) -> &'static str {
        self.structure.name()
    }

    fn batch_shape(&self) -> &[usize] {
        Gibbs::batch_shape(self)
    }

    fn event_shape(&self) -> &[usize] {
        Gibbs::event_shape(self)
    }

    fn sample(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        Gibbs::sample(self, sample_shape, g)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        Gibbs::log_prob(self, value)
    }

    fn entropy(&self) -> Result<Tensor> {
        Gibbs::entropy(self)
    }

    fn mean(&self) -> Result<Tensor> {
        self.marginals()
    }

    fn variance(&self) -> Result<Tensor> {
        Gibbs::variance(self)
    }

    fn mode(&self) -> Result<Tensor> {
        Gibbs::mode(self)
    }

    fn logits(&self) -> Result<Tensor> {
        Gibbs::logits(self)
    }
}
