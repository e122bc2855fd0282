//! Subsets of a fixed size.

mod successive_softmax;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use gumbel_kernels::{
    k_hot, k_subset_log_partition, k_subset_marginals, k_subset_sample, k_subset_vjp,
};

use super::host::{on_host, values};
use super::{MAX_CODES, Structure, divide};
use crate::checks::check_values;
use crate::distributions::Gibbs;
use crate::{Error, Generator, Result, Temperature, uniform};

pub use successive_softmax::{successive_softmax, successive_softmax_with_noise};

/// Sets of exactly `k` of the `n` items along the last dimension, as vectors with `k` ones: `p(S) ∝ Π_{i∈S} exp(θ_i)`, the
/// conditional Poisson distribution.
///
/// Its sampler is exact. The `k` largest of logits with Gumbel noise ([`gumbel_top_k`](crate::gumbel_top_k), [`Structure::perturb_and_solve`]) have *another* law,
/// that of Plackett and Luce without its order: with weights 1, 2, 3, 4 and `k = 2` the set {2, 3} has probability 12/35 here and .371
/// there. `k = 1` is a category, where both laws are one.
///
/// Log-partition, marginals and their derivatives cost `O(n k)` a row and hold at any scale of logits. Everything is computed in f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KSubset {
    k: usize,
}

impl KSubset {
    /// Subsets of `k` items.
    pub fn new(k: usize) -> Self {
        Self { k }
    }

    /// How many items a subset has.
    pub fn k(self) -> usize {
        self.k
    }

    /// The distribution over subsets of `k` items.
    ///
    /// # Shapes
    /// - logits: `(batch…, n)`; values: the same, with `k` ones.
    /// # Errors
    /// Those of [`Gibbs::new`]; [`Error::SubsetSize`] for a row that allows fewer than `k` items.
    /// # Example
    /// ```
    /// use candle_core::{Device, Var};
    /// use gumbel_core::Generator;
    /// use gumbel_core::structure::KSubset;
    ///
    /// let logits = Var::new(&[1f64.ln(), 2f64.ln(), 3f64.ln(), 4f64.ln()], &Device::Cpu)?;
    /// let d = KSubset::from_logits(&logits, 2)?;
    /// assert!((d.marginals()?.to_vec1::<f64>()?[0] - 9.0 / 35.0).abs() < 1e-12);
    ///
    /// let mut g = Generator::new(0);
    /// let relaxed = d.rsample((), 0.5, false, &mut g)?; // sums to 2
    /// assert!((relaxed.sum_all()?.to_scalar::<f64>()? - 2.0).abs() < 1e-9);
    /// assert!(relaxed.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
    /// # Ok::<(), gumbel_core::Error>(())
    /// ```
    pub fn from_logits(logits: &Tensor, k: usize) -> Result<Gibbs<Self>> {
        Gibbs::new(Self::new(k), logits)
    }
}

fn items(x: &Tensor) -> usize {
    x.dims().last().copied().unwrap_or(1)
}

fn batch(x: &Tensor) -> &[usize] {
    &x.dims()[..x.rank().saturating_sub(1)]
}

