//! Sinkhorn's iterations on one matrix.

use crate::exp64::exp64;
use crate::isa::{Isa, Kernel, Task};

/// Logarithms of the sums that rows and columns are to have.
#[derive(Clone, Copy, Debug)]
pub struct Marginals<'a> {
    /// `(m)`.
    pub rows: &'a [f64],
    /// `(n)`.
    pub columns: &'a [f64],
}

/// The state after some iterations: the matrix is `exp(x + f + g)`.
#[derive(Clone, Debug, Default)]
pub struct Scaling {
    /// Added to the rows.
    pub f: Vec<f64>,
    /// Added to the columns.
    pub g: Vec<f64>,
    /// The largest deviation of a row's sum. Columns have their sums to rounding.
    pub residual: f64,
    /// How many times rows and columns were scaled.
    pub iterations: usize,
    /// `f` and `g` after each of the iterations, where they were asked for.
    pub history: Vec<(Vec<f64>, Vec<f64>)>,
}

/// Beyond this, in nats, factors are taken into the matrix, which is computed anew.
const ABSORB: f64 = 20.0;

/// Scales rows, then columns, until the rows' sums are right to `tolerance` or `most` iterations were made.
///
/// The iterations are products with the matrix `exp(x + f + g)`, whose factors are taken up before they leave the range (Schmitzer
/// 2019); a sum that underflows is done in logarithms. So the result is that of the logarithmic form at any scale of `x`.
///
/// # Shapes
/// - x: `(m, n)`, each row and column with an entry above `-inf`.
pub fn sinkhorn_row(
    x: &[f64],
    marginals: Marginals<'_>,
    tolerance: f64,
    most: usize,
    keep_history: bool,
) -> Scaling {
    Isa::best().dispatch(Iterate { x, marginals, tolerance, most, keep_history })
}

/// The matrix that a scaling stands for: `exp(x + f + g)`.
///
/// # Shapes
/// - x, out: `(m, n)`.
pub fn sinkhorn_plan(x: &[f64], scaling: &Scaling, out: &mut [f64]) {
    Isa::best().dispatch(Plan { x, scaling, out });
}

struct Plan<'a> {
    x: &'a [f64],
    scaling: &'a Scaling,
    out: &'a mut [f64],
}

impl Task for Plan<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) {
        let Scaling { f, g, .. } = self.scaling;
        for ((out, x), f) in self.out.chunks_mut(g.len()).zip(self.x.chunks(g.len())).zip(f) {
            for ((out, x), g) in out.iter_mut().zip(x).zip(g) {
                *out = exp64(x + f + g);
            }
        }
    }
}

struct Iterate<'a> {
    x: &'a [f64],
    marginals: Marginals<'a>,
    tolerance: f64,
    most: usize,
    keep_history: bool,
}

