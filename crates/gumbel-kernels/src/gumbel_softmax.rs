//! Samples from logits with the noise made where it is used: Gumbel-softmax and Gumbel-max.
//!
//! Jang et al. 2017, eq. 2; Maddison et al. 2014. One pass over memory: a row is checked, shifted,
//! perturbed and relaxed while it is in the cache, and its noise is made in the place of the result.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::gumbel::GumbelStream;
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::{larger, max, sum};
use crate::rows::{check_rows, rows_per_chunk};
use crate::vmath::exp_nonpositive;

/// Why nothing could be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// A slice does not fit the shape.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// A logit is NaN or `+inf`, or every logit of a row is `-inf`.
    #[error(
        "row {row} of the logits has a NaN, +inf, or nothing but -inf; give each row a finite logit"
    )]
    Row {
        /// The first such row.
        row: usize,
    },
}

/// `relaxed = softmax((logits + g) / temperature)` over rows of `n_classes`, where `g` are the values
/// of `noise` from `position` on, in row-major order.
///
/// A class of logit `-inf` gets exactly 0. The largest logit of a row is subtracted before the noise
/// is added, so that large logits do not swallow its low bits.
///
/// # Shapes
/// - logits, relaxed: `(rows, n_classes)`.
///
/// # Errors
/// [`SampleError`]; `relaxed` then holds no sample.
pub fn gumbel_softmax(
    n_classes: usize,
    temperature: f32,
    logits: &[f32],
    noise: GumbelStream,
    position: u64,
    relaxed: &mut [f32],
) -> Result<(), SampleError> {
    gumbel_softmax_on(Isa::best(), n_classes, temperature, logits, noise, position, relaxed)
}

/// The one-hot vector of `argmax(logits + g)` for each row, the first of equals: where
/// [`gumbel_softmax`] with the same noise has its largest value.
///
/// # Shapes
/// - logits, hot: `(rows, n_classes)`.
///
/// # Errors
/// [`SampleError`]; `hot` then holds no sample.
pub fn gumbel_one_hot(
    n_classes: usize,
    logits: &[f32],
    noise: GumbelStream,
    position: u64,
    hot: &mut [f32],
) -> Result<(), SampleError> {
    gumbel_one_hot_on(Isa::best(), n_classes, logits, noise, position, hot)
}

/// `argmax(logits + g)` for each row, the first of equals.
///
/// # Shapes
/// - logits: `(rows, n_classes)`; classes: `rows`.
///
/// # Errors
/// [`SampleError`]; `classes` then holds no sample.
pub fn gumbel_argmax(
    n_classes: usize,
    logits: &[f32],
    noise: GumbelStream,
    position: u64,
    classes: &mut [u32],
) -> Result<(), SampleError> {
    gumbel_argmax_on(Isa::best(), n_classes, logits, noise, position, classes)
}

fn gumbel_softmax_on(
    isa: Isa,
    n_classes: usize,
    temperature: f32,
    logits: &[f32],
    noise: GumbelStream,
    position: u64,
    relaxed: &mut [f32],
) -> Result<(), SampleError> {
    let sample = Sample { n_classes, noise, temperature: Some(temperature) };
    sample_on(isa, sample, logits, position, relaxed)
}

fn gumbel_one_hot_on(
    isa: Isa,
    n_classes: usize,
    logits: &[f32],
    noise: GumbelStream,
    position: u64,
    hot: &mut [f32],
) -> Result<(), SampleError> {
    sample_on(isa, Sample { n_classes, noise, temperature: None }, logits, position, hot)
}

fn sample_on(
    isa: Isa,
    sample: Sample,
    logits: &[f32],
    position: u64,
    out: &mut [f32],
) -> Result<(), SampleError> {
    check_rows("logits", logits.len(), sample.n_classes)?;
    check_len("out", out.len(), logits.len())?;
    if logits.is_empty() {
        return Ok(());
    }
    let n_rows = rows_per_chunk(sample.n_classes);
    let len = n_rows * sample.n_classes;
    let bad = FirstBadRow::none();
    logits.par_chunks(len).zip(out.par_chunks_mut(len)).enumerate().for_each(|(idx, (x, out))| {
        let position = position.wrapping_add((idx * len) as u64);
        bad.note(idx * n_rows, isa.dispatch(SampleRows { sample, position, logits: x, out }));
    });
    bad.check()
}

