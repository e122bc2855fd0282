//! SoftSort: rows of relaxed permutations.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::sum;
use crate::rows::rows_per_chunk;
use crate::vmath::exp_nonpositive;

/// How [`soft_sort`] relaxes.
#[derive(Clone, Copy, Debug)]
pub struct SoftSort {
    /// Items in a row.
    pub n: usize,
    /// Places in a row.
    pub k: usize,
    /// Whether distances are squared.
    pub squared: bool,
    /// Above zero.
    pub temperature: f32,
}

/// `softmax(-|s_i - s| / temperature)` for the score `s_i` of each place, or of squares (Prillo and Eisenschlos 2020). The largest argument is
/// that of the item itself, 0, and needs no search.
///
/// # Shapes
/// - scores: `(rows, n)`, `-inf` for items of probability zero. order: `(rows, k)`, indices of scores above `-inf`. probs: `(rows, k, n)`.
/// # Errors
/// [`LengthError`].
pub fn soft_sort(
    shape: SoftSort,
    scores: &[f32],
    order: &[u32],
    probs: &mut [f32],
) -> Result<(), LengthError> {
    let SoftSort { n, k, .. } = shape;
    let rows = scores.len().checked_div(n).unwrap_or(0);
    check_len("scores", scores.len(), rows * n)?;
    check_len("order", order.len(), rows * k)?;
    check_len("probs", probs.len(), rows * k * n)?;
    if probs.is_empty() {
        return Ok(());
    }
    let (isa, chunk) = (Isa::best(), rows_per_chunk(k * n));
    let work = scores.par_chunks(chunk * n).zip(order.par_chunks(chunk * k));
    work.zip(probs.par_chunks_mut(chunk * k * n)).for_each(|((scores, order), probs)| {
        isa.dispatch(Rows { shape, scores, order, probs });
    });
    Ok(())
}

struct Rows<'a> {
    shape: SoftSort,
    scores: &'a [f32],
    order: &'a [u32],
    probs: &'a mut [f32],
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let SoftSort { n, k, squared, temperature } = self.shape;
        let scale = -1.0 / temperature;
        let mut row = vec![[0.0; LINE]; n.div_ceil(LINE)];
        let mut weights = row.clone();
        let rows = self.scores.chunks_exact(n).zip(self.order.chunks_exact(k));
        for ((scores, order), probs) in rows.zip(self.probs.chunks_exact_mut(k * n)) {
            for (line, scores) in row.iter_mut().zip(scores.chunks(LINE)) {
                *line = kernel.load(scores, f32::NEG_INFINITY);
            }
            for (&at, probs) in order.iter().zip(probs.chunks_exact_mut(n)) {
                let at = scores[at as usize];
                let mut total = [0.0; LINE];
                for (weights, scores) in weights.iter_mut().zip(&row) {
                    for i in 0..LINE {
                        let distance = (at - scores[i]).abs();
                        let distance = if squared { distance * distance } else { distance };
                        weights[i] = exp_nonpositive(distance * scale);
                        total[i] += weights[i];
                    }
                }
                let factor = 1.0 / sum(total);
                for (probs, weights) in probs.chunks_mut(LINE).zip(&weights) {
                    kernel.store(&weights.map(|weight| weight * factor), probs);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::top_k;
    use crate::test_support::values;

    #[test]
    fn every_instruction_set_gives_the_rows_of_the_definition() {
        for isa in Isa::available() {
            isa.force(|| {
                for (n, k, squared) in
                    [(1, 1, false), (15, 4, true), (16, 16, false), (100, 40, true)]
                {
                    let mut scores: Vec<f32> = values(3 * n, 7).iter().map(|x| 9.0 * x).collect();
                    if n > k {
                        scores[2] = f32::NEG_INFINITY;
                    }
                    let mut order = vec![0; 3 * k];
                    top_k(n, k, &scores, &mut order).unwrap();
                    let mut probs = vec![f32::NAN; 3 * k * n];
                    let shape = SoftSort { n, k, squared, temperature: 0.7 };
                    soft_sort(shape, &scores, &order, &mut probs).unwrap();
                    for (place, probs) in probs.chunks(n).enumerate() {
                        let scores = &scores[place / k * n..][..n];
                        let at = f64::from(scores[order[place] as usize]);
                        let weight = |&s: &f32| {
                            let distance = (at - f64::from(s)).abs();
                            (distance.powi(1 + i32::from(squared)) / -0.7).exp()
                        };
                        let total: f64 = scores.iter().map(weight).sum();
                        for (p, s) in probs.iter().zip(scores) {
                            let exact = weight(s) / total;
                            let off = (f64::from(*p) - exact).abs();
                            // Below 1e-37 a probability is zero.
                            assert!(off <= 3e-5 * exact + 1e-37, "{n} {k}: {p} {exact}");
                            assert!(*s > f32::NEG_INFINITY || *p == 0.0);
                        }
                        assert!((probs.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                    }
                }
            });
        }
        let shape = SoftSort { n: 2, k: 1, squared: false, temperature: 1.0 };
        soft_sort(shape, &[], &[], &mut []).unwrap();
        assert!(soft_sort(shape, &[0.0; 2], &[0; 2], &mut [0.0; 2]).is_err());
    }
}
