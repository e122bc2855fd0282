//! Against the sum over all rankings and all sets: golden values, gradients, laws and errors.

use candle_core::{Device, Var};

use super::*;
use crate::distributions::PlackettLuceSubset;

const NONE: f64 = f64::NEG_INFINITY;

fn list(x: &Tensor) -> Vec<f64> {
    values(x).unwrap()
}

fn golden() -> Tensor {
    Tensor::new(&[1f64, 2.0, 3.0, 4.0], &Device::Cpu).unwrap().log().unwrap()
}

/// All rankings of the first `k` of `n` items.
fn rankings(n: u32, k: usize) -> Vec<Vec<u32>> {
    let mut all = vec![vec![]];
    for _ in 0..k {
        all = all
            .iter()
            .flat_map(|r: &Vec<u32>| {
                (0..n).filter(|i| !r.contains(i)).map(|i| [r.as_slice(), &[i]].concat())
            })
            .collect();
    }
    all
}

fn stack(rows: &[Vec<u32>]) -> Tensor {
    Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu).unwrap()
}

/// Scores of a scale, some of them masked.
fn scaled(scale: f64, masked: bool) -> Tensor {
    let mut x: Vec<f64> = (0..6).map(|i| scale * 2.0 * (1.9 * f64::from(i) + 0.3).sin()).collect();
    if masked {
        (x[1], x[4]) = (NONE, NONE);
    }
    Tensor::new(x, &Device::Cpu).unwrap()
}

#[test]
fn golden_values_of_rankings() {
    let (full, top) =
        (PlackettLuce::from_logits(&golden()).unwrap(), PlackettLuce::top(&golden(), 2).unwrap());
    let p = full.log_prob(&Tensor::new(&[3u32, 2, 1, 0], &Device::Cpu).unwrap()).unwrap();
    assert!((list(&p)[0].exp() - 2.0 / 15.0).abs() < 1e-15);
    assert!((list(&top.entropy().unwrap())[0] - 2.272_074_544_340_041).abs() < 1e-14);
    assert!((list(&full.entropy().unwrap())[0] - 2.875_651_274_350_883).abs() < 1e-14);
    let places = list(&top.position_marginals().unwrap());
    for (p, expected) in places.iter().zip([
        0.1,
        0.2,
        0.3,
        0.4,
        0.134_523_810,
        0.241_269_841,
        0.308_333_333,
        0.315_873_016,
    ]) {
        assert!((p - expected).abs() < 1e-9);
    }
    assert!((list(&top.log_count().unwrap())[0] - 12f64.ln()).abs() < 1e-14);
    assert_eq!(full.mode().unwrap().to_vec1::<u32>().unwrap(), [3, 2, 1, 0]);
}

#[test]
fn golden_values_of_sets_which_are_not_those_of_conditional_bernoulli() {
    let d = PlackettLuceSubset::from_logits(&golden(), 2).unwrap();
    let sets = [
        [1.0, 1.0, 0.0, 0.0],
        [1.0, 0.0, 1.0, 0.0],
        [1.0, 0.0, 0.0, 1.0],
        [0.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, 0.0, 1.0],
        [0.0, 0.0, 1.0, 1.0],
    ];
    let p = list(&d.log_prob(&Tensor::new(&sets, &Device::Cpu).unwrap()).unwrap().exp().unwrap());
    for (p, expected) in
        p.iter().zip([0.047_222, 0.076_190, 0.111_111, 0.160_714, 0.233_333, 0.371_429])
    {
        assert!((p - expected).abs() < 5e-7);
    }
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-13);
    let inclusion = |i: usize| sets.iter().zip(&p).map(|(z, p)| z[i] * p).sum::<f64>();
    for (i, expected) in
        [197.0 / 840.0, 139.0 / 315.0, 73.0 / 120.0, 451.0 / 630.0].into_iter().enumerate()
    {
        assert!((inclusion(i) - expected).abs() < 1e-13);
    }
    let ratios = d.leave_one_out_ratios(&Tensor::new(&sets[5], &Device::Cpu).unwrap()).unwrap();
    let expected = [0.0, 0.0, 20.0 / 13.0, 35.0 / 26.0];
    assert!(list(&ratios).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{ratios}");
}