fn gumbel_argmax_on(
    isa: Isa,
    n_classes: usize,
    logits: &[f32],
    noise: GumbelStream,
    position: u64,
    classes: &mut [u32],
) -> Result<(), SampleError> {
    check_rows("logits", logits.len(), n_classes)?;
    check_len("classes", classes.len(), logits.len().checked_div(n_classes).unwrap_or(0))?;
    if logits.is_empty() {
        return Ok(());
    }
    let n_rows = rows_per_chunk(n_classes);
    let len = n_rows * n_classes;
    let bad = FirstBadRow::none();
    let chunks = logits.par_chunks(len).zip(classes.par_chunks_mut(n_rows)).enumerate();
    chunks.for_each(|(idx, (logits, classes))| {
        let position = position.wrapping_add((idx * len) as u64);
        let task = ArgmaxRows { n_classes, noise, position, logits, classes };
        bad.note(idx * n_rows, isa.dispatch(task));
    });
    bad.check()
}

/// The first row that threads working side by side have found wanting.
struct FirstBadRow(AtomicUsize);

impl FirstBadRow {
    fn none() -> Self {
        FirstBadRow(AtomicUsize::new(usize::MAX))
    }

    /// `found` counts from row `first`.
    fn note(&self, first: usize, found: Result<(), usize>) {
        if let Err(row) = found {
            self.0.fetch_min(first + row, Ordering::Relaxed);
        }
    }

    fn check(self) -> Result<(), SampleError> {
        match self.0.into_inner() {
            usize::MAX => Ok(()),
            row => Err(SampleError::Row { row }),
        }
    }
}

#[derive(Clone, Copy)]
struct Sample {
    n_classes: usize,
    noise: GumbelStream,
    /// `None` for the one-hot vector.
    temperature: Option<f32>,
}

struct SampleRows<'a> {
    sample: Sample,
    position: u64,
    logits: &'a [f32],
    out: &'a mut [f32],
}

impl Task for SampleRows<'_> {
    type Output = Result<(), usize>;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> Result<(), usize> {
        let Sample { n_classes, noise, temperature } = self.sample;
        noise.fill_with(kernel, self.position, self.out);
        let rows = self.logits.chunks_exact(n_classes).zip(self.out.chunks_exact_mut(n_classes));
        let inverse_temperature = temperature.map(|temperature| 1.0 / temperature);
        for (row_idx, (logits, row)) in rows.enumerate() {
            if n_classes <= LINE {
                short_row(kernel, inverse_temperature, logits, row).ok_or(row_idx)?;
                continue;
            }
            let largest = perturb(kernel, logits, row).ok_or(row_idx)?;
            match inverse_temperature {
                Some(scale) => softmax(kernel, scale, largest, row),
                None => {
                    let class = first_at(kernel, largest, row);
                    row.fill(0.0);
                    row[class] = 1.0;
                }
            }
        }
        Ok(())
    }
}

struct ArgmaxRows<'a> {
    n_classes: usize,
    noise: GumbelStream,
    position: u64,
    logits: &'a [f32],
    classes: &'a mut [u32],
}

impl Task for ArgmaxRows<'_> {
    type Output = Result<(), usize>;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> Result<(), usize> {
        let mut scratch = SCRATCH.take();
        if scratch.len() < self.logits.len() {
            scratch.resize(self.logits.len(), 0.0);
        }
        let perturbed = &mut scratch[..self.logits.len()];
        self.noise.fill_with(kernel, self.position, perturbed);
        let rows = self.logits.chunks_exact(self.n_classes);
        let rows = rows.zip(perturbed.chunks_exact_mut(self.n_classes)).zip(self.classes);
        let mut outcome = Ok(());
        for (row_idx, ((logits, row), class)) in rows.enumerate() {
            match perturb(kernel, logits, row) {
                Some(largest) => *class = first_at(kernel, largest, row) as u32,
                None => {
                    outcome = Err(row_idx);
                    break;
                }
            }
        }
        SCRATCH.set(scratch);
        outcome
    }
}

