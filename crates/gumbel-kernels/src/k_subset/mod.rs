//! Subsets of `k` of `n` items, with probabilities proportional to the product of their weights: the conditional Poisson
//! distribution (Chen, Dempster and Liu 1994).
//!
//! The law does not change when a constant `t` is added to all scores. With `t` such that independent bits of probability
//! `p_i = σ(θ_i + t)` have mean `k`, a subset is those bits given that `k` of them are set, and `k` is the most probable number
//! (Darroch 1964). So the recursions run on probabilities, and nothing underflows that matters, whatever the scale of the
//! scores. Any `t` gives the right answer; a good one keeps the digits. Where `k` is more than half, zeros are counted in
//! the place of ones.

mod row;
#[cfg(test)]
mod tests;
mod tilt;

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::rows::check_rows;
use crate::scalar::Dual;
use row::Row;

/// The log-partition `ln Σ_S exp(Σ_{i∈S} θ_i)` over the subsets of `k` items, in nats.
///
/// # Shapes
/// - scores: `(rows, n)`, where `-inf` forbids an item; log_partition: `(rows,)`. A row that allows fewer than `k` items has `-inf`.
/// # Errors
/// [`LengthError`].
pub fn k_subset_log_partition(
    n: usize,
    k: usize,
    scores: &[f64],
    log_partition: &mut [f64],
) -> Result<(), LengthError> {
    check_len("scores", scores.len(), n * log_partition.len())?;
    let isa = Isa::best();
    log_partition.par_iter_mut().enumerate().for_each_init(Row::<f64>::default, |row, (r, out)| {
        *out = isa.dispatch(LogPartition { k, scores: &scores[r * n..(r + 1) * n], row });
    });
    Ok(())
}

/// The probability of each item to be in the subset: the gradient of [`k_subset_log_partition`]. Exactly 0 for a
/// forbidden item. Rows without any subset are 0.
///
/// # Shapes
/// - scores, marginals: `(rows, n)`.
/// # Errors
/// [`LengthError`].
pub fn k_subset_marginals(
    n: usize,
    k: usize,
    scores: &[f64],
    marginals: &mut [f64],
) -> Result<(), LengthError> {
    check_rows("scores", scores.len(), n)?;
    check_len("marginals", marginals.len(), scores.len())?;
    let isa = Isa::best();
    rows_of(marginals, n).for_each_init(Row::<f64>::default, |row, (r, out)| {
        isa.dispatch(Marginals { k, scores: &scores[r * n..(r + 1) * n], row, out });
    });
    Ok(())
}

/// The product of the Hessian of [`k_subset_log_partition`] and `grad`: the gradient of `⟨marginals, grad⟩`. Exactly 0
/// for a forbidden item, whatever `grad` is there.
///
/// # Shapes
/// - scores, grad, out: `(rows, n)`.
/// # Errors
/// [`LengthError`].
pub fn k_subset_vjp(
    n: usize,
    k: usize,
    scores: &[f64],
    grad: &[f64],
    out: &mut [f64],
) -> Result<(), LengthError> {
    check_rows("scores", scores.len(), n)?;
    check_len("grad", grad.len(), scores.len())?;
    check_len("out", out.len(), scores.len())?;
    let isa = Isa::best();
    rows_of(out, n).for_each_init(Row::<Dual>::default, |row, (r, out)| {
        let range = r * n..(r + 1) * n;
        isa.dispatch(Vjp { k, scores: &scores[range.clone()], grad: &grad[range], row, out });
    });
    Ok(())
}

/// Exact samples as vectors of zeros and ones, from uniform noise. Every sample has exactly `k` ones.
///
/// # Shapes
/// - scores, uniforms, samples: `(rows, n)`. Rows without any subset are 0.
/// # Errors
/// [`LengthError`].
pub fn k_subset_sample(
    n: usize,
    k: usize,
    scores: &[f64],
    uniforms: &[f64],
    samples: &mut [f64],
) -> Result<(), LengthError> {
    check_rows("scores", scores.len(), n)?;
    check_len("uniforms", uniforms.len(), scores.len())?;
    check_len("samples", samples.len(), scores.len())?;
    let isa = Isa::best();
    rows_of(samples, n).for_each_init(Row::<f64>::default, |row, (r, out)| {
        let range = r * n..(r + 1) * n;
        let (scores, uniforms) = (&scores[range.clone()], &uniforms[range]);
        isa.dispatch(Sample { k, scores, uniforms, row, out });
    });
    Ok(())
}

/// Ones at the `k` largest scores, the first of equals; forbidden items and NaN are never among them.
///
/// # Shapes
/// - scores, hot: `(rows, n)`.
/// # Errors
/// [`LengthError`].
pub fn k_hot(n: usize, k: usize, scores: &[f64], hot: &mut [f64]) -> Result<(), LengthError> {
    check_rows("scores", scores.len(), n)?;
    check_len("hot", hot.len(), scores.len())?;
    rows_of(hot, n).for_each_init(Vec::new, |buffer: &mut Vec<f64>, (r, hot)| {
        let scores = &scores[r * n..(r + 1) * n];
        buffer.clear();
        buffer.extend(scores.iter().filter(|&&x| x > f64::NEG_INFINITY));
        let k = k.min(buffer.len());
        hot.fill(0.0);
        if k == 0 {
            return;
        }
        let (above, least, _) = buffer.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        let least = *least;
        let mut equal = k - above.iter().filter(|&&x| x > least).count();
        for (hot, &x) in hot.iter_mut().zip(scores) {
            let tie = x == least && equal > 0;
            equal -= usize::from(tie);
            *hot = f64::from(u8::from(x > least || tie));
        }
    });
    Ok(())
}

/// The rows with their numbers, for many threads. Rows of no items need nothing.
fn rows_of(out: &mut [f64], n: usize) -> impl IndexedParallelIterator<Item = (usize, &mut [f64])> {
    out.par_chunks_mut(n.max(1)).enumerate()
}

struct LogPartition<'a> {
    k: usize,
    scores: &'a [f64],
    row: &'a mut Row<f64>,
}

impl Task for LogPartition<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> f64 {
        self.row.log_partition(kernel, self.k, self.scores)
    }
}

struct Marginals<'a> {
    k: usize,
    scores: &'a [f64],
    row: &'a mut Row<f64>,
    out: &'a mut [f64],
}

impl Task for Marginals<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let out = self.out;
        out.fill(0.0);
        self.row.prepare(kernel, self.k, self.scores, |_| 0.0);
        // The last digit may round to above one.
        self.row.marginals(|i, mu| out[i] = mu.min(1.0));
    }
}

struct Vjp<'a> {
    k: usize,
    scores: &'a [f64],
    grad: &'a [f64],
    row: &'a mut Row<Dual>,
    out: &'a mut [f64],
}

impl Task for Vjp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let (out, grad) = (self.out, self.grad);
        out.fill(0.0);
        self.row.prepare(kernel, self.k, self.scores, |i| Dual { value: 0.0, tangent: grad[i] });
        self.row.marginals(|i, mu| out[i] = mu.tangent);
    }
}

struct Sample<'a> {
    k: usize,
    scores: &'a [f64],
    uniforms: &'a [f64],
    row: &'a mut Row<f64>,
    out: &'a mut [f64],
}

impl Task for Sample<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        self.row.prepare(kernel, self.k, self.scores, |_| 0.0);
        self.row.sample(self.uniforms, self.out);
    }
}