#[test]
fn rankings_sum_to_one_at_every_scale_and_keep_their_stages() {
    for (scale, masked) in [0.1, 1.0, 30.0, 400.0].into_iter().flat_map(|s| [(s, false), (s, true)])
    {
        let logits = scaled(scale, masked);
        let x = list(&logits);
        for k in [1, 3, 4] {
            let d = PlackettLuce::top(&logits, k).unwrap();
            let all = rankings(6, k);
            let log_probs = list(&d.log_prob(&stack(&all)).unwrap());
            let mut total = 0.0;
            for (ranking, log_prob) in all.iter().zip(&log_probs) {
                let mut left = x.clone();
                let mut expected = 0.0;
                for &i in ranking {
                    let top = left.iter().copied().fold(NONE, f64::max);
                    expected += left[i as usize]
                        - top
                        - left.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
                    left[i as usize] = NONE;
                }
                let same = *log_prob == expected
                    || (log_prob - expected).abs() <= 1e-12 * expected.abs().max(1.0);
                assert!(same, "{scale} {ranking:?}: {log_prob} {expected}");
                total += log_prob.exp();
            }
            assert!((total - 1.0).abs() < 1e-11);
            // Entropy and places, as sums over all rankings.
            let terms = log_probs.iter().filter(|l| **l > -700.0).map(|l| -l.exp() * l);
            assert!((list(&d.entropy().unwrap())[0] - terms.sum::<f64>()).abs() < 1e-11);
            let places = list(&d.position_marginals().unwrap());
            for (at, p) in places.iter().enumerate() {
                let hits = all.iter().zip(&log_probs).filter(|(r, _)| r[at / 6] == (at % 6) as u32);
                assert!((p - hits.map(|(_, l)| l.exp()).sum::<f64>()).abs() < 1e-11);
            }
        }
    }
}

/// The gradient of a function of logits, by autograd and by central differences.
fn check_gradient(logits: &Tensor, f: impl Fn(&Tensor) -> Tensor) {
    let var = Var::from_tensor(logits).unwrap();
    let weights = |y: &Tensor| {
        let n = y.elem_count() as u32;
        let w: Vec<f64> = (0..n).map(|i| (f64::from(i) * 1.3 + 0.4).cos()).collect();
        Tensor::from_vec(w, y.shape(), &Device::Cpu).unwrap()
    };
    let y = f(&var);
    let grads = (&y * weights(&y)).unwrap().sum_all().unwrap().backward().unwrap();
    let gradient = list(grads.get(&var).unwrap());
    let x = list(logits);
    for i in 0..x.len() {
        if x[i] == NONE {
            assert_eq!(gradient[i], 0.0);
            continue;
        }
        let at = |by: f64| {
            let mut moved = x.clone();
            moved[i] += by;
            let y = f(&Tensor::from_vec(moved, logits.shape(), &Device::Cpu).unwrap());
            list(&(&y * weights(&y)).unwrap()).iter().sum::<f64>()
        };
        let h = 1e-5;
        let difference = (at(h) - at(-h)) / (2.0 * h);
        assert!(
            (gradient[i] - difference).abs() < 2e-8 * difference.abs().max(1.0),
            "{i}: {} {difference}",
            gradient[i]
        );
    }
}

