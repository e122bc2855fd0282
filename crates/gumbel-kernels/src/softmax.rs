//! Softmax over rows, plain and relaxed: `softmax((logits + g) / τ)` with Gumbel noise `g`.
//!
//! Jang et al. 2017, eq. 2; Maddison et al. 2017. A row stays in the cache while it is worked on, and
//! the noise is made where it is used.

use std::cell::Cell;

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::gumbel::GumbelStream;
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::{larger, max, sum};
use crate::rows::{check_rows, rows_per_chunk};
use crate::vmath::exp_nonpositive;

/// Where the Gumbel noise of a relaxed sample comes from.
#[derive(Debug, Clone, Copy)]
pub enum Noise<'a> {
    /// No noise: a softmax with a temperature.
    None,
    /// One value for each logit.
    Given(&'a [f32]),
    /// The values of a stream from a position on, one for each logit in row-major order. They are
    /// made inside the pass and never written to memory.
    Stream(GumbelStream, u64),
}

/// `relaxed = softmax((logits + noise) / temperature)` over rows of `n_classes`.
///
/// # Shapes
/// - logits, relaxed, given noise: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn relaxed_sample(
    n_classes: usize,
    temperature: f32,
    logits: &[f32],
    noise: Noise<'_>,
    relaxed: &mut [f32],
) -> Result<(), LengthError> {
    relaxed_sample_on(Isa::best(), n_classes, temperature, logits, noise, relaxed, None)
}

/// [`relaxed_sample`], and in `hard` the one-hot vector of each row's largest entry (the first of equals).
///
/// A row with a NaN is NaN throughout in both outputs. The straight-through gradient of `hard` is
/// [`relaxed_sample_vjp`] at `relaxed`.
///
/// # Shapes
/// - logits, relaxed, hard, given noise: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn hard_sample(
    n_classes: usize,
    temperature: f32,
    logits: &[f32],
    noise: Noise<'_>,
    relaxed: &mut [f32],
    hard: &mut [f32],
) -> Result<(), LengthError> {
    check_len("hard", hard.len(), logits.len())?;
    relaxed_sample_on(Isa::best(), n_classes, temperature, logits, noise, relaxed, Some(hard))
}

/// The gradient of [`relaxed_sample`]: `d_logits = z ⊙ (d_z − ⟨d_z, z⟩) / temperature` in each row.
///
/// Zero where `z` is zero, whatever `d_z` is there.
///
/// # Shapes
/// - relaxed (the `z` of the forward pass), d_relaxed, d_logits: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn relaxed_sample_vjp(
    n_classes: usize,
    temperature: f32,
    relaxed: &[f32],
    d_relaxed: &[f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    vjp_on(Isa::best(), n_classes, temperature, relaxed, d_relaxed, d_logits)
}

fn relaxed_sample_on(
    isa: Isa,
    n_classes: usize,
    temperature: f32,
    logits: &[f32],
    noise: Noise<'_>,
    relaxed: &mut [f32],
    hard: Option<&mut [f32]>,
) -> Result<(), LengthError> {
    check_rows("logits", logits.len(), n_classes)?;
    check_len("relaxed", relaxed.len(), logits.len())?;
    if let Noise::Given(noise) = noise {
        check_len("noise", noise.len(), logits.len())?;
    }
    if logits.is_empty() {
        return Ok(());
    }
    let len = n_classes * rows_per_chunk(n_classes);
    let chunk = |idx: usize, relaxed: &mut [f32], hard: Option<&mut [f32]>| {
        let start = idx * len;
        let end = start + relaxed.len();
        let noise = match noise {
            Noise::None => Noise::None,
            Noise::Given(noise) => Noise::Given(&noise[start..end]),
            Noise::Stream(stream, position) => {
                Noise::Stream(stream, position.wrapping_add(start as u64))
            }
        };
        let logits = &logits[start..end];
        let inverse_temperature = 1.0 / temperature;
        isa.dispatch(Relax { n_classes, inverse_temperature, logits, noise, relaxed, hard });
    };
    let relaxed = relaxed.par_chunks_mut(len).enumerate();
    match hard {
        Some(hard) => relaxed
            .zip(hard.par_chunks_mut(len))
            .for_each(|((idx, relaxed), hard)| chunk(idx, relaxed, Some(hard))),
        None => relaxed.for_each(|(idx, relaxed)| chunk(idx, relaxed, None)),
    }
    Ok(())
}

