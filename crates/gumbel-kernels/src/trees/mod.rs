//! Rooted spanning trees over dense graphs: log-partition, marginals and their Hessian, exact samples, best trees.
//!
//! Scores are `(rows, n, n + 1)`: entry `(u, v)` of a row is the score of `v` as the parent of node `u + 1`. Column 0 is
//! the root, column `v` is node `v`. The entry of a node as its own parent is not looked at. The weight of a tree is
//! the exponential of the sum of its scores; a score of `-inf` forbids an edge.
//!
//! **Elimination without subtraction** (Grassmann, Taksar and Heyman 1985) in the place of a determinant: only sums, products
//! and quotients of positive numbers, so that every weight keeps its relative accuracy at any scale of scores. In the
//! reverse pass the derivatives of the logarithm are carried instead of the shares of each step: no division in the inner loop,
//! and no table of n³ values. Rows whose pivots leave the range of f64 are done again in logarithms (`history`).
//!
//! **Samples** (`sample`) undo the elimination node by node. A sample takes a fixed number of uniform values and always ends.

mod best;
mod history;
mod linear;
mod sample;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::scalar::{Dual, Scalar};
use history::{History, Log};
use linear::Linear;

pub use best::{best_arborescence, best_spanning_tree};

/// Rooted trees over `n` nodes and a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeShape {
    /// How many nodes there are besides the root.
    pub n_nodes: usize,
    /// Whether the root has exactly one child.
    pub single_root: bool,
}

impl TreeShape {
    /// Scores of one row.
    pub fn n_scores(self) -> usize {
        self.n_nodes * (self.n_nodes + 1)
    }

    /// Uniform values that a sample takes.
    pub fn n_uniforms(self) -> usize {
        self.n_nodes * (self.n_nodes + 1) / 2
    }

    fn rows(self, operand: &'static str, len: usize) -> Result<usize, LengthError> {
        let rows = len.checked_div(self.n_scores()).unwrap_or(0);
        check_len(operand, len, rows * self.n_scores())?;
        Ok(rows)
    }
}

/// The logarithm of the sum of all trees' weights; `-inf` where there is no tree.
///
/// # Shapes
/// - scores: `(rows, n, n + 1)`; out: `rows`.
/// # Errors
/// [`LengthError`].
pub fn tree_log_partition(
    shape: TreeShape,
    scores: &[f64],
    out: &mut [f64],
) -> Result<(), LengthError> {
    check_len("out", out.len(), shape.rows("scores", scores.len())?)?;
    let n = shape.n_scores().max(1);
    out.par_iter_mut().zip(scores.par_chunks(n)).for_each_init(
        Linear::<f64>::default,
        |linear, (out, scores)| {
            *out = match linear.eliminate(shape, scores, |weight, _| weight) {
                Some(log_partition) => log_partition,
                None => History::<Log<f64>>::eliminate(shape, scores)
                    .map_or(f64::NEG_INFINITY, |h| h.log_partition()),
            };
        },
    );
    Ok(())
}

/// The probability of every edge; zeros where there is no tree.
///
/// # Shapes
/// - scores, out: `(rows, n, n + 1)`.
/// # Errors
/// [`LengthError`].
pub fn tree_marginals(
    shape: TreeShape,
    scores: &[f64],
    out: &mut [f64],
) -> Result<(), LengthError> {
    shape.rows("scores", scores.len())?;
    check_len("out", out.len(), scores.len())?;
    let n = shape.n_scores().max(1);
    out.par_chunks_mut(n).zip(scores.par_chunks(n)).for_each_init(
        Linear::<f64>::default,
        |linear, (out, scores)| {
            if linear.eliminate(shape, scores, |weight, _| weight).is_none()
                || !linear.marginals(shape, |at, p| out[at] = p)
            {
                out.fill(0.0);
                if let Some(history) = History::<Log<f64>>::eliminate(shape, scores) {
                    history.marginals(|at, p| out[at] = p);
                }
            }
            // The last digit of a difference may fall out of the interval.
            out.iter_mut().for_each(|p| *p = p.clamp(0.0, 1.0));
        },
    );
    Ok(())
}

