//! The passes over rows against the formulas in double precision.

use super::*;
use crate::test_support::{Guarded, values};
use crate::{WordStream, gumbel_one_hot};

const POSITION: u64 = 3;
const DRAWS: usize = 4;

fn noise() -> GumbelStream {
    let words = WordStream::new(3, 5);
    GumbelStream::new(words, words.with_masked_key([0xa5; 32]))
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

fn estimators() -> [StraightThrough; 8] {
    let (noise, position) = (noise(), POSITION);
    let draws = ConditionalDraws { count: DRAWS, noise, position: 1 << 20 };
    [
        StraightThrough::Softmax { temperature: 1.3 },
        StraightThrough::GumbelSoftmax { temperature: 0.7, noise, position },
        StraightThrough::Gapped { temperature: 0.7, gap: 1.0 },
        StraightThrough::Gapped { temperature: 1.0, gap: 0.0 },
        StraightThrough::GumbelRao { temperature: 0.6, draws },
        StraightThrough::ReinMax { temperature: 1.2 },
        StraightThrough::ReinMaxRao { temperature: 0.8, draws },
        StraightThrough::Fini,
    ]
}

/// Logits of which one in five is masked, but never the first of a row, a sample, and its gradient.
struct Case {
    n_classes: usize,
    logits: Vec<f32>,
    hard: Vec<f32>,
    d_hard: Vec<f32>,
}

impl Case {
    fn new(n_rows: usize, n_classes: usize) -> Self {
        let len = n_rows * n_classes;
        let mut logits: Vec<f32> = values(len, 1).iter().map(|l| l * 3.0).collect();
        let mut d_hard = values(len, 2);
        for idx in (3..len).step_by(5).filter(|idx| idx % n_classes != 0) {
            (logits[idx], d_hard[idx]) = (f32::NEG_INFINITY, f32::NAN);
        }
        let mut hard = vec![0.0; len];
        gumbel_one_hot(n_classes, &logits, noise(), POSITION, &mut hard).unwrap();
        Self { n_classes, logits, hard, d_hard }
    }

    fn vjp(&self, isa: Isa, estimator: StraightThrough) -> Vec<f32> {
        let mut out = Guarded::new(self.logits.len());
        let Self { n_classes, logits, hard, d_hard } = self;
        vjp_on(isa, *n_classes, estimator, logits, hard, d_hard, out.get()).unwrap();
        out.finish()
    }
}

fn softmax(x: &[f64], temperature: f32) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = x.iter().map(|x| ((x - largest) / f64::from(temperature)).exp()).collect();
    let total: f64 = e.iter().sum();
    e.iter().map(|e| e / total).collect()
}

/// `J(y) g`.
fn jacobian(y: &[f64], g: &[f64]) -> Vec<f64> {
    let mean: f64 = y.iter().zip(g).map(|(y, g)| y * g).sum();
    y.iter().zip(g).map(|(y, g)| y * (g - mean)).collect()
}

fn add(total: &mut [f64], weight: f64, x: &[f64]) {
    total.iter_mut().zip(x).for_each(|(total, x)| *total += weight * x);
}

/// `J(y) g / τ` at `log_probs` perturbed by noise that makes `sampled` the largest, averaged over `draws`.
fn conditional(
    log_probs: &[f64],
    sampled: usize,
    g: &[f64],
    temperature: f32,
    draws: ConditionalDraws,
    (n_values, first): (usize, usize),
) -> Vec<f64> {
    let mut mean = vec![0.0; g.len()];
    for draw in 0..draws.count {
        let mut noise = vec![0.0; g.len()];
        draws.noise.fill(draws.position + (draw * n_values + first) as u64, &mut noise);
        let exponentials: Vec<f64> = noise.iter().map(|&g| (-f64::from(g)).exp()).collect();
        let perturbed: Vec<f64> = (0..g.len())
            .map(|j| match j == sampled {
                true => -exponentials[j].ln(),
                false => -(exponentials[j] / log_probs[j].exp() + exponentials[sampled]).ln(),
            })
            .collect();
        let weight = 1.0 / (f64::from(temperature) * draws.count as f64);
        add(&mut mean, weight, &jacobian(&softmax(&perturbed, temperature), g));
    }
    mean
}

