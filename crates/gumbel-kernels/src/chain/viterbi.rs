//! The best path.

use rayon::prelude::*;

use super::{ChainShape, Real, rows_of};
use crate::error::{LengthError, check_len};

/// The labels of the largest score (Viterbi 1967); of equal paths the one whose last label is lowest, then the one before it, and so on.
/// Labels beyond a row's length are 0. Sums are in double precision.
///
/// # Shapes
/// - scores: `(rows, steps, k, k)`; labels: `(rows, steps)`.
/// # Errors
/// [`LengthError`].
pub fn chain_mode<S: Real>(
    shape: ChainShape<'_>,
    scores: &[S],
    labels: &mut [u32],
) -> Result<(), LengthError> {
    shape.check(scores, labels.len().checked_div(shape.steps).unwrap_or(0))?;
    check_len("scores", scores.len(), labels.len() * shape.labels * shape.labels)?;
    rows_of(labels, shape.steps).for_each(|(r, labels)| {
        best_path(shape.labels, shape.row(r, scores), labels);
    });
    Ok(())
}

fn best_path<S: Real>(k: usize, scores: &[S], labels: &mut [u32]) {
    labels.fill(0);
    let length = scores.len().checked_div(k * k).unwrap_or(0);
    if length == 0 {
        return;
    }
    let mut best: Vec<f64> = scores[..k].iter().map(|x| x.value()).collect();
    let mut next = vec![0.0; k];
    let mut from = vec![0u32; length * k];
    for t in 1..length {
        next.fill(f64::NEG_INFINITY);
        let from = &mut from[t * k..(t + 1) * k];
        let rows = scores[t * k * k..(t + 1) * k * k].chunks_exact(k);
        for (i, (&best, scores)) in best.iter().zip(rows).enumerate() {
            for ((next, from), score) in next.iter_mut().zip(from.iter_mut()).zip(scores) {
                let x = best + score.value();
                if x > *next {
                    (*next, *from) = (x, i as u32);
                }
            }
        }
        std::mem::swap(&mut best, &mut next);
    }
    let first_best = |best: &[f64]| {
        let largest = best.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        best.iter().position(|&x| x == largest).unwrap_or(0)
    };
    let mut label = first_best(&best);
    for t in (0..length).rev() {
        labels[t] = label as u32;
        label = from[t * k + label] as usize;
    }
}
