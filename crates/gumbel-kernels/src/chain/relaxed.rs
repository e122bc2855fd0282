//! Gumbel-CRF: relaxed labels of an exact backward sample (Fu et al. 2020, algorithm 2).

use rayon::prelude::*;

use super::row::{Row, normalise};
use super::{ChainShape, Real, rows_of};
use crate::error::{LengthError, check_len};

/// Samples labels backward by Gumbel-max, and relaxes every draw: `softmax((ln p_t + noise_t) / τ)` with the conditional law
/// `p_t` of step `t` given the exact label after it.
///
/// # Shapes
/// - scores: `(rows, steps, k, k)`; noise, relaxed: `(rows, steps, k)`; labels: `(rows, steps)`. Beyond a row's length all are 0.
/// # Errors
/// [`LengthError`].
pub fn chain_gumbel_crf<S: Real>(
    shape: ChainShape<'_>,
    temperature: f64,
    scores: &[S],
    noise: &[S],
    relaxed: &mut [S],
    labels: &mut [u32],
) -> Result<(), LengthError> {
    let k = shape.labels;
    shape.check(scores, labels.len().checked_div(shape.steps).unwrap_or(0))?;
    check_len("noise", noise.len(), labels.len() * k)?;
    check_len("relaxed", relaxed.len(), noise.len())?;
    let rows = rows_of(labels, shape.steps).zip(rows_of(relaxed, shape.steps * k));
    rows.for_each_init(Row::default, |row, ((r, labels), (_, relaxed))| {
        let scores = shape.row(r, scores);
        row.forward(k, scores);
        labels.fill(0);
        relaxed.fill(S::constant(0.0));
        for t in (0..row.length()).rev() {
            let next = labels.get(t + 1).filter(|_| t + 1 < row.length());
            let relaxed = &mut relaxed[t * k..(t + 1) * k];
            let noise = &noise[(r * shape.steps + t) * k..];
            for (i, y) in relaxed.iter_mut().enumerate() {
                let score = next.map_or(S::constant(0.0), |&next| {
                    scores[((t + 1) * k + i) * k + next as usize]
                });
                *y = row.alpha[t * k + i] + score + noise[i];
            }
            labels[t] = soften(relaxed, temperature);
        }
    });
    Ok(())
}

/// From scores to `softmax(scores / τ)`; returns the position of the first of the largest.
fn soften<S: Real>(scores: &mut [S], temperature: f64) -> u32 {
    let mut best = 0;
    for (i, &x) in scores.iter().enumerate() {
        if x > scores[best] {
            best = i;
        }
    }
    let most = scores[best];
    let scale = S::constant(1.0 / temperature);
    for x in &mut *scores {
        let below = *x - most;
        // A largest of -∞ leaves nothing to choose.
        *x = if below <= S::constant(0.0) { (below * scale).exp() } else { S::constant(0.0) };
    }
    normalise(scores);
    best as u32
}

/// The gradient of `⟨relaxed, grad⟩` of [`chain_gumbel_crf`] with respect to the scores; exactly 0 for masked ones. The exact labels are
/// constants.
///
/// # Shapes
/// - As there; grad: `(rows, steps, k)`; out: `(rows, steps, k, k)`.
/// # Errors
/// [`LengthError`].
pub fn chain_gumbel_crf_vjp<S: Real>(
    shape: ChainShape<'_>,
    temperature: f64,
    scores: &[S],
    (relaxed, labels): (&[S], &[u32]),
    grad: &[S],
    out: &mut [S],
) -> Result<(), LengthError> {
    let k = shape.labels;
    shape.check(scores, labels.len().checked_div(shape.steps).unwrap_or(0))?;
    check_len("relaxed", relaxed.len(), labels.len() * k)?;
    check_len("grad", grad.len(), relaxed.len())?;
    check_len("out", out.len(), scores.len())?;
    let zero = S::constant(0.0);
    let scale = S::constant(1.0 / temperature);
    rows_of(out, shape.cells()).for_each_init(Row::default, |row, (r, out)| {
        row.forward(k, shape.row(r, scores));
        out.fill(zero);
        // The gradient of the log-weights of the step that is looked at.
        let mut d_alpha = vec![zero; k];
        for t in (0..row.length()).rev() {
            if t + 1 < row.length() {
                let mut d_before = vec![zero; k];
                let range = (t + 1) * k * k..(t + 2) * k * k;
                let rows = row.before[range.clone()].chunks_exact(k);
                let rows = rows.zip(out[range].chunks_exact_mut(k)).zip(&mut d_before);
                for ((before, out), d_before) in rows {
                    for ((out, &s), &d) in out.iter_mut().zip(before).zip(&d_alpha) {
                        *out += s * d;
                        *d_before += s * d;
                    }
                }
                d_alpha = d_before;
            }
            let at = (r * shape.steps + t) * k;
            let (y, grad) = (&relaxed[at..at + k], &grad[at..at + k]);
            let mut mean = zero;
            for (&y, &g) in y.iter().zip(grad) {
                mean += if y > zero { y * g } else { zero };
            }
            let next = labels.get(r * shape.steps + t + 1).filter(|_| t + 1 < row.length());
            for i in 0..k {
                let d = if y[i] > zero { y[i] * (grad[i] - mean) * scale } else { zero };
                d_alpha[i] += d;
                if let Some(&next) = next {
                    out[((t + 1) * k + i) * k + next as usize] += d;
                }
            }
        }
        if row.length() > 0 {
            out[..k].copy_from_slice(&d_alpha);
        }
    });
    Ok(())
}