#[test]
fn gradients_are_those_of_differences() {
    for masked in [false, true] {
        let logits = scaled(1.0, masked).unsqueeze(0).unwrap().repeat((2, 1)).unwrap();
        for k in [1, 3, 4] {
            let ranking = Tensor::new(&[[2u32, 0, 5, 3], [5, 3, 0, 2]], &Device::Cpu)
                .unwrap()
                .narrow(1, 0, k)
                .unwrap();
            let top = |x: &Tensor| PlackettLuce::top(x, k).unwrap();
            check_gradient(&logits, |x| top(x).log_prob(&ranking).unwrap());
            check_gradient(&logits, |x| top(x).entropy().unwrap());
            let other = (&logits * 0.4).unwrap();
            check_gradient(&logits, |x| top(x).kl_divergence(&top(&other)).unwrap());
            check_gradient(&other, |x| top(&logits).kl_divergence(&top(x)).unwrap());
            let set = PlackettLuceSubset::from_logits(&logits, k).unwrap().mode().unwrap();
            check_gradient(&logits, |x| {
                PlackettLuceSubset::from_logits(x, k).unwrap().log_prob(&set).unwrap()
            });
            for sort in [Sort::Soft { power: 1 }, Sort::Soft { power: 2 }, Sort::Neural] {
                check_gradient(&logits, |x| {
                    top(x)
                        .rsample_permutation((), 0.8, sort, false, &mut Generator::new(1))
                        .unwrap()
                });
            }
        }
    }
}

#[test]
fn divergences_are_the_sums_over_rankings_and_infinite_where_the_other_masks() {
    let (p, q) = (scaled(1.0, false), scaled(0.3, false));
    let of = |x: &Tensor| PlackettLuce::top(x, 3).unwrap();
    let all = stack(&rankings(6, 3));
    let (a, b) = (list(&of(&p).log_prob(&all).unwrap()), list(&of(&q).log_prob(&all).unwrap()));
    let expected: f64 = a.iter().zip(&b).map(|(a, b)| a.exp() * (a - b)).sum();
    assert!((list(&of(&p).kl_divergence(&of(&q)).unwrap())[0] - expected).abs() < 1e-13);
    assert_eq!(list(&of(&p).kl_divergence(&of(&p)).unwrap()), [0.0]);
    let masked = scaled(1.0, true);
    assert_eq!(list(&of(&p).kl_divergence(&of(&masked)).unwrap()), [f64::INFINITY]);
    assert!(list(&of(&masked).kl_divergence(&of(&p)).unwrap())[0].is_finite());
    assert!(of(&p).kl_divergence(&PlackettLuce::top(&q, 2).unwrap()).is_err());
}

/// χ² over 24 rankings: 23 degrees of freedom, 60.4 at α = 3e-5. Two seeds.
#[test]
fn samples_and_conditional_noise_follow_the_law() {
    let n = 100_000;
    let logits = golden().unsqueeze(0).unwrap().repeat((n, 1)).unwrap();
    let d = PlackettLuce::from_logits(&logits).unwrap();
    let one = PlackettLuce::from_logits(&golden()).unwrap();
    let all = rankings(4, 4);
    let probs = list(&one.log_prob(&stack(&all)).unwrap().exp().unwrap());
    for seed in [1, 2] {
        let drawn = d.sample((), &mut Generator::new(seed)).unwrap();
        let flat = drawn.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        let cells = all.iter().zip(&probs).map(|(ranking, p)| {
            let hits = flat.chunks(4).filter(|r| r == ranking).count() as f64;
            (hits - n as f64 * p).powi(2) / (n as f64 * p)
        });
        let statistic = cells.sum::<f64>();
        assert!(statistic < 60.4, "{statistic}");
        // Noise given the sample leads to the sample, and all of it has the law of perturbed logits: mean θ + γ, variance π² / 6.
        let scores = d.conditional_gumbels(&drawn, &mut Generator::new(seed + 10)).unwrap();
        let again =
            largest_of(&scores, 4).unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(again, flat);
        let mean = list(&scores.mean(0).unwrap());
        let spread = 4.5 * (std::f64::consts::PI.powi(2) / 6.0 / n as f64).sqrt();
        for (mean, logit) in mean.iter().zip(list(&golden())) {
            assert!((mean - logit - 0.577_215_664_901_532_9).abs() < spread, "{mean}");
        }
    }
}

