//! The pass over rows against the formula in double precision.

use super::*;
use crate::test_support::{Guarded, values};
use crate::{WordStream, gumbel_one_hot};

const POSITION: u64 = 3;
const DRAWS: usize = 4;
const TEMPERATURE: f32 = 0.6;

fn stream(id: u64) -> GumbelStream {
    let words = WordStream::new(3, id);
    GumbelStream::new(words, words.with_masked_key([0xa5; 32]))
}

fn draws() -> Vec<GumbelStream> {
    (0..DRAWS as u64).map(|draw| stream(5 + draw)).collect()
}

/// Odd sizes, one row, one class, one line, several chunks, rows longer than a line, nothing.
fn shapes() -> &'static [(usize, usize)] {
    if cfg!(miri) {
        &[(3, 10), (1, 17), (0, 5)]
    } else {
        &[
            (1, 1),
            (40, 1),
            (4, 2),
            (3000, 10),
            (7, 16),
            (7, 17),
            (300, 64),
            (2, 9001),
            (0, 5),
            (0, 0),
        ]
    }
}

/// Log-probabilities of which one in five is masked, but never the first of a row, a sample, and its gradient.
struct Case {
    n_classes: usize,
    log_probs: Vec<f32>,
    hard: Vec<f32>,
    d_hard: Vec<f32>,
}

impl Case {
    fn new(n_rows: usize, n_classes: usize) -> Self {
        let len = n_rows * n_classes;
        let mut log_probs: Vec<f32> = values(len, 1).iter().map(|l| l * 3.0).collect();
        let mut d_hard = values(len, 2);
        for idx in (3..len).step_by(5).filter(|idx| idx % n_classes != 0) {
            (log_probs[idx], d_hard[idx]) = (f32::NEG_INFINITY, f32::NAN);
        }
        for row in log_probs.chunks_mut(n_classes.max(1)) {
            let total: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
            row.iter_mut().for_each(|l| *l -= total.ln() as f32);
        }
        let mut hard = vec![0.0; len];
        gumbel_one_hot(n_classes, &log_probs, stream(4), POSITION, &mut hard).unwrap();
        Self { n_classes, log_probs, hard, d_hard }
    }

    fn vjp(&self, isa: Isa, position: u64, rows: std::ops::Range<usize>) -> Vec<f32> {
        let range = rows.start * self.n_classes..rows.end * self.n_classes;
        let mut out = Guarded::new(range.len());
        let inputs = [&self.log_probs, &self.hard, &self.d_hard].map(|x| &x[range.clone()]);
        let noise = Noise { temperature: TEMPERATURE, draws: &draws(), position };
        vjp_on(isa, self.n_classes, noise, inputs, out.get());
        out.finish()
    }

    /// The mean of `J(y) g / τ` for the row of which the noise is at `position`.
    fn exact(&self, row: usize, position: u64) -> Vec<f64> {
        let n = self.n_classes;
        let range = row * n..(row + 1) * n;
        let log_probs = &self.log_probs[range.clone()];
        let sampled = self.hard[range.clone()].iter().position(|&d| d > 0.0).unwrap();
        let masked = |j: usize| log_probs[j] == f32::NEG_INFINITY;
        let g = |j: usize| if masked(j) { 0.0 } else { f64::from(self.d_hard[range.start + j]) };
        let mut mean = vec![0.0; n];
        for draw in draws() {
            let mut noise = vec![0.0; n];
            draw.fill(position, &mut noise);
            let e: Vec<f64> = noise.iter().map(|&g| (-f64::from(g)).exp()).collect();
            let perturbed: Vec<f64> = (0..n)
                .map(|j| match j == sampled {
                    true => -e[j].ln(),
                    false => -(e[j] / f64::from(log_probs[j]).exp() + e[sampled]).ln(),
                })
                .collect();
            let tau = f64::from(TEMPERATURE);
            let y: Vec<f64> =
                perturbed.iter().map(|x| ((x - perturbed[sampled]) / tau).exp()).collect();
            let total: f64 = y.iter().sum();
            let y: Vec<f64> = y.iter().map(|y| y / total).collect();
            let dot: f64 = (0..n).map(|j| y[j] * g(j)).sum();
            for (j, mean) in mean.iter_mut().enumerate() {
                *mean += y[j] * (g(j) - dot) / (tau * DRAWS as f64);
            }
        }
        mean
    }
}

#[test]
fn the_pass_agrees_with_its_formula_in_double_precision() {
    for &(n_rows, n_classes) in shapes() {
        let case = Case::new(n_rows, n_classes);
        let got = case.vjp(Isa::best(), POSITION, 0..n_rows);
        for row in 0..n_rows {
            let range = row * n_classes..(row + 1) * n_classes;
            let expected = case.exact(row, POSITION + range.start as u64);
            let log_probs = &case.log_probs[range.clone()];
            for ((got, expected), &log_prob) in got[range].iter().zip(expected).zip(log_probs) {
                // Gradients of order one through exponents up to (6 + noise) / τ, rounded a few times.
                assert!(
                    (f64::from(*got) - expected).abs() <= 64.0 * 2f64.powi(-24),
                    "{n_rows}x{n_classes}: {got} {expected}"
                );
                assert!(log_prob > f32::NEG_INFINITY || *got == 0.0, "masked");
            }
        }
    }
}

#[test]
fn gradients_are_the_same_bits_on_every_instruction_set_and_thread_count_and_in_parts() {
    let shapes: &[(usize, usize)] =
        if cfg!(miri) { &[(2, 10)] } else { &[(3000, 10), (300, 64), (2, 9001)] };
    for &(n_rows, n_classes) in shapes {
        let case = Case::new(n_rows, n_classes);
        let first = case.vjp(Isa::best(), POSITION, 0..n_rows);
        for isa in Isa::available() {
            for n_threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
                let again = pool.install(|| case.vjp(isa, POSITION, 0..n_rows));
                assert!(again == first, "{} {n_threads}", isa.name());
            }
        }
        let half = n_rows / 2;
        let mut parts = case.vjp(Isa::best(), POSITION, 0..half);
        let position = POSITION + (half * n_classes) as u64;
        parts.extend(case.vjp(Isa::best(), position, half..n_rows));
        assert!(parts == first, "{n_rows}x{n_classes} in two parts");
    }
}

#[test]
fn lengths_are_checked() {
    let vjp = |n, hard: &[f32], d_hard: &[f32]| {
        let log_probs = vec![0.0; n];
        conditional_softmax_vjp(3, 1.0, &draws(), 0, &log_probs, hard, d_hard, &mut [0.0; 6])
    };
    let error = vjp(7, &[], &[]);
    assert_eq!(error, Err(LengthError { operand: "log_probs", expected: 6, actual: 7 }));
    let error = vjp(6, &[0.0; 6], &[0.0; 3]);
    assert_eq!(error, Err(LengthError { operand: "d_hard", expected: 6, actual: 3 }));
}
