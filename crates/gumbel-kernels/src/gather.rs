//! A batch of images out of a data set of bytes.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::rows::{check_rows, rows_per_chunk};

/// How a byte becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// `byte / 255`.
    Grey,
    /// One from this byte on, else zero.
    Threshold(u8),
}

/// Why a batch could not be gathered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatherError {
    /// A slice does not fit the shape.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// An index is beyond the last row.
    #[error("row {row} was asked for, but there are only {n_rows}; pass indices below {n_rows}")]
    Row {
        /// The index.
        row: u32,
        /// How many rows there are.
        n_rows: usize,
    },
}

/// Row `i` of `out` is row `indices[i]` of `pixels`, converted.
///
/// # Shapes
/// - pixels: `(n_rows, row_len)`; out: `(indices.len(), row_len)`.
///
/// # Errors
/// [`GatherError`] when a length does not fit or an index is out of range; `out` is then untouched.
pub fn gather_rows(
    pixels: &[u8],
    row_len: usize,
    indices: &[u32],
    convert: Pixels,
    out: &mut [f32],
) -> Result<(), GatherError> {
    check_rows("pixels", pixels.len(), row_len)?;
    check_len("out", out.len(), indices.len() * row_len)?;
    if row_len == 0 {
        return Ok(());
    }
    let n_rows = pixels.len() / row_len;
    if let Some(&row) = indices.iter().find(|&&row| row as usize >= n_rows) {
        return Err(GatherError::Row { row, n_rows });
    }
    let isa = Isa::best();
    let rows = rows_per_chunk(row_len);
    indices.par_chunks(rows).zip(out.par_chunks_mut(rows * row_len)).for_each(|(indices, out)| {
        isa.dispatch(Gather { pixels, row_len, indices, convert, out });
    });
    Ok(())
}

struct Gather<'a> {
    pixels: &'a [u8],
    row_len: usize,
    indices: &'a [u32],
    convert: Pixels,
    out: &'a mut [f32],
}

impl Task for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _kernel: K) {
        for (&row, out) in self.indices.iter().zip(self.out.chunks_exact_mut(self.row_len)) {
            let start = row as usize * self.row_len;
            let pixels = &self.pixels[start..start + self.row_len];
            match self.convert {
                Pixels::Grey => {
                    for (out, &pixel) in out.iter_mut().zip(pixels) {
                        *out = f32::from(pixel) / 255.0;
                    }
                }
                Pixels::Threshold(least) => {
                    for (out, &pixel) in out.iter_mut().zip(pixels) {
                        *out = if pixel >= least { 1.0 } else { 0.0 };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_the_indices() {
        let row_len = 37;
        let pixels: Vec<u8> = (0..10 * row_len).map(|i| (i * 7 % 256) as u8).collect();
        let n_indices = if cfg!(miri) { 20 } else { 700 };
        let indices: Vec<u32> = (0..n_indices).map(|i| i * 3 % 10).collect();
        for convert in [Pixels::Grey, Pixels::Threshold(128), Pixels::Threshold(0)] {
            let mut out = vec![-1.0; indices.len() * row_len];
            gather_rows(&pixels, row_len, &indices, convert, &mut out).unwrap();
            for (out, &row) in out.chunks(row_len).zip(&indices) {
                let start = row as usize * row_len;
                for (out, &pixel) in out.iter().zip(&pixels[start..start + row_len]) {
                    let expected = match convert {
                        Pixels::Grey => f32::from(pixel) / 255.0,
                        Pixels::Threshold(least) => f32::from(pixel >= least),
                    };
                    assert_eq!(*out, expected);
                }
            }
        }
    }

    #[test]
    fn an_index_beyond_the_end_is_named_and_nothing_is_written() {
        let mut out = [9.0; 4];
        let error = gather_rows(&[1; 6], 2, &[0, 3], Pixels::Grey, &mut out).unwrap_err();
        assert_eq!(error, GatherError::Row { row: 3, n_rows: 3 });
        assert_eq!(out, [9.0; 4]);
        assert!(gather_rows(&[1; 7], 2, &[0, 1], Pixels::Grey, &mut out).is_err());
        assert!(gather_rows(&[1; 6], 2, &[0], Pixels::Grey, &mut out).is_err());
    }

    #[test]
    fn an_empty_batch_is_empty() {
        gather_rows(&[1; 6], 2, &[], Pixels::Grey, &mut []).unwrap();
        gather_rows(&[], 0, &[], Pixels::Grey, &mut []).unwrap();
    }
}
