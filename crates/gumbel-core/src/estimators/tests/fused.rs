//! The pass over rows of f32 against the composition of candle's operations, for every hard estimator.

use super::*;
use crate::estimators::fini::Fini;
use crate::estimators::gapped_straight_through::Gapped;
use crate::estimators::gumbel_rao::{GumbelRao, ReservedNoise};
use crate::estimators::hard_sample::{HardSample, Pullback};
use crate::estimators::reinmax::ReinMax;
use crate::estimators::reinmax_rao::ReinMaxRao;
use crate::estimators::straight_through::StraightThrough;

const MASK: f64 = f64::NEG_INFINITY;

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
fn agree(pullback: impl Pullback + 'static) {
    let name = pullback.name();
    let rows = |x: Vec<f64>| tensor(&x, 4).to_dtype(DType::F32).unwrap();
    let logits = rows(LOGITS.concat());
    let hard = rows(SAMPLED.iter().flat_map(|&i| unit(4, i)).collect());
    let grad: Vec<f64> = (0..20).map(|i| (1.7 * f64::from(i)).sin() + 0.2).collect();
    // Of a masked class nothing is looked at.
    let spoilt = grad.iter().zip(LOGITS.concat());
    let spoilt = rows(spoilt.map(|(&g, l)| if l == MASK { f64::NAN } else { g }).collect());
    let plain = values(&pullback.plain(&logits, &hard, &rows(grad)).unwrap());
    assert_eq!(values(&pullback.plain(&logits, &hard, &spoilt).unwrap()), plain, "{name}");

    let logits = Var::from_tensor(&logits).unwrap();
    let sample = logits.apply_op2(&hard, HardSample(pullback)).unwrap();
    // The gradient of a product with a constant is the constant.
    let total = (sample * spoilt).unwrap().sum_all().unwrap();
    let fused = values(total.backward().unwrap().get(&logits).unwrap());
    assert_close(name, &fused, &plain, 5e-6);
    for (i, logit) in LOGITS.iter().flatten().enumerate() {
        assert!(*logit > MASK || fused[i] == 0.0, "{name}: masked class {i}");
    }
    for row in fused.chunks(4) {
        assert!(row.iter().sum::<f64>().abs() < 5e-6, "{name}: a row's sum");
    }
}

fn tensor(values: &[f64], n: usize) -> Tensor {
    Tensor::from_vec(values.to_vec(), (values.len() / n, n), &Device::Cpu).unwrap()
}

/// An estimator's rule in f64.
fn in_double(pullback: &impl Pullback, logits: &[f64], hard: &[f64], g: &[f64]) -> Vec<f64> {
    let row = |x| tensor(x, logits.len());
    values(&pullback.plain(&row(logits), &row(hard), &row(g)).unwrap())
}

fn noise(draws: usize) -> ReservedNoise {
    let logits = Tensor::zeros((5, 4), DType::F32, &Device::Cpu).unwrap();
    ReservedNoise::take(&logits, draws, &mut Generator::new(4))
}

#[test]
fn the_pass_over_rows_equals_the_composition() {
    agree(StraightThrough { tau: 0.7 });
    agree(Gapped { tau: 0.7, gap: 1.0 });
    agree(Gapped { tau: 1.0, gap: 0.0 });
    agree(ReinMax { tau: 1.0 });
    agree(ReinMax { tau: 1.4 });
    agree(GumbelRao { tau: 0.5, noise: noise(7) });
    agree(ReinMaxRao { tau: 0.8, noise: noise(7) });
    agree(Fini);
}

/// `W_i g` for every sample `i` of the row, without sampling.
fn every_sample(logits: &[f64], g: impl Fn(usize) -> Vec<f64>) -> Vec<Vec<f64>> {
    let n = logits.len();
    (0..n).map(|i| in_double(&Fini, logits, &unit(n, i), &g(i))).collect()
}

#[test]
fn fini_is_exact_for_every_quadratic_however_small_the_probabilities() {
    let rows: [&[f64]; 6] = [
        &[0.2, -0.4],
        &[0.3, -1.1, 0.9],
        &[0.0, 0.0, 0.0, 0.0, 0.0],
        &[2.0, -3.0, 0.5, 1.0, -0.2, 0.1, 4.0],
        &[0.0, -20.0, -40.0, -60.0, 1.0],
        &[-300.0, 0.0, 5.0, -100.0],
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
    let reinmax = ReinMax { tau: 1.0 };
    type Rows<'a> = dyn Fn(&[f64], &[f64], &[f64]) -> Vec<f64> + 'a;
    let norm = |pullback: &Rows<'_>, logits: &[f64]| {
        let (n, p) = (logits.len(), softmax(logits, 1.0));
        let squares = |i: usize, j: usize| {
            let column = pullback(logits, &unit(n, i), &unit(n, j));
            dot(&column, &column)
        };
        (0..n).map(|i| p[i] * (0..n).map(|j| squares(i, j)).sum::<f64>()).sum::<f64>()
    };
    let fini_rows = |l: &[f64], d: &[f64], g: &[f64]| in_double(&Fini, l, d, g);
    let reinmax_rows = |l: &[f64], d: &[f64], g: &[f64]| in_double(&reinmax, l, d, g);
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
