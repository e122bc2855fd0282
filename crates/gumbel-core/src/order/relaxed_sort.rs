//! Sorting with a gradient: matrices of rows that tend to the permutation which sorts.

use candle_core::{D, Tensor};
use gumbel_kernels::SoftSort;
use rayon::prelude::*;

use super::{check_items, largest_of};
use crate::gumbel_softmax::divide_by_temperature;
use crate::op::{on_slices, softmax, softmax_grad, widen, with_gradient};
use crate::structure::host::on_host;
use crate::{Error, Result, Temperature, one_hot, straight_through};

/// How a sort is relaxed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// `softmax(-|s_(i) - s_j|^power / τ)` with the sorted scores `s_(i)` (Prillo and Eisenschlos 2020); the power is 1 or 2.
    Soft {
        /// 1 or 2.
        power: u8,
    },
    /// `softmax(((n + 1 - 2 i) s_j - Σ_l |s_j - s_l|) / τ)` (Grover et al. 2019).
    Neural,
}

/// SoftSort: row `i` is a distribution over the items, around the `i`-th largest. Rows sum to one, columns need not.
///
/// # Shapes
/// - scores: `(…, n)`. tau: a number, or a tensor that broadcasts to `(…, 1, 1)`. Output: `(…, n, n)`; the sorted scores are the product with the scores.
/// # Gradient
/// For the scores and a tensor of temperatures. With `hard` the value is the permutation matrix (of equals the first comes first), and the
/// gradient stays.
/// # Errors
/// [`Error::InvalidParameter`] unless the power is 1 or 2; [`Error::SubsetSize`] where an item is masked (`-inf`);
/// [`Error::InvalidLogit`], [`Error::InvalidTemperature`], [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
///
/// let scores = Tensor::new(&[1f32, 3.0, 2.0], &Device::Cpu)?;
/// let p = gumbel_core::soft_sort(&scores, 0.01, 1, false)?;
/// let sorted = p.matmul(&scores.unsqueeze(1)?)?.flatten_all()?.to_vec1::<f32>()?;
/// assert_eq!(sorted, [3.0, 2.0, 1.0]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn soft_sort(
    scores: &Tensor,
    tau: impl Into<Temperature>,
    power: u8,
    hard: bool,
) -> Result<Tensor> {
    let n = scores.dims().last().copied().unwrap_or(0);
    relaxed_sort(scores, n, &tau.into(), Sort::Soft { power }, hard)
}

/// NeuralSort: as [`soft_sort`], with rows whose largest entry is at the `i`-th largest item for every temperature.
///
/// # Shapes, gradient, errors
/// Those of [`soft_sort`].
pub fn neural_sort(scores: &Tensor, tau: impl Into<Temperature>, hard: bool) -> Result<Tensor> {
    let n = scores.dims().last().copied().unwrap_or(0);
    relaxed_sort(scores, n, &tau.into(), Sort::Neural, hard)
}

/// The first `k` rows: `(…, k, n)`. Columns of masked items are exactly zero.
pub(crate) fn relaxed_sort(
    scores: &Tensor,
    k: usize,
    tau: &Temperature,
    sort: Sort,
    hard: bool,
) -> Result<Tensor> {
    tau.check()?;
    check_items(scores, k)?;
    if let Sort::Soft { power } = sort
        && !(1..=2).contains(&power)
    {
        let value = f64::from(power);
        return Err(Error::InvalidParameter {
            name: "the power of soft_sort",
            value,
            must: "1 or 2",
        });
    }
    let wide = widen(scores)?;
    let n = wide.dim(D::Minus1)?;
    let order = largest_of(&wide, k)?;
    let places = Places { n, k, sort, order: order.flatten_all()?.to_vec1()? };
    let dims = [&wide.dims()[..wide.rank() - 1], &[k, n]].concat();
    let soft = match tau {
        Temperature::Fixed(tau) => places.probs(&wide, &dims, *tau)?,
        Temperature::Tensor(tau) => {
            let nearness = places.nearness(&wide, &dims)?;
            let tau = tau.to_dtype(wide.dtype())?.broadcast_as(dims.as_slice()).map_err(|_| {
                let (got, expected) = (tau.dims().to_vec(), dims.clone());
                Error::ShapeMismatch { what: "temperature", got, expected }
            })?;
            softmax(&divide_by_temperature(&nearness, &tau)?, 1.0)?
        }
    };
    let sorted = match hard {
        true => straight_through(&one_hot(&order, n, soft.dtype())?, &soft)?,
        false => soft,
    };
    Ok(sorted.to_dtype(scores.dtype())?)
}

