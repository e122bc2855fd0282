//! Exact expectations over rankings, by dynamic programming over the sets of items that are taken already.

use super::LogSum;

/// What each stage of a ranking adds to an expectation.
#[derive(Clone, Copy, Debug)]
pub enum StageGain<'a> {
    /// `-ln p` of the chosen item: the entropy.
    Entropy,
    /// `ln p - ln q` of the chosen item, with the logits of `q`: the divergence from `q`.
    Divergence(&'a [f64]),
}

/// Probabilities of the next item where the items of `taken` are gone; their logarithms are written, `-inf` for those gone.
fn stage(logits: &[f64], taken: usize, log_probs: &mut [f64]) {
    let left = |i: usize| if taken >> i & 1 == 1 { f64::NEG_INFINITY } else { logits[i] };
    let total = LogSum::of((0..logits.len()).map(left)).ln();
    for (i, out) in log_probs.iter_mut().enumerate() {
        *out = if left(i) == f64::NEG_INFINITY { f64::NEG_INFINITY } else { left(i) - total };
    }
}

/// The expected sum of gains over the first `k` places of a ranking, and its gradients with respect to the logits and to those
/// of `q`. O(n 2ⁿ): for `n` up to 20 or so.
///
/// # Shapes
/// - logits, d_logits, d_other: `(n)`; the last is left alone for the entropy.
pub fn ranking_expectation(
    logits: &[f64],
    k: usize,
    gain: StageGain<'_>,
    d_logits: &mut [f64],
    d_other: &mut [f64],
) -> f64 {
    let n = logits.len();
    let (mut log_p, mut log_q) = (vec![0.0; n], vec![0.0; n]);
    // What is still to come from each set on, from the full ones down.
    let mut ahead = vec![0.0; 1 << n];
    let mut gains = vec![0.0; n];
    let mut at = |set: usize, ahead: &[f64], gains: &mut [f64]| -> (Vec<f64>, Vec<f64>, f64) {
        stage(logits, set, &mut log_p);
        if let StageGain::Divergence(other) = gain {
            stage(other, set, &mut log_q);
        }
        let mut mean = 0.0;
        for i in (0..n).filter(|&i| log_p[i] > f64::NEG_INFINITY) {
            let own =
                if let StageGain::Divergence(_) = gain { log_p[i] - log_q[i] } else { -log_p[i] };
            gains[i] = own + ahead[set | 1 << i];
            // What never happens adds nothing, even where it would be infinite.
            let p = log_p[i].exp();
            mean += if p > 0.0 { p * gains[i] } else { 0.0 };
        }
        (log_p.clone(), log_q.clone(), mean)
    };
    for set in (0..1usize << n).rev().filter(|set| (set.count_ones() as usize) < k) {
        ahead[set] = at(set, &ahead, &mut gains).2;
    }
    let mut reach = vec![0.0; 1 << n];
    reach[0] = 1.0;
    d_logits.fill(0.0);
    d_other.fill(0.0);
    if ahead[0] == f64::INFINITY {
        // A divergence that no small step makes finite has no gradient.
        return ahead[0];
    }
    for set in (0..1usize << n).filter(|set| (set.count_ones() as usize) < k) {
        if reach[set] == 0.0 {
            continue;
        }
        let (log_p, log_q, mean) = at(set, &ahead, &mut gains);
        for i in (0..n).filter(|&i| log_p[i] > f64::NEG_INFINITY) {
            let p = log_p[i].exp();
            reach[set | 1 << i] += reach[set] * p;
            d_logits[i] += if p > 0.0 { reach[set] * p * (gains[i] - mean) } else { 0.0 };
            if let StageGain::Divergence(_) = gain {
                d_other[i] += reach[set] * (log_q[i].exp() - p);
            }
        }
    }
    ahead[0]
}

/// The probability of every item at every place of a ranking.
///
/// # Shapes
/// - logits: `(n)`; out: `(k, n)`.
pub fn ranking_positions(logits: &[f64], k: usize, out: &mut [f64]) {
    let n = logits.len();
    out.fill(0.0);
    let (mut reach, mut log_p) = (vec![0.0; 1 << n], vec![0.0; n]);
    reach[0] = 1.0;
    for set in 0..1usize << n {
        let place = set.count_ones() as usize;
        if place >= k || reach[set] == 0.0 {
            continue;
        }
        stage(logits, set, &mut log_p);
        for i in (0..n).filter(|&i| log_p[i] > f64::NEG_INFINITY) {
            let p = reach[set] * log_p[i].exp();
            reach[set | 1 << i] += p;
            out[place * n + i] += p;
        }
    }
}
