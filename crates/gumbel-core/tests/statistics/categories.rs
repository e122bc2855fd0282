//! Exact categorical and binary samples.

use candle_core::{DType, Device, Tensor};
use gumbel_core::distributions::{Bernoulli, Categorical, OneHotCategorical};
use gumbel_core::{Generator, gumbel_max, gumbel_sigmoid, sample_one_hot};

use crate::law::{count_classes, count_is, counts_follow, sigmoid, softmax, values};

const N: usize = 1_000_000;
const MASK: f64 = f64::NEG_INFINITY;

/// Seven classes: one of probability 1e-5, one masked, the rest uneven.
fn logits() -> Vec<f64> {
    let ordinary = [0.3, 1.2, -0.7, 2.0, 0.0];
    let sum: f64 = ordinary.iter().map(|l: &f64| l.exp()).sum();
    let rare = (1e-5 / (1.0 - 1e-5) * sum).ln();
    vec![0.3, 1.2, rare, -0.7, MASK, 2.0, 0.0]
}

fn repeated(logits: &[f64], dtype: DType) -> Tensor {
    let row = Tensor::new(logits, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    row.broadcast_as((N, logits.len())).unwrap()
}

#[test]
fn gumbel_max_draws_every_class_by_its_probability_also_the_rare_one() {
    for (seed, dtype) in [(10, DType::F32), (11, DType::F64), (12, DType::BF16)] {
        let rows = repeated(&logits(), dtype);
        // Half-precision logits are the numbers they were rounded to.
        let probs = softmax(&values(&rows.narrow(0, 0, 1).unwrap()));
        let counts = count_classes(&gumbel_max(&rows, 1, &mut Generator::new(seed)).unwrap(), 7);
        counts_follow(&format!("gumbel_max {dtype:?}"), &counts, &probs);
        count_is("the rare class", counts[2], probs[2] * N as f64);
    }
}

#[test]
fn one_hot_samples_follow_the_same_law() {
    let rows = repeated(&logits(), DType::F32);
    let hot = sample_one_hot(&rows, 1, &mut Generator::new(13)).unwrap();
    let counts: Vec<u64> = values(&hot.sum(0).unwrap()).into_iter().map(|c| c as u64).collect();
    counts_follow("sample_one_hot", &counts, &softmax(&logits()));
}

#[test]
fn distributions_sample_their_law_from_logits_and_from_probabilities() {
    let probs = softmax(&logits());
    let logits = Tensor::new(logits(), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    let probs_t =
        Tensor::new(probs.as_slice(), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    let d = Categorical::from_logits(&logits).unwrap();
    let counts = count_classes(&d.sample(N, &mut Generator::new(14)).unwrap(), 7);
    counts_follow("Categorical", &counts, &probs);
    let d = Categorical::from_probs(&probs_t).unwrap();
    let counts = count_classes(&d.sample((N / 4, 4), &mut Generator::new(15)).unwrap(), 7);
    counts_follow("Categorical from probabilities", &counts, &probs);
    let d = OneHotCategorical::from_logits(&logits).unwrap();
    let sums = d.sample(N, &mut Generator::new(16)).unwrap().sum(0).unwrap();
    let counts: Vec<u64> = values(&sums).into_iter().map(|c| c as u64).collect();
    counts_follow("OneHotCategorical", &counts, &probs);
}

#[test]
fn bits_are_set_as_often_as_they_should_be() {
    let p = [0.5f64, 0.9, 1e-5, 1.0 - 1e-5, 0.0, 1.0];
    let probs = Tensor::new(&p, &Device::Cpu).unwrap();
    let d = Bernoulli::from_probs(&probs).unwrap();
    let set = values(&d.sample(N, &mut Generator::new(17)).unwrap().sum(0).unwrap());
    for (&p, set) in p.iter().zip(set) {
        // The rarer of the two sides, so that the count is nearly Poisson.
        let rare = if p <= 0.5 { set } else { N as f64 - set };
        let q = p.min(1.0 - p);
        if q == 0.0 {
            assert_eq!(rare, 0.0);
        } else if q < 0.01 {
            count_is("Bernoulli", rare as u64, q * N as f64);
        } else {
            let deviation = (N as f64 * q * (1.0 - q)).sqrt();
            assert!((rare - q * N as f64).abs() < 3.89 * deviation, "p = {p}: {set}");
        }
    }
    let logits = [-11.5, -1.0, 0.0, 2.0, MASK];
    let rows = Tensor::new(&logits, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    let rows = rows.broadcast_as((N, 5)).unwrap();
    for (seed, tau) in [(18, 0.1), (19, 1.0), (20, 10.0)] {
        let mut g = Generator::new(seed);
        let hard = gumbel_sigmoid(&rows, tau, true, &mut g).unwrap();
        let soft = gumbel_sigmoid(&rows, tau, false, &mut g).unwrap();
        for sample in [hard, soft.gt(0.5).unwrap()] {
            let sample = sample.to_dtype(DType::F64).unwrap();
            for (&l, set) in logits.iter().zip(values(&sample.sum(0).unwrap())) {
                let p = sigmoid(l);
                let deviation = (N as f64 * p * (1.0 - p)).sqrt();
                if p < 0.01 {
                    count_is("gumbel_sigmoid", set as u64, p * N as f64);
                } else {
                    assert!((set - p * N as f64).abs() < 3.89 * deviation, "logit {l}: {set}");
                }
            }
        }
    }
}
