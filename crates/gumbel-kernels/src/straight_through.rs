//! Gradients through exact one-hot samples: the straight-through estimators, in passes over rows.
//!
//! Each turns the gradient at a sample, which is one-hot, into a gradient at the logits it was drawn from. What
//! they are, what they are good for and where they come from is told in `gumbel_core::estimators`, whose
//! composition of tensor operations is the oracle of these passes.

use std::cell::Cell;

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::fini::Fini;
use crate::gumbel::GumbelStream;
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::{larger, max, sum};
use crate::rows::{check_rows, rows_per_chunk};
use crate::vmath::{exp_nonpositive, ln, ln_normal, ln_one_plus};

/// A rule for the gradient at the logits of an exact sample `D`, from the gradient at `D`.
///
/// `J(y) = diag y - y yᵀ` is the derivative of a softmax whose value is `y`, and `π = softmax(logits)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StraightThrough {
    /// `J(y) / τ` with `y = softmax(logits / τ)`.
    Softmax {
        /// τ.
        temperature: f32,
    },
    /// `J(y) / τ` with `y = softmax((logits + g) / τ)`, where `g` is the noise that `D` was drawn with.
    GumbelSoftmax {
        /// τ.
        temperature: f32,
        /// Where `g` comes from.
        noise: GumbelStream,
        /// The position of its first value.
        position: u64,
    },
    /// `J(y) / τ` with `y = softmax((logits + m) / τ)`, where `m` raises the class of `D` to the largest
    /// logit and lowers the others to at least `gap` below it.
    Gapped {
        /// τ.
        temperature: f32,
        /// The least distance.
        gap: f32,
    },
    /// `J(y) / τ` averaged over noises `g` under which `D` is the largest: `y = softmax((logits + g) / τ)`.
    GumbelRao {
        /// τ.
        temperature: f32,
        /// Where the noises come from.
        draws: ConditionalDraws,
    },
    /// `2 J(½ (softmax(logits / τ) + D)) - ½ J(π)`.
    ReinMax {
        /// τ.
        temperature: f32,
    },
    /// `2 J̄ - ½ J(π)`, where `J̄` is [`StraightThrough::GumbelRao`] at the logits `ln ½ (π + D)`.
    ReinMaxRao {
        /// τ.
        temperature: f32,
        /// Where the noises come from.
        draws: ConditionalDraws,
    },
    /// The estimator of least norm that is exact for quadratic losses: see [`Fini`].
    Fini,
}

/// Noises to average over, one after the other in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConditionalDraws {
    /// How many there are, at least 1.
    pub count: usize,
    /// Where they come from.
    pub noise: GumbelStream,
    /// The position of the first value of the first.
    pub position: u64,
}

/// The gradient at the logits from `d_hard`, the gradient at the sample `hard`.
///
/// Exactly zero for a class of logit `-inf`, whatever `d_hard` is there.
///
/// # Shapes
/// - logits, hard (one-hot rows), d_hard, d_logits: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn straight_through_vjp(
    n_classes: usize,
    estimator: StraightThrough,
    logits: &[f32],
    hard: &[f32],
    d_hard: &[f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    vjp_on(Isa::best(), n_classes, estimator, logits, hard, d_hard, d_logits)
}