#[test]
fn masked_items_take_no_place_and_have_no_column() {
    let logits = scaled(1.0, true).unsqueeze(0).unwrap().repeat((5000, 1)).unwrap();
    let d = PlackettLuce::top(&logits, 4).unwrap();
    let drawn = d.sample((), &mut Generator::new(3)).unwrap();
    assert!(
        drawn.flatten_all().unwrap().to_vec1::<u32>().unwrap().iter().all(|i| ![1, 4].contains(i))
    );
    for hard in [false, true] {
        for sort in [Sort::Soft { power: 1 }, Sort::Neural] {
            let p =
                list(&d.rsample_permutation((), 0.5, sort, hard, &mut Generator::new(4)).unwrap());
            for row in p.chunks(6) {
                assert_eq!((row[1], row[4]), (0.0, 0.0));
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-14);
            }
        }
    }
    let impossible = Tensor::new(&[1u32, 0, 2, 3], &Device::Cpu).unwrap();
    let one = PlackettLuce::top(&scaled(1.0, true), 4).unwrap();
    assert_eq!(list(&one.log_prob(&impossible).unwrap()), [NONE]);
    check_gradient(&scaled(1.0, true), |x| {
        let p = PlackettLuce::top(x, 4).unwrap().log_prob(&impossible).unwrap();
        // An impossible ranking has gradient zero: only the other, possible one counts.
        p.gt(NONE).unwrap().where_cond(&p, &p.zeros_like().unwrap()).unwrap()
    });
}

#[test]
fn one_place_is_a_category_and_all_items_are_certain_as_a_set() {
    let logits = scaled(1.0, false);
    let top = PlackettLuce::top(&logits, 1).unwrap();
    let log_probs = list(&top.log_prob(&stack(&rankings(6, 1))).unwrap());
    let expected = list(&crate::op::log_softmax(&logits).unwrap());
    assert!(log_probs.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14));
    let all = PlackettLuceSubset::from_logits(&logits, 6).unwrap();
    let ones = logits.ones_like().unwrap();
    assert_eq!(list(&all.log_prob(&ones).unwrap()), [0.0]);
    assert_eq!(list(&all.leave_one_out_ratios(&ones).unwrap()), [1.0; 6]);
}

#[test]
fn bad_sizes_rankings_and_sets_are_refused_with_their_place() {
    let logits = scaled(1.0, true).unsqueeze(0).unwrap();
    let error = PlackettLuce::from_logits(&logits).unwrap_err();
    assert!(matches!(error, Error::SubsetSize { k: 6, allowed: 4, row: 0 }), "{error}");
    assert!(matches!(
        PlackettLuce::top(&logits, 0),
        Err(Error::InvalidParameter { name: "k", .. })
    ));
    let d = PlackettLuce::top(&logits, 2).unwrap();
    for (ranking, value, at) in [([[0i64, 0]], 0.0, 1), ([[6, 0]], 6.0, 0), ([[0, -1]], -1.0, 1)] {
        let error = d.log_prob(&Tensor::new(&ranking, &Device::Cpu).unwrap()).unwrap_err();
        assert!(
            matches!(&error, Error::OutsideSupport { value: v, index, .. } if *v == value && index == &[0, at]),
            "{error}"
        );
    }
    let sets = PlackettLuceSubset::from_logits(&logits, 2).unwrap();
    let three = Tensor::new(&[[1f64, 0.0, 1.0, 1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    assert!(matches!(sets.log_prob(&three), Err(Error::OutsideSupport { value: 3.0, .. })));
    let half = Tensor::new(&[[1f64, 0.0, 0.5, 0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    assert!(
        matches!(sets.log_prob(&half), Err(Error::OutsideSupport { value: 0.5, ref index, .. }) if index == &[0, 2])
    );
    let large = Tensor::zeros(21, DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(
        PlackettLuce::from_logits(&large).unwrap().entropy(),
        Err(Error::TooLarge { .. })
    ));
    let empty =
        PlackettLuce::top(&Tensor::zeros((0, 4), DType::F32, &Device::Cpu).unwrap(), 2).unwrap();
    assert_eq!(empty.sample((), &mut Generator::new(0)).unwrap().dims(), [0, 2]);
    assert_eq!(empty.entropy().unwrap().dims(), [0]);
}
