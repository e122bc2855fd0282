//! Rows of logits with noise that is given, and the largest value of a row.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::row_max;
use crate::rows::{check_rows, rows_per_chunk};

/// `out = (logits - max logits) + noise` in each row of `n_classes`.
///
/// The shift changes neither softmax nor argmax, and keeps the noise exact when logits are large.
///
/// # Shapes
/// - logits, noise, out: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn perturb(
    n_classes: usize,
    logits: &[f32],
    noise: &[f32],
    out: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("logits", logits.len(), n_classes)?;
    check_len("noise", noise.len(), logits.len())?;
    check_len("out", out.len(), logits.len())?;
    if logits.is_empty() {
        return Ok(());
    }
    let len = n_classes * rows_per_chunk(n_classes);
    let isa = Isa::best();
    logits
        .par_chunks(len)
        .zip(noise.par_chunks(len))
        .zip(out.par_chunks_mut(len))
        .for_each(|((logits, noise), out)| isa.dispatch(Perturb { n_classes, logits, noise, out }));
    Ok(())
}

/// The index of the largest value of each row, the first of equals.
///
/// # Shapes
/// - values: `(rows, n_classes)`; classes: `rows`.
///
/// # Errors
/// [`LengthError`] when the lengths do not fit.
pub fn argmax(n_classes: usize, values: &[f32], classes: &mut [u32]) -> Result<(), LengthError> {
    check_rows("values", values.len(), n_classes)?;
    check_len("classes", classes.len(), values.len().checked_div(n_classes).unwrap_or(0))?;
    for (row, class) in values.chunks_exact(n_classes.max(1)).zip(classes) {
        *class = first_largest(row) as u32;
    }
    Ok(())
}

/// Ones at the largest value of each row, the first of equals; zeros elsewhere.
///
/// # Shapes
/// - values, hot: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn one_hot_argmax(
    n_classes: usize,
    values: &[f32],
    hot: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("values", values.len(), n_classes)?;
    check_len("hot", hot.len(), values.len())?;
    let n = n_classes.max(1);
    for (row, hot) in values.chunks_exact(n).zip(hot.chunks_exact_mut(n)) {
        hot.fill(0.0);
        hot[first_largest(row)] = 1.0;
    }
    Ok(())
}

fn first_largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &v) in row.iter().enumerate() {
        if v > row[best] {
            best = i;
        }
    }
    best
}

struct Perturb<'a> {
    n_classes: usize,
    logits: &'a [f32],
    noise: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Perturb<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let rows = self.logits.chunks_exact(self.n_classes);
        let noise = self.noise.chunks_exact(self.n_classes);
        for ((logits, noise), out) in rows.zip(noise).zip(self.out.chunks_exact_mut(self.n_classes))
        {
            let largest = row_max(kernel, logits);
            let lines = logits.chunks(LINE).zip(noise.chunks(LINE)).zip(out.chunks_mut(LINE));
            for ((logits, noise), out) in lines {
                let (mut y, noise) = (kernel.load(logits, 0.0), kernel.load(noise, 0.0));
                for i in 0..LINE {
                    y[i] = (y[i] - largest) + noise[i];
                }
                kernel.store(&y, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    #[test]
    fn rows_of_every_length_equal_their_definition() {
        for n in [1, 2, 10, 16, 17, 40] {
            let (logits, noise) = (values(5 * n, 1), values(5 * n, 2));
            let (mut y, mut hot, mut classes) = (vec![0.0; 5 * n], vec![0.5; 5 * n], vec![0; 5]);
            perturb(n, &logits, &noise, &mut y).unwrap();
            argmax(n, &y, &mut classes).unwrap();
            one_hot_argmax(n, &y, &mut hot).unwrap();
            for (row, class) in classes.iter().enumerate() {
                let at = row * n..(row + 1) * n;
                let shift = logits[at.clone()].iter().copied().fold(f32::MIN, f32::max);
                let expected: Vec<f32> =
                    at.clone().map(|i| (logits[i] - shift) + noise[i]).collect();
                assert_eq!(y[at.clone()], expected);
                let class = *class as usize;
                assert!(expected.iter().all(|&v| v <= expected[class]));
                let expected: Vec<f32> = (0..n).map(|i| f32::from(u8::from(i == class))).collect();
                assert_eq!(hot[at], expected);
            }
        }
        let mut classes = [9];
        argmax(3, &[1.0, 2.0, 2.0], &mut classes).unwrap();
        assert_eq!(classes, [1]);
        argmax(0, &[], &mut []).unwrap();
    }
}