impl Task for Iterate<'_> {
    type Output = Scaling;

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) -> Scaling {
        let Self { x, marginals, .. } = self;
        let (m, n) = (marginals.rows.len(), marginals.columns.len());
        // With f from the rows' largest entries, no entry of the matrix is above one.
        let f = x
            .chunks_exact(n)
            .map(|row| -row.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            .collect();
        let mut state = State {
            f,
            g: vec![0.0; n],
            log_u: vec![0.0; m],
            log_v: vec![0.0; n],
            matrix: vec![0.0; m * n],
        };
        state.absorb(x);
        let (mut u, mut v) = (vec![1.0; m], vec![1.0; n]);
        let mut sums = vec![0.0; m.max(n)];
        let mut scaling = Scaling { residual: f64::INFINITY, ..Scaling::default() };
        loop {
            // Sums of rows without their own factor: the residual of the last iteration, and the next factors.
            row_sums(&state.matrix, &v, &mut sums[..m]);
            if scaling.iterations > 0 {
                let off = |i: usize| (u[i] * sums[i] - exp(marginals.rows[i])).abs();
                scaling.residual = (0..m).map(off).fold(0.0, f64::max);
                if scaling.residual <= self.tolerance || scaling.iterations >= self.most {
                    break;
                }
            } else if self.most == 0 {
                break;
            }
            for i in 0..m {
                state.log_u[i] = match sums[i] {
                    sum if sum > 1e-200 => marginals.rows[i] - sum.ln(),
                    _ => {
                        marginals.rows[i]
                            - log_sum((0..n).map(|j| x[i * n + j] + state.g[j] + state.log_v[j]))
                            - state.f[i]
                    }
                };
            }
            state.absorb_if_far(x, &mut u, &mut v);
            column_sums(&state.matrix, &u, &mut sums[..n]);
            for j in 0..n {
                state.log_v[j] = match sums[j] {
                    sum if sum > 1e-200 => marginals.columns[j] - sum.ln(),
                    _ => {
                        marginals.columns[j]
                            - log_sum((0..m).map(|i| x[i * n + j] + state.f[i] + state.log_u[i]))
                            - state.g[j]
                    }
                };
            }
            state.absorb_if_far(x, &mut u, &mut v);
            scaling.iterations += 1;
            if self.keep_history {
                scaling.history.push(state.potentials());
            }
        }
        (scaling.f, scaling.g) = state.potentials();
        scaling
    }
}

fn exp(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { x.exp() }
}

fn log_sum(values: impl Iterator<Item = f64>) -> f64 {
    crate::orders::LogSum::of(values).ln()
}

/// Potentials that are in the matrix, and factors that are not.
struct State {
    f: Vec<f64>,
    g: Vec<f64>,
    log_u: Vec<f64>,
    log_v: Vec<f64>,
    matrix: Vec<f64>,
}

impl State {
    fn potentials(&self) -> (Vec<f64>, Vec<f64>) {
        let add = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect();
        (add(&self.f, &self.log_u), add(&self.g, &self.log_v))
    }

    #[inline(always)]
    fn absorb_if_far(&mut self, x: &[f64], u: &mut [f64], v: &mut [f64]) {
        let far = |logs: &[f64]| logs.iter().any(|x| x.abs() > ABSORB);
        if far(&self.log_u) || far(&self.log_v) {
            self.absorb(x);
        }
        let exps = |logs: &[f64], out: &mut [f64]| {
            for (out, log) in out.iter_mut().zip(logs) {
                *out = exp64(*log);
            }
        };
        exps(&self.log_u, u);
        exps(&self.log_v, v);
    }

    /// Takes the factors into the matrix.
    #[inline(always)]
    fn absorb(&mut self, x: &[f64]) {
        (self.f, self.g) = self.potentials();
        self.log_u.fill(0.0);
        self.log_v.fill(0.0);
        let n = self.g.len();
        for ((row, x), f) in self.matrix.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(&self.f) {
            for ((out, x), g) in row.iter_mut().zip(x).zip(&self.g) {
                *out = exp64(x + f + g);
            }
        }
    }
}

#[inline(always)]
fn row_sums(matrix: &[f64], v: &[f64], sums: &mut [f64]) {
    for (sum, row) in sums.iter_mut().zip(matrix.chunks_exact(v.len())) {
        let (mut lanes, whole) = ([0.0; 8], v.len() / 8 * 8);
        for (row, v) in row.chunks_exact(8).zip(v.chunks_exact(8)) {
            for i in 0..8 {
                lanes[i] += row[i] * v[i];
            }
        }
        let rest: f64 = row[whole..].iter().zip(&v[whole..]).map(|(a, b)| a * b).sum();
        *sum = lanes.iter().sum::<f64>() + rest;
    }
}

#[inline(always)]
fn column_sums(matrix: &[f64], u: &[f64], sums: &mut [f64]) {
    sums.fill(0.0);
    for (row, &u) in matrix.chunks_exact(sums.len()).zip(u) {
        for (sum, a) in sums.iter_mut().zip(row) {
            *sum += a * u;
        }
    }
}
