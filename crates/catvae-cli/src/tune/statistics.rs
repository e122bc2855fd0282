//! What can be said of candidates that were run with the same seeds: pure functions of their scores.
//!
//! Lower is better. A run that diverged has an infinite score, and its candidate is worse than every other.

/// Error rate of all statements together.
pub(crate) const ALPHA: f64 = 0.05;

/// A mean with its t-interval, which is `mean ± half_width`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) mean: f64,
    /// Infinite where there are fewer than two numbers.
    pub(crate) half_width: f64,
}

impl Interval {
    pub(crate) fn excludes_zero(self) -> bool {
        self.mean.abs() > self.half_width
    }
}

/// A candidate against the leader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// Its scores minus the leader's, seed by seed, at the level of its step of Holm's.
    pub(crate) difference: Interval,
    /// Whether the two cannot be told apart; the leader is tied with itself.
    pub(crate) is_tied: bool,
}

/// The candidate with the lowest mean; the first of equal ones.
pub(crate) fn leader(scores: &[Vec<f64>]) -> usize {
    let means: Vec<f64> = scores.iter().map(|s| mean(s)).collect();
    (0..means.len()).min_by(|&a, &b| means[a].total_cmp(&means[b])).unwrap_or(0)
}

/// Each candidate against the leader by paired t-tests, two-sided, corrected after Holm 1979.
pub(crate) fn compare(scores: &[Vec<f64>]) -> Vec<Comparison> {
    let leader = leader(scores);
    let differences: Vec<Vec<f64>> = scores
        .iter()
        .map(|s| s.iter().zip(&scores[leader]).map(|(a, b)| a - b).collect())
        .collect();
    let p = |i: usize| p_value(&differences[i]);
    let mut order: Vec<usize> = (0..scores.len()).filter(|&i| i != leader).collect();
    order.sort_by(|&a, &b| p(a).total_cmp(&p(b)));
    let itself = Comparison { difference: Interval { mean: 0.0, half_width: 0.0 }, is_tied: true };
    let mut found = vec![itself; scores.len()];
    let (mut level, mut any_tied) = (ALPHA, false);
    for (step, &i) in order.iter().enumerate() {
        // From the first tie on, nothing is told apart, and all have its level.
        if !any_tied {
            level = ALPHA / (order.len() - step) as f64;
        }
        any_tied |= p(i) > level;
        found[i] = Comparison { difference: interval(&differences[i], level), is_tied: any_tied };
    }
    found
}

/// Which candidates go on to the next rung: the better half, at least three, and all that the paired interval cannot
/// tell from the leader. Early rungs favour those that learn fast, so that nothing is dropped for its place alone.
pub(crate) fn promoted(scores: &[Vec<f64>]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| mean(&scores[a]).total_cmp(&mean(&scores[b])));
    let better_half = &order[..scores.len().div_ceil(2).max(3).min(scores.len())];
    let tied = compare(scores);
    (0..scores.len())
        .map(|i| mean(&scores[i]).is_finite() && (better_half.contains(&i) || tied[i].is_tied))
        .collect()
}

/// The mean and its interval of error rate `alpha`.
pub(crate) fn interval(numbers: &[f64], alpha: f64) -> Interval {
    let mean = mean(numbers);
    let half_width = match standard_error(numbers) {
        Some(0.0) => 0.0,
        Some(error) => error * t_quantile(alpha, numbers.len() - 1),
        None => f64::INFINITY,
    };
    Interval { mean, half_width }
}

pub(crate) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// Of the mean; none of fewer than two numbers, or of numbers that are not finite.
fn standard_error(numbers: &[f64]) -> Option<f64> {
    let (n, mean) = (numbers.len() as f64, mean(numbers));
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    (n > 1.0 && squares.is_finite()).then(|| (squares / (n - 1.0) / n).sqrt())
}

/// Two-sided, that the numbers have mean zero. A candidate that diverged differs for certain.
fn p_value(numbers: &[f64]) -> f64 {
    let mean = mean(numbers);
    match standard_error(numbers) {
        _ if mean == f64::INFINITY => 0.0,
        None => 1.0,
        Some(0.0) => f64::from(mean == 0.0),
        Some(error) => 1.0 - within(mean.abs() / error, numbers.len() - 1),
    }
}

