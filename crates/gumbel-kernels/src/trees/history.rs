//! The elimination with the matrix of every step kept, in weights or in their logarithms.
//!
//! What samples are made of, and the marginals of rows whose weights leave the range of f64.

use super::linear::LEAST_PIVOT;
use super::{TreeShape, largest};
use crate::scalar::Scalar;

/// A weight of zero or more.
pub(super) trait Weight: Copy {
    /// What scores and probabilities are.
    type Scalar: Scalar;
    const ZERO: Self;
    /// `exp(score)`.
    fn of(score: Self::Scalar) -> Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// `self / other`, for `other` above zero.
    fn over(self, other: Self) -> Self;
    fn ln(self) -> f64;
    fn to_scalar(self) -> Self::Scalar;

    /// `self / other`, and zero where both are.
    fn share(self, other: Self) -> Self::Scalar {
        if other.ln() == f64::NEG_INFINITY {
            Self::Scalar::constant(0.0)
        } else {
            self.over(other).to_scalar()
        }
    }
}

/// The weight itself.
impl Weight for f64 {
    type Scalar = f64;
    const ZERO: Self = 0.0;

    fn of(score: f64) -> Self {
        score.exp()
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn times(self, other: Self) -> Self {
        self * other
    }

    fn over(self, other: Self) -> Self {
        self / other
    }

    fn ln(self) -> f64 {
        f64::ln(self)
    }

    fn to_scalar(self) -> f64 {
        self
    }
}

/// A weight's logarithm; `None` for zero.
#[derive(Clone, Copy)]
pub(super) struct Log<S>(Option<S>);

impl<S: Scalar> Weight for Log<S> {
    type Scalar = S;
    const ZERO: Self = Self(None);

    fn of(score: S) -> Self {
        Self((score.value() > f64::NEG_INFINITY).then_some(score))
    }

    fn plus(self, other: Self) -> Self {
        let (Some(a), Some(b)) = (self.0, other.0) else { return Self(self.0.or(other.0)) };
        let (a, b) = if a.value() < b.value() { (b, a) } else { (a, b) };
        Self(Some(a + (S::constant(1.0) + (b - a).exp()).ln()))
    }

    fn times(self, other: Self) -> Self {
        Self(self.0.zip(other.0).map(|(a, b)| a + b))
    }

    fn over(self, other: Self) -> Self {
        Self(self.0.zip(other.0).map(|(a, b)| a - b))
    }

    fn ln(self) -> f64 {
        self.0.map_or(f64::NEG_INFINITY, Scalar::value)
    }

    fn to_scalar(self) -> S {
        self.0.map_or(S::constant(0.0), Scalar::exp)
    }
}

/// The matrices of all steps of one row.
pub(super) struct History<W> {
    pub(super) shape: TreeShape,
    /// Which node is eliminated as the `k`-th, from 1 on; the last one first. Position 0 is the root.
    pub(super) nodes: Vec<usize>,
    /// Level `k`: rows 1 to `k` and columns 0 to `k`, as they are when `k` is eliminated.
    levels: Vec<Vec<W>>,
    /// How node `k` shares its place among the candidate parents below it.
    branches: Vec<Vec<W>>,
    pivots: Vec<W>,
    shift: f64,
}

impl<W: Weight> History<W> {
    /// `None` where there is no tree, and where weights that are not logarithms run out of their range.
    pub(super) fn eliminate(shape: TreeShape, scores: &[W::Scalar]) -> Option<Self> {
        let mut nodes: Vec<usize> = (0..=shape.n_nodes).collect();
        match Self::in_order(shape, scores, nodes.clone()) {
            Ok(history) => Some(history),
            // With one root, a node that only the root leads to must be that root: it is eliminated last.
            Err(k) if shape.single_root && k > 1 => {
                nodes.swap(1, k);
                Self::in_order(shape, scores, nodes).ok()
            }
            Err(_) => None,
        }
    }

