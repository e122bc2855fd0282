//! Unordered sets of items that are drawn without replacement.

use rayon::prelude::*;

use super::LogSum;
use crate::error::{LengthError, check_len};

/// The largest set that [`set_probs`] takes: it visits all of its subsets.
pub const MAX_DRAWN: usize = 12;

/// Probabilities of sets that are drawn without replacement, all in logarithms.
#[derive(Clone, Debug, PartialEq)]
pub struct SetProbs {
    /// `ln P(S)`.
    pub log_prob: f64,
    /// `ln R(S, s)`: the probability of the others, were `s` not there, over `P(S)`.
    pub first: Vec<f64>,
    /// `ln R(S, s, s')`, row by row: the probability of the others without `s'`, over that with it, were `s` not there; 0 for `s' = s`.
    pub second: Vec<f64>,
}

/// By the sum over the orders of a small set, as a recursion over its subsets (O(k 2ᵏ)): the set `A` comes first of itself and all
/// that is outside of `S` with `F(A) = Σ_a w_a / (W_outside + W_A) F(A∖a)`.
///
/// `log_outside` is the logarithm of the weight of all that is outside of the set; `-inf` for nothing.
///
/// # Errors
/// [`LengthError`] for a set of more than [`MAX_DRAWN`].
pub fn set_probs(log_weights: &[f64], log_outside: f64) -> Result<SetProbs, LengthError> {
    let k = log_weights.len();
    check_len("log_weights", k, k.min(MAX_DRAWN))?;
    let mut probs = vec![0.0; 1 << k];
    for set in 1..probs.len() {
        let members = || (0..k).filter(move |i| set >> i & 1 == 1);
        let mut total = LogSum::of(members().map(|i| log_weights[i]));
        total.add(log_outside);
        let orders = members().map(|i| log_weights[i] + probs[set ^ 1 << i]);
        // The last of all is certain, to the last digit.
        let certain = log_outside == f64::NEG_INFINITY;
        probs[set] = if certain { 0.0 } else { LogSum::of(orders).ln() - total.ln() };
    }
    let all = probs.len() - 1;
    let without = |i: usize, j: usize| probs[all & !(1 << i) & !(1 << j)];
    let first = (0..k).map(|i| without(i, i) - probs[all]).collect();
    let pairs = (0..k).flat_map(|i| (0..k).map(move |j| (i, j)));
    let second = pairs.map(|(i, j)| without(i, j) - without(i, i)).collect();
    Ok(SetProbs { log_prob: probs[all], first, second })
}

/// `ln P(S)` and its gradient for sets of any size, by one integral over the time at which the last of the set arrives:
/// `P(S) = ∫ exp(x + ln W - W eˣ) Π_S (1 - exp(-w_i eˣ)) dx`, with the weight `W` of all that is outside.
///
/// The integrand is log-concave and the trapezoid rule converges geometrically: relative errors are about 1e-14.
///
/// # Shapes
/// - logits, sets (zeros and ones): `(rows, n)`; log_probs: `rows`; scores (the gradients): `(rows, n)`, or empty.
/// # Errors
/// [`LengthError`].
pub fn set_log_prob(
    n: usize,
    logits: &[f64],
    sets: &[f64],
    log_probs: &mut [f64],
    scores: &mut [f64],
) -> Result<(), LengthError> {
    check_len("logits", logits.len(), log_probs.len() * n)?;
    check_len("sets", sets.len(), logits.len())?;
    if scores.is_empty() {
        let rows = logits.par_chunks(n.max(1)).zip(sets.par_chunks(n.max(1))).zip(log_probs);
        rows.for_each(|((logits, set), out)| *out = Integral::new(logits, set).log_prob());
        return Ok(());
    }
    check_len("scores", scores.len(), logits.len())?;
    let rows = logits.par_chunks(n.max(1)).zip(sets.par_chunks(n.max(1)));
    let rows = rows.zip(log_probs).zip(scores.par_chunks_mut(n.max(1)));
    rows.for_each(|(((logits, set), out), scores)| {
        let integral = Integral::new(logits, set);
        *out = integral.log_prob();
        scores.fill(0.0);
        if *out > f64::NEG_INFINITY {
            integral.score(logits, set, scores);
        }
    });
    Ok(())
}

/// `ln R(S, s)` for every member of sets of any size, from one sweep of the integral; 0 for items that are no members.
///
/// # Shapes
/// - logits, sets (zeros and ones), out: `(rows, n)`.
/// # Errors
/// [`LengthError`].
pub fn set_log_ratios(
    n: usize,
    logits: &[f64],
    sets: &[f64],
    out: &mut [f64],
) -> Result<(), LengthError> {
    check_len("sets", sets.len(), logits.len())?;
    check_len("out", out.len(), logits.len())?;
    let rows = logits.par_chunks(n.max(1)).zip(sets.par_chunks(n.max(1)));
    rows.zip(out.par_chunks_mut(n.max(1))).for_each(|((logits, set), out)| {
        let integral = Integral::new(logits, set);
        let ratios = integral.log_ratios();
        out.fill(0.0);
        let members = (0..set.len()).filter(|&i| set[i] == 1.0);
        members.zip(ratios).for_each(|(i, ratio)| out[i] = ratio);
    });
    Ok(())
}

