//! The elimination and its reverse pass in weights, for rows whose pivots stay within the range of f64.

use super::TreeShape;
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
    /// Derivatives of the log-partition with respect to `weights`, and at last to the scores.
    slopes: Vec<S>,
    pivots: Vec<S>,
    /// The row of each node when it is eliminated, divided by its pivot, and zeros.
    branches: Vec<S>,
    sums: Vec<S>,
    /// `(stride)`: the weights of a node, without derivatives.
    plain: Vec<f64>,
}

impl<S> Default for Linear<S> {
    fn default() -> Self {
        let none = Vec::new;
        Self {
            weights: none(),
            reduced: none(),
            slopes: none(),
            pivots: none(),
            branches: none(),
            sums: none(),
            plain: Vec::new(),
        }
    }
}

fn stride(n: usize) -> usize {
    (n + 1).next_multiple_of(LANES)
}

impl<S: Scalar> Linear<S> {
    /// The log-partition, or `None` where a pivot is too small. `scalar` makes a weight out of its value and its index in the scores.
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
        self.plain.resize(stride, 0.0);
        let log_partition =
            Isa::best().dispatch(Weigh { linear: &mut *self, n, scores, scalar })?;
        self.reduced.clone_from(&self.weights);
        self.pivots.resize(n + 1, zero);
        self.branches.resize(n * stride, zero);
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
        for (u, row) in self.slopes.chunks_exact(stride).enumerate() {
            for (v, &p) in row[..=n].iter().enumerate() {
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
    linear: &'a mut Linear<S>,
    n: usize,
    scores: &'a [f64],
    scalar: F,
}

impl<S: Scalar, F: Fn(f64, usize) -> S> Task for Weigh<'_, S, F> {
    type Output = Option<f64>;

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) -> Option<f64> {
        let (width, mut total) = (self.n + 1, 0.0);
        let Linear { weights, plain, .. } = self.linear;
        let rows = weights.chunks_exact_mut(stride(self.n)).zip(self.scores.chunks_exact(width));
        for (u, (row, scores)) in rows.enumerate() {
            // What stands at the node itself may be anything.
            for (v, (plain, &score)) in plain.iter_mut().zip(scores).enumerate() {
                *plain = if v == u + 1 { f64::NEG_INFINITY } else { score };
            }
            plain[width..].fill(f64::NEG_INFINITY);
            let mut top = [f64::NEG_INFINITY; LANES];
            for lanes in plain.as_chunks::<LANES>().0 {
                for i in 0..LANES {
                    top[i] = if lanes[i] > top[i] { lanes[i] } else { top[i] };
                }
            }
            let top = top.into_iter().fold(f64::NEG_INFINITY, f64::max);
            if top == f64::NEG_INFINITY {
                return None;
            }
            total += top;
            for x in &mut *plain {
                *x = exp64(*x - top);
            }
            for (v, (weight, &plain)) in row[..width].iter_mut().zip(&*plain).enumerate() {
                *weight = (self.scalar)(plain, u * width + v);
            }
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
        let Linear { reduced, pivots, branches, .. } = self.linear;
        let zero = S::constant(0.0);
        for k in (1..=n).rev() {
            let (first, whole) = (first_column(self.shape, k), k.next_multiple_of(LANES));
            let (above, own) = reduced.split_at_mut((k - 1) * stride);
            let own = &own[..whole];
            let mut sums = [zero; LANES];
            for (at, own) in own.as_chunks::<LANES>().0.iter().enumerate() {
                for i in 0..LANES {
                    let v = at * LANES + i;
                    sums[i] += if v >= first && v < k { own[i] } else { zero };
                }
            }
            let pivot = total(sums);
            if pivot.value().is_nan() || pivot.value() < LEAST_PIVOT {
                return None;
            }
            pivots[k] = pivot;
            let inverse = S::constant(1.0) / pivot;
            let branch = &mut branches[(k - 1) * stride..][..whole];
            for (v, (branch, &weight)) in branch.iter_mut().zip(own).enumerate() {
                *branch = if v < k { weight * inverse } else { zero };
            }
            for row in above.chunks_exact_mut(stride) {
                let factor = row[k];
                for (x, &branch) in row[..whole].iter_mut().zip(&*branch) {
                    *x += factor * branch;
                }
            }
        }
        Some(())
    }
}

/// `Σ x y`, of whole lanes.
#[inline(always)]
fn dot<S: Scalar>(x: &[S], y: &[S]) -> S {
    let mut sums = [S::constant(0.0); LANES];
    for (x, y) in x.as_chunks::<LANES>().0.iter().zip(y.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            sums[i] += x[i] * y[i];
        }
    }
    total(sums)
}

/// By halves: three sums one after the other, not seven.
#[inline(always)]
fn total<S: Scalar>(x: [S; LANES]) -> S {
    let [a, b, c, d] = [x[0] + x[4], x[1] + x[5], x[2] + x[6], x[3] + x[7]];
    (a + c) + (b + d)
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
        let Linear { weights, reduced, slopes, pivots, branches, sums, .. } = self.linear;
        let zero = S::constant(0.0);
        for k in 1..=n {
            let (first, whole) = (first_column(self.shape, k), k.next_multiple_of(LANES));
            let (above, own) = slopes.split_at_mut((k - 1) * stride);
            let branch = &branches[(k - 1) * stride..][..whole];
            let sums = &mut sums[..whole];
            sums.fill(zero);
            // Two loops: with a sum and a store in one, neither is vectorised.
            for (slopes, reduced) in above.chunks_exact(stride).zip(reduced.chunks(stride)) {
                let factor = reduced[k];
                for (sum, &slope) in sums.iter_mut().zip(&slopes[..whole]) {
                    *sum += slope * factor;
                }
            }
            for slopes in above.chunks_exact_mut(stride) {
                slopes[k] = dot(&slopes[..whole], branch);
            }
            let inverse = S::constant(1.0) / pivots[k];
            let through_pivot = (S::constant(1.0) - dot(sums, branch)) * inverse;
            for (v, (slope, &sum)) in own[..whole].iter_mut().zip(&*sums).enumerate() {
                let pivot = if v >= first { through_pivot } else { zero };
                *slope = if v < k { sum * inverse + pivot } else { zero };
            }
        }
        for (slope, &weight) in slopes.iter_mut().zip(&*weights) {
            *slope = weight * *slope;
        }
    }
}
