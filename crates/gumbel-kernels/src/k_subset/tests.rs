//! Subsets against sums over all of them, and against the recursion in logarithms.

use super::*;
use crate::kernel_portable::Portable;
use crate::test_support::values;

const N_ITEMS: usize = 9;

/// Scores of the given spread, with a mask and a tie.
fn scores(n: usize, spread: f64, seed: u32) -> Vec<f64> {
    let mut scores: Vec<f64> =
        values(n, seed).iter().map(|&x| 2.0 * spread * f64::from(x)).collect();
    if n > 4 {
        scores[1] = f64::NEG_INFINITY;
        scores[3] = scores[4];
    }
    scores
}

fn log_sum(values: &[f64]) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + values.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
}

/// Every subset of `k` items as bits, with its log-probability, and the log-partition.
fn subsets(k: usize, scores: &[f64]) -> (Vec<(usize, f64)>, f64) {
    let of = |bits: usize| (0..scores.len()).filter(move |i| bits >> i & 1 == 1);
    let all: Vec<(usize, f64)> = (0..1usize << scores.len())
        .filter(|bits| bits.count_ones() as usize == k)
        .map(|bits| (bits, of(bits).map(|i| scores[i]).sum()))
        .collect();
    let total = log_sum(&all.iter().map(|s| s.1).collect::<Vec<_>>());
    (all.into_iter().map(|(bits, score)| (bits, score - total)).collect(), total)
}

#[test]
fn the_partition_and_the_marginals_are_sums_over_all_subsets_at_every_scale() {
    for spread in [0.1, 1.0, 30.0, 400.0] {
        for k in 0..N_ITEMS {
            let scores = scores(N_ITEMS, spread, k as u32);
            let (subsets, total) = subsets(k, &scores);
            let (mut a, mut mu) = ([0.0], [0.0; N_ITEMS]);
            k_subset_log_partition(N_ITEMS, k, &scores, &mut a).unwrap();
            k_subset_marginals(N_ITEMS, k, &scores, &mut mu).unwrap();
            assert!((a[0] - total).abs() <= 1e-13 * total.abs().max(1.0), "{spread} {k}");
            for (i, mu) in mu.iter().enumerate() {
                let with = subsets.iter().filter(|s| s.0 >> i & 1 == 1).map(|s| s.1);
                let exact = log_sum(&with.collect::<Vec<_>>()).exp();
                let bound = 1e-12 * exact + 1e-300;
                assert!((mu - exact).abs() <= bound, "{spread} {k} {i}: {mu} {exact}");
            }
            assert_eq!(mu[1], 0.0);
        }
    }
}

#[test]
fn long_rows_agree_with_the_recursion_in_logarithms() {
    let shapes: &[(usize, usize)] =
        if cfg!(miri) { &[(20, 10)] } else { &[(1000, 10), (1000, 500), (784, 770), (300, 1)] };
    for &(n, k) in shapes {
        for spread in [0.1, 1.0, 300.0] {
            let scores = scores(n, spread, 5);
            let mut logs = vec![f64::NEG_INFINITY; k + 1];
            logs[0] = 0.0;
            for &x in &scores {
                for j in (1..=k).rev() {
                    logs[j] = log_sum(&[logs[j], logs[j - 1] + x]);
                }
            }
            let (mut a, mut mu) = ([0.0], vec![0.0; n]);
            k_subset_log_partition(n, k, &scores, &mut a).unwrap();
            assert!((a[0] - logs[k]).abs() < 1e-11 * logs[k].abs().max(1.0), "{n} {k} {spread}");
            k_subset_marginals(n, k, &scores, &mut mu).unwrap();
            let sum: f64 = mu.iter().sum();
            assert!((sum - k as f64).abs() < 1e-10 * k as f64, "{n} {k} {spread}: {sum}");
        }
    }
}

#[test]
fn extreme_scores_and_ties_keep_the_tilt_and_the_answer() {
    for scale in [1e-300, 1e30, 1e300] {
        let mut scores = vec![0.0; 60];
        scores[..20].fill(scale);
        scores[20..25].fill(-scale);
        let (mut a, mut mu) = ([0.0], vec![0.0; 60]);
        // All that are large, and ten of the thirty-five ties at zero.
        k_subset_log_partition(60, 30, &scores, &mut a).unwrap();
        k_subset_marginals(60, 30, &scores, &mut mu).unwrap();
        assert!(a[0].is_finite() && (a[0] - 20.0 * scale).abs() <= 1e-13 * a[0].abs() + 50.0);
        if scale > 1.0 {
            let close = |mu: &[f64], p: f64| mu.iter().all(|mu| (mu - p).abs() < 1e-12);
            assert!(close(&mu[..20], 1.0) && close(&mu[20..25], 0.0), "{mu:?}");
            assert!(close(&mu[25..], 10.0 / 35.0), "{mu:?}");
        }
    }
}

