//! The minimum-norm estimator that is exact for quadratic losses ("Fini", He and Wu, proposition C.3).
//!
//! # Derivation
//! Consider all estimators that draw a class `i` with probability `p_i` and return `W_i g`, where `g` is
//! the gradient of the loss `f` at the one-hot vector `e_i` and the matrix `W_i` depends on `p` alone. The
//! target is the gradient of `Σ p_i f(e_i)` with respect to the logits, `J F` with `J = diag p - p pᵀ` and
//! `F_i = f(e_i)`. Which of them are exact, `Σ p_i W_i g(e_i) = J F`, for every quadratic
//! `f(z) = ½ zᵀ A z + bᵀ z + c`, where `g(e_i) = A e_i + b`?
//!
//! - `f = ½ z_j²` forces `p_j W_j e_j = ½ J e_j`, so `W_j e_j = ½ (e_j - p)`.
//! - `f = z_i z_j` with `i ≠ j` has `F = 0`, so the vectors `U_ij = p_i W_i e_j` are antisymmetric, `U_ij = -U_ji`.
//! - `f = z_j` forces `Σ_i p_i W_i e_j = J e_j`, so, with the first line, `Σ_{i ≠ j} U_ij = ½ J e_j`.
//!
//! These are the equations of a flow on the complete graph of the classes: `U_ij` flows from `i` to `j`, and
//! node `j` takes in `½ J e_j`. Of all flows take the one of least expected squared norm
//! `E ‖W_i‖² = Σ_{i ≠ j} ‖U_ij‖² / p_i = Σ_{i < j} ‖U_ij‖² (1/p_i + 1/p_j)` (up to the fixed `W_i e_i`). As for
//! electric currents, it comes from potentials `x_j`, the rows of a matrix `C`:
//!
//! `U_ij = p_i p_j / (p_i + p_j) · (x_j - x_i)`, where `G C = ½ J`,
//!
//! with the graph's Laplacian `G_ij = -p_i p_j / (p_i + p_j)` off the diagonal and rows that sum to zero. Hence
//! `W_i e_j = p_j / (p_i + p_j) · Cᵀ (e_j - e_i)` with `C = ½ G⁺ J`.
//!
//! # Computation
//! `W_i g = ½ (e_i - p) g_i + Cᵀ s` with `s_j = p_j g_j / (p_i + p_j)` and `s_i = -Σ_{j ≠ i} s_j`. Since `s` sums
//! to zero, `Cᵀ s = ½ J y` for any solution of `G y = s`: one linear system per row. The most probable
//! class `r` is held at `y_r = 0`; the rest, scaled by `1/√p` on both sides, has all eigenvalues between ½ and
//! `2 (K - 1)`, because every class is joined to `r` with `p_j p_r / (p_j + p_r) ≥ p_j / 2`. So it is solved by
//! Cholesky's method in f64 without loss, however small the probabilities are.

use candle_core::shape::Dim;
use candle_core::{D, DType, Device, Tensor};
use rayon::prelude::*;

use super::rule::{ONE, Request, Rule};
use super::{Estimator, Proposal};
use crate::structure::categories::softmax;
use crate::{Generator, Result};

/// Draws an exact one-hot sample with the gradient of the least-norm estimator that is exact for every
/// quadratic loss ("Fini", He and Wu, proposition C.3). The source of this file derives it.
///
/// For a sample `i` it returns `½ (e_i - p) g_i + ½ J G⁺ s`, where `J = diag p - p pᵀ`, `G` is the graph
/// Laplacian with weights `p_i p_j / (p_i + p_j)`, and `s_j = p_j g_j / (p_i + p_j)`, `s_i = -Σ_{j ≠ i} s_j`.
/// For two classes this is [`reinmax`](super::reinmax) at τ = 1; for more, ReinMax is another member of the
/// same family, of larger norm.
///
/// - Bias: none for a loss that is quadratic in each latent given the others; of third order otherwise.
/// - Variance: the matrix that is applied to the loss's gradient has at most the expected squared norm of
///   ReinMax's.
/// - Cost: one evaluation of the loss, and one `K × K` linear system per row backward, on the CPU.
/// - τ: there is none.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes.
/// # Errors
/// [`Error::InvalidLogit`](crate::Error::InvalidLogit), [`Error::AllMasked`](crate::Error::AllMasked),
/// [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::fini;
///
/// let logits = Var::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu)?;
/// let z = fini(&logits, 1, &mut Generator::new(0))?;
/// assert!(z.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn fini<D: Dim>(logits: &Tensor, dim: D, g: &mut Generator) -> Result<Tensor> {
    Estimator::Fini.sample(logits, 1.0, dim, g)
}

#[derive(Clone, Copy)]
pub(super) struct Fini;

impl Rule for Fini {
    const NAME: &'static str = "fini";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = false;
    const IS_UNBIASED: bool = false;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let categories = request.categories(Self::NAME)?;
        request.through_sample(categories, gradient)
    }
}

