//! Softmax and its gradient against double precision.

use super::*;
use crate::test_support::{Guarded, values};

/// `softmax(logits / temperature)` of one row in double precision.
fn exact(logits: &[f32], temperature: f64) -> Vec<f64> {
    let y: Vec<f64> = logits.iter().map(|&l| f64::from(l) / temperature).collect();
    let largest = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = y.iter().map(|y| (y - largest).exp()).sum();
    y.iter().map(|y| (y - largest).exp() / total).collect()
}

fn shapes() -> &'static [(usize, usize)] {
    if cfg!(miri) {
        &[(3, 10), (1, 17)]
    } else {
        &[
            (1, 1),
            (4, 2),
            (3000, 10),
            (7, 15),
            (7, 16),
            (7, 17),
            (5, 64),
            (3, 8192),
            (2, 32_001),
            (0, 5),
            (0, 0),
        ]
    }
}

#[test]
fn values_agree_with_double_precision() {
    for isa in Isa::available() {
        for &(rows, n_classes) in shapes() {
            for temperature in [0.1, 1.0, 3.0] {
                let logits: Vec<f32> =
                    values(rows * n_classes, 1).iter().map(|l| l * 6.0).collect();
                let mut probs = Guarded::new(logits.len());
                softmax_on(isa, n_classes, temperature, &logits, probs.get()).unwrap();
                let probs = probs.finish();
                for row in 0..rows {
                    let range = row * n_classes..(row + 1) * n_classes;
                    let expected = exact(&logits[range.clone()], temperature.into());
                    // The exponent, up to 6 / τ, is rounded three times: relative errors of that many ulps.
                    let bound = (8.0 + 4.0 * 6.0 / f64::from(temperature)) * 2f64.powi(-24);
                    for (y, expected) in probs[range].iter().zip(&expected) {
                        let error = (f64::from(*y) - expected).abs();
                        assert!(
                            error <= bound * expected + 2e-38,
                            "{}: {y} {expected}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn results_are_the_same_bits_on_every_instruction_set_and_thread_count() {
    for &(rows, n_classes) in shapes() {
        let logits = values(rows * n_classes, 1);
        let d_probs = values(rows * n_classes, 2);
        let results = |isa: Isa, n_threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| {
                let mut probs = vec![0.0; logits.len()];
                let mut d_logits = probs.clone();
                softmax_on(isa, n_classes, 0.7, &logits, &mut probs).unwrap();
                vjp_on(isa, n_classes, 0.7, &probs, &d_probs, &mut d_logits).unwrap();
                (probs, d_logits)
            })
        };
        let first = results(Isa::best(), 1);
        for isa in Isa::available() {
            for n_threads in [1, 3] {
                assert!(results(isa, n_threads) == first, "{} {n_threads} threads", isa.name());
            }
        }
    }
}

#[test]
fn the_gradient_agrees_with_double_precision() {
    for isa in Isa::available() {
        for &(rows, n_classes) in shapes() {
            let logits = values(rows * n_classes, 1);
            let d_probs = values(rows * n_classes, 2);
            let mut probs = vec![0.0; logits.len()];
            softmax(n_classes, 0.5, &logits, &mut probs).unwrap();
            let mut d_logits = Guarded::new(logits.len());
            vjp_on(isa, n_classes, 0.5, &probs, &d_probs, d_logits.get()).unwrap();
            let d_logits = d_logits.finish();
            for row in 0..rows {
                let range = row * n_classes..(row + 1) * n_classes;
                let pairs = || {
                    let z = probs[range.clone()].iter().map(|&z| f64::from(z));
                    z.zip(d_probs[range.clone()].iter().map(|&d| f64::from(d)))
                };
                let dot: f64 = pairs().map(|(z, d)| z * d).sum();
                for ((z, d), actual) in pairs().zip(&d_logits[range.clone()]) {
                    let expected = z * (d - dot) / 0.5;
                    // The inner product is a sum of `n_classes / 16 + 4` roundings of numbers below one.
                    let bound = (n_classes as f64 / 16.0 + 8.0) * 2f64.powi(-24) * z / 0.5;
                    assert!((f64::from(*actual) - expected).abs() <= bound, "{}", isa.name());
                }
            }
        }
    }
}

#[test]
fn the_gradient_agrees_with_finite_differences() {
    let logits = [0.3f32, -0.2, 1.1, 0.0, -2.0];
    let weights = [0.9f32, -1.0, 0.4, 0.2, 2.0];
    let objective = |logits: &[f32]| {
        let z = exact(logits, 0.8);
        z.iter().zip(&weights).map(|(z, w)| z * f64::from(*w)).sum::<f64>()
    };
    let (mut probs, mut d_logits) = ([0.0; 5], [0.0; 5]);
    softmax(5, 0.8, &logits, &mut probs).unwrap();
    softmax_vjp(5, 0.8, &probs, &weights, &mut d_logits).unwrap();
    for i in 0..5 {
        let (mut above, mut below) = (logits, logits);
        above[i] += 1.0 / 1024.0;
        below[i] -= 1.0 / 1024.0;
        let slope = (objective(&above) - objective(&below)) * 512.0;
        // Truncation of the central difference: h²/6 = 1.6e-7 times a third derivative of order one.
        assert!((slope - f64::from(d_logits[i])).abs() < 2e-6, "{i}");
    }
}

#[test]
fn masked_logits_get_no_probability_and_a_nan_takes_the_row() {
    let logits = [0.0, f32::NEG_INFINITY, 0.0, f32::NAN, 1.0, 2.0];
    let mut probs = [0.0; 6];
    softmax(3, 1.0, &logits, &mut probs).unwrap();
    assert_eq!(probs[..3], [0.5, 0.0, 0.5]);
    assert!(probs[3..].iter().all(|y| y.is_nan()));
}

#[test]
fn lengths_are_checked() {
    let error = softmax(3, 1.0, &[0.0; 7], &mut [0.0; 7]);
    assert_eq!(error, Err(LengthError { operand: "logits", expected: 6, actual: 7 }));
    let error = softmax(3, 1.0, &[0.0; 6], &mut [0.0; 5]);
    assert_eq!(error, Err(LengthError { operand: "probs", expected: 6, actual: 5 }));
}
