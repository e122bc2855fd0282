//! Estimators that claim the exact gradient, against the sum over all codes.

use super::*;
use crate::estimators::{all_codes, expected_loss};

const N_DRAWS: usize = 100_000;

/// Two latents of three categories.
const LOGITS: [f64; 6] = [0.3, -1.1, 0.9, 0.1, 1.2, -0.4];
/// Three binary latents.
const BITS: [f64; 6] = [0.3, -0.2, 0.0, 1.0, -0.7, 0.4];

#[test]
fn score_functions_have_the_exact_gradient_as_their_mean() {
    let loss = TestLoss::smooth(6);
    let mut warm = EstimatorState::default();
    // Makes a baseline and a scale, from other draws.
    for estimator in [Estimator::Reinforce, Estimator::Rebar, Estimator::Rebar] {
        Draws::of(estimator, &mut warm, &LOGITS, 3, 0.5, &loss, (1000, 90));
    }
    assert!(warm.baseline.mean().is_some() && warm.control.scale() != 1.0);
    let cold = EstimatorState::default();
    let cases = [
        (Estimator::Reinforce, cold, 3),
        (Estimator::Reinforce, warm, 3),
        (Estimator::Rloo { samples: 2 }, cold, 3),
        (Estimator::Rloo { samples: 4 }, cold, 3),
        (Estimator::Rebar, cold, 3),
        (Estimator::Rebar, warm, 3),
        (Estimator::DisArm, cold, 2),
        (Estimator::Rloo { samples: 2 }, cold, 2),
    ];
    for (i, (estimator, mut state, n_categories)) in cases.into_iter().enumerate() {
        let logits = if n_categories == 3 { LOGITS } else { BITS };
        let exact = exact_gradient(&logits, n_categories, &loss);
        let run = (N_DRAWS, 10 + i as u64);
        let draws = Draws::of(estimator, &mut state, &logits, n_categories, 0.5, &loss, run);
        let distance = draws.distance(&exact);
        assert!(distance < STANDARD_ERRORS, "{estimator}, case {i}: {distance} standard errors");
    }
}

#[test]
fn rebar_is_unbiased_at_any_temperature() {
    let loss = TestLoss::smooth(6);
    let exact = exact_gradient(&LOGITS, 3, &loss);
    for tau in [0.1, 2.0] {
        let mut state = EstimatorState::default();
        let draws = Draws::of(Estimator::Rebar, &mut state, &LOGITS, 3, tau, &loss, (N_DRAWS, 30));
        let distance = draws.distance(&exact);
        assert!(distance < STANDARD_ERRORS, "{tau}: {distance}");
    }
}

#[test]
fn enumeration_is_exact() {
    let loss = TestLoss::smooth(6);
    for (logits, n_categories) in [(LOGITS, 3), (BITS, 2)] {
        let mut state = EstimatorState::default();
        let run = (2, 0);
        let draws =
            Draws::of(Estimator::Enumeration, &mut state, &logits, n_categories, 1.0, &loss, run);
        let exact = exact_gradient(&logits, n_categories, &loss);
        for gradient in &draws.gradients {
            assert_close("gradient", gradient, &exact, 1e-13);
        }
    }
}

#[test]
fn reinmax_and_fini_are_exact_for_quadratic_losses_and_straight_through_is_not() {
    let loss = TestLoss::quadratic(6);
    let exact = exact_gradient(&LOGITS, 3, &loss);
    let distance = |estimator: Estimator, loss: &TestLoss, exact: &[f64]| {
        let mut state = EstimatorState::default();
        Draws::of(estimator, &mut state, &LOGITS, 3, 1.0, loss, (N_DRAWS, 40)).distance(exact)
    };
    for estimator in [Estimator::ReinMax, Estimator::Fini] {
        let distance = distance(estimator, &loss, &exact);
        assert!(distance < STANDARD_ERRORS, "{estimator}: {distance}");
    }
    // The comparison can tell: these are biased, and so are the first two for other losses.
    for estimator in
        [Estimator::StraightThrough, Estimator::StGumbelSoftmax, Estimator::GumbelSoftmax]
    {
        let distance = distance(estimator, &loss, &exact);
        assert!(distance > 10.0, "{estimator}: {distance}");
    }
    let smooth = TestLoss::smooth(6);
    let exact = exact_gradient(&LOGITS, 3, &smooth);
    assert!(distance(Estimator::ReinMax, &smooth, &exact) > 10.0);
    assert!(distance(Estimator::Fini, &smooth, &exact) > 10.0);
}

#[test]
fn the_expectation_of_a_table_sums_every_code_in_order() {
    let logits = Tensor::from_vec(LOGITS.to_vec(), (1, 2, 3), &Device::Cpu).unwrap();
    let logits = Var::from_tensor(&logits).unwrap();
    let codes = all_codes(2, 3, DType::F64, &Device::Cpu).unwrap();
    assert_eq!(codes.dims(), [9, 2, 3]);
    let loss = TestLoss::smooth(6);
    let table: Vec<f64> = values(&codes).chunks(6).map(|z| loss.value(z)).collect();
    let p: Vec<f64> = LOGITS.chunks(3).flat_map(|row| softmax(row, 1.0)).collect();
    let expected: f64 = (0..9).map(|c| p[c / 3] * p[3 + c % 3] * table[c]).sum();
    let losses = Var::from_tensor(&Tensor::from_vec(table, (1, 9), &Device::Cpu).unwrap()).unwrap();
    let value = expected_loss(&logits, &losses).unwrap();
    assert_close("value", &values(&value), &[expected], 1e-13);
    let grads = value.backward().unwrap();
    let exact = exact_gradient(&LOGITS, 3, &loss);
    assert_close("logits", &values(grads.get(&logits).unwrap()), &exact, 1e-13);
    let weights: Vec<f64> = (0..9).map(|c| p[c / 3] * p[3 + c % 3]).collect();
    assert_close("losses", &values(grads.get(&losses).unwrap()), &weights, 1e-15);
}
