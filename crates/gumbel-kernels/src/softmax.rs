//! Softmax over rows with a temperature, and its gradient. A row stays in the cache while it is worked on.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::{larger, max, sum};
use crate::rows::{check_rows, rows_per_chunk};
use crate::vmath::exp_nonpositive;

/// `probs = softmax(logits / temperature)` over rows of `n_classes`.
///
/// A row with a NaN is NaN throughout.
///
/// # Shapes
/// - logits, probs: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn softmax(
    n_classes: usize,
    temperature: f32,
    logits: &[f32],
    probs: &mut [f32],
) -> Result<(), LengthError> {
    softmax_on(Isa::best(), n_classes, temperature, logits, probs)
}

/// The gradient of [`softmax`], and of a relaxed sample: `d_logits = y ⊙ (d_y − ⟨d_y, y⟩) / temperature` in each
/// row.
///
/// Zero where `y` is zero, whatever `d_y` is there.
///
/// # Shapes
/// - probs (the `y` of the forward pass), d_probs, d_logits: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn softmax_vjp(
    n_classes: usize,
    temperature: f32,
    probs: &[f32],
    d_probs: &[f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    vjp_on(Isa::best(), n_classes, temperature, probs, d_probs, d_logits)
}

fn softmax_on(
    isa: Isa,
    n_classes: usize,
    temperature: f32,
    logits: &[f32],
    probs: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("logits", logits.len(), n_classes)?;
    check_len("probs", probs.len(), logits.len())?;
    if logits.is_empty() {
        return Ok(());
    }
    let len = n_classes * rows_per_chunk(n_classes);
    logits.par_chunks(len).zip(probs.par_chunks_mut(len)).for_each(|(logits, probs)| {
        let inverse_temperature = 1.0 / temperature;
        isa.dispatch(Softmax { n_classes, inverse_temperature, logits, probs });
    });
    Ok(())
}

fn vjp_on(
    isa: Isa,
    n_classes: usize,
    temperature: f32,
    probs: &[f32],
    d_probs: &[f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("probs", probs.len(), n_classes)?;
    check_len("d_probs", d_probs.len(), probs.len())?;
    check_len("d_logits", d_logits.len(), probs.len())?;
    if probs.is_empty() {
        return Ok(());
    }
    let len = n_classes * rows_per_chunk(n_classes);
    probs.par_chunks(len).zip(d_probs.par_chunks(len)).zip(d_logits.par_chunks_mut(len)).for_each(
        |((probs, d_probs), d_logits)| {
            let inverse_temperature = 1.0 / temperature;
            isa.dispatch(Vjp { n_classes, inverse_temperature, probs, d_probs, d_logits });
        },
    );
    Ok(())
}

struct Softmax<'a> {
    n_classes: usize,
    inverse_temperature: f32,
    logits: &'a [f32],
    probs: &'a mut [f32],
}

impl Task for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let n_classes = self.n_classes;
        let rows = self.logits.chunks_exact(n_classes).zip(self.probs.chunks_exact_mut(n_classes));
        for (logits, probs) in rows {
            softmax_row(kernel, self.inverse_temperature, logits, probs);
        }
    }
}

/// `row = softmax(logits · scale)`.
#[inline(always)]
fn softmax_row<K: Kernel>(kernel: K, scale: f32, logits: &[f32], row: &mut [f32]) {
    if row.len() <= LINE {
        let mut z = kernel.load(logits, f32::NEG_INFINITY);
        for z in &mut z {
            *z *= scale;
        }
        let largest = max(z);
        for z in &mut z {
            *z = exp_nonpositive(*z - largest);
        }
        let factor = 1.0 / sum(z);
        for z in &mut z {
            *z *= factor;
        }
        kernel.store(&z, row);
        return;
    }
    let mut largest = [f32::NEG_INFINITY; LINE];
    for (row, logits) in row.chunks_mut(LINE).zip(logits.chunks(LINE)) {
        let mut y = kernel.load(logits, f32::NEG_INFINITY);
        for i in 0..LINE {
            y[i] *= scale;
            largest[i] = larger(y[i], largest[i]);
        }
        kernel.store(&y, row);
    }
    let largest = max(largest);
    let mut total = [0.0; LINE];
    for row in row.chunks_mut(LINE) {
        let mut e = kernel.load(row, f32::NEG_INFINITY);
        for i in 0..LINE {
            e[i] = exp_nonpositive(e[i] - largest);
            total[i] += e[i];
        }
        kernel.store(&e, row);
    }
    let factor = 1.0 / sum(total);
    for z in row {
        *z *= factor;
    }
}

struct Vjp<'a> {
    n_classes: usize,
    inverse_temperature: f32,
    probs: &'a [f32],
    d_probs: &'a [f32],
    d_logits: &'a mut [f32],
}

impl Task for Vjp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let n_classes = self.n_classes;
        let rows = self
            .probs
            .chunks_exact(n_classes)
            .zip(self.d_probs.chunks_exact(n_classes))
            .zip(self.d_logits.chunks_exact_mut(n_classes));
        for ((z, d_z), d_logits) in rows {
            let mut dot = [0.0; LINE];
            for (z, d_z) in z.chunks(LINE).zip(d_z.chunks(LINE)) {
                let (z, d_z) = (kernel.load(z, 0.0), kernel.load(d_z, 0.0));
                for i in 0..LINE {
                    dot[i] += if z[i] == 0.0 { 0.0 } else { z[i] * d_z[i] };
                }
            }
            let dot = sum(dot);
            let rows = z.chunks(LINE).zip(d_z.chunks(LINE)).zip(d_logits.chunks_mut(LINE));
            for ((z, d_z), out) in rows {
                let (z, mut d) = (kernel.load(z, 0.0), kernel.load(d_z, 0.0));
                for i in 0..LINE {
                    let d_logit = z[i] * (d[i] - dot) * self.inverse_temperature;
                    d[i] = if z[i] == 0.0 { 0.0 } else { d_logit };
                }
                kernel.store(&d, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