fn vjp_on(
    isa: Isa,
    n_classes: usize,
    temperature: f32,
    relaxed: &[f32],
    d_relaxed: &[f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("relaxed", relaxed.len(), n_classes)?;
    check_len("d_relaxed", d_relaxed.len(), relaxed.len())?;
    check_len("d_logits", d_logits.len(), relaxed.len())?;
    if relaxed.is_empty() {
        return Ok(());
    }
    let len = n_classes * rows_per_chunk(n_classes);
    relaxed
        .par_chunks(len)
        .zip(d_relaxed.par_chunks(len))
        .zip(d_logits.par_chunks_mut(len))
        .for_each(|((relaxed, d_relaxed), d_logits)| {
            let inverse_temperature = 1.0 / temperature;
            isa.dispatch(Vjp { n_classes, inverse_temperature, relaxed, d_relaxed, d_logits });
        });
    Ok(())
}

struct Relax<'a> {
    n_classes: usize,
    inverse_temperature: f32,
    logits: &'a [f32],
    noise: Noise<'a>,
    relaxed: &'a mut [f32],
    hard: Option<&'a mut [f32]>,
}

impl Task for Relax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let mut scratch = SCRATCH.take();
        let noise = match self.noise {
            Noise::None => None,
            Noise::Given(noise) => Some(noise),
            Noise::Stream(stream, position) => {
                if scratch.len() < self.logits.len() {
                    scratch.resize(self.logits.len(), 0.0);
                }
                let noise = &mut scratch[..self.logits.len()];
                stream.fill_with(kernel, position, noise);
                Some(&*noise)
            }
        };
        let scale = self.inverse_temperature;
        let n_classes = self.n_classes;
        let rows =
            self.logits.chunks_exact(n_classes).zip(self.relaxed.chunks_exact_mut(n_classes));
        for (row_idx, (logits, relaxed)) in rows.enumerate() {
            let range = row_idx * n_classes..(row_idx + 1) * n_classes;
            match noise {
                None => relax_row(kernel, scale, logits, &[], relaxed),
                Some(noise) => relax_row(kernel, scale, logits, &noise[range], relaxed),
            }
        }
        if let Some(hard) = self.hard {
            let rows = self.relaxed.chunks_exact(n_classes).zip(hard.chunks_exact_mut(n_classes));
            for (relaxed, hard) in rows {
                one_hot(kernel, relaxed, hard);
            }
        }
        SCRATCH.set(scratch);
    }
}

thread_local! {
    /// The noise of one chunk of rows, kept between calls.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// `row = softmax((logits + noise) · scale)`; noise that is missing at the end counts as zero.
#[inline(always)]
fn relax_row<K: Kernel>(kernel: K, scale: f32, logits: &[f32], noise: &[f32], row: &mut [f32]) {
    if row.len() <= LINE {
        let mut z = kernel.load(logits, f32::NEG_INFINITY);
        let noise = kernel.load(noise, 0.0);
        for i in 0..LINE {
            z[i] = (z[i] + noise[i]) * scale;
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
    for (line_idx, (row, logits)) in row.chunks_mut(LINE).zip(logits.chunks(LINE)).enumerate() {
        let mut y = kernel.load(logits, f32::NEG_INFINITY);
        let noise = kernel.load(noise.get(line_idx * LINE..).unwrap_or(&[]), 0.0);
        for i in 0..LINE {
            y[i] = (y[i] + noise[i]) * scale;
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

/// One where `row` is largest, first of equals; NaN throughout where `row` holds a NaN.
#[inline(always)]
fn one_hot<K: Kernel>(kernel: K, row: &[f32], hard: &mut [f32]) {
    // A NaN anywhere in a softmax is a NaN everywhere.
    if row[0].is_nan() {
        hard.fill(f32::NAN);
        return;
    }
    let mut largest = [f32::NEG_INFINITY; LINE];
    for row in row.chunks(LINE) {
        let row = kernel.load(row, f32::NEG_INFINITY);
        for i in 0..LINE {
            largest[i] = larger(row[i], largest[i]);
        }
    }
    let largest = max(largest);
    let mut found = false;
    for (row, hard) in row.chunks(LINE).zip(hard.chunks_mut(LINE)) {
        let row = kernel.load(row, f32::NEG_INFINITY);
        let mut lanes = [0.0; LINE];
        if !found {
            for i in 0..LINE {
                lanes[i] = if row[i] == largest { 1.0 } else { 0.0 };
            }
            let n_found = sum(lanes);
            found = n_found > 0.0;
            if n_found > 1.0 {
                keep_first(&mut lanes);
            }
        }
        kernel.store(&lanes, hard);
    }
}

/// Clears all ones but the first.
#[cold]
fn keep_first(lanes: &mut [f32; LINE]) {
    let mut found = false;
    for lane in lanes {
        if found {
            *lane = 0.0;
        }
        found |= *lane == 1.0;
    }
}

struct Vjp<'a> {
    n_classes: usize,
    inverse_temperature: f32,
    relaxed: &'a [f32],
    d_relaxed: &'a [f32],
    d_logits: &'a mut [f32],
}

impl Task for Vjp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let n_classes = self.n_classes;
        let rows = self
            .relaxed
            .chunks_exact(n_classes)
            .zip(self.d_relaxed.chunks_exact(n_classes))
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
