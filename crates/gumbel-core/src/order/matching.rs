//! The best assignment of rows to columns.

use candle_core::Tensor;
use gumbel_kernels::hungarian;
use rayon::prelude::*;

use crate::checks::check_values;
use crate::structure::host::values;
use crate::{Error, Result};

/// The dimensions of a batch of square matrices, with `n >= 1`.
pub(super) fn square(scores: &Tensor, what: &'static str) -> Result<(Vec<usize>, usize)> {
    match scores.dims() {
        [batch @ .., m, n] if m == n && *n > 0 => Ok((batch.to_vec(), *n)),
        dims => Err(Error::UnexpectedShape { what, got: dims.to_vec(), expected: "(batch, n, n)" }),
    }
}

/// The permutation with the largest sum of scores: the column of every row, u32 (Jonker and Volgenant 1987), O(n³) in f64. A score of `-inf`
/// forbids a pair.
///
/// # Shapes
/// - scores: `(…, n, n)`. Output: `(…, n)`.
/// # Gradient
/// None.
/// # Errors
/// [`Error::NoStructure`] where no permutation is allowed, with the first row that is left over; [`Error::InvalidLogit`],
/// [`Error::UnexpectedShape`], [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
///
/// let scores = Tensor::new(&[[1f32, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 3.0]], &Device::Cpu)?;
/// assert_eq!(gumbel_core::matching(&scores)?.to_vec1::<u32>()?, [0, 1, 2]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn matching(scores: &Tensor) -> Result<Tensor> {
    let (batch, n) = square(scores, "scores")?;
    let bad = |value, index| Error::InvalidLogit { value, index };
    check_values(scores, "scores", |x| x < f64::INFINITY, bad)?;
    let scores_of = values(scores)?;
    let mut columns = vec![0; scores_of.len() / n];
    let rows = scores_of.par_chunks(n * n).zip(columns.par_chunks_mut(n)).enumerate();
    rows.try_for_each(|(row, (scores, columns))| {
        let Some(best) = hungarian(n, scores) else { return Err(no_matching(row, n, scores)) };
        columns.copy_from_slice(&best);
        Ok(())
    })?;
    Ok(Tensor::from_vec(columns, [batch.as_slice(), &[n]].concat(), scores.device())?)
}

pub(super) fn no_matching(row: usize, n: usize, scores: &[f64]) -> Error {
    let index = gumbel_kernels::unmatched_row(n, scores).unwrap_or(0);
    Error::NoStructure { what: "perfect matching", row, index }
}

/// One-hot rows for permutations: `(…, n, n)`.
pub(super) fn permutation_matrix(scores: &Tensor) -> Result<Tensor> {
    let (_, n) = square(scores, "scores")?;
    crate::one_hot(&matching(scores)?, n, scores.dtype())
}
