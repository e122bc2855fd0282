//! Rankings, drawn without replacement.

use candle_core::{D, DType, Shape, Tensor};
use gumbel_kernels::{
    StageGain, ranking_expectation, ranking_gumbels, ranking_log_prob, ranking_positions,
    ranking_score,
};

use super::distribution::distribution;
use super::shapes::{common_dims, expand, expand_to_noise};
use crate::op::{perturb, widen, with_gradient};
use crate::order::{Sort, check_items, largest_of, relaxed_sort, row_len};
use crate::structure::host::{on_host, values};
use crate::{Error, Generator, Result, Temperature, gumbel_noise};

/// The most items of which expectations over rankings are summed exactly.
const MAX_ITEMS: usize = 20;

/// The Plackett-Luce distribution of rankings: the first place goes to item `i` with probability `softmax(logits)_i`, each next one to an
/// item that is left. Values are u32 indices in the order of the places; with [`PlackettLuce::top`] only of the first `k`.
///
/// The *set* of the first `k` items has the law [`PlackettLuceSubset`](super::PlackettLuceSubset), which is another than that of
/// subsets with probability in proportion to the product of their weights.
///
/// # Shapes
/// - logits: `(batch..., n)`; event shape `(k)`. `-inf` masks an item: it takes no place.
/// # Gradient
/// Of `log_prob`, `entropy` and `kl_divergence` for the logits; of `rsample_permutation` too.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::PlackettLuce;
///
/// let logits = Tensor::new(&[1f64, 2.0, 3.0, 4.0], &Device::Cpu)?.log()?;
/// let d = PlackettLuce::from_logits(&logits)?;
/// let ranking = Tensor::new(&[3u32, 2, 1, 0], &Device::Cpu)?;
/// let p = d.log_prob(&ranking)?.exp()?.to_scalar::<f64>()?;
/// assert!((p - 2.0 / 15.0).abs() < 1e-15);
/// assert_eq!(d.sample(5, &mut Generator::new(0))?.dims(), &[5, 4]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PlackettLuce {
    wide: Tensor,
    dtype: DType,
    k: usize,
}

distribution!(PlackettLuce, event: |d| std::slice::from_ref(&d.k), has: entropy mode logits);

impl PlackettLuce {
    /// Rankings of all items.
    ///
    /// # Errors
    /// [`Error::SubsetSize`] where an item is masked; [`Error::InvalidLogit`], [`Error::TooFewClasses`], [`Error::UnsupportedDType`].
    pub fn from_logits(logits: &Tensor) -> Result<Self> {
        Self::top(logits, row_len(logits, "logits")?)
    }

    /// The first `k` places of rankings.
    ///
    /// # Errors
    /// [`Error::SubsetSize`] for rows with fewer than `k` items above `-inf`; [`Error::InvalidParameter`] for `k = 0`; those of
    /// [`Self::from_logits`].
    pub fn top(logits: &Tensor, k: usize) -> Result<Self> {
        check_items(logits, k)?;
        Ok(Self { wide: widen(logits)?.contiguous()?, dtype: logits.dtype(), k })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        &self.wide.dims()[..self.wide.rank() - 1]
    }

    /// The number of items, masked ones included.
    pub fn n_items(&self) -> usize {
        self.wide.dims().last().copied().unwrap_or(0)
    }

    /// The logits as they were given.
    pub fn logits(&self) -> Result<Tensor> {
        self.finish(self.wide.clone())
    }

