//! Gradients at given samples: passes over f32 against the compositions in f64, and Fini against what defines it.

use super::*;
use crate::Temperature;
use crate::estimators::fini;
use crate::structure::Categories;
use crate::structure::categories::{softmax as softmax_rows, softmax_vjp};

const MASK: f64 = f64::NEG_INFINITY;

fn tensor(values: &[f64], n: usize) -> Tensor {
    Tensor::from_vec(values.to_vec(), (values.len() / n, n), &Device::Cpu).unwrap()
}

/// Ordinary, saturated, equal and masked rows, each with a sample.
const LOGITS: [[f64; 4]; 5] = [
    [0.3, -1.2, 2.0, 0.7],
    [30.0, -30.0, 29.0, 0.0],
    [1.0, 1.0, 1.0, 1.0],
    [MASK, 0.5, MASK, -0.25],
    [MASK, MASK, 3.0, MASK],
];
const SAMPLED: [usize; 5] = [1, 2, 0, 3, 2];

/// Sums of a few terms of order one, divided by τ ≥ 0.5: some units in the last place of f32.
fn agree(name: &str, rule: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>) {
    let hard = tensor(&SAMPLED.iter().flat_map(|&i| unit(4, i)).collect::<Vec<_>>(), 4);
    let logits = tensor(&LOGITS.concat(), 4);
    let grad: Vec<f64> = (0..20).map(|i| (1.7 * f64::from(i)).sin() + 0.2).collect();
    // Of a masked class nothing is looked at.
    let spoilt = grad.iter().zip(LOGITS.concat());
    let spoilt: Vec<f64> = spoilt.map(|(&g, l)| if l == MASK { f64::NAN } else { g }).collect();
    let run = |dtype: DType, grad: &[f64]| {
        let [logits, hard, grad] =
            [&logits, &hard, &tensor(grad, 4)].map(|x| x.to_dtype(dtype).unwrap());
        values(&rule(&logits, &hard, &grad).unwrap())
    };
    let (single, double) = (run(DType::F32, &spoilt), run(DType::F64, &grad));
    assert_eq!(run(DType::F64, &spoilt), double, "{name}");
    assert_close(name, &single, &double, 5e-6);
    for (i, logit) in LOGITS.iter().flatten().enumerate() {
        assert!(*logit > MASK || single[i] == 0.0, "{name}: masked class {i}");
    }
    for row in single.chunks(4) {
        assert!(row.iter().sum::<f64>().abs() < 5e-6, "{name}: a row's sum");
    }
}

/// The same for an estimator, at the sample that it draws itself.
fn gradient_of(estimator: Estimator, tau: f64, logits: &Tensor, grad: &Tensor) -> Vec<f64> {
    let state = EstimatorState::default();
    let (logits, grad) = (logits.unsqueeze(1).unwrap(), grad.unsqueeze(1).unwrap());
    let mut g = Generator::new(4);
    let proposal = estimator.propose(&logits, tau, &state, &mut g).unwrap();
    let loss = grad.sum((1, 2)).unwrap();
    let evaluation = crate::estimators::Evaluation { loss, gradient: Some(grad) };
    values(&proposal.combine(&[evaluation], &mut state.clone()).unwrap())
}

#[test]
fn the_passes_over_rows_equal_the_compositions() {
    agree("softmax", |logits, _, grad| {
        let tau = Temperature::Fixed(0.7);
        softmax_vjp(&softmax_rows(logits, &tau)?, &tau, grad)
    });
    agree("fini", fini::gradient);
    // Noise in f64 comes from other words than noise in f32. So here the composition runs in f32 too.
    let draws: Vec<Generator> = (0..7).map(|k| Generator::new(4).conditional(k)).collect();
    let hard = tensor(&SAMPLED.iter().flat_map(|&i| unit(4, i)).collect::<Vec<_>>(), 4);
    let grad = tensor(&(0..20).map(|i| (1.7 * f64::from(i)).sin()).collect::<Vec<_>>(), 4);
    let [logits, hard, grad] =
        [tensor(&LOGITS.concat(), 4), hard, grad].map(|x| x.to_dtype(DType::F32).unwrap());
    let log_probs = crate::op::log_softmax(&logits).unwrap();
    for tau in [0.5, 1.0, 3.0] {
        // A temperature for each row takes the composition.
        let each = Tensor::full(tau as f32, (5, 1), &Device::Cpu).unwrap();
        let [pass, composed] = [Temperature::Fixed(tau), Temperature::Tensor(each)].map(|tau| {
            values(
                &Categories::conditional_rows_vjp(&log_probs, &hard, &tau, &draws, &grad).unwrap(),
            )
        });
        assert_close("conditional", &pass, &composed, 5e-6);
    }
}

#[test]
fn far_classes_keep_their_gradient_at_large_temperatures() {
    // Mean gradients of order e^(-gap / τ) / τ; with two classes they are known up to the noise of the draws.
    for (gap, tau) in [(800.0, 1000.0), (100.0, 1000.0), (100.0, 20.0)] {
        for estimator in
            [Estimator::GumbelRao { draws: 2000 }, Estimator::ReinMaxRao { draws: 2000 }]
        {
            let [single, double] = [DType::F32, DType::F64].map(|dtype| {
                let [logits, grad] = [tensor(&[0.0, -gap], 2), tensor(&[1.0, 3.0], 2)]
                    .map(|x| x.to_dtype(dtype).unwrap());
                gradient_of(estimator, tau, &logits, &grad)[1]
            });
            assert!(single > 0.0 && double > 0.0, "{estimator} {gap} {tau}: {single} {double}");
            assert!(
                (single / double - 1.0).abs() < 0.02,
                "{estimator} {gap} {tau}: {single} {double}"
            );
        }
    }
}

