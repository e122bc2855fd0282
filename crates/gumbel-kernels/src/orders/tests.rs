//! Sets by the sum over their orders, by the recursion, and by the integral.

use super::*;
use crate::test_support::values;

/// `ln P` of a set, over all of its orders.
fn by_orders(members: &[f64], outside: f64) -> f64 {
    if members.is_empty() {
        return 0.0;
    }
    let mut total = LogSum::of(members.iter().copied());
    total.add(outside);
    let first = (0..members.len()).map(|i| {
        let others: Vec<f64> = (0..members.len()).filter(|&j| j != i).map(|j| members[j]).collect();
        members[i] - total.ln() + by_orders(&others, outside)
    });
    LogSum::of(first).ln()
}

#[test]
fn sets_by_recursion_and_by_integral_are_the_sums_over_their_orders() {
    for (k, n) in [(1, 4), (2, 4), (3, 7), (5, 9), (6, 30)] {
        for scale in [0.1, 1.0, 30.0, 400.0] {
            let logits: Vec<f64> =
                values(n, k as u32).iter().map(|&x| scale * f64::from(x)).collect();
            let set: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i < k))).collect();
            let outside = LogSum::of(logits[k..].iter().copied()).ln();
            let expected = by_orders(&logits[..k], outside);
            let probs = set_probs(&logits[..k], outside).unwrap();
            let near = |a: f64, b: f64| (a - b).abs() < 1e-12 * b.abs().max(1.0);
            assert!(near(probs.log_prob, expected), "{k} {scale}: {} {expected}", probs.log_prob);
            let (mut out, mut ratios) = ([0.0], vec![0.0; n]);
            set_log_prob(n, &logits, &set, &mut out, &mut []).unwrap();
            assert!(near(out[0], expected), "{k} {n} {scale}: {} {expected}", out[0]);
            set_log_ratios(n, &logits, &set, &mut ratios).unwrap();
            for (s, ratio) in ratios.iter().enumerate().take(k) {
                let others: Vec<f64> = (0..k).filter(|&i| i != s).map(|i| logits[i]).collect();
                let without = by_orders(&others, outside);
                assert!(near(probs.first[s], without - expected));
                assert!(
                    (ratio - (without - expected)).abs()
                        < 1e-10 * (without - expected).abs().max(1.0),
                    "{k} {scale} {s}: {} {}",
                    ratio,
                    without - expected
                );
                for t in (0..k).filter(|&t| t != s) {
                    let both: Vec<f64> =
                        (0..k).filter(|&i| i != s && i != t).map(|i| logits[i]).collect();
                    assert!(near(probs.second[s * k + t], by_orders(&both, outside) - without));
                }
                assert_eq!(probs.second[s * k + s], 0.0);
            }
        }
    }
}

#[test]
fn large_sets_have_the_probability_of_their_equal_items() {
    // Equal logits: one over the binomial coefficient, whatever the size.
    for (n, k) in [(40usize, 20usize), (1000, 500), (1000, 10)] {
        let set: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i % 2 == 0 && i < 2 * k))).collect();
        let expected: f64 = (0..k).map(|i| ((k - i) as f64).ln() - ((n - i) as f64).ln()).sum();
        let mut out = [0.0];
        set_log_prob(n, &vec![3.5; n], &set, &mut out, &mut []).unwrap();
        assert!(
            (out[0] - expected).abs() < 1e-12 * expected.abs(),
            "{n} {k}: {} {expected}",
            out[0]
        );
    }
}
