//! The elimination and its reverse pass in weights, for rows whose pivots stay within the range of f64.

use super::{TreeShape, largest};
use crate::exp64::exp64;
use crate::isa::{Isa, Kernel, Task};
use crate::scalar::Scalar;

/// Values that are worked on together; the columns of a row are padded to them with zeros.
const LANES: usize = 8;

/// Below this a pivot's derivatives may overflow: such a row is left to the logarithms.
pub(super) const LEAST_PIVOT: f64 = 1e-140;

/// The matrices of one row, kept between rows.
pub(super) struct Linear<S> {
    /// `exp(scores - largest of the node)`, `(n, stride)`.
    weights: Vec<S>,
    /// Row `k`, columns below `k`: as they are when `k` is eliminated. Column `k`, rows below: likewise.
    reduced: Vec<S>,
    /// Derivatives of the log-partition with respect to `weights`.
    slopes: Vec<S>,
    pivots: Vec<S>,
    /// `(stride)`: the row of the node that is eliminated, divided by its pivot.
    branch: Vec<S>,
    sums: Vec<S>,
}

impl<S> Default for Linear<S> {
    fn default() -> Self {
        let none = Vec::new;
        Self {
            weights: none(),
            reduced: none(),
            slopes: none(),
            pivots: none(),
            branch: none(),
            sums: none(),
        }
    }
}

fn stride(n: usize) -> usize {
    (n + 1).next_multiple_of(LANES)
}

impl<S: Scalar> Linear<S> {
    /// The log-partition, or `None` where a pivot is too small.
    pub(super) fn eliminate(
        &mut self,
        shape: TreeShape,
        scores: &[f64],
        scalar: impl Fn(f64, usize) -> S,
    ) -> Option<f64> {
        let (n, stride) = (shape.n_nodes, stride(shape.n_nodes));
        let zero = S::constant(0.0);
        self.weights.clear();
        self.weights.resize(n * stride, zero);
        let log_partition =
            Isa::best().dispatch(Weigh { weights: &mut self.weights, n, scores, scalar })?;
        self.reduced.clone_from(&self.weights);
        self.pivots.resize(n + 1, zero);
        self.branch.resize(stride, zero);
        Isa::best().dispatch(Eliminate { linear: self, shape })?;
        Some(log_partition + self.pivots[1..=n].iter().map(|d| d.value().ln()).sum::<f64>())
    }

    /// Gives the probability of every edge, with its index in the scores. False where one is no number.
    pub(super) fn marginals(&mut self, shape: TreeShape, mut out: impl FnMut(usize, S)) -> bool {
        let (n, stride) = (shape.n_nodes, stride(shape.n_nodes));
        self.slopes.clear();
        self.slopes.resize(n * stride, S::constant(0.0));
        self.sums.resize(stride, S::constant(0.0));
        Isa::best().dispatch(Reverse { linear: self, shape });
        let mut good = true;
        for u in 0..n {
            for v in 0..=n {
                let p = self.weights[u * stride + v] * self.slopes[u * stride + v];
                good &= p.value().is_finite();
                out(u * (n + 1) + v, p);
            }
        }
        good
    }
}

/// The children of the root are not summed into a pivot where the root has a single child: that child comes last.
#[inline(always)]
fn first_column(shape: TreeShape, k: usize) -> usize {
    usize::from(shape.single_root && k > 1)
}

/// Writes `exp(scores - largest of the node)`, and gives the sum of the largest; `None` for a node without a parent.
struct Weigh<'a, S, F> {
    weights: &'a mut [S],
    n: usize,
    scores: &'a [f64],
    scalar: F,
}

