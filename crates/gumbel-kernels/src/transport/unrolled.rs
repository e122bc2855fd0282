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
        let (zeros, mut terms) = (vec![0.0; n], vec![0.0; n]);
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
            let shift: Vec<f64> = g.iter().zip(marginals.columns).map(|(g, c)| g - c).collect();
            let rows = x.chunks_exact(n).zip(d_x.chunks_exact_mut(n)).zip(f.iter().zip(&mut d_f));
            for ((x, d_x), (f, d_f)) in rows {
                // The terms first, and their sum apart: a sum in order would not be vectorised.
                for (((x, d_x), shift), (d_g, d)) in
                    x.iter().zip(d_x).zip(&shift).zip(d_g.iter().zip(&mut terms))
                {
                    *d = d_g * exp64(x + f + shift);
                    *d_x -= *d;
                }
                *d_f -= terms.iter().sum::<f64>();
            }
            // f = rows - ln Σ_j exp(x + g), with the g before.
            let before = if step == 0 { &zeros } else { &scaling.history[step - 1].1 };
            d_g_before.fill(0.0);
            let shift = f.iter().zip(marginals.rows).map(|(f, r)| f - r);
            let rows = x.chunks_exact(n).zip(d_x.chunks_exact_mut(n)).zip(shift.zip(&d_f));
            for ((x, d_x), (shift, d_f)) in rows {
                for (((x, d_x), g), d_g) in x.iter().zip(d_x).zip(before).zip(&mut d_g_before) {
                    let d = d_f * exp64(x + shift + g);
                    *d_x -= d;
                    *d_g -= d;
                }
            }
            d_f.fill(0.0);
            std::mem::swap(&mut d_g, &mut d_g_before);
        }
    }
}