#[test]
fn conditional_noise_does_not_depend_on_the_length_of_the_batch() {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        for estimator in [Estimator::GumbelRao { draws: 5 }, Estimator::ReinMaxRao { draws: 5 }] {
            let logits = super::contracts::some_logits((6, 4, 3), dtype).as_tensor().detach();
            let grad = logits.cos().unwrap();
            let (state, mut whole) = (EstimatorState::default(), Generator::new(3));
            whole.skip(5);
            let mut parts = whole.clone();
            let gradient = |logits: &Tensor, grad: &Tensor, g: &mut Generator| {
                let proposal = estimator.propose(logits, 0.7, &state, g).unwrap();
                let loss = grad.sum((1, 2)).unwrap();
                let evaluation =
                    crate::estimators::Evaluation { loss, gradient: Some(grad.clone()) };
                values(&proposal.combine(&[evaluation], &mut state.clone()).unwrap())
            };
            let all = gradient(&logits, &grad, &mut whole);
            let mut joined = Vec::new();
            for (start, len) in [(0, 2), (2, 4)] {
                let [logits, grad] = [&logits, &grad].map(|x| x.narrow(0, start, len).unwrap());
                joined.extend(gradient(&logits, &grad, &mut parts));
            }
            assert_eq!(all, joined, "{estimator} {dtype:?}");
            assert_eq!(whole.state(), parts.state());
        }
    }
}

/// Fini's rule in f64.
fn fini_of(logits: &[f64], hard: &[f64], g: &[f64]) -> Vec<f64> {
    let row = |x| tensor(x, logits.len());
    values(&fini::gradient(&row(logits), &row(hard), &row(g)).unwrap())
}

/// `W_i g` for every sample `i` of the row, without sampling.
fn every_sample(logits: &[f64], g: impl Fn(usize) -> Vec<f64>) -> Vec<Vec<f64>> {
    let n = logits.len();
    (0..n).map(|i| fini_of(logits, &unit(n, i), &g(i))).collect()
}

#[test]
fn fini_is_exact_for_every_quadratic_however_small_the_probabilities() {
    let rows: [&[f64]; 8] = [
        &[0.2, -0.4],
        &[0.3, -1.1, 0.9],
        &[0.0, 0.0, 0.0, 0.0, 0.0],
        &[2.0, -3.0, 0.5, 1.0, -0.2, 0.1, 4.0],
        &[0.0, -20.0, -40.0, -60.0, 1.0],
        &[-300.0, 0.0, 5.0, -100.0],
        // Two probabilities below 5.6e-309, of which the sum has no inverse.
        &[0.0, -720.0, -720.0],
        &[0.0, -712.0, -744.0, -730.0, -5.0],
    ];
    for logits in rows {
        let (n, p) = (logits.len(), softmax(logits, 1.0));
        // A basis of the quadratics: products of two coordinates, and single ones.
        for a in 0..n {
            for b in a..=n {
                let gradient = |i: usize| match b {
                    b if b == n => unit(n, a),
                    b => combine([(unit(n, i)[b], unit(n, a)), (unit(n, i)[a], unit(n, b))]),
                };
                let value = |i: usize| if i == a && (i == b || b == n) { 1.0 } else { 0.0 };
                let f: Vec<f64> = (0..n).map(value).collect();
                let mean = combine(p.iter().copied().zip(every_sample(logits, gradient)));
                let exact = jacobian(&p, &f);
                assert_close(&format!("{logits:?}, {a} {b}"), &mean, &exact, 1e-14);
            }
        }
    }
}

#[test]
fn fini_is_reinmax_for_two_classes_and_of_smaller_norm_for_more() {
    type Rows<'a> = dyn Fn(&[f64], &[f64], &[f64]) -> Vec<f64> + 'a;
    let norm = |pullback: &Rows<'_>, logits: &[f64]| {
        let (n, p) = (logits.len(), softmax(logits, 1.0));
        let squares = |i: usize, j: usize| {
            let column = pullback(logits, &unit(n, i), &unit(n, j));
            dot(&column, &column)
        };
        (0..n).map(|i| p[i] * (0..n).map(|j| squares(i, j)).sum::<f64>()).sum::<f64>()
    };
    let fini_rows = fini_of;
    // Its closed form at τ = 1.
    let reinmax_rows = |l: &[f64], d: &[f64], g: &[f64]| {
        let p = softmax(l, 1.0);
        let middle = combine([(0.5, p.clone()), (0.5, d.to_vec())]);
        combine([(2.0, jacobian(&middle, g)), (-0.5, jacobian(&p, g))])
    };
    let two = [0.7, -0.6];
    for i in 0..2 {
        let g = [1.3, -0.4];
        let (a, b) = (fini_rows(&two, &unit(2, i), &g), reinmax_rows(&two, &unit(2, i), &g));
        assert_close("two classes", &a, &b, 1e-15);
    }
    for logits in [[0.3, -1.1, 0.9, 0.2], [0.0; 4], [3.0, 0.0, -1.0, -2.0]] {
        let (fini, reinmax) = (norm(&fini_rows, &logits), norm(&reinmax_rows, &logits));
        assert!(fini <= reinmax * (1.0 + 1e-12), "{logits:?}: {fini} {reinmax}");
    }
    let uneven = [3.0, 0.0, -1.0, -2.0];
    assert!(norm(&fini_rows, &uneven) < 0.999 * norm(&reinmax_rows, &uneven));
}
