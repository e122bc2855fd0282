//! Linear chains of `steps` labels out of `k`: `p(y) ∝ exp(Σ_t φ_t(y_{t-1}, y_t))`.
//!
//! A row of scores is `(steps, k, k)`, entry `(t, i, j)` for label `i` before label `j`. The first step has no label
//! before it and reads its row `i = 0` only. A row has a length of its own, and what lies beyond it is not looked at.
//!
//! Forward filtering stores the conditional probabilities `s_t(i | j)` of the label before: one exponential a cell. All
//! that comes after is products: marginals, samples backward, and the derivative of both.

mod lanes;
mod relaxed;
mod row;
#[cfg(test)]
mod tests;
mod viterbi;

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::scalar::Scalar;
use row::Row;

pub use relaxed::{chain_gumbel_crf, chain_gumbel_crf_vjp};
pub use viterbi::chain_mode;

/// Floats that can be compared: f32, whose functions are vectorised, and f64.
pub trait Real: Scalar + PartialOrd {}
impl Real for f32 {}
impl Real for f64 {}

/// What all rows of a batch have in common, and how long each of them is.
#[derive(Clone, Copy, Debug)]
pub struct ChainShape<'a> {
    /// The dimension of the steps.
    pub steps: usize,
    /// How many labels there are.
    pub labels: usize,
    /// `(rows,)`, each 1 to `steps`; without them every row is as long as `steps`.
    pub lengths: Option<&'a [usize]>,
}

impl ChainShape<'_> {
    /// Values in a row of scores.
    fn cells(&self) -> usize {
        self.steps * self.labels * self.labels
    }

    fn length(&self, row: usize) -> usize {
        self.lengths.map_or(self.steps, |lengths| lengths[row].min(self.steps))
    }

    /// The part of a row that its length covers.
    fn row<'b, S>(&self, row: usize, scores: &'b [S]) -> &'b [S] {
        let cells = self.cells();
        let start = row * cells;
        &scores[start..start + self.length(row) * self.labels * self.labels]
    }

    fn check<S>(&self, scores: &[S], rows: usize) -> Result<(), LengthError> {
        check_len("scores", scores.len(), rows * self.cells())?;
        check_len("lengths", self.lengths.map_or(rows, <[usize]>::len), rows)
    }
}

/// The log-partition of every row, in nats; `-∞` where masks leave no path.
///
/// # Shapes
/// - scores: `(rows, steps, k, k)`; log_partition: `(rows,)`.
/// # Errors
/// [`LengthError`].
pub fn chain_log_partition<S: Real>(
    shape: ChainShape<'_>,
    scores: &[S],
    log_partition: &mut [f64],
) -> Result<(), LengthError> {
    shape.check(scores, log_partition.len())?;
    let isa = Isa::best();
    log_partition.par_iter_mut().enumerate().for_each_init(Row::default, |row, (r, out)| {
        let scores = shape.row(r, scores);
        *out = isa.dispatch(Forward { labels: shape.labels, scores, row });
    });
    Ok(())
}

/// The first step of every row that no path reaches, or `steps` where there is a path.
///
/// # Errors
/// [`LengthError`].
pub fn chain_dead_ends<S: Real>(
    shape: ChainShape<'_>,
    scores: &[S],
    first: &mut [usize],
) -> Result<(), LengthError> {
    shape.check(scores, first.len())?;
    first.par_iter_mut().enumerate().for_each_init(Row::default, |row, (r, out)| {
        let scores = shape.row(r, scores);
        let lowest = S::constant(f64::NEG_INFINITY);
        // Without a branch for each value: few rows have masks.
        let masked = scores.iter().fold(false, |any, &x| any | (x == lowest));
        *out = shape.steps;
        if masked {
            row.reach(shape.labels, scores);
            *out = row.dead_end().unwrap_or(shape.steps);
        }
    });
    Ok(())
}