fn vjp_on(
    isa: Isa,
    n_classes: usize,
    estimator: StraightThrough,
    logits: &[f32],
    hard: &[f32],
    d_hard: &[f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("logits", logits.len(), n_classes)?;
    check_len("hard", hard.len(), logits.len())?;
    check_len("d_hard", d_hard.len(), logits.len())?;
    check_len("d_logits", d_logits.len(), logits.len())?;
    if logits.is_empty() {
        return Ok(());
    }
    let len = n_classes * rows_per_chunk(n_classes * estimator.passes(n_classes));
    let n_values = logits.len();
    d_logits.par_chunks_mut(len).enumerate().for_each(|(idx, d_logits)| {
        let first = idx * len;
        let range = first..first + d_logits.len();
        let (logits, hard, d_hard) = (&logits[range.clone()], &hard[range.clone()], &d_hard[range]);
        let rows = Rows { n_classes, first, n_values, logits, hard, d_hard, d_logits };
        isa.dispatch(Vjp { estimator, rows });
    });
    Ok(())
}

impl StraightThrough {
    /// About how many times a row is gone through: the more, the fewer rows does a thread take at a time.
    fn passes(self, n_classes: usize) -> usize {
        match self {
            Self::Softmax { .. }
            | Self::GumbelSoftmax { .. }
            | Self::Gapped { .. }
            | Self::ReinMax { .. } => 1,
            Self::GumbelRao { draws, .. } | Self::ReinMaxRao { draws, .. } => draws.count.max(1),
            Self::Fini => n_classes,
        }
    }
}

/// A chunk of rows that starts at value `first` of `n_values`.
struct Rows<'a> {
    n_classes: usize,
    first: usize,
    n_values: usize,
    logits: &'a [f32],
    hard: &'a [f32],
    d_hard: &'a [f32],
    d_logits: &'a mut [f32],
}

struct Vjp<'a> {
    estimator: StraightThrough,
    rows: Rows<'a>,
}

thread_local! {
    /// Two values for each of a chunk of rows, kept between calls.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// The linear system of a row, and its arguments and result.
    static SYSTEM: Cell<(Fini, Vec<f64>)> = Cell::default();
}

impl Task for Vjp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let Self { estimator, mut rows } = self;
        let len = rows.logits.len();
        let mut scratch = SCRATCH.take();
        if scratch.len() < 2 * len {
            scratch.resize(2 * len, 0.0);
        }
        let (y, log_probs) = scratch[..2 * len].split_at_mut(len);
        rows.d_logits.fill(0.0);
        match estimator {
            StraightThrough::Softmax { temperature } => {
                y.copy_from_slice(rows.logits);
                rows.exponentials(kernel, temperature, y);
                rows.add(kernel, 1.0 / temperature, y);
            }
            StraightThrough::GumbelSoftmax { temperature, noise, position } => {
                noise.fill_with(kernel, position.wrapping_add(rows.first as u64), y);
                rows.perturb(kernel, y);
                rows.exponentials(kernel, temperature, y);
                rows.add(kernel, 1.0 / temperature, y);
            }
            StraightThrough::Gapped { temperature, gap } => {
                rows.gapped(kernel, gap, y);
                rows.exponentials(kernel, temperature, y);
                rows.add(kernel, 1.0 / temperature, y);
            }
            StraightThrough::ReinMax { temperature } => {
                y.copy_from_slice(rows.logits);
                rows.exponentials(kernel, temperature, y);
                rows.middle(kernel, y);
                rows.add(kernel, 2.0, y);
                rows.subtract_half_first_order(kernel, y);
            }
            StraightThrough::GumbelRao { temperature, draws }
            | StraightThrough::ReinMaxRao { temperature, draws } => {
                let second_order = matches!(estimator, StraightThrough::ReinMaxRao { .. });
                log_probs.copy_from_slice(rows.logits);
                if second_order {
                    rows.exponentials(kernel, 1.0, log_probs);
                    rows.middle(kernel, log_probs);
                    for line in log_probs.chunks_mut(LINE) {
                        let mut values = kernel.load(line, 1.0);
                        for value in &mut values {
                            *value = ln(*value);
                        }
                        kernel.store(&values, line);
                    }
                } else {
                    rows.log_softmax(kernel, log_probs);
                }
                let weight = if second_order { 2.0 } else { 1.0 };
                rows.add_conditional(kernel, weight, temperature, draws, log_probs, y);
                if second_order {
                    rows.subtract_half_first_order(kernel, y);
                }
            }
            StraightThrough::Fini => {
                y.copy_from_slice(rows.logits);
                rows.exponentials(kernel, 1.0, y);
                rows.fini(y);
            }
        }
        SCRATCH.set(scratch);
    }
}