/// The integral of one set.
struct Integral {
    /// Logits of the members.
    members: Vec<f64>,
    /// `ln W`.
    outside: f64,
}

impl Integral {
    fn new(logits: &[f64], set: &[f64]) -> Self {
        let of = |chosen: bool| {
            logits.iter().zip(set).filter(move |(_, z)| (**z == 1.0) == chosen).map(|(x, _)| *x)
        };
        Self { members: of(true).collect(), outside: LogSum::of(of(false)).ln() }
    }

    /// Whether the set holds everything that can be drawn, so that there is nothing to integrate.
    fn is_certain(&self) -> bool {
        self.outside == f64::NEG_INFINITY
    }

    fn is_possible(&self) -> bool {
        self.members.iter().all(|x| *x > f64::NEG_INFINITY)
    }

    /// The logarithm of the integrand.
    fn at(&self, x: f64) -> f64 {
        let factors: f64 = self.members.iter().map(|logit| log_arrived(logit + x)).sum();
        x + self.outside - (x + self.outside).exp() + factors
    }

    /// Points and values down to 45 nats below the largest; to the left at least to where all members are early but for
    /// `left_out` of them.
    fn sweep(&self, left_out: bool) -> Vec<(f64, f64)> {
        let k = self.members.len() as f64;
        // The mode lies between these, where the slope changes its sign; the width is at least that of k + 1 events.
        let (mut low, mut high) = (-self.outside, (k + 1.0).ln() - self.outside);
        for _ in 0..20 {
            let middle = 0.5 * (low + high);
            let slope = 1.0 - (middle + self.outside).exp()
                + self.members.iter().map(|logit| late((logit + middle).exp())).sum::<f64>();
            if slope > 0.0 { low = middle } else { high = middle }
        }
        let (mode, step) = (low, 0.2 * (12.0 / (k + 2.0)).sqrt().min(1.0));
        let top = self.at(mode);
        let end = if left_out { -self.outside - 45.0 } else { f64::INFINITY };
        let mut points = Vec::new();
        for (from, by) in [(mode, step), (mode - step, -step)] {
            let mut x = from;
            loop {
                let value = self.at(x);
                points.push((x, value));
                if value < top - 45.0 && !(by < 0.0 && x > end && left_out) {
                    break;
                }
                x += by;
            }
        }
        points
    }

    fn step(&self) -> f64 {
        0.2 * (12.0 / (self.members.len() as f64 + 2.0)).sqrt().min(1.0)
    }

    fn log_prob(&self) -> f64 {
        if !self.is_possible() {
            return f64::NEG_INFINITY;
        }
        if self.is_certain() || self.members.is_empty() {
            return 0.0;
        }
        let sum = LogSum::of(self.sweep(false).into_iter().map(|(_, value)| value)).ln();
        (sum + self.step().ln()).min(0.0)
    }

    /// Means over the integrand of the derivatives of its logarithm.
    fn score(&self, logits: &[f64], set: &[f64], out: &mut [f64]) {
        if self.is_certain() || self.members.is_empty() {
            return;
        }
        let points = self.sweep(false);
        let total = LogSum::of(points.iter().map(|p| p.1)).ln();
        let mut mean_outside = 0.0;
        for (x, value) in points {
            let p = (value - total).exp();
            mean_outside += p * (1.0 - (x + self.outside).exp());
            for ((out, logit), _) in out.iter_mut().zip(logits).zip(set).filter(|(_, z)| **z == 1.0)
            {
                *out += p * late((logit + x).exp());
            }
        }
        for ((out, logit), _) in out.iter_mut().zip(logits).zip(set).filter(|(_, z)| **z != 1.0) {
            *out = mean_outside * (logit - self.outside).exp();
        }
    }

    fn log_ratios(&self) -> Vec<f64> {
        let k = self.members.len();
        if self.is_certain() || !self.is_possible() {
            return vec![0.0; k];
        }
        let points = self.sweep(true);
        let total = LogSum::of(points.iter().map(|p| p.1)).ln();
        let without = |logit: &f64| {
            LogSum::of(points.iter().map(|(x, value)| value - log_arrived(logit + x)))
        };
        self.members.iter().map(|logit| without(logit).ln() - total).collect()
    }
}

/// `ln(1 - exp(-eˣ))`: the logarithm of the probability that an event of rate `eˣ` happens within one unit of time.
fn log_arrived(x: f64) -> f64 {
    let y = x.exp();
    if y == 0.0 {
        x
    } else if y < std::f64::consts::LN_2 {
        (-(-y).exp_m1()).ln()
    } else {
        (-(-y).exp()).ln_1p()
    }
}

/// `y / (eʸ - 1)`: the derivative of [`log_arrived`].
fn late(y: f64) -> f64 {
    if y == 0.0 { 1.0 } else { y / y.exp_m1() }
}
