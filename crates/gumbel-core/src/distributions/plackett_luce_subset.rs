//! Sets of items, drawn without replacement.

use candle_core::{D, DType, Shape, Tensor};
use gumbel_kernels::{set_log_prob, set_log_ratios};

use super::distribution::distribution;
use super::plackett_luce::PlackettLuce;
use super::shapes::common_dims;
use crate::checks::{check_float, unravel};
use crate::op::with_gradient;
use crate::order::row_len;
use crate::structure::host::{on_host, values};
use crate::{Error, Generator, Result};

/// The set of the first `k` items of a [`PlackettLuce`] ranking, without its order: `k`-hot vectors. The law of Gumbel top-k
/// samples, which is not that of subsets with probability in proportion to the product of their weights.
///
/// # Shapes
/// - logits: `(batch..., n)`; event shape `(n)`.
/// # Gradient
/// Of `log_prob`, for the logits.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::distributions::PlackettLuceSubset;
///
/// let logits = Tensor::new(&[1f64, 2.0, 3.0, 4.0], &Device::Cpu)?.log()?;
/// let d = PlackettLuceSubset::from_logits(&logits, 2)?;
/// let p = d.log_prob(&Tensor::new(&[0f64, 0.0, 1.0, 1.0], &Device::Cpu)?)?.exp()?;
/// assert!((p.to_scalar::<f64>()? - 0.371_428_571_428_571_4).abs() < 1e-14);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PlackettLuceSubset {
    rankings: PlackettLuce,
    logits: Tensor,
    k: usize,
    n: [usize; 1],
}

distribution!(PlackettLuceSubset, event: |d| &d.n, has: mode logits);

impl PlackettLuceSubset {
    /// Sets of `k` items.
    ///
    /// # Errors
    /// Those of [`PlackettLuce::top`].
    pub fn from_logits(logits: &Tensor, k: usize) -> Result<Self> {
        let n = [row_len(logits, "logits")?];
        Ok(Self { rankings: PlackettLuce::top(logits, k)?, logits: logits.clone(), k, n })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.rankings.batch_shape()
    }

    /// The logits as they were given.
    pub fn logits(&self) -> Result<Tensor> {
        Ok(self.logits.clone())
    }

    /// Draws exact samples, `(sample..., batch..., n)`.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        self.hot(&self.rankings.sample(sample_shape, g)?)
    }

    /// The set that Gumbel noise `(sample..., batch..., n)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`].
    pub fn sample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        self.hot(&self.rankings.sample_with_noise(noise)?)
    }

    /// The most probable set: that of the largest logits, of equals the first.
    pub fn mode(&self) -> Result<Tensor> {
        self.hot(&self.rankings.mode()?)
    }

    /// The log-probability of sets, in nats: the sum over all orders, as one integral that is exact to about 1e-13; `-inf` for a set with a
    /// masked item.
    ///
    /// # Shapes
    /// - value: `k`-hot, broadcasts against `(batch..., n)`. Output: the common shape without the items.
    /// # Errors
    /// [`Error::OutsideSupport`] for what is no set of `k` items; [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let (logits, sets) = self.with_sets(value, "PlackettLuceSubset::log_prob")?;
        let lead = logits.dims()[..logits.rank() - 1].to_vec();
        let n = self.n[0];
        let log_probs = on_host([&logits], lead, |[logits], out| {
            Ok(set_log_prob(n, logits, &sets, out, &mut [])?)
        })?;
        with_gradient("plackett-luce-subset", log_probs, [&logits], move |[logits], _, grad| {
            let d = on_host([logits, grad], logits.shape(), |[logits, grad], out| {
                set_log_prob(n, logits, &sets, &mut vec![0.0; grad.len()], out)?;
                let rows = out.chunks_exact_mut(n).zip(grad);
                rows.for_each(|(row, grad)| row.iter_mut().for_each(|d| *d *= grad));
                Ok(())
            })?;
            Ok([Some(d)])
        })
    }

    /// `R(S, s) = P(S∖s, were s not there) / P(S)` for every member of a set, zero for the other items: what estimators without replacement
    /// weigh their samples by (Kool et al. 2020). No gradient.
    ///
    /// # Shapes
    /// - value: as in [`Self::log_prob`]. Output: the common shape.
    /// # Errors
    /// Those of [`Self::log_prob`].
    pub fn leave_one_out_ratios(&self, value: &Tensor) -> Result<Tensor> {
        let (logits, sets) = self.with_sets(value, "PlackettLuceSubset::leave_one_out_ratios")?;
        on_host([&logits.detach()], logits.shape(), |[logits], out| {
            set_log_ratios(self.n[0], logits, &sets, out)?;
            out.iter_mut().zip(&sets).for_each(|(r, z)| *r = if *z == 1.0 { r.exp() } else { 0.0 });
            Ok(())
        })
    }

    fn hot(&self, items: &Tensor) -> Result<Tensor> {
        let dims = [&items.dims()[..items.rank() - 1], &self.n].concat();
        let zeros = Tensor::zeros(dims, DType::F32, items.device())?;
        let ones = items.ones_like()?.to_dtype(DType::F32)?;
        Ok(zeros.scatter_add(items, &ones, D::Minus1)?.to_dtype(self.logits.dtype())?)
    }

    /// Logits and checked sets of a common shape.
    fn with_sets(&self, value: &Tensor, what: &'static str) -> Result<(Tensor, Vec<f64>)> {
        check_float(value, "value")?;
        let (batch, n) = (self.batch_shape(), self.n[0]);
        if value.dims().last() != Some(&n) {
            let expected = [batch, &self.n].concat();
            return Err(Error::ShapeMismatch {
                what: "value",
                got: value.dims().to_vec(),
                expected,
            });
        }
        let lead = common_dims("value", &value.dims()[..value.rank() - 1], batch)?;
        let dims = [lead.as_slice(), &[n]].concat();
        let sets = values(&value.broadcast_as(dims.as_slice())?)?;
        for (row, set) in sets.chunks_exact(n).enumerate() {
            let ones = set.iter().filter(|z| **z == 1.0).count();
            let other = set.iter().position(|z| *z != 0.0 && *z != 1.0);
            if other.is_none() && ones == self.k {
                continue;
            }
            let mut index = unravel(row, &lead);
            // A vector of zeros and ones is wrong as a whole: its number of ones is named.
            index.extend(other);
            let value = other.map_or(ones as f64, |at| set[at]);
            let support = "vectors of zeros and of k ones";
            return Err(Error::OutsideSupport { what, value, index, support });
        }
        Ok((self.logits.broadcast_as(dims)?.contiguous()?, sets))
    }
}
