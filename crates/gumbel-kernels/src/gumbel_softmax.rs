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
    check_rows("logits", logits.len(), n_classes)?;
    check_len("relaxed", relaxed.len(), logits.len())?;
    let inverse_temperature = 1.0 / temperature;
    let len = n_classes * rows_per_chunk(n_classes);
    first_bad_row(len, logits, |idx, logits, bad| {
        // Chunks of `relaxed` are handed out below, by `zip_chunks`.
        let _ = (idx, logits, bad, inverse_temperature, isa, noise, position);
    });
    let _ = relaxed;
    Ok(())
}
