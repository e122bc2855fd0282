//! Samples in one pass against the same in separate steps, in double precision.

use super::*;
use crate::WordStream;
use crate::test_support::{Guarded, values};

fn noise() -> GumbelStream {
    let words = WordStream::new(3, 5);
    GumbelStream::new(words, words.with_masked_key([0xa5; 32]))
}

/// Odd sizes, one row, one class, one line, several chunks, rows longer than a chunk, nothing.
fn shapes() -> &'static [(usize, usize)] {
    if cfg!(miri) {
        &[(3, 10), (1, 17), (0, 5)]
    } else {
        &[
            (1, 1),
            (40, 1),
            (4, 2),
            (3000, 10),
            (7, 15),
            (7, 16),
            (7, 17),
            (300, 64),
            (3, 8192),
            (2, 32_001),
            (0, 5),
            (0, 0),
        ]
    }
}

/// One logit in five is masked, but never the first of a row.
fn logits(n_rows: usize, n_classes: usize) -> Vec<f32> {
    let mut logits: Vec<f32> = values(n_rows * n_classes, 1).iter().map(|l| l * 5.0).collect();
    for (idx, logit) in logits.iter_mut().enumerate() {
        if idx % 5 == 3 && idx % n_classes != 0 {
            *logit = f32::NEG_INFINITY;
        }
    }
    logits
}

/// The perturbed logits of one row, rounded where the kernel rounds, and their softmax in double precision.
fn exact(logits: &[f32], noise: &[f32], temperature: f64) -> (Vec<f32>, Vec<f64>) {
    let shift = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let y: Vec<f32> = logits.iter().zip(noise).map(|(l, g)| (l - shift) + g).collect();
    let largest = f64::from(y.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let e: Vec<f64> = y.iter().map(|&y| ((f64::from(y) - largest) / temperature).exp()).collect();
    let total: f64 = e.iter().sum();
    (y, e.iter().map(|e| e / total).collect())
}

#[test]
fn one_pass_equals_noise_then_shift_then_softmax() {
    for isa in Isa::available() {
        for &(n_rows, n_classes) in shapes() {
            let logits = logits(n_rows, n_classes);
            for position in [0, 7, 1 << 33] {
                let mut g = vec![0.0; logits.len()];
                noise().fill(position, &mut g);
                let mut hot = Guarded::new(logits.len());
                gumbel_one_hot_on(isa, n_classes, &logits, noise(), position, hot.get()).unwrap();
                let hot = hot.finish();
                let mut classes = vec![0; n_rows];
                gumbel_argmax_on(isa, n_classes, &logits, noise(), position, &mut classes).unwrap();
                for temperature in [0.1, 1.0, 3.0] {
                    let mut relaxed = Guarded::new(logits.len());
                    gumbel_softmax_on(
                        isa,
                        n_classes,
                        temperature,
                        &logits,
                        noise(),
                        position,
                        relaxed.get(),
                    )
                    .unwrap();
                    let relaxed = relaxed.finish();
                    for (row, &class) in classes.iter().enumerate() {
                        let range = row * n_classes..(row + 1) * n_classes;
                        let (y, expected) =
                            exact(&logits[range.clone()], &g[range.clone()], temperature.into());
                        // The exponent, at most 88, is rounded twice: a relative error of that many halves of 2^-23.
                        let bound = (8.0 + 2.0 * 88.0) * 2f64.powi(-24);
                        for (z, expected) in relaxed[range.clone()].iter().zip(&expected) {
                            let error = (f64::from(*z) - expected).abs();
                            assert!(
                                error <= bound * expected + 2e-38,
                                "{}: {z} {expected}",
                                isa.name()
                            );
                        }
                        let largest = y.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        let first = y.iter().position(|&y| y == largest).unwrap();
                        assert_eq!(class as usize, first, "{}", isa.name());
                        let hot = &hot[range];
                        assert!(hot.iter().enumerate().all(|(i, &h)| h == f32::from(i == first)));
                    }
                }
            }
        }
    }
}

#[test]
fn large_logits_do_not_swallow_the_noise() {
    let (near, far) = ([0.0, 1.0, -2.0], [1e8, 1e8 + 8.0, 1e8 - 16.0]);
    let n_draws = if cfg!(miri) { 4 } else { 200 };
    let drawn = |logits: &[f32]| {
        let mut classes = [0; 1];
        (0..n_draws)
            .map(|i| {
                gumbel_argmax(3, logits, noise(), 3 * i, &mut classes).unwrap();
                classes[0]
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(&far), drawn(&near.map(|l| l * 8.0)));
    assert_eq!(drawn(&[1e8; 3]), drawn(&[0.0; 3]));
}

#[test]
fn the_first_row_without_a_draw_is_named() {
    let m = f32::NEG_INFINITY;
    let sizes: &[usize] = if cfg!(miri) { &[2, 17] } else { &[2, 16, 17, 9000] };
    for isa in Isa::available() {
        for &n_classes in sizes {
            let n_rows = if n_classes == 2 && !cfg!(miri) { 20_000 } else { 3 };
            for value in [f32::NAN, -f32::NAN, f32::INFINITY, m] {
                let mut logits = vec![0.0; n_rows * n_classes];
                for row in [n_rows - 2, n_rows - 1] {
                    let row = &mut logits[row * n_classes..(row + 1) * n_classes];
                    if value == m {
                        row.fill(m);
                    } else {
                        row[n_classes - 1] = value;
                    }
                }
                let expected = Err(SampleError::Row { row: n_rows - 2 });
                let mut out = vec![0.0; logits.len()];
                let relaxed = gumbel_softmax_on(isa, n_classes, 1.0, &logits, noise(), 0, &mut out);
                assert_eq!(relaxed, expected, "{} {value}", isa.name());
                assert_eq!(
                    gumbel_one_hot_on(isa, n_classes, &logits, noise(), 0, &mut out),
                    expected
                );
                let mut classes = vec![0; n_rows];
                let drawn = gumbel_argmax_on(isa, n_classes, &logits, noise(), 0, &mut classes);
                assert_eq!(drawn, expected);
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let (mut out, mut classes) = ([0.0; 6], [0; 2]);
    assert!(gumbel_softmax(3, 1.0, &[0.0; 5], noise(), 0, &mut out).is_err());
    assert!(gumbel_softmax(3, 1.0, &[0.0; 3], noise(), 0, &mut out).is_err());
    assert!(gumbel_one_hot(4, &[0.0; 6], noise(), 0, &mut out).is_err());
    assert!(gumbel_argmax(3, &[0.0; 9], noise(), 0, &mut classes).is_err());
    assert!(gumbel_argmax(0, &[0.0; 6], noise(), 0, &mut classes).is_err());
}