/// Row by row in double precision, on the CPU.
pub(super) fn gradient(logits: &Tensor, hard: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let wide = |x: &Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F64);
    let values = |x: &Tensor| -> Result<Vec<f64>> { Ok(wide(x)?.flatten_all()?.to_vec1()?) };
    let probs = values(&softmax(&wide(logits)?, &ONE)?)?;
    let (hard, grad, n) = (values(hard)?, values(grad)?, logits.dim(D::Minus1)?);
    let mut out = vec![0.0; probs.len()];
    let rows = probs.par_chunks_exact(n).zip(hard.par_chunks_exact(n));
    let rows = rows.zip(grad.par_chunks_exact(n)).zip(out.par_chunks_exact_mut(n));
    rows.for_each_init(System::default, |system, (((probs, hard), grad), out)| {
        let sampled = hard.iter().position(|&d| d > 0.0).unwrap_or(0);
        system.gradient(probs, sampled, grad, out);
    });
    let out = Tensor::from_vec(out, logits.shape(), &Device::Cpu)?;
    Ok(out.to_dtype(logits.dtype())?.to_device(logits.device())?)
}

/// The linear system of a row; its buffers are kept between rows.
#[derive(Debug, Default)]
struct System {
    /// The classes that can be drawn, but the most probable one, and the roots of their probabilities.
    free: Vec<usize>,
    roots: Vec<f64>,
    /// The upper half of the scaled Laplacian over `free`, row by row, and then its Cholesky factor.
    matrix: Vec<f64>,
    y: Vec<f64>,
}

impl System {
    /// `W_i g` of this file's head: the gradient at the logits from `g`, that at the sample of class `i`.
    ///
    /// # Shapes
    /// - probs, g, d_logits: one row. A class of probability 0 gets exactly 0, whatever `g` is there.
    fn gradient(&mut self, probs: &[f64], i: usize, g: &[f64], d_logits: &mut [f64]) {
        let p = probs;
        let root = (0..p.len()).fold(0, |r, j| if p[j] > p[r] { j } else { r });
        self.free.clear();
        self.free.extend((0..p.len()).filter(|&j| j != root && p[j] > 0.0));
        self.roots.clear();
        self.roots.extend(self.free.iter().map(|&j| p[j].sqrt()));
        self.fill(p, root);
        let share = |j: usize| if p[j] > 0.0 { p[j] / (p[i] + p[j]) * g[j] } else { 0.0 };
        let taken: f64 = (0..p.len()).filter(|&j| j != i).map(share).sum();
        let source = |j: usize| if j == i { -taken } else { share(j) };
        self.y.clear();
        self.y.extend(self.free.iter().zip(&self.roots).map(|(&j, root)| source(j) / root));
        solve_positive_definite(&mut self.matrix, &mut self.y);

        // p_j y_j is the root of p_j times the solution of the scaled system.
        let flows =
            || self.free.iter().zip(&self.roots).zip(&self.y).map(|((&j, r), y)| (j, r * y));
        let total: f64 = flows().map(|(_, flow)| flow).sum();
        for (d, p) in d_logits.iter_mut().zip(p) {
            *d = -0.5 * p * (total + g[i]);
        }
        flows().for_each(|(j, flow)| d_logits[j] += 0.5 * flow);
        d_logits[i] += 0.5 * g[i];
    }

    /// Sets up the Laplacian without the root's row and column, scaled by `1/√p` on both sides.
    fn fill(&mut self, p: &[f64], root: usize) {
        let n = self.free.len();
        self.matrix.clear();
        self.matrix.resize(n * n, 0.0);
        for a in 0..n {
            let at_a = p[self.free[a]];
            // A diagonal entry is Σ_b p_b / (p_a + p_b) over all other classes b, the root among them.
            self.matrix[a * n + a] += p[root] / (at_a + p[root]);
            for b in a + 1..n {
                // √(p_a p_b) / (p_a + p_b) from the ratio: the sum of the smallest probabilities has no inverse.
                let ratio = self.roots[a] / self.roots[b];
                let joined = 1.0 / (ratio + 1.0 / ratio);
                self.matrix[a * n + a] += joined / ratio;
                self.matrix[b * n + b] += joined * ratio;
                self.matrix[a * n + b] = -joined;
            }
        }
    }
}

/// Solves `A x = b` in place by Cholesky's method, `A = Uᵀ U`. Of `a`, row-major with as many rows as `b`, only the
/// upper half is read.
fn solve_positive_definite(a: &mut [f64], b: &mut [f64]) {
    let n = b.len();
    for k in 0..n {
        let (done, below) = a.split_at_mut((k + 1) * n);
        let row = &mut done[k * n..];
        let inverse = 1.0 / row[k].sqrt();
        row[k..].iter_mut().for_each(|x| *x *= inverse);
        for (i, target) in (k + 1..n).zip(below.chunks_exact_mut(n)) {
            subtract(&mut target[i..], row[i], &row[i..]);
        }
        b[k] *= inverse;
        let known = b[k];
        subtract(&mut b[k + 1..], known, &row[k + 1..]);
    }
    for k in (0..n).rev() {
        let row = &a[k * n..(k + 1) * n];
        let known: f64 = row[k + 1..].iter().zip(&b[k + 1..]).map(|(u, x)| u * x).sum();
        b[k] = (b[k] - known) / row[k];
    }
}

/// `target -= factor * row`.
fn subtract(target: &mut [f64], factor: f64, row: &[f64]) {
    target.iter_mut().zip(row).for_each(|(t, r)| *t -= factor * r);
}