/// How near every item is to every place.
#[derive(Clone)]
struct Places {
    n: usize,
    k: usize,
    sort: Sort,
    /// `(rows, k)`.
    order: Vec<u32>,
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

impl Places {
    /// `softmax(nearness / τ)`: SoftSort in one pass over each row.
    fn probs(&self, scores: &Tensor, dims: &[usize], tau: f64) -> Result<Tensor> {
        let Sort::Soft { power } = self.sort else {
            return softmax(&self.nearness(scores, dims)?, tau);
        };
        let kernel = |[scores]: [&[f32]; 1], out: &mut [f32]| {
            let (squared, temperature) = (power == 2, tau as f32);
            let shape = SoftSort { n: self.n, k: self.k, squared, temperature };
            Ok(gumbel_kernels::soft_sort(shape, scores, &self.order, out)?)
        };
        let value = on_slices([scores], dims, kernel, |[scores]| {
            softmax(&self.nearness(scores, dims)?, tau)
        })?;
        let places = self.clone();
        with_gradient("soft-sort", value, [scores], move |[scores], probs, grad| {
            Ok([Some(places.pull(scores, &softmax_grad(probs, grad, tau)?)?)])
        })
    }

    /// The arguments of the softmax, relative to the largest of each row, so that they keep their digits in f32.
    fn nearness(&self, scores: &Tensor, dims: &[usize]) -> Result<Tensor> {
        let kernel = |[scores]: [&[f32]; 1], out: &mut [f32]| {
            let scores: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
            self.write(&scores, out, |x| x as f32);
            Ok(())
        };
        let value = on_slices([scores], dims, kernel, |[scores]| {
            on_host([scores], dims, |[scores], out| {
                self.write(scores, out, |x| x);
                Ok(())
            })
        })?;
        let places = self.clone();
        with_gradient("relaxed-sort", value, [scores], move |[scores], _, grad| {
            Ok([Some(places.pull(scores, grad)?)])
        })
    }

    /// From the gradient of the nearness to that of the scores.
    fn pull(&self, scores: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (n, k) = (self.n, self.k);
        on_host([scores, grad], scores.shape(), |[s, grad], out| {
            let rows = s.par_chunks(n).zip(self.order.par_chunks(k)).zip(grad.par_chunks(k * n));
            rows.zip(out.par_chunks_mut(n))
                .for_each(|(((s, order), grad), out)| self.pull_row(s, order, grad, out));
            Ok(())
        })
    }

    /// Row after row, each relative to its largest.
    fn write<T: Copy + Send>(&self, scores: &[f64], out: &mut [T], to: impl Fn(f64) -> T + Sync) {
        let (n, k) = (self.n, self.k);
        let rows =
            scores.par_chunks(n).zip(self.order.par_chunks(k)).zip(out.par_chunks_mut(k * n));
        rows.for_each_init(
            || vec![0.0; n],
            |row, ((s, order), out)| {
                let allowed = |x: &f64| *x > f64::NEG_INFINITY;
                let count = s.iter().filter(|x| allowed(x)).count() as f64;
                let sums = if self.sort == Sort::Neural { distances(s) } else { Vec::new() };
                for (i, (out, &at)) in out.chunks_exact_mut(n).zip(order).enumerate() {
                    let at = s[at as usize];
                    match self.sort {
                        // The largest is 0, at the item of the place itself.
                        Sort::Soft { power: 1 } => {
                            row.iter_mut().zip(s).for_each(|(x, s)| *x = -(at - s).abs());
                        }
                        Sort::Soft { .. } => {
                            row.iter_mut().zip(s).for_each(|(x, s)| *x = -(at - s) * (at - s));
                        }
                        Sort::Neural => {
                            let factor = count - 1.0 - 2.0 * i as f64;
                            let entry = |(s, sum): (&f64, &f64)| {
                                if allowed(s) { factor * s - sum } else { *s }
                            };
                            row.iter_mut()
                                .zip(s.iter().zip(&sums))
                                .for_each(|(x, at)| *x = entry(at));
                            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                            row.iter_mut().for_each(|x| *x -= top);
                        }
                    }
                    out.iter_mut().zip(&*row).for_each(|(out, x)| *out = to(*x));
                }
            },
        );
    }