/// The probabilities of all pairs of neighbours: the gradient of [`chain_log_partition`]. Exactly 0 where the score is `-∞`,
/// and beyond a row's length.
///
/// # Shapes
/// - scores, marginals: `(rows, steps, k, k)`.
/// # Errors
/// [`LengthError`].
pub fn chain_marginals<S: Real>(
    shape: ChainShape<'_>,
    scores: &[S],
    marginals: &mut [S],
) -> Result<(), LengthError> {
    shape.check(scores, marginals.len().checked_div(shape.cells()).unwrap_or(0))?;
    let isa = Isa::best();
    rows_of(marginals, shape.cells()).for_each_init(Row::default, |row, (r, out)| {
        let scores = shape.row(r, scores);
        isa.dispatch(Marginals { labels: shape.labels, scores, row, out });
    });
    Ok(())
}

/// The product of the Hessian of [`chain_log_partition`] and `grad`; exactly 0 where the marginal is, whatever `grad` is there.
///
/// # Shapes
/// - scores, grad, out: `(rows, steps, k, k)`.
/// # Errors
/// [`LengthError`].
pub fn chain_vjp<S: Real>(
    shape: ChainShape<'_>,
    scores: &[S],
    grad: &[S],
    out: &mut [S],
) -> Result<(), LengthError> {
    shape.check(scores, out.len().checked_div(shape.cells()).unwrap_or(0))?;
    check_len("grad", grad.len(), scores.len())?;
    let isa = Isa::best();
    rows_of(out, shape.cells()).for_each_init(Row::default, |row, (r, out)| {
        let (scores, grad) = (shape.row(r, scores), shape.row(r, grad));
        isa.dispatch(Vjp { labels: shape.labels, scores, grad, row, out });
    });
    Ok(())
}

/// Exact samples of labels: forward filtering, backward sampling. Labels beyond a row's length are 0.
///
/// # Shapes
/// - scores: `(rows, steps, k, k)`; uniforms, labels: `(rows, steps)`.
/// # Errors
/// [`LengthError`].
pub fn chain_sample<S: Real>(
    shape: ChainShape<'_>,
    scores: &[S],
    uniforms: &[f64],
    labels: &mut [u32],
) -> Result<(), LengthError> {
    shape.check(scores, labels.len().checked_div(shape.steps).unwrap_or(0))?;
    check_len("uniforms", uniforms.len(), labels.len())?;
    let isa = Isa::best();
    rows_of(labels, shape.steps).for_each_init(Row::default, |row, (r, labels)| {
        let scores = shape.row(r, scores);
        isa.dispatch(Forward { labels: shape.labels, scores, row: &mut *row });
        row.sample(shape.labels, &uniforms[r * shape.steps..], labels);
    });
    Ok(())
}

fn rows_of<T: Send>(
    out: &mut [T],
    len: usize,
) -> impl IndexedParallelIterator<Item = (usize, &mut [T])> {
    out.par_chunks_mut(len.max(1)).enumerate()
}

struct Forward<'a, S> {
    labels: usize,
    scores: &'a [S],
    row: &'a mut Row<S>,
}

impl<S: Real> Task for Forward<'_, S> {
    type Output = f64;

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) -> f64 {
        self.row.forward(self.labels, self.scores)
    }
}

struct Marginals<'a, S> {
    labels: usize,
    scores: &'a [S],
    row: &'a mut Row<S>,
    out: &'a mut [S],
}

impl<S: Real> Task for Marginals<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) {
        self.row.forward(self.labels, self.scores);
        self.row.marginals(self.labels, self.out);
    }
}

struct Vjp<'a, S> {
    labels: usize,
    scores: &'a [S],
    grad: &'a [S],
    row: &'a mut Row<S>,
    out: &'a mut [S],
}

impl<S: Real> Task for Vjp<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) {
        self.row.forward(self.labels, self.scores);
        self.row.vjp(self.labels, self.grad, self.out);
    }
}