/// The steps of the estimators. `y` always holds one value for each logit of the chunk.
impl Rows<'_> {
    /// `y = exp((y - max y) / τ)` in each row: a softmax that is not divided by its sum yet.
    #[inline(always)]
    fn exponentials<K: Kernel>(&self, kernel: K, temperature: f32, y: &mut [f32]) {
        let scale = 1.0 / temperature;
        for row in y.chunks_exact_mut(self.n_classes) {
            let largest = largest(kernel, row);
            for line in row.chunks_mut(LINE) {
                let mut e = kernel.load(line, f32::NEG_INFINITY);
                for e in &mut e {
                    *e = exp_nonpositive((*e - largest) * scale);
                }
                kernel.store(&e, line);
            }
        }
    }

    /// `y = y - ln Σ e^y` in each row.
    #[inline(always)]
    fn log_softmax<K: Kernel>(&self, kernel: K, y: &mut [f32]) {
        for row in y.chunks_exact_mut(self.n_classes) {
            let largest = largest(kernel, row);
            let mut total = [0.0; LINE];
            for line in row.chunks(LINE) {
                let line = kernel.load(line, f32::NEG_INFINITY);
                for i in 0..LINE {
                    total[i] += exp_nonpositive(line[i] - largest);
                }
            }
            // Subtracted last: near the top of a row the result is small and must keep its bits.
            let log_sum = ln_normal(sum(total));
            for value in row {
                *value = (*value - largest) - log_sum;
            }
        }
    }

    /// `y += logits - max logits` in each row, rounded as where the sample was drawn.
    #[inline(always)]
    fn perturb<K: Kernel>(&self, kernel: K, y: &mut [f32]) {
        let rows = y.chunks_exact_mut(self.n_classes).zip(self.logits.chunks_exact(self.n_classes));
        for (row, logits) in rows {
            let largest = largest(kernel, logits);
            for (y, logit) in row.iter_mut().zip(logits) {
                *y += logit - largest;
            }
        }
    }

    /// The logits relative to their largest: 0 for the class of the sample, at most `-gap` for the others.
    #[inline(always)]
    fn gapped<K: Kernel>(&self, kernel: K, gap: f32, y: &mut [f32]) {
        let n = self.n_classes;
        let rows = y.chunks_exact_mut(n).zip(self.logits.chunks_exact(n));
        for ((row, logits), hard) in rows.zip(self.hard.chunks_exact(n)) {
            let largest = largest(kernel, logits);
            for ((y, logit), &hard) in row.iter_mut().zip(logits).zip(hard) {
                let below = logit - largest;
                let below = if below > -gap { -gap } else { below };
                *y = if hard > 0.0 { 0.0 } else { below };
            }
        }
    }

    /// `y = ½ (y / Σ y + D)` in each row.
    #[inline(always)]
    fn middle<K: Kernel>(&self, kernel: K, y: &mut [f32]) {
        let rows = y.chunks_exact_mut(self.n_classes).zip(self.hard.chunks_exact(self.n_classes));
        for (row, hard) in rows {
            let factor = 1.0 / total(kernel, row);
            for (y, hard) in row.iter_mut().zip(hard) {
                *y = 0.5 * (*y * factor + hard);
            }
        }
    }

    /// `d_logits += weight J(p) d_hard` with `p = y / Σ y` in each row; nothing is added where `y` is zero.
    #[inline(always)]
    fn add<K: Kernel>(&mut self, kernel: K, weight: f32, y: &[f32]) {
        let n = self.n_classes;
        let rows = y.chunks_exact(n).zip(self.d_hard.chunks_exact(n));
        for ((y, d_hard), d_logits) in rows.zip(self.d_logits.chunks_exact_mut(n)) {
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
            let lines = y.chunks(LINE).zip(d_hard.chunks(LINE)).zip(d_logits.chunks_mut(LINE));
            for ((y, d), out) in lines {
                let (y, d) = (kernel.load(y, 0.0), kernel.load(d, 0.0));
                let mut sums = kernel.load(out, 0.0);
                for i in 0..LINE {
                    let d_logit = factor * y[i] * (d[i] - mean);
                    sums[i] += if y[i] == 0.0 { 0.0 } else { d_logit };
                }
                kernel.store(&sums, out);
            }
        }
    }

    /// `d_logits -= ½ J(π) d_hard`.
    #[inline(always)]
    fn subtract_half_first_order<K: Kernel>(&mut self, kernel: K, y: &mut [f32]) {
        y.copy_from_slice(self.logits);
        self.exponentials(kernel, 1.0, y);
        self.add(kernel, -0.5, y);
    }

    /// Adds `weight / τ` times the mean of `J(y) d_hard` over the draws, where `y` is the relaxed sample at
    /// `log_probs` under noise that makes the class of `D` the largest.
    ///
    /// Perturbed logits whose largest is at class `i` lie `ln(1 + E_j / (E_i p_j))` below it, with standard
    /// exponential `E` (Paulus et al. 2021, eq. 7). The noise is Gumbel, `-ln E`.
    #[inline(always)]
    fn add_conditional<K: Kernel>(
        &mut self,
        kernel: K,
        weight: f32,
        temperature: f32,
        draws: ConditionalDraws,
        log_probs: &[f32],
        y: &mut [f32],
    ) {
        let n = self.n_classes;
        let scale = -1.0 / temperature;
        for draw in 0..draws.count {
            let first = (draw * self.n_values + self.first) as u64;
            draws.noise.fill_with(kernel, draws.position.wrapping_add(first), y);
            let rows = y.chunks_exact_mut(n).zip(log_probs.chunks_exact(n));
            for ((row, log_probs), hard) in rows.zip(self.hard.chunks_exact(n)) {
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
            self.add(kernel, weight / (temperature * draws.count as f32), y);
        }
    }

    /// The least-norm estimator at probabilities `y / Σ y`, row by row in double precision.
    fn fini(&mut self, y: &[f32]) {
        let n = self.n_classes;
        let (mut system, mut buffer) = SYSTEM.take();
        buffer.resize(3 * n, 0.0);
        let (probs, rest) = buffer.split_at_mut(n);
        let (g, out) = rest.split_at_mut(n);
        let rows = y.chunks_exact(n).zip(self.hard.chunks_exact(n));
        let gradients = self.d_hard.chunks_exact(n).zip(self.d_logits.chunks_exact_mut(n));
        for ((y, hard), (d_hard, d_logits)) in rows.zip(gradients) {
            let total: f64 = y.iter().map(|&y| f64::from(y)).sum();
            for (p, &y) in probs.iter_mut().zip(y) {
                *p = f64::from(y) / total;
            }
            for (g, &d) in g.iter_mut().zip(d_hard) {
                *g = f64::from(d);
            }
            let sampled = hard.iter().position(|&d| d > 0.0).unwrap_or(0);
            system.gradient(probs, sampled, g, out);
            for (d, &out) in d_logits.iter_mut().zip(&*out) {
                *d = out as f32;
            }
        }
        SYSTEM.set((system, buffer));
    }
}

/// From noise to `x` such that perturbed logits lie `ln(1 + eˣ)` below the class of `hard`, where `x = -∞`.
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

#[inline(always)]
fn largest<K: Kernel>(kernel: K, row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LINE];
    for line in row.chunks(LINE) {
        let line = kernel.load(line, f32::NEG_INFINITY);
        for i in 0..LINE {
            lanes[i] = larger(line[i], lanes[i]);
        }
    }
    max(lanes)
}

#[inline(always)]
fn total<K: Kernel>(kernel: K, row: &[f32]) -> f32 {
    let mut lanes = [0.0; LINE];
    for line in row.chunks(LINE) {
        let line = kernel.load(line, 0.0);
        for i in 0..LINE {
            lanes[i] += line[i];
        }
    }
    sum(lanes)
}

#[cfg(test)]
mod tests;