#[test]
fn the_vector_product_is_the_derivative_of_the_marginals_and_symmetric() {
    for (k, spread) in [(2, 1.0), (4, 0.1), (6, 1.0), (7, 1.0), (8, 1.0), (0, 1.0)] {
        let scores = scores(N_ITEMS, spread, 3);
        let grad: Vec<f64> = values(N_ITEMS, 8).iter().map(|&x| f64::from(x)).collect();
        let mut wild = grad.clone();
        wild[1] = f64::NAN;
        let mut product = [0.0; N_ITEMS];
        k_subset_vjp(N_ITEMS, k, &scores, &wild, &mut product).unwrap();
        assert_eq!(product[1], 0.0);
        assert!(product.iter().sum::<f64>().abs() < 1e-14);
        let along = |direction: &[f64], h: f64| {
            let moved: Vec<f64> = scores.iter().zip(direction).map(|(s, d)| s + h * d).collect();
            let mut mu = [0.0; N_ITEMS];
            k_subset_marginals(N_ITEMS, k, &moved, &mut mu).unwrap();
            mu
        };
        let (above, below) = (along(&grad, 1e-5), along(&grad, -1e-5));
        for i in 0..N_ITEMS {
            assert!((product[i] - (above[i] - below[i]) / 2e-5).abs() < 1e-9, "{k} {i}");
        }
        let other: Vec<f64> = values(N_ITEMS, 9).iter().map(|&x| f64::from(x)).collect();
        let mut second = [0.0; N_ITEMS];
        k_subset_vjp(N_ITEMS, k, &scores, &other, &mut second).unwrap();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert!((dot(&product, &other) - dot(&second, &grad)).abs() < 1e-14);
    }
}

/// Adds the probability of every path of decisions from item `at` downwards to the subset that it leads to.
fn follow(row: &Row<f64>, at: usize, left: usize, p: f64, bits: usize, law: &mut [f64]) {
    if at == 0 || p == 0.0 {
        law[bits] += p;
        return;
    }
    let chance = match left {
        _ if left == at => 1.0,
        0 => 0.0,
        _ => row.chance(at - 1, left),
    };
    if left > 0 {
        follow(row, at - 1, left - 1, p * chance, bits | 1 << row.allowed[at - 1], law);
    }
    if left < at {
        follow(row, at - 1, left, p * (1.0 - chance), bits, law);
    }
}

#[test]
fn the_law_of_the_sampler_is_exact() {
    for spread in [0.1, 1.0, 30.0, 400.0] {
        for k in 1..N_ITEMS - 1 {
            let scores = scores(N_ITEMS, spread, 11);
            let mut row = Row::<f64>::default();
            row.prepare(Portable, k, &scores, |_| 0.0);
            let mut law = vec![0.0; 1 << N_ITEMS];
            follow(&row, row.allowed.len(), row.count, 1.0, 0, &mut law);
            let all: usize = row.allowed.iter().map(|i| 1 << i).sum();
            let (subsets, _) = subsets(k, &scores);
            for (bits, log_p) in subsets {
                let counted = if 2 * k > row.allowed.len() { all & !bits } else { bits };
                let law = if bits & !all == 0 { law[counted] } else { 0.0 };
                assert!((law - log_p.exp()).abs() < 1e-12, "{spread} {k} {bits:b}: {law}");
            }
        }
    }
}

#[test]
fn samples_have_k_items_that_are_allowed_whatever_the_uniforms() {
    for k in 0..N_ITEMS {
        let scores = scores(N_ITEMS, 5.0, 2);
        for u in [0.0, 1e-12, 0.5, 1.0 - 1e-12] {
            let mut z = [0.0; N_ITEMS];
            k_subset_sample(N_ITEMS, k, &scores, &[u; N_ITEMS], &mut z).unwrap();
            assert_eq!(z.iter().sum::<f64>(), k as f64);
            assert_eq!(z[1], 0.0);
        }
    }
}

#[test]
fn the_first_of_equal_scores_are_the_largest() {
    let top = |k, scores: &[f64]| {
        let mut hot = vec![9.0; scores.len()];
        k_hot(scores.len(), k, scores, &mut hot).unwrap();
        hot
    };
    assert_eq!(top(2, &[1.0, 1.0, 1.0]), [1.0, 1.0, 0.0]);
    assert_eq!(top(2, &[0.0, 3.0, 0.0, -0.0]), [1.0, 1.0, 0.0, 0.0]);
    assert_eq!(top(3, &[f64::NEG_INFINITY, 3.0, f64::NAN, 0.0]), [0.0, 1.0, 0.0, 1.0]);
    assert_eq!(top(0, &[2.0]), [0.0]);
}

#[test]
fn rows_without_items_and_impossible_rows_have_an_answer() {
    let mut a = [1.0; 2];
    k_subset_log_partition(0, 0, &[], &mut a).unwrap();
    assert_eq!(a, [0.0; 2]);
    k_subset_log_partition(1, 2, &[0.0, 1.0], &mut a).unwrap();
    assert_eq!(a, [f64::NEG_INFINITY; 2]);
    assert!(k_subset_marginals(3, 1, &[0.0; 4], &mut [0.0; 4]).is_err());
}