impl Structure for KSubset {
    fn name(&self) -> &'static str {
        "subsets"
    }

    fn event_rank(&self, _: &Tensor) -> usize {
        1
    }

    fn support(&self) -> &'static str {
        "vectors of zeros and k ones"
    }

    fn misfit(&self, _: usize, event: &[usize], z: &[f64]) -> Option<usize> {
        let mut ones = (0..event[0]).filter(|&i| z[i] == 1.0);
        let superfluous = ones.clone().nth(self.k);
        let missing = ones.nth(self.k.saturating_sub(1)).is_none() && self.k > 0;
        superfluous.or_else(|| missing.then_some(event[0].saturating_sub(1)))
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        if logits.rank() == 0 {
            return Err(Error::TooFewClasses { what: "logits", shape: vec![], min: 0 });
        }
        let invalid = |value, index| Error::InvalidLogit { value, index };
        check_values(logits, "logits", |logit| logit < f64::INFINITY, invalid)?;
        let (n, n_rows) = (items(logits), batch(logits).iter().product());
        let logits = values(logits)?;
        for row in 0..n_rows {
            let logits = &logits[row * n..(row + 1) * n];
            let allowed = logits.iter().filter(|&&logit| logit > f64::NEG_INFINITY).count();
            if allowed < self.k {
                return Err(Error::SubsetSize { k: self.k, allowed, row });
            }
        }
        Ok(())
    }

    fn sample(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.check(logits)?;
        let uniforms = uniform(logits.shape(), logits.dtype(), logits.device(), g)?;
        on_host([logits, &uniforms], logits.shape(), |[logits_of, uniforms], z| {
            Ok(k_subset_sample(items(logits), self.k, logits_of, uniforms, z)?)
        })
    }

    fn solve(&self, scores: &Tensor) -> Result<Tensor> {
        on_host([scores], scores.shape(), |[x], z| Ok(k_hot(items(scores), self.k, x, z)?))
    }

    fn log_partition(&self, scores: &Tensor) -> Result<Tensor> {
        on_host([scores], batch(scores), |[x], a| {
            Ok(k_subset_log_partition(items(scores), self.k, x, a)?)
        })
    }

    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor> {
        let x = divide(&scores.detach(), tau)?;
        on_host([&x], x.shape(), |[x], mu| Ok(k_subset_marginals(items(scores), self.k, x, mu)?))
    }

    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
        let x = divide(&scores.detach(), tau)?;
        let d = on_host([&x, grad], x.shape(), |[x, grad], d| {
            Ok(k_subset_vjp(items(scores), self.k, x, grad, d)?)
        })?;
        divide(&d, tau)
    }

    /// In lexicographic order of their items.
    fn codes(&self, logits: &Tensor) -> Result<Tensor> {
        let (n, k) = (items(logits), self.k);
        let size = (0..k).fold(1.0, |c, i| c * (n as f64 - i as f64) / (i + 1) as f64).round();
        if size > MAX_CODES as f64 {
            return Err(Error::TooLarge { what: "subsets to enumerate", size, limit: MAX_CODES });
        }
        let n_codes = if k > n { 0 } else { size as usize };
        let mut codes = vec![0u8; n_codes * n];
        let mut chosen: Vec<usize> = (0..k).collect();
        for code in 0..n_codes {
            chosen.iter().for_each(|&i| codes[code * n + i] = 1);
            // The last item that can move on does, and those after it follow closely.
            if let Some(at) = (0..k).rev().find(|&at| chosen[at] < n - k + at) {
                let next = chosen[at] + 1;
                chosen[at..].iter_mut().zip(next..).for_each(|(item, to)| *item = to);
            }
        }
        let codes = Tensor::from_vec(codes, (n_codes, n), logits.device())?;
        Ok(codes.to_dtype(logits.dtype())?)
    }
}

impl Gibbs<KSubset> {
    /// How many items a subset has.
    pub fn k(&self) -> usize {
        self.structure().k
    }

    /// The items of subsets, ascending: `(…, k)`, u32, of a value `(…, n)`.
    ///
    /// # Errors
    /// [`Error::OutsideSupport`] for a value that has not exactly `k` ones; those of candle.
    pub fn indices(&self, value: &Tensor) -> Result<Tensor> {
        self.check_value("indices", value)?;
        let n = items(value).max(1);
        let list = values(value)?;
        let items = list.chunks(n).flat_map(|z| {
            (0..z.len()).filter(|&i| z[i] == 1.0).map(|i| i as u32).collect::<Vec<_>>()
        });
        let shape = [batch(value), &[self.k()]].concat();
        Ok(Tensor::from_vec(items.collect::<Vec<_>>(), shape, value.device())?)
    }
}