    /// The position of a node without a parent, where there is one.
    fn in_order(shape: TreeShape, scores: &[W::Scalar], nodes: Vec<usize>) -> Result<Self, usize> {
        let n = shape.n_nodes;
        let (mut level, mut shift) = (vec![W::ZERO; (n + 1) * (n + 1)], 0.0);
        for u in 1..=n {
            let scores = &scores[(nodes[u] - 1) * (n + 1)..][..n + 1];
            let top = largest(scores, nodes[u]);
            if top == f64::NEG_INFINITY {
                return Err(0);
            }
            shift += top;
            for v in (0..=n).filter(|&v| v != u && scores[nodes[v]].value() > f64::NEG_INFINITY) {
                level[u * (n + 1) + v] = W::of(scores[nodes[v]] - W::Scalar::constant(top));
            }
        }
        let mut history = Self {
            shape,
            nodes,
            levels: vec![Vec::new(); n + 1],
            branches: vec![Vec::new(); n + 1],
            pivots: vec![W::ZERO; n + 1],
            shift,
        };
        for k in (1..=n).rev() {
            let width = k + 1;
            let first = usize::from(shape.single_root && k > 1);
            let pivot = (first..k).fold(W::ZERO, |sum, v| sum.plus(level[k * width + v]));
            if pivot.ln() == f64::NEG_INFINITY {
                return Err(k);
            }
            let branch: Vec<W> = level[k * width..][..k].iter().map(|w| w.over(pivot)).collect();
            let mut next = vec![W::ZERO; k * k];
            for (u, next) in next.chunks_exact_mut(k).enumerate().skip(1) {
                let (row, to_k) = (&level[u * width..][..k], level[u * width + k]);
                for ((next, direct), branch) in next.iter_mut().zip(row).zip(&branch) {
                    *next = direct.plus(to_k.times(*branch));
                }
                next[u] = W::ZERO;
            }
            history.branches[k] = branch;
            history.pivots[k] = pivot;
            history.levels[k] = std::mem::replace(&mut level, next);
        }
        Ok(history)
    }

    /// Whether weights that are not logarithms have kept their digits.
    pub(super) fn in_range(&self) -> bool {
        self.pivots[1..].iter().all(|d| d.ln() > LEAST_PIVOT.ln())
    }

    pub(super) fn log_partition(&self) -> f64 {
        self.shift + self.pivots[1..].iter().map(|d| d.ln()).sum::<f64>()
    }

    /// The share of the candidate parent `v < k` in the place of node `k`.
    pub(super) fn branch(&self, k: usize, v: usize) -> W {
        self.branches[k][v]
    }

    /// The weights of the edge from `u` to its parent `v` when `k` is eliminated: through `k`, and direct.
    pub(super) fn via_and_direct(&self, k: usize, u: usize, v: usize) -> (W, W) {
        let level = &self.levels[k];
        (level[u * (k + 1) + k].times(self.branch(k, v)), level[u * (k + 1) + v])
    }

    /// The probability of every edge, with its index in the scores.
    pub(super) fn marginals(&self, mut out: impl FnMut(usize, W::Scalar)) {
        let n = self.shape.n_nodes;
        let (zero, one) = (W::Scalar::constant(0.0), W::Scalar::constant(1.0));
        let mut p = vec![zero; (n + 1) * (n + 1)];
        for k in 1..=n {
            let (mut through, mut total) = (vec![zero; k], zero);
            for u in 1..k {
                let mut of_node = zero;
                for v in (0..k).filter(|&v| v != u) {
                    let (via, direct) = self.via_and_direct(k, u, v);
                    let (sum, edge) = (via.plus(direct), p[u * (n + 1) + v]);
                    let via = edge * via.share(sum);
                    p[u * (n + 1) + v] = edge * direct.share(sum);
                    through[v] += via;
                    of_node += via;
                }
                p[u * (n + 1) + k] = of_node;
                total += of_node;
            }
            for v in 0..k {
                // With one root, the root's own edge is not one of the pivot's terms: its quotient may be beyond all numbers.
                let is_term = !(self.shape.single_root && k > 1 && v == 0);
                let own =
                    if is_term { self.branch(k, v).to_scalar() * (one - total) } else { zero };
                p[k * (n + 1) + v] = own + through[v];
            }
        }
        for u in 1..=n {
            for v in (0..=n).filter(|&v| v != u) {
                out((self.nodes[u] - 1) * (n + 1) + self.nodes[v], p[u * (n + 1) + v]);
            }
        }
    }
}