    /// Draws exact samples: u32, `(sample..., batch..., k)`.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        largest_of(&self.perturbed(sample_shape.into(), g)?.detach(), self.k)
    }

    /// The sample that Gumbel noise `(sample..., batch..., n)` gives.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`].
    pub fn sample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        let logits = expand_to_noise(&self.wide, noise)?;
        largest_of(&perturb(&logits, &noise.to_dtype(logits.dtype())?)?.detach(), self.k)
    }

    fn perturbed(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        let logits = expand(&self.wide, sample_shape)?;
        let noise = gumbel_noise(logits.shape(), logits.dtype(), logits.device(), g)?;
        perturb(&logits, &noise)
    }

    /// The first `k` rows of relaxed permutation matrices that sort perturbed logits, `(sample..., batch..., k, n)`; with `hard` of
    /// permutation matrices, with the gradient of the relaxed ones.
    ///
    /// # Errors
    /// Those of [`soft_sort`](crate::soft_sort), but for masked items: these have zeros in their columns.
    pub fn rsample_permutation(
        &self,
        sample_shape: impl Into<Shape>,
        tau: impl Into<Temperature>,
        sort: Sort,
        hard: bool,
        g: &mut Generator,
    ) -> Result<Tensor> {
        let scores = self.perturbed(sample_shape.into(), g)?;
        self.finish(relaxed_sort(&scores, self.k, &tau.into(), sort, hard)?)
    }

    /// The log-probability of rankings, in nats: `-inf` for one with a masked item. O(n) for each.
    ///
    /// # Shapes
    /// - ranking: integers that broadcast against `(batch..., k)`. Output: the common shape without the last dimension.
    /// # Errors
    /// [`Error::OutsideSupport`] for an item that does not exist or comes twice; [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn log_prob(&self, ranking: &Tensor) -> Result<Tensor> {
        let (logits, ranking) = self.with_ranking(ranking, "PlackettLuce::log_prob")?;
        let (n, k) = (self.n_items(), self.k);
        let lead = logits.dims()[..logits.rank() - 1].to_vec();
        let value = on_host([&logits], lead, |[logits], out| {
            Ok(ranking_log_prob(n, k, logits, &ranking, out)?)
        })?;
        self.finish(with_gradient("plackett-luce", value, [&logits], move |[logits], _, grad| {
            let d = on_host([logits, grad], logits.shape(), |[logits, grad], out| {
                Ok(ranking_score(n, k, (logits, &ranking), grad, out)?)
            })?;
            Ok([Some(d)])
        })?)
    }

    /// Perturbed logits, drawn given that their largest values are in the order of the ranking: for estimators that condition
    /// on a sample (Gumbel-Rao, REBAR). `-inf` for masked items. No gradient.
    ///
    /// # Shapes
    /// - ranking: integers that broadcast against `(batch..., k)`. Output: the common shape with `n` in the place of `k`.
    /// # Errors
    /// Those of [`Self::log_prob`].
    pub fn conditional_gumbels(&self, ranking: &Tensor, g: &mut Generator) -> Result<Tensor> {
        let (logits, ranking) = self.with_ranking(ranking, "PlackettLuce::conditional_gumbels")?;
        let logits = logits.detach();
        let noise = gumbel_noise(logits.shape(), DType::F64, logits.device(), g)?;
        self.finish(on_host([&logits, &noise], logits.shape(), |[logits, noise], out| {
            Ok(ranking_gumbels(self.n_items(), self.k, (logits, &ranking), noise, out)?)
        })?)
    }

    /// The most probable ranking: descending logits, of equals the first. `(batch..., k)`.
    pub fn mode(&self) -> Result<Tensor> {
        largest_of(&self.wide.detach(), self.k)
    }

    /// The logarithm of the number of rankings without masked items, `(batch...)`.
    pub fn log_count(&self) -> Result<Tensor> {
        let (n, k) = (self.n_items(), self.k);
        self.finish(on_host([&self.wide.detach()], self.batch_shape(), |[logits], out| {
            for (logits, out) in logits.chunks_exact(n).zip(out) {
                let allowed = logits.iter().filter(|x| **x > f64::NEG_INFINITY).count();
                *out = (0..k).map(|place| ((allowed - place) as f64).ln()).sum();
            }
            Ok(())
        })?)
    }

    /// The entropy, `(batch...)`, in nats, with its gradient: a sum over all sets of items, O(n 2ⁿ).
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than 20 items: estimate it by `-log_prob` of samples there.
    pub fn entropy(&self) -> Result<Tensor> {
        self.expectation(None)
    }

    /// `KL(self || other)`, in nats, `(batch...)`; `+inf` where `other` masks an item that `self` allows. O(n 2ⁿ).
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] unless shapes and `k` are the same; [`Error::TooLarge`] for more than 20 items.
    pub fn kl_divergence(&self, other: &Self) -> Result<Tensor> {
        let of = |d: &Self| [d.wide.dims(), &[d.k]].concat();
        if of(self) != of(other) {
            let what = "the other distribution";
            return Err(Error::ShapeMismatch { what, got: of(other), expected: of(self) });
        }
        self.expectation(Some(&other.wide.to_dtype(self.wide.dtype())?))
    }

    /// The probability of every item at every place, `(batch..., k, n)`. O(n 2ⁿ). No gradient.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than 20 items.
    pub fn position_marginals(&self) -> Result<Tensor> {
        let n = self.few_items()?;
        let dims = [self.batch_shape(), &[self.k, n]].concat();
        self.finish(on_host([&self.wide], dims, |[logits], out| {
            let rows = logits.chunks_exact(n).zip(out.chunks_exact_mut(self.k * n));
            rows.for_each(|(logits, out)| ranking_positions(logits, self.k, out));
            Ok(())
        })?)
    }

    fn few_items(&self) -> Result<usize> {
        let (n, what) = (self.n_items(), "the number of items whose sets are summed over");
        if n > MAX_ITEMS {
            return Err(Error::TooLarge { what, size: n as f64, limit: MAX_ITEMS });
        }
        Ok(n)
    }

    fn expectation(&self, other: Option<&Tensor>) -> Result<Tensor> {
        let (n, k) = (self.few_items()?, self.k);
        let p = values(&self.wide)?;
        let q = other.map(values).transpose()?.unwrap_or_default();
        let (mut d_p, mut d_q) = (vec![0.0; p.len()], vec![0.0; q.len()]);
        let value = on_host([&self.wide], self.batch_shape(), |[_], out| {
            for (row, out) in out.iter_mut().enumerate() {
                let at = row * n..(row + 1) * n;
                let (gain, d_q) = match other {
                    Some(_) => (StageGain::Divergence(&q[at.clone()]), &mut d_q[at.clone()]),
                    None => (StageGain::Entropy, &mut [][..]),
                };
                *out = ranking_expectation(&p[at.clone()], k, gain, &mut d_p[at], d_q).max(0.0);
            }
            Ok(())
        })?;
        let slope = |d: Vec<f64>| -> Result<Tensor> {
            let d = Tensor::from_vec(d, self.wide.shape(), &candle_core::Device::Cpu)?;
            Ok(d.to_dtype(self.wide.dtype())?.to_device(self.wide.device())?)
        };
        let weigh = |d: &Tensor, grad: &Tensor| -> Result<Option<Tensor>> {
            Ok(Some(d.broadcast_mul(&grad.unsqueeze(D::Minus1)?)?))
        };
        let d_p = slope(d_p)?;
        self.finish(match other {
            None => with_gradient("ranking-entropy", value, [&self.wide], move |_, _, grad| {
                Ok([weigh(&d_p, grad)?])
            })?,
            Some(other) => {
                let d_q = slope(d_q)?;
                with_gradient("ranking-kl", value, [&self.wide, other], move |_, _, grad| {
                    Ok([weigh(&d_p, grad)?, weigh(&d_q, grad)?])
                })?
            }
        })
    }

    /// Logits and checked rankings of a common leading shape.
    fn with_ranking(&self, ranking: &Tensor, what: &'static str) -> Result<(Tensor, Vec<u32>)> {
        if !matches!(ranking.dtype(), DType::U8 | DType::U32 | DType::I64) {
            let (dtype, expected) = (ranking.dtype(), "u8, u32 or i64");
            return Err(Error::UnsupportedDType { what: "ranking", dtype, expected });
        }
        let (n, k) = (self.n_items(), self.k);
        if ranking.dims().last() != Some(&k) {
            let expected = [self.batch_shape(), &[k]].concat();
            return Err(Error::ShapeMismatch {
                what: "ranking",
                got: ranking.dims().to_vec(),
                expected,
            });
        }
        let lead =
            common_dims("ranking", &ranking.dims()[..ranking.rank() - 1], self.batch_shape())?;
        let ranking = ranking.broadcast_as([lead.as_slice(), &[k]].concat())?;
        let items = ranking.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
        let mut taken_in = vec![usize::MAX; n];
        for (row, items) in items.chunks_exact(k).enumerate() {
            let wrong = items.iter().position(|&item| {
                let seen = usize::try_from(item).ok().and_then(|item| taken_in.get_mut(item));
                seen.is_none_or(|seen| std::mem::replace(seen, row) == row)
            });
            if let Some(at) = wrong {
                let mut index = crate::checks::unravel(row, &lead);
                index.push(at);
                let support = "rankings: different items, each below the number of items";
                return Err(Error::OutsideSupport {
                    what,
                    value: items[at] as f64,
                    index,
                    support,
                });
            }
        }
        let logits = self.wide.broadcast_as([lead.as_slice(), &[n]].concat())?.contiguous()?;
        Ok((logits, items.into_iter().map(|item| item as u32).collect()))
    }

    /// A result in the dtype of the parameters.
    fn finish(&self, result: Tensor) -> Result<Tensor> {
        Ok(result.to_dtype(self.dtype)?)
    }
}

#[cfg(test)]
mod tests;