    fn pull_row(&self, s: &[f64], order: &[u32], grad: &[f64], out: &mut [f64]) {
        let allowed: Vec<usize> = (0..self.n).filter(|&j| s[j] > f64::NEG_INFINITY).collect();
        let rows = || grad.chunks_exact(self.n).zip(order).enumerate();
        match self.sort {
            Sort::Soft { power } => {
                for (_, (grad, &at)) in rows() {
                    for &j in &allowed {
                        let x = s[at as usize] - s[j];
                        let slope = if power == 1 { sign(x) } else { 2.0 * x };
                        out[j] += grad[j] * slope;
                        out[at as usize] -= grad[j] * slope;
                    }
                }
            }
            Sort::Neural => {
                let count = allowed.len() as f64;
                let mut of_sums = vec![0.0; self.n];
                for (i, (grad, _)) in rows() {
                    for &j in &allowed {
                        out[j] += grad[j] * (count - 1.0 - 2.0 * i as f64);
                        of_sums[j] -= grad[j];
                    }
                }
                for &j in &allowed {
                    for &l in &allowed {
                        out[j] += sign(s[j] - s[l]) * (of_sums[j] + of_sums[l]);
                    }
                }
            }
        }
    }
}

/// `Σ_l |s_j - s_l|` over what is not masked, from the sorted scores: O(n ln n).
fn distances(s: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..s.len()).filter(|&j| s[j] > f64::NEG_INFINITY).collect();
    order.sort_by(|&a, &b| s[a].total_cmp(&s[b]));
    let (mut sums, n) = (vec![0.0; s.len()], order.len());
    // Sums of gaps: no differences of large sums.
    let (mut below, mut above) = (0.0, 0.0);
    for r in 1..n {
        below += r as f64 * (s[order[r]] - s[order[r - 1]]);
        sums[order[r]] += below;
        above += r as f64 * (s[order[n - r]] - s[order[n - r - 1]]);
        sums[order[n - r - 1]] += above;
    }
    sums
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    /// Value and gradient of the first places, for a temperature as a number or as a tensor.
    fn run(sort: Sort, dtype: DType, tensor: bool) -> Vec<f64> {
        let none = f64::NEG_INFINITY;
        let scores = [[0.3, -1.2, none, 2.0, 0.1], [0.5, 0.6, 3.0, -0.2, none]];
        let scores = Tensor::new(&scores, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let scores = Var::from_tensor(&scores).unwrap();
        let tau = Tensor::new(&[[[0.7f64]]], &Device::Cpu).unwrap();
        let tau = if tensor { Temperature::Tensor(tau) } else { Temperature::Fixed(0.7) };
        let y = relaxed_sort(&scores, 3, &tau, sort, false).unwrap();
        let weights: Vec<f64> = (0..30).map(|i| (1.0 + f64::from(i)).sin()).collect();
        let weights = Tensor::from_vec(weights, (2, 3, 5), &Device::Cpu).unwrap();
        let loss = (y.to_dtype(DType::F64).unwrap() * weights).unwrap().sum_all().unwrap();
        let d = loss.backward().unwrap().get(&scores).unwrap().clone();
        [list(&y), list(&d)].concat()
    }

    fn list(x: &Tensor) -> Vec<f64> {
        crate::structure::host::values(x).unwrap()
    }

    #[test]
    fn kernel_and_composition_have_the_same_values_and_gradients() {
        for sort in [Sort::Soft { power: 1 }, Sort::Soft { power: 2 }, Sort::Neural] {
            let exact = run(sort, DType::F64, true);
            for (dtype, tensor) in [(DType::F64, false), (DType::F32, false), (DType::F32, true)] {
                for (a, b) in run(sort, dtype, tensor).iter().zip(&exact) {
                    let bound = if dtype == DType::F64 { 1e-14 } else { 2e-6 };
                    assert!((a - b).abs() < bound, "{sort:?} {dtype:?} {tensor}: {a} {b}");
                }
            }
            // Masked items: exactly zero in values and gradients.
            let single = run(sort, DType::F32, false);
            let masked = [2usize, 7, 12, 19, 24, 29, 32, 39];
            assert!(masked.iter().all(|&at| single[at] == 0.0), "{sort:?} {single:?}");
        }
    }
}
