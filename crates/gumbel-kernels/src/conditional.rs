//! The gradient of a relaxed sample, averaged over noise that is drawn given the exact sample.
//!
//! What Gumbel-Rao and ReinMax-Rao need: the estimators, and the composition of tensor operations that is the oracle
//! of this pass, are in `gumbel_core`.

use std::cell::Cell;

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::gumbel::GumbelStream;
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::sum;
use crate::rows::{check_rows, rows_per_chunk};
use crate::vmath::{exp_nonpositive, ln_one_plus};

/// The mean over `draws` of `J(y) d_hard / τ` with `J(y) = diag y - y yᵀ`, where `y = softmax(x / τ)` and `x` are
/// perturbed `log_probs`, given that the class of `hard` is their largest.
///
/// The noise of value `i` in a draw is at `position + i` of the draw's stream: it does not depend on how many rows there are.
/// Exactly zero for a class of log-probability `-inf`, whatever `d_hard` is there.
///
/// # Shapes
/// - log_probs, hard (one-hot rows), d_hard, d_log_probs: `(rows, n_classes)`. The log-probability of the class of `hard`
///   is not looked at.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
#[allow(clippy::too_many_arguments, reason = "four slices, and what they are combined with")]
pub fn conditional_softmax_vjp(
    n_classes: usize,
    temperature: f32,
    draws: &[GumbelStream],
    position: u64,
    log_probs: &[f32],
    hard: &[f32],
    d_hard: &[f32],
    d_log_probs: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("log_probs", log_probs.len(), n_classes)?;
    check_len("hard", hard.len(), log_probs.len())?;
    check_len("d_hard", d_hard.len(), log_probs.len())?;
    check_len("d_log_probs", d_log_probs.len(), log_probs.len())?;
    let noise = Noise { temperature, draws, position };
    vjp_on(Isa::best(), n_classes, noise, [log_probs, hard, d_hard], d_log_probs);
    Ok(())
}

#[derive(Clone, Copy)]
struct Noise<'a> {
    temperature: f32,
    draws: &'a [GumbelStream],
    position: u64,
}

fn vjp_on(
    isa: Isa,
    n_classes: usize,
    noise: Noise<'_>,
    [log_probs, hard, d_hard]: [&[f32]; 3],
    out: &mut [f32],
) {
    if out.is_empty() {
        return;
    }
    // The more draws there are, the fewer rows does a thread take at a time.
    let len = n_classes * rows_per_chunk(n_classes * noise.draws.len().max(1));
    out.par_chunks_mut(len).enumerate().for_each(|(idx, out)| {
        let first = idx * len;
        let range = first..first + out.len();
        let (log_probs, hard) = (&log_probs[range.clone()], &hard[range.clone()]);
        let position = noise.position.wrapping_add(first as u64);
        let noise = Noise { position, ..noise };
        isa.dispatch(Vjp { n_classes, noise, log_probs, hard, d_hard: &d_hard[range], out });
    });
}

/// A chunk of rows.
struct Vjp<'a> {
    n_classes: usize,
    noise: Noise<'a>,
    log_probs: &'a [f32],
    hard: &'a [f32],
    d_hard: &'a [f32],
    out: &'a mut [f32],
}

thread_local! {
    /// A value for each of a chunk of rows, kept between calls.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl Task for Vjp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let Self { n_classes: n, noise, log_probs, hard, d_hard, out } = self;
        let mut scratch = SCRATCH.take();
        if scratch.len() < out.len() {
            scratch.resize(out.len(), 0.0);
        }
        let y = &mut scratch[..out.len()];
        let scale = -1.0 / noise.temperature;
        let weight = 1.0 / (noise.temperature * noise.draws.len() as f32);
        out.fill(0.0);
        for draw in noise.draws {
            draw.fill_with(kernel, noise.position, y);
            let rows = y.chunks_exact_mut(n).zip(log_probs.chunks_exact(n));
            for ((row, log_probs), hard) in rows.zip(hard.chunks_exact(n)) {
                distances(kernel, log_probs, hard, row);
            }
            for line in y.chunks_mut(LINE) {
                let mut e = kernel.load(line, 0.0);
                for e in &mut e {
                    // (1 + eˣ)^(-1/τ), by the logarithm of what is at most 2.
                    let below = if *e > 0.0 { *e } else { 0.0 };
                    let below = below + ln_one_plus(exp_nonpositive(-e.abs()));
                    *e = exp_nonpositive(below * scale);
                }
                kernel.store(&e, line);
            }
            let rows = y.chunks_exact(n).zip(d_hard.chunks_exact(n));
            for ((y, d_hard), out) in rows.zip(out.chunks_exact_mut(n)) {
                add(kernel, weight, y, d_hard, out);
            }
        }
        SCRATCH.set(scratch);
    }
}

/// From noise to `x` such that perturbed logits lie `ln(1 + eˣ)` below the class of `hard`, where `x = -∞`.
///
/// Perturbed logits whose largest is at class `i` lie `ln(1 + E_j / (E_i p_j))` below it, with standard
/// exponential `E` (Paulus et al. 2021, eq. 7). The noise is Gumbel, `-ln E`.
#[inline(always)]
fn distances<K: Kernel>(kernel: K, log_probs: &[f32], hard: &[f32], row: &mut [f32]) {
    let mut at_sample = [0.0; LINE];
    for (noise, hard) in row.chunks(LINE).zip(hard.chunks(LINE)) {
        let (noise, hard) = (kernel.load(noise, 0.0), kernel.load(hard, 0.0));
        for i in 0..LINE {
            at_sample[i] += hard[i] * noise[i];
        }
    }
    let at_sample = sum(at_sample);
    let lines = row.chunks_mut(LINE).zip(log_probs.chunks(LINE)).zip(hard.chunks(LINE));
    for ((row, log_probs), hard) in lines {
        let mut x = kernel.load(row, 0.0);
        let (log_probs, hard) = (kernel.load(log_probs, 0.0), kernel.load(hard, 0.0));
        for i in 0..LINE {
            // A masked class, of log-probability -∞, lies infinitely far below.
            let below = (at_sample - x[i]) - log_probs[i];
            x[i] = if hard[i] > 0.0 { f32::NEG_INFINITY } else { below };
        }
        kernel.store(&x, row);
    }
}

/// `out += weight J(p) d_hard` with `p = y / Σ y`; nothing is added where `y` is zero.
#[inline(always)]
fn add<K: Kernel>(kernel: K, weight: f32, y: &[f32], d_hard: &[f32], out: &mut [f32]) {
    let (mut total, mut dot) = ([0.0; LINE], [0.0; LINE]);
    for (y, d) in y.chunks(LINE).zip(d_hard.chunks(LINE)) {
        let (y, d) = (kernel.load(y, 0.0), kernel.load(d, 0.0));
        for i in 0..LINE {
            total[i] += y[i];
            let product = y[i] * d[i];
            dot[i] += if y[i] == 0.0 { 0.0 } else { product };
        }
    }
    let total = sum(total);
    let (mean, factor) = (sum(dot) / total, weight / total);
    for ((y, d), out) in y.chunks(LINE).zip(d_hard.chunks(LINE)).zip(out.chunks_mut(LINE)) {
        let (y, d) = (kernel.load(y, 0.0), kernel.load(d, 0.0));
        let mut sums = kernel.load(out, 0.0);
        for i in 0..LINE {
            let d_logit = factor * y[i] * (d[i] - mean);
            sums[i] += if y[i] == 0.0 { 0.0 } else { d_logit };
        }
        kernel.store(&sums, out);
    }
}

#[cfg(test)]
mod tests;