/// The formula of one row; `at` is the number of all values, and the index of the row's first.
fn exact(
    estimator: StraightThrough,
    logits: &[f32],
    sampled: usize,
    g: &[f64],
    at: (usize, usize),
) -> Vec<f64> {
    let wide: Vec<f64> = logits.iter().map(|&l| f64::from(l)).collect();
    let top = wide.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let probs = softmax(&wide, 1.0);
    let unit = |j: usize| if j == sampled { 1.0 } else { 0.0 };
    let mut out = vec![0.0; g.len()];
    match estimator {
        StraightThrough::Softmax { temperature } => {
            let y = softmax(&wide, temperature);
            add(&mut out, 1.0 / f64::from(temperature), &jacobian(&y, g));
        }
        StraightThrough::GumbelSoftmax { temperature, noise, position } => {
            let mut values = vec![0.0; g.len()];
            noise.fill(position + at.1 as u64, &mut values);
            let perturbed: Vec<f64> =
                wide.iter().zip(values).map(|(l, g)| l + f64::from(g)).collect();
            let y = softmax(&perturbed, temperature);
            add(&mut out, 1.0 / f64::from(temperature), &jacobian(&y, g));
        }
        StraightThrough::Gapped { temperature, gap } => {
            let moved: Vec<f64> = (0..g.len())
                .map(|j| if j == sampled { top } else { wide[j].min(top - f64::from(gap)) })
                .collect();
            let y = softmax(&moved, temperature);
            add(&mut out, 1.0 / f64::from(temperature), &jacobian(&y, g));
        }
        StraightThrough::GumbelRao { temperature, draws } => {
            let log_probs: Vec<f64> = probs.iter().map(|p| p.ln()).collect();
            out = conditional(&log_probs, sampled, g, temperature, draws, at);
        }
        StraightThrough::ReinMax { temperature } => {
            let y = softmax(&wide, temperature);
            let middle: Vec<f64> = (0..g.len()).map(|j| 0.5 * (y[j] + unit(j))).collect();
            add(&mut out, 2.0, &jacobian(&middle, g));
            add(&mut out, -0.5, &jacobian(&probs, g));
        }
        StraightThrough::ReinMaxRao { temperature, draws } => {
            let log_middle: Vec<f64> =
                (0..g.len()).map(|j| (0.5 * (probs[j] + unit(j))).ln()).collect();
            add(&mut out, 2.0, &conditional(&log_middle, sampled, g, temperature, draws, at));
            add(&mut out, -0.5, &jacobian(&probs, g));
        }
        StraightThrough::Fini => Fini::default().gradient(&probs, sampled, g, &mut out),
    }
    out
}

#[test]
fn every_rule_agrees_with_its_formula_in_double_precision() {
    for &(n_rows, n_classes) in shapes() {
        let case = Case::new(n_rows, n_classes);
        for estimator in estimators() {
            if estimator == StraightThrough::Fini && n_classes > 100 {
                continue; // A dense system of 9,000 classes.
            }
            let got = case.vjp(Isa::best(), estimator);
            for row in 0..n_rows {
                let range = row * n_classes..(row + 1) * n_classes;
                let logits = &case.logits[range.clone()];
                let sampled = case.hard[range.clone()].iter().position(|&d| d > 0.0).unwrap();
                let g = case.d_hard[range.clone()].iter().zip(logits);
                let g: Vec<f64> = g
                    .map(|(&g, &l)| if l > f32::NEG_INFINITY { f64::from(g) } else { 0.0 })
                    .collect();
                let at = (case.logits.len(), range.start);
                let expected = exact(estimator, logits, sampled, &g, at);
                for ((got, expected), &logit) in got[range].iter().zip(expected).zip(logits) {
                    // Gradients of order one through exponents up to (6 + noise) / τ, rounded a few times.
                    assert!(
                        (f64::from(*got) - expected).abs() <= 64.0 * 2f64.powi(-24),
                        "{estimator:?} {n_rows}x{n_classes}: {got} {expected}"
                    );
                    assert!(logit > f32::NEG_INFINITY || *got == 0.0, "{estimator:?}: masked");
                }
            }
        }
    }
}

#[test]
fn gradients_are_the_same_bits_on_every_instruction_set_and_thread_count() {
    let shapes: &[(usize, usize)] =
        if cfg!(miri) { &[(2, 10)] } else { &[(3000, 10), (300, 64), (2, 9001)] };
    for &(n_rows, n_classes) in shapes {
        let case = Case::new(n_rows, n_classes);
        for estimator in estimators() {
            if estimator == StraightThrough::Fini && n_classes > 100 {
                continue;
            }
            let first = case.vjp(Isa::best(), estimator);
            for isa in Isa::available() {
                for n_threads in [1, 3] {
                    let pool =
                        rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
                    let again = pool.install(|| case.vjp(isa, estimator));
                    assert!(again == first, "{estimator:?} {} {n_threads}", isa.name());
                }
            }
        }
    }
}

#[test]
fn lengths_are_checked() {
    let estimator = StraightThrough::ReinMax { temperature: 1.0 };
    let error = straight_through_vjp(3, estimator, &[0.0; 7], &[], &[], &mut []);
    assert_eq!(error, Err(LengthError { operand: "logits", expected: 6, actual: 7 }));
    let error = straight_through_vjp(3, estimator, &[0.0; 6], &[0.0; 6], &[0.0; 3], &mut [0.0; 6]);
    assert_eq!(error, Err(LengthError { operand: "d_hard", expected: 6, actual: 3 }));
}
