//! The gradient through a given number of Sinkhorn's iterations.

use super::{Marginals, Scaling};
use crate::exp64::exp64;
use crate::isa::{Isa, Kernel, Task};

/// `d_x` from the gradient of the matrix: every half-step is undone, its matrix computed again from the potentials that are kept (`2 m n`
/// numbers for `m` iterations, not `m n²`). Exactly zero for entries of `-inf`.
///
/// # Shapes
/// - x, grad, d_x: `(m, n)`; scaling: with its history.
pub fn sinkhorn_unrolled_vjp(
    x: &[f64],
    marginals: Marginals<'_>,
    scaling: &Scaling,
    grad: &[f64],
    d_x: &mut [f64],
) {
    Isa::best().dispatch(Unroll { x, marginals, scaling, grad, d_x });
}

struct Unroll<'a> {
    x: &'a [f64],
    marginals: Marginals<'a>,
    scaling: &'a Scaling,
    grad: &'a [f64],
    d_x: &'a mut [f64],
}

impl Task for Unroll<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) {
        let Self { x, marginals, scaling, grad, d_x } = self;
        let (m, n) = (marginals.rows.len(), marginals.columns.len());
        let (mut d_f, mut d_g, mut d_g_before) = (vec![0.0; m], vec![0.0; n], vec![0.0; n]);
        let zeros = vec![0.0; n];
        for (i, d_f) in d_f.iter_mut().enumerate() {
            for (j, d_g) in d_g.iter_mut().enumerate() {
                let at = i * n + j;
                let p = exp64(x[at] + scaling.f[i] + scaling.g[j]);
                let d = if p > 0.0 { p * grad[at] } else { 0.0 };
                d_x[at] = d;
                *d_f += d;
                *d_g += d;
            }
        }
        for step in (0..scaling.history.len()).rev() {
            let (f, g) = &scaling.history[step];
            // g = columns - ln Σ_i exp(x + f).
            for i in 0..m {
                let row = &x[i * n..(i + 1) * n];
                let mut total = 0.0;
                for j in 0..n {
                    let share = exp64(row[j] + f[i] + g[j] - marginals.columns[j]);
                    d_x[i * n + j] -= d_g[j] * share;
                    total += d_g[j] * share;
                }
                d_f[i] -= total;
            }
            // f = rows - ln Σ_j exp(x + g), with the g before.
            let before = if step == 0 { &zeros } else { &scaling.history[step - 1].1 };
            d_g_before.fill(0.0);
            for i in 0..m {
                let row = &x[i * n..(i + 1) * n];
                for j in 0..n {
                    let share = exp64(row[j] + f[i] + before[j] - marginals.rows[i]);
                    d_x[i * n + j] -= d_f[i] * share;
                    d_g_before[j] -= d_f[i] * share;
                }
            }
            d_f.fill(0.0);
            std::mem::swap(&mut d_g, &mut d_g_before);
        }
    }
}