/// t such that |T| exceeds it with probability `alpha`.
fn t_quantile(alpha: f64, degrees: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1e9);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        match 1.0 - within(middle, degrees) > alpha {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

/// P(|T| < t) of Student's t, whose degrees of freedom are whole: the finite sums of Abramowitz and Stegun 26.7.3 and
/// 26.7.4.
fn within(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let is_odd = degrees % 2 == 1;
    let (mut term, mut sum) = (if is_odd { cos } else { 1.0 }, 0.0);
    for i in 0..degrees / 2 {
        sum += term;
        let k = (2 * i + 2) as f64 + f64::from(u8::from(is_odd));
        term *= cos * cos * (k - 1.0) / k;
    }
    match is_odd {
        true => std::f64::consts::FRAC_2_PI * (angle + sin * sum),
        false => sin * sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (alpha, degrees, expected) in [
            (0.05, 1, 12.706_205),
            (0.05, 2, 4.302_653),
            (0.05, 3, 3.182_446),
            (0.05, 4, 2.776_445),
            (0.01, 5, 4.032_143),
            (0.05, 10, 2.228_139),
            (0.05, 1000, 1.962_339),
        ] {
            let found = t_quantile(alpha, degrees);
            assert!((found - expected).abs() < 1e-5, "{alpha} {degrees}: {found}");
        }
    }

    #[test]
    fn an_interval_is_the_one_worked_out_by_hand() {
        // Mean 2, standard error 1/√3 of three numbers.
        let found = interval(&[1.0, 2.0, 3.0], 0.05);
        assert!((found.mean - 2.0).abs() < 1e-12);
        assert!((found.half_width - 4.302_653 / 3_f64.sqrt()).abs() < 1e-5);
        assert_eq!(interval(&[1.0], 0.05).half_width, f64::INFINITY);
    }

    #[test]
    fn what_diverged_is_worst_and_neither_promoted_nor_tied() {
        let scores =
            [vec![3.0, 3.1, 3.2], vec![1.0, f64::INFINITY, 1.0], vec![2.0, 2.1, 2.3], vec![2.0; 3]];
        assert_eq!(leader(&scores), 3);
        assert!(!compare(&scores)[1].is_tied);
        assert!(!promoted(&scores)[1]);
        assert!(promoted(&scores)[2]);
    }

    #[test]
    fn a_single_seed_tells_nothing_apart() {
        let scores = [vec![1.0], vec![2.0], vec![3.0]];
        assert!(compare(&scores).iter().all(|c| c.is_tied));
        assert_eq!(promoted(&scores), [true; 3]);
    }

    /// Standard normal numbers: SplitMix64, Box and Muller.
    struct Normals(u64);

    impl Normals {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }

        fn next(&mut self) -> f64 {
            let radius = (-2.0 * self.uniform().ln()).sqrt();
            radius * (std::f64::consts::TAU * self.uniform()).cos()
        }
    }

    const TEMPERATURES: [f64; 7] = [0.2, 0.294, 0.431, 0.632, 0.928, 1.363, 2.0];

    /// The objective: a parabola in log τ around 0.55, so steep that the ends are `depth` nats above.
    fn truth(depth: f64) -> Vec<f64> {
        let off = |tau: f64| (tau / 0.55).ln() / (2.0_f64 / 0.2).ln();
        TEMPERATURES.iter().map(|&tau| 4.0 * depth * off(tau).powi(2)).collect()
    }

    /// A common effect of each seed, as large as those of real runs, and what is each run's own.
    fn draw(truth: &[f64], n_seeds: usize, noise: f64, normals: &mut Normals) -> Vec<Vec<f64>> {
        let effects: Vec<f64> = (0..n_seeds).map(|_| 0.8 * normals.next()).collect();
        let of = |&mean: &f64| effects.iter().map(|e| mean + e + noise * normals.next()).collect();
        truth.iter().map(of).collect()
    }

    #[test]
    fn over_a_thousand_tunings_the_true_best_is_among_the_tied() {
        for (depth, noise) in [(0.3, 0.3), (1.0, 0.3), (5.0, 0.3), (1.0, 1.0), (20.0, 0.1)] {
            let mut normals = Normals(1);
            let truth = truth(depth);
            let (mut n_found, mut n_tied) = (0, 0);
            for _ in 0..1000 {
                // Two rungs of three seeds, and the last of five.
                let mut left: Vec<usize> = (0..truth.len()).collect();
                for _ in 0..2 {
                    let of_left: Vec<f64> = left.iter().map(|&i| truth[i]).collect();
                    let stays = promoted(&draw(&of_left, 3, noise, &mut normals));
                    left = left.iter().zip(stays).filter(|s| s.1).map(|s| *s.0).collect();
                }
                let of_left: Vec<f64> = left.iter().map(|&i| truth[i]).collect();
                let tied = compare(&draw(&of_left, 5, noise, &mut normals));
                let best = leader(&truth.iter().map(|&mean| vec![mean]).collect::<Vec<_>>());
                n_tied += tied.iter().filter(|c| c.is_tied).count();
                n_found += usize::from(left.iter().zip(tied).any(|(&i, c)| i == best && c.is_tied));
            }
            assert!(n_found >= 950, "{n_found} of 1000 at {depth} and {noise}");
            // And it tells something apart where the noise allows it.
            assert!(depth / noise < 16.0 || n_tied < 2500, "{n_tied} tied at {depth}, {noise}");
        }
    }

    #[test]
    fn paired_intervals_cover_the_true_difference_as_often_as_they_say() {
        let mut normals = Normals(2);
        let truth = truth(1.0);
        for n_seeds in [3, 5, 10] {
            let covered = |_| {
                let scores = draw(&truth, n_seeds, 0.3, &mut normals);
                let differences: Vec<f64> =
                    scores[6].iter().zip(&scores[2]).map(|(a, b)| a - b).collect();
                let found = interval(&differences, ALPHA);
                (found.mean - (truth[6] - truth[2])).abs() <= found.half_width
            };
            let n_covered = (0..1000).map(covered).filter(|&covered| covered).count();
            assert!((930..=970).contains(&n_covered), "{n_covered} of 1000 with {n_seeds} seeds");
        }
    }

    #[test]
    fn equal_candidates_are_told_apart_in_at_most_one_of_twenty_tables() {
        let mut normals = Normals(3);
        // Against one that was named before, so that the test is the one that its level is for.
        let told_apart = |_| {
            let scores = draw(&[0.0, 0.0], 5, 0.3, &mut normals);
            compare(&scores).iter().any(|c| !c.is_tied)
        };
        let n = (0..1000).map(told_apart).filter(|&told| told).count();
        // Binomial, 1000 · 0.05: three standard deviations are 21.
        assert!((29..=71).contains(&n), "{n} of 1000");
    }
}