impl<S: Scalar, F: Fn(f64, usize) -> S> Task for Weigh<'_, S, F> {
    type Output = Option<f64>;

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) -> Option<f64> {
        let width = self.n + 1;
        let mut total = 0.0;
        let rows =
            self.weights.chunks_exact_mut(stride(self.n)).zip(self.scores.chunks_exact(width));
        for (u, (row, scores)) in rows.enumerate() {
            let top = largest(scores, u + 1);
            if top == f64::NEG_INFINITY {
                return None;
            }
            total += top;
            for (v, (weight, &score)) in row.iter_mut().zip(scores).enumerate() {
                // exp(x + ẋ ε) = exp(x) (1 + ẋ ε).
                let tangent = (self.scalar)(score, u * width + v) - S::constant(score);
                let one = if score > f64::NEG_INFINITY {
                    S::constant(1.0) + tangent
                } else {
                    S::constant(0.0)
                };
                *weight = S::constant(exp64(score - top)) * one;
            }
            row[u + 1] = S::constant(0.0);
        }
        Some(total)
    }
}

struct Eliminate<'a, S> {
    linear: &'a mut Linear<S>,
    shape: TreeShape,
}

impl<S: Scalar> Task for Eliminate<'_, S> {
    type Output = Option<()>;

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) -> Option<()> {
        let (n, stride) = (self.shape.n_nodes, stride(self.shape.n_nodes));
        let Linear { reduced, pivots, branch, .. } = self.linear;
        for k in (1..=n).rev() {
            let (above, rest) = reduced.split_at_mut((k - 1) * stride);
            let pivot =
                rest[first_column(self.shape, k)..k].iter().fold(S::constant(0.0), |a, &b| a + b);
            if pivot.value().is_nan() || pivot.value() < LEAST_PIVOT {
                return None;
            }
            pivots[k] = pivot;
            divide_branch(&rest[..k], pivot, branch);
            for row in above.chunks_exact_mut(stride) {
                let factor = row[k];
                for (row, branch) in row
                    .chunks_exact_mut(LANES)
                    .zip(branch.chunks_exact(LANES))
                    .take(k.div_ceil(LANES))
                {
                    for i in 0..LANES {
                        row[i] += factor * branch[i];
                    }
                }
            }
        }
        Some(())
    }
}

/// `branch = row / pivot`, padded with zeros.
#[inline(always)]
fn divide_branch<S: Scalar>(row: &[S], pivot: S, branch: &mut [S]) {
    branch.fill(S::constant(0.0));
    let inverse = S::constant(1.0) / pivot;
    for (branch, &weight) in branch.iter_mut().zip(row) {
        *branch = weight * inverse;
    }
}

struct Reverse<'a, S> {
    linear: &'a mut Linear<S>,
    shape: TreeShape,
}

impl<S: Scalar> Task for Reverse<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) {
        let (n, stride) = (self.shape.n_nodes, stride(self.shape.n_nodes));
        let Linear { reduced, slopes, pivots, branch, sums, .. } = self.linear;
        let zero = S::constant(0.0);
        for k in 1..=n {
            let inverse = S::constant(1.0) / pivots[k];
            divide_branch(&reduced[(k - 1) * stride..][..k], pivots[k], branch);
            sums.fill(zero);
            for u in 0..k - 1 {
                let slopes = &mut slopes[u * stride..][..stride];
                let factor = reduced[u * stride + k];
                let mut dot = [zero; LANES];
                let lanes = slopes
                    .chunks_exact(LANES)
                    .zip(branch.chunks_exact(LANES))
                    .zip(sums.chunks_exact_mut(LANES));
                for ((slopes, branch), sums) in lanes.take(k.div_ceil(LANES)) {
                    for i in 0..LANES {
                        dot[i] += slopes[i] * branch[i];
                        sums[i] += slopes[i] * factor;
                    }
                }
                slopes[k] = dot.into_iter().fold(zero, |a, b| a + b);
            }
            let through =
                sums.iter().zip(branch.iter()).take(k).fold(zero, |a, (&s, &b)| a + s * b);
            let own = (S::constant(1.0) - through) * inverse;
            for v in 0..k {
                let pivot = if v >= first_column(self.shape, k) { own } else { zero };
                slopes[(k - 1) * stride + v] = sums[v] * inverse + pivot;
            }
        }
    }
}
