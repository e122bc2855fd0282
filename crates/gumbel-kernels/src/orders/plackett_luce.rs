//! Rankings: the probability of one, its gradient, and the noise that leads to it.

use rayon::prelude::*;

use super::LogSum;
use crate::error::{LengthError, check_len};

/// `Σ_j θ_j - L_j` over the places of a ranking, where `L_j` is the logarithm of the weights that are left at place `j`.
///
/// # Shapes
/// - logits: `(rows, n)`; rankings: `(rows, k)`, indices below `n` that do not repeat; out: `rows`.
/// # Errors
/// [`LengthError`].
pub fn ranking_log_prob(
    n: usize,
    k: usize,
    logits: &[f64],
    rankings: &[u32],
    out: &mut [f64],
) -> Result<(), LengthError> {
    check(n, k, logits, rankings, out.len())?;
    let rows = logits.par_chunks(n.max(1)).zip(rankings.par_chunks(k.max(1))).zip(out);
    rows.for_each_init(Vec::new, |left, ((logits, ranking), out)| {
        weights_left(logits, ranking, left);
        let terms = ranking.iter().zip(left.iter()).map(|(&i, left)| logits[i as usize] - left);
        // A masked item makes the whole impossible; later places are not looked at.
        let possible = ranking.iter().all(|&i| logits[i as usize] > f64::NEG_INFINITY);
        *out = if possible { terms.sum() } else { f64::NEG_INFINITY };
    });
    Ok(())
}

/// The gradient of [`ranking_log_prob`] times `grad`: exactly zero for masked items, and where the ranking is impossible.
///
/// # Shapes
/// - as there; grad: `rows`; out: `(rows, n)`.
/// # Errors
/// [`LengthError`].
pub fn ranking_score(
    n: usize,
    k: usize,
    (logits, rankings): (&[f64], &[u32]),
    grad: &[f64],
    out: &mut [f64],
) -> Result<(), LengthError> {
    check(n, k, logits, rankings, grad.len())?;
    check_len("out", out.len(), logits.len())?;
    let rows = logits.par_chunks(n.max(1)).zip(rankings.par_chunks(k.max(1)));
    let rows = rows.zip(grad).zip(out.par_chunks_mut(n.max(1)));
    rows.for_each_init(Vec::new, |left, (((logits, ranking), &grad), out)| {
        out.fill(0.0);
        if ranking.iter().any(|&i| logits[i as usize] == f64::NEG_INFINITY) {
            return;
        }
        weights_left(logits, ranking, left);
        // An item is among those that are left up to its own place: Σ exp(θ - L_j) over these.
        let mut passed = LogSum::EMPTY;
        let mut taken = vec![false; out.len()];
        for (&i, left) in ranking.iter().zip(left.iter()) {
            passed.add(-left);
            taken[i as usize] = true;
            out[i as usize] = grad * (1.0 - (logits[i as usize] + passed.ln()).exp());
        }
        let passed = passed.ln();
        for ((out, logit), _) in out.iter_mut().zip(logits).zip(taken).filter(|(_, taken)| !taken) {
            *out = -grad * (logit + passed).exp();
        }
    });
    Ok(())
}

/// Perturbed logits, drawn given that their largest values make this ranking: a race of exponential times.
///
/// # Shapes
/// - as in [`ranking_log_prob`]; noise: `(rows, n)`, Gumbel values; out: `(rows, n)`, `-inf` for masked items.
/// # Errors
/// [`LengthError`].
pub fn ranking_gumbels(
    n: usize,
    k: usize,
    (logits, rankings): (&[f64], &[u32]),
    noise: &[f64],
    out: &mut [f64],
) -> Result<(), LengthError> {
    check(n, k, logits, rankings, out.len().checked_div(n).unwrap_or(0))?;
    check_len("noise", noise.len(), logits.len())?;
    check_len("out", out.len(), logits.len())?;
    let rows = logits.par_chunks(n.max(1)).zip(rankings.par_chunks(k.max(1)));
    let rows = rows.zip(noise.par_chunks(n.max(1))).zip(out.par_chunks_mut(n.max(1)));
    rows.for_each_init(Vec::new, |left, (((logits, ranking), noise), out)| {
        weights_left(logits, ranking, left);
        // An exponential time is exp(-noise); the value that belongs to a time t is -ln t.
        let mut time = LogSum::EMPTY;
        let mut taken = vec![false; out.len()];
        for (&i, left) in ranking.iter().zip(left.iter()) {
            time.add(-noise[i as usize] - left);
            (taken[i as usize], out[i as usize]) = (true, -time.ln());
        }
        for i in (0..out.len()).filter(|&i| !taken[i]) {
            let mut own = time;
            own.add(-noise[i] - logits[i]);
            out[i] = if logits[i] > f64::NEG_INFINITY { -own.ln() } else { f64::NEG_INFINITY };
        }
    });
    Ok(())
}

fn check(
    n: usize,
    k: usize,
    logits: &[f64],
    rankings: &[u32],
    rows: usize,
) -> Result<(), LengthError> {
    check_len("logits", logits.len(), rows * n)?;
    check_len("rankings", rankings.len(), rows * k)
}

/// `L_j` for every place: sums over what is left, from the last place to the first.
fn weights_left(logits: &[f64], ranking: &[u32], left: &mut Vec<f64>) {
    let mut taken = vec![false; logits.len()];
    ranking.iter().for_each(|&i| taken[i as usize] = true);
    let mut sum = LogSum::of(logits.iter().zip(taken).filter(|(_, taken)| !taken).map(|(x, _)| *x));
    left.clear();
    left.resize(ranking.len(), 0.0);
    for (left, &i) in left.iter_mut().zip(ranking).rev() {
        sum.add(logits[i as usize]);
        *left = sum.ln();
    }
}
