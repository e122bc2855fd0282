//! The mean over all sets, exactly, and the two ends: one sample, and all codes.

use super::beam::Codes;
use super::*;
use crate::estimators::tests::{assert_close, softmax, values as list};
use gumbel_kernels::LogSum;

const LOGITS: [f64; 5] = [0.4, -1.2, 0.9, 0.1, -0.3];
const LOSSES: [f64; 5] = [2.0, -1.5, 0.3, 4.0, 1.1];

/// `∂ E f / ∂ logits`.
fn exact() -> Vec<f64> {
    let p = softmax(&LOGITS, 1.0);
    let mean: f64 = p.iter().zip(LOSSES).map(|(p, f)| p * f).sum();
    p.iter().zip(LOSSES).map(|(p, f)| p * (f - mean)).collect()
}

#[test]
fn the_mean_over_all_sets_is_the_gradient_exactly() {
    let p = softmax(&LOGITS, 1.0);
    for k in 1..=5usize {
        let (mut mean, mut value, mut total) = (vec![0.0; 5], 0.0, 0.0);
        for set in (0..32u32).filter(|set| set.count_ones() as usize == k) {
            let members: Vec<usize> = (0..5).filter(|i| set >> i & 1 == 1).collect();
            let log_probs: Vec<f64> = members.iter().map(|&i| p[i].ln()).collect();
            let others = (0..5).filter(|i| !members.contains(i)).map(|i| p[i].ln());
            let codes = members.iter().map(|&i| vec![i as u32]).collect();
            let set = Codes { codes, log_outside: LogSum::of(others).ln(), log_probs };
            let probability = set_probs(&set.log_probs, set.log_outside).unwrap().log_prob.exp();
            let mut drawn = Drawn::new(k, 1, 1);
            drawn.put(0, &set).unwrap();
            let losses: Vec<f64> = members.iter().map(|&i| LOSSES[i]).collect();
            assert!((drawn.weights.iter().sum::<f64>() - 1.0).abs() < 1e-13);
            for ((&i, factor), weight) in
                members.iter().zip(drawn.factors(&losses)).zip(&drawn.weights)
            {
                value += probability * weight * LOSSES[i];
                for (j, mean) in mean.iter_mut().enumerate() {
                    *mean += probability * factor * (f64::from(u8::from(i == j)) - p[j]);
                }
            }
            total += probability;
        }
        assert!((total - 1.0).abs() < 1e-13, "{k}");
        let expected: f64 = p.iter().zip(LOSSES).map(|(p, f)| p * f).sum();
        assert!((value - expected).abs() < 1e-13, "{k}");
        assert_close("mean", &mean, &exact(), 1e-12);
    }
}

#[test]
fn as_many_samples_as_codes_are_the_enumeration_and_spare_ones_count_for_nothing() {
    // Two latents, of which one class is masked: six codes.
    let logits = [0.4, -1.2, 0.9, 0.1, f64::NEG_INFINITY, -0.3];
    let logits = Tensor::from_slice(&logits, (1, 2, 3), &Device::Cpu).unwrap();
    let w = Tensor::new(&[[[1.0, 2.0, -0.5], [0.3, 1.0, 0.8]]], &Device::Cpu).unwrap();
    let mut f = |z: &Tensor| Ok::<_, Error>((z.broadcast_mul(&w)?.sum((1, 2))?.exp())?);
    let gradient = |estimator: Estimator, f: &mut Loss<'_, Error>| {
        let logits = candle_core::Var::from_tensor(&logits).unwrap();
        let (mut state, mut g) = (EstimatorState::default(), Generator::new(3));
        let objective = estimator.objective(&mut state, &logits, 1.0, &mut g, f).unwrap();
        let grads = objective.surrogate.sum_all().unwrap().backward().unwrap();
        (list(&objective.loss), list(grads.get(&logits).unwrap()))
    };
    let (loss, exact) = gradient(Estimator::Enumeration, &mut f);
    for samples in [6, 9] {
        let (value, d) = gradient(Estimator::UnorderedSet { samples }, &mut f);
        assert_close("loss", &value, &loss, 1e-13);
        assert_close("gradient", &d, &exact, 1e-13);
    }
}

#[test]
fn one_sample_is_the_score_function_and_sizes_are_checked() {
    let logits = Tensor::from_slice(&LOGITS, (1, 1, 5), &Device::Cpu).unwrap();
    let (mut state, mut g) = (EstimatorState::default(), Generator::new(4));
    let estimator = Estimator::UnorderedSet { samples: 1 };
    let proposal = estimator.propose(&logits, 1.0, &state, &mut g).unwrap();
    let z = list(&proposal.points()[0].z);
    let loss = Tensor::new(&[3.0], &Device::Cpu).unwrap();
    let evaluation = crate::estimators::Evaluation { loss, gradient: None };
    let d = list(&proposal.combine(&[evaluation], &mut state).unwrap());
    let p = softmax(&LOGITS, 1.0);
    let expected: Vec<f64> = z.iter().zip(p).map(|(z, p)| 3.0 * (z - p)).collect();
    assert_close("score", &d, &expected, 1e-14);
    for samples in [0, 13] {
        let error = Estimator::UnorderedSet { samples }.check().unwrap_err();
        assert!(matches!(error, Error::InvalidParameter { name: "samples", .. }));
    }
}
