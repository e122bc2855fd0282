//! Tests of goodness of fit, all at α = 1e-4.

use candle_core::{DType, Tensor};

/// All elements as f64.
pub(crate) fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(crate) fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = logits.iter().map(|l| (l - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|e| e / sum).collect()
}

/// Kolmogorov-Smirnov: `sqrt(n) sup |F_n - F|` exceeds t with probability `2 e^(-2 t²)` for large n.
pub(crate) fn follows(name: &str, mut samples: Vec<f64>, cdf: impl Fn(f64) -> f64) {
    let n = samples.len() as f64;
    samples.sort_unstable_by(f64::total_cmp);
    let mut distance = 0f64;
    for (i, &x) in samples.iter().enumerate() {
        let f = cdf(x);
        distance = distance.max(f - i as f64 / n).max((i + 1) as f64 / n - f);
    }
    let limit = ((2.0 / 1e-4f64).ln() / 2.0).sqrt();
    let statistic = n.sqrt() * distance;
    assert!(statistic < limit, "{name}: KS statistic {statistic}, limit {limit}");
}

/// A count that is binomial, and so nearly Poisson, of mean `expected`; exact where that is small.
pub(crate) fn count_is(name: &str, count: u64, expected: f64) {
    // 3.89 standard deviations leave 5e-5 on each side of a normal variable.
    let likely = if expected > 1000.0 {
        (count as f64 - expected).abs() < 3.89 * expected.sqrt()
    } else {
        let (mut pmf, mut below) = ((-expected).exp(), 0.0);
        for k in 0..count {
            below += pmf;
            pmf *= expected / (k + 1) as f64;
        }
        below + pmf > 5e-5 && 1.0 - below > 5e-5
    };
    assert!(likely, "{name}: {count} counted, {expected} expected");
}

/// Pearson's chi-square; every class must be expected at least five times, or be impossible.
pub(crate) fn counts_follow(name: &str, counts: &[u64], probs: &[f64]) {
    let n: u64 = counts.iter().sum();
    let (mut statistic, mut cells) = (0.0, 0.0);
    for (class, (&count, &p)) in counts.iter().zip(probs).enumerate() {
        let expected = n as f64 * p;
        if p == 0.0 {
            assert_eq!(count, 0, "{name}: impossible class {class} was drawn");
        } else {
            assert!(expected >= 5.0, "{name}: too few draws for class {class}");
            statistic += (count as f64 - expected).powi(2) / expected;
            cells += 1.0;
        }
    }
    // Wilson and Hilferty's approximation of the upper quantile; 3.719 is the normal one.
    let df: f64 = cells - 1.0;
    let spread = 2.0 / (9.0 * df);
    let limit = df * (1.0 - spread + 3.719 * spread.sqrt()).powi(3);
    assert!(
        statistic < limit,
        "{name}: chi-square {statistic}, limit {limit} at {df} degrees of freedom"
    );
}

/// How often each class occurs.
pub(crate) fn count_classes(classes: &Tensor, n_classes: usize) -> Vec<u64> {
    let mut counts = vec![0; n_classes];
    for class in classes.flatten_all().unwrap().to_vec1::<u32>().unwrap() {
        counts[class as usize] += 1;
    }
    counts
}