thread_local! {
    /// The perturbed logits of one chunk of rows, kept between calls.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A whole row in one line; `None` if nothing can be drawn from it.
#[inline(always)]
fn short_row<K: Kernel>(
    kernel: K,
    scale: Option<f32>,
    logits: &[f32],
    row: &mut [f32],
) -> Option<()> {
    let mut z = kernel.load(logits, f32::NEG_INFINITY);
    let shift = largest_logit(z, n_bad(&z))?;
    let noise = kernel.load(row, 0.0);
    for i in 0..LINE {
        z[i] = (z[i] - shift) + noise[i];
    }
    let largest = max(z);
    match scale {
        Some(scale) => {
            for z in &mut z {
                *z = exp_nonpositive((*z - largest) * scale);
            }
            let factor = 1.0 / sum(z);
            for z in &mut z {
                *z *= factor;
            }
            kernel.store(&z, row);
        }
        None => {
            let class = z.iter().position(|&z| z == largest)?;
            row.fill(0.0);
            row[class] = 1.0;
        }
    }
    Some(())
}

/// `row += logits - max logits`, and the largest value of the result; `None` if nothing can be drawn.
#[inline(always)]
fn perturb<K: Kernel>(kernel: K, logits: &[f32], row: &mut [f32]) -> Option<f32> {
    let mut largest = [f32::NEG_INFINITY; LINE];
    let mut bad = [0; LINE];
    for logits in logits.chunks(LINE) {
        let logits = kernel.load(logits, f32::NEG_INFINITY);
        for i in 0..LINE {
            largest[i] = larger(logits[i], largest[i]);
            bad[i] |= u32::from(is_bad(logits[i]));
        }
    }
    let shift = largest_logit(largest, bad.iter().fold(0, |any, bad| any | bad))?;
    let mut largest = [f32::NEG_INFINITY; LINE];
    for (logits, row) in logits.chunks(LINE).zip(row.chunks_mut(LINE)) {
        let logits = kernel.load(logits, f32::NEG_INFINITY);
        let mut y = kernel.load(row, 0.0);
        for i in 0..LINE {
            y[i] += logits[i] - shift;
            largest[i] = larger(y[i], largest[i]);
        }
        kernel.store(&y, row);
    }
    Some(max(largest))
}

#[inline(always)]
fn softmax<K: Kernel>(kernel: K, scale: f32, largest: f32, row: &mut [f32]) {
    let mut total = [0.0; LINE];
    for row in row.chunks_mut(LINE) {
        let mut e = kernel.load(row, f32::NEG_INFINITY);
        for i in 0..LINE {
            e[i] = exp_nonpositive((e[i] - largest) * scale);
            total[i] += e[i];
        }
        kernel.store(&e, row);
    }
    let factor = 1.0 / sum(total);
    for z in row {
        *z *= factor;
    }
}

/// The index of the first value that equals `largest`, which is among them.
#[inline(always)]
fn first_at<K: Kernel>(kernel: K, largest: f32, row: &[f32]) -> usize {
    for (line_idx, line) in row.chunks(LINE).enumerate() {
        let line = kernel.load(line, f32::NEG_INFINITY);
        let mut found = 0;
        for y in line {
            found |= u32::from(y == largest);
        }
        if found != 0 {
            return line_idx * LINE + line.iter().position(|&y| y == largest).unwrap_or(0);
        }
    }
    0
}

/// NaN or `+inf`.
#[inline(always)]
fn is_bad(logit: f32) -> bool {
    // As integers: no comparison that a NaN could slip through, and none that the compiler may branch on.
    let magnitude = logit.to_bits() & 0x7fff_ffff;
    magnitude > 0x7f80_0000 || logit.to_bits() == 0x7f80_0000
}

#[inline(always)]
fn n_bad(lanes: &[f32; LINE]) -> u32 {
    let mut bad = 0;
    for &logit in lanes {
        bad |= u32::from(is_bad(logit));
    }
    bad
}

/// The largest of a row's logits if there is one and none is bad.
#[inline(always)]
fn largest_logit(lanes: [f32; LINE], any_bad: u32) -> Option<f32> {
    let largest = max(lanes);
    (any_bad == 0 && largest > f32::NEG_INFINITY).then_some(largest)
}

#[cfg(test)]
mod tests;