/// The Hessian of the log-partition times `grad`: the derivative of the marginals in the direction `grad`. Exactly
/// zero for an edge of score `-inf`, whatever `grad` is there.
///
/// # Shapes
/// - scores, grad, out: `(rows, n, n + 1)`.
/// # Errors
/// [`LengthError`].
pub fn tree_marginals_vjp(
    shape: TreeShape,
    scores: &[f64],
    grad: &[f64],
    out: &mut [f64],
) -> Result<(), LengthError> {
    shape.rows("scores", scores.len())?;
    check_len("grad", grad.len(), scores.len())?;
    check_len("out", out.len(), scores.len())?;
    let n = shape.n_scores().max(1);
    let rows = out.par_chunks_mut(n).zip(scores.par_chunks(n)).zip(grad.par_chunks(n));
    rows.for_each_init(Linear::<Dual>::default, |linear, ((out, scores), grad)| {
        let mut finite = true;
        // exp(x + ẋ ε) = exp(x) (1 + ẋ ε).
        let weight = |value: f64, at: usize| Dual {
            value,
            tangent: if value > 0.0 { value * grad[at] } else { 0.0 },
        };
        let done = linear.eliminate(shape, scores, weight).is_some()
            && linear.marginals(shape, |at, p| {
                out[at] = p.tangent;
                finite &= p.tangent.is_finite();
            });
        if !(done && finite) {
            out.fill(0.0);
            let slope = |x: f64, grad: f64| if x == f64::NEG_INFINITY { 0.0 } else { grad };
            let duals = scores.iter().zip(grad);
            let duals: Vec<Dual> =
                duals.map(|(&x, &g)| Dual { value: x, tangent: slope(x, g) }).collect();
            if let Some(history) = History::<Log<Dual>>::eliminate(shape, &duals) {
                history.marginals(|at, p| out[at] = p.tangent);
            }
        }
    });
    Ok(())
}

/// Exact samples; the same number of them for each row of scores, one after the other.
///
/// # Shapes
/// - scores: `(rows, n, n + 1)`, rows with at least one tree (others give zeros). uniforms: `(rows, samples, n (n + 1) / 2)`, in `[0, 1)`.
/// - parents: `(rows, samples, n)`, with 0 for the root.
/// # Errors
/// [`LengthError`].
pub fn tree_samples(
    shape: TreeShape,
    scores: &[f64],
    uniforms: &[f64],
    parents: &mut [u32],
) -> Result<(), LengthError> {
    let rows = shape.rows("scores", scores.len())?;
    if rows == 0 {
        return check_len("parents", parents.len(), 0);
    }
    let samples = parents.len() / (rows * shape.n_nodes);
    check_len("parents", parents.len(), rows * samples * shape.n_nodes)?;
    check_len("uniforms", uniforms.len(), rows * samples * shape.n_uniforms())?;
    if samples == 0 {
        return Ok(());
    }
    let parents = parents.par_chunks_mut(samples * shape.n_nodes);
    let uniforms = uniforms.par_chunks(samples * shape.n_uniforms());
    let rows = scores.par_chunks(shape.n_scores()).zip(uniforms).zip(parents);
    rows.for_each(|((scores, uniforms), parents)| {
        sample::sample_row(shape, scores, uniforms, parents);
    });
    Ok(())
}

/// The largest score of a node's candidate parents: subtracted from them, since each node has one parent.
fn largest(scores: &[impl Scalar], own: usize) -> f64 {
    let others = scores.iter().enumerate().filter(|(v, _)| *v != own);
    others.map(|(_, x)| x.value()).fold(f64::NEG_INFINITY, f64::max)
}
