//! Relaxed samples: their argmax, and their law.

use candle_core::{D, DType, Device, Tensor};
use gumbel_core::distributions::{
    Bernoulli, ExpRelaxedOneHotCategorical, Gumbel, LogitRelaxedBernoulli, OneHotCategorical,
    RelaxedBernoulli, RelaxedOneHotCategorical, StraightThrough,
};
use gumbel_core::{Generator, gumbel_softmax};

use crate::law::{count_classes, counts_follow, follows, sigmoid, softmax, values};

const N: usize = 1_000_000;
const LOGITS: [f64; 4] = [0.5, -1.0, 1.5, f64::NEG_INFINITY];

fn logits(dtype: DType) -> Tensor {
    Tensor::new(&LOGITS, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

#[test]
fn the_argmax_of_a_relaxed_sample_is_categorical_at_every_temperature() {
    let rows = logits(DType::F32).broadcast_as((N, 4)).unwrap();
    let probs = softmax(&LOGITS);
    for (seed, tau) in [(30, 0.01), (31, 0.1), (32, 0.5), (33, 1.0), (34, 10.0), (35, 1000.0)] {
        let soft = gumbel_softmax(&rows, tau, false, 1, &mut Generator::new(seed)).unwrap();
        let counts = count_classes(&soft.argmax(1).unwrap(), 4);
        counts_follow(&format!("argmax at {tau}"), &counts, &probs);
        let hard = gumbel_softmax(&rows, tau, true, 1, &mut Generator::new(seed)).unwrap();
        // At a high temperature relaxed values tie after rounding; the hard sample decides before it.
        let counts = count_classes(&hard.argmax(1).unwrap(), 4);
        counts_follow(&format!("hard sample at {tau}"), &counts, &probs);
        // Ones and zeros, exactly one each row.
        let sums = hard.sum(1).unwrap();
        assert_eq!(values(&sums.max(0).unwrap())[0], 1.0);
        assert_eq!(values(&sums.sum(0).unwrap())[0], N as f64);
        let masked = soft.narrow(1, 3, 1).unwrap();
        assert_eq!(values(&masked.max_all().unwrap())[0], 0.0);
    }
}

#[test]
fn relaxed_samples_have_logistic_log_ratios() {
    // ln y_i - ln y_j = (l_i - l_j + logistic) / τ: the whole law of a pair, in both forms.
    for (seed, tau) in [(40, 0.1), (41, 1.0), (42, 4.0)] {
        let d = ExpRelaxedOneHotCategorical::from_logits(tau, &logits(DType::F32)).unwrap();
        let x = d.sample(N, &mut Generator::new(seed)).unwrap();
        let on_simplex = RelaxedOneHotCategorical::from_logits(tau, &logits(DType::F64)).unwrap();
        let y = on_simplex.sample(N, &mut Generator::new(seed + 10)).unwrap();
        let log_y = y.log().unwrap();
        for (name, x) in [("log space", x), ("simplex", log_y)] {
            for (i, j) in [(0, 1), (1, 2)] {
                let column = |i| x.narrow(D::Minus1, i, 1).unwrap();
                let ratio = (column(i) - column(j)).unwrap();
                let shift = LOGITS[i] - LOGITS[j];
                follows(&format!("{name} {i} {j} at {tau}"), values(&ratio), |r| {
                    sigmoid(tau * r - shift)
                });
            }
        }
        let sums = values(&y.sum(1).unwrap());
        // Four terms of at most one, rounded to 1.1e-16 each.
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-15));
    }
}

#[test]
fn relaxed_bits_and_gumbel_variables_follow_their_law() {
    let cpu = &Device::Cpu;
    for (seed, tau, l) in [(60, 0.5, 1.0), (61, 1.0, -2.0), (62, 3.0, 0.0)] {
        let t = Tensor::new(l as f32, cpu).unwrap();
        let x = LogitRelaxedBernoulli::from_logits(tau, &t).unwrap();
        let x = x.sample(N, &mut Generator::new(seed)).unwrap();
        follows("LogitRelaxedBernoulli", values(&x), |x| sigmoid(tau * x - l));
        let t = t.to_dtype(DType::F64).unwrap();
        let y = RelaxedBernoulli::from_logits(tau, &t).unwrap();
        let y = y.sample(N, &mut Generator::new(seed + 10)).unwrap();
        follows("RelaxedBernoulli", values(&y), |y| sigmoid(tau * (y / (1.0 - y)).ln() - l));
    }
    let d =
        Gumbel::new(&Tensor::new(3f32, cpu).unwrap(), &Tensor::new(2f32, cpu).unwrap()).unwrap();
    let x = d.sample(N, &mut Generator::new(63)).unwrap();
    follows("Gumbel", values(&x), |x| (-(-(x - 3.0) / 2.0).exp()).exp());
}

#[test]
fn straight_through_samples_are_exact_samples() {
    let probs = softmax(&LOGITS);
    let l = logits(DType::F32);
    let d = StraightThrough::new(OneHotCategorical::from_logits(&l).unwrap());
    let plain = d.rsample(N, &mut Generator::new(70)).unwrap();
    let d = StraightThrough::new(RelaxedOneHotCategorical::from_logits(0.3, &l).unwrap());
    let relaxed = d.rsample(N, &mut Generator::new(71)).unwrap();
    for hard in [plain, relaxed] {
        let sums: Vec<u64> = values(&hard.sum(0).unwrap()).into_iter().map(|c| c as u64).collect();
        assert_eq!(sums.iter().sum::<u64>(), N as u64);
        counts_follow("straight-through categories", &sums, &probs);
    }
    let l = Tensor::new(&[-1.0f32], &Device::Cpu).unwrap();
    let d = StraightThrough::new(Bernoulli::from_logits(&l).unwrap());
    let plain = d.rsample(N, &mut Generator::new(72)).unwrap();
    let d = StraightThrough::new(RelaxedBernoulli::from_logits(0.3, &l).unwrap());
    let relaxed = d.rsample(N, &mut Generator::new(73)).unwrap();
    for bits in [plain, relaxed] {
        let bits = values(&bits);
        assert!(bits.iter().all(|&b| b == 0.0 || b == 1.0));
        let set = bits.iter().sum::<f64>() as u64;
        counts_follow(
            "straight-through bits",
            &[N as u64 - set, set],
            &[sigmoid(1.0), sigmoid(-1.0)],
        );
    }
}
