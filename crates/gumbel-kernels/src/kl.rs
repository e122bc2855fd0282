//! The entropy of categorical distributions and their divergence from the uniform one, with gradients.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::{BLOCK, LongSum, max, row_max, sum};
use crate::rows::{check_rows, rows_per_chunk};
use crate::vmath::{exp_nonpositive, ln_normal};

/// In each row, with `q = softmax(logits)`: `kl = Σ q ln q + ln K` in nats, and
/// `d_logits = scale · q ⊙ (ln q − Σ q ln q)`, the gradient of `scale · kl`.
///
/// Exact at saturated logits, where `q ln q` is 0.
///
/// # Shapes
/// - logits, d_logits: `(rows, n_classes)`; kl: `(rows)`.
///
/// # Errors
/// [`LengthError`] when the lengths do not fit.
pub fn kl_to_uniform(
    n_classes: usize,
    scale: f32,
    logits: &[f32],
    kl: &mut [f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    kl_to_uniform_on(Isa::best(), n_classes, scale, logits, kl, d_logits)
}

/// In each row, with `q = softmax(logits)`: `Σ q ln q` in nats, the entropy with its sign reversed, and its gradient
/// `d_logits = q ⊙ (ln q − Σ q ln q)`.
///
/// # Shapes
/// - logits, d_logits: `(rows, n_classes)`; neg_entropy: `(rows)`.
///
/// # Errors
/// [`LengthError`] when the lengths do not fit.
pub fn neg_entropy(
    n_classes: usize,
    logits: &[f32],
    neg_entropy: &mut [f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    let range = (0.0, f32::NEG_INFINITY);
    divergence_on(Isa::best(), n_classes, 1.0, range, logits, neg_entropy, d_logits)
}

fn kl_to_uniform_on(
    isa: Isa,
    n_classes: usize,
    scale: f32,
    logits: &[f32],
    kl: &mut [f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    // Rounding can take the smallest divergences a little below zero.
    let range = ((n_classes as f64).ln() as f32, 0.0);
    divergence_on(isa, n_classes, scale, range, logits, kl, d_logits)
}

/// `Σ q ln q + offset`, but at least `least`.
fn divergence_on(
    isa: Isa,
    n_classes: usize,
    scale: f32,
    (offset, least): (f32, f32),
    logits: &[f32],
    kl: &mut [f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("logits", logits.len(), n_classes)?;
    check_len("kl", kl.len(), logits.len().checked_div(n_classes).unwrap_or(0))?;
    check_len("d_logits", d_logits.len(), logits.len())?;
    if logits.is_empty() {
        return Ok(());
    }
    let rows = rows_per_chunk(n_classes);
    logits
        .par_chunks(rows * n_classes)
        .zip(kl.par_chunks_mut(rows))
        .zip(d_logits.par_chunks_mut(rows * n_classes))
        .for_each(|((logits, kl), d_logits)| {
            isa.dispatch(Divergence { n_classes, scale, offset, least, logits, kl, d_logits });
        });
    Ok(())
}

struct Divergence<'a> {
    n_classes: usize,
    scale: f32,
    offset: f32,
    least: f32,
    logits: &'a [f32],
    kl: &'a mut [f32],
    d_logits: &'a mut [f32],
}

impl Task for Divergence<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let n_classes = self.n_classes;
        let shifted = |neg_entropy: f32| {
            let value = neg_entropy + self.offset;
            if value < self.least { self.least } else { value }
        };
        if n_classes <= LINE {
            let blocks = self
                .logits
                .chunks(LINE * n_classes)
                .zip(self.kl.chunks_mut(LINE))
                .zip(self.d_logits.chunks_mut(LINE * n_classes));
            for ((logits, kl), d_logits) in blocks {
                let neg_entropy = short_rows(kernel, n_classes, self.scale, logits, d_logits);
                for (kl, neg_entropy) in kl.iter_mut().zip(neg_entropy) {
                    *kl = shifted(neg_entropy);
                }
            }
        } else {
            let rows = self
                .logits
                .chunks_exact(n_classes)
                .zip(self.kl)
                .zip(self.d_logits.chunks_exact_mut(n_classes));
            for ((logits, kl), d_logits) in rows {
                let neg_entropy = long_row(kernel, self.scale, logits, d_logits);
                *kl = shifted(neg_entropy);
            }
        }
    }
}

/// `Σ q ln q` and its gradient for up to 16 rows of up to 16 classes. What there is one of for each
/// row, the logarithm and the quotients, is computed for all rows at once.
#[inline(always)]
fn short_rows<K: Kernel>(
    kernel: K,
    n_classes: usize,
    scale: f32,
    logits: &[f32],
    d_logits: &mut [f32],
) -> [f32; LINE] {
    let (mut y, mut e) = ([[0.0; LINE]; LINE], [[0.0; LINE]; LINE]);
    // A total of one where there is no row, so that no lane divides by zero.
    let (mut total, mut weighted) = ([1.0; LINE], [0.0; LINE]);
    for (r, logits) in logits.chunks_exact(n_classes).enumerate() {
        let mut row = kernel.load(logits, f32::NEG_INFINITY);
        let largest = max(row);
        let mut products = [0.0; LINE];
        for i in 0..LINE {
            row[i] = bounded(row[i] - largest);
            e[r][i] = exp_nonpositive(row[i]);
            products[i] = e[r][i] * row[i];
        }
        y[r] = row;
        total[r] = sum(e[r]);
        weighted[r] = sum(products);
    }
    let (mut neg_entropy, mut factor, mut offset) = ([0.0; LINE], [0.0; LINE], [0.0; LINE]);
    for r in 0..LINE {
        let ln_total = ln_normal(total[r]);
        neg_entropy[r] = weighted[r] / total[r] - ln_total;
        factor[r] = scale / total[r];
        offset[r] = ln_total + neg_entropy[r];
    }
    for (r, d_logits) in d_logits.chunks_exact_mut(n_classes).enumerate() {
        let mut d = [0.0; LINE];
        for i in 0..LINE {
            d[i] = factor[r] * e[r][i] * (y[r][i] - offset[r]);
        }
        kernel.store(&d, d_logits);
    }
    neg_entropy
}

/// The same for one longer row; `d_logits` keeps the exponentials until the sums are known.
#[inline(always)]
fn long_row<K: Kernel>(kernel: K, scale: f32, logits: &[f32], d_logits: &mut [f32]) -> f32 {
    let largest = row_max(kernel, logits);
    let (mut total, mut weighted) = (LongSum::default(), LongSum::default());
    for (logits, out) in logits.chunks(BLOCK).zip(d_logits.chunks_mut(BLOCK)) {
        let (mut block_total, mut block_weighted) = ([0.0; LINE], [0.0; LINE]);
        for (logits, out) in logits.chunks(LINE).zip(out.chunks_mut(LINE)) {
            let mut e = kernel.load(logits, f32::NEG_INFINITY);
            for i in 0..LINE {
                let y = bounded(e[i] - largest);
                e[i] = exp_nonpositive(y);
                block_total[i] += e[i];
                block_weighted[i] += e[i] * y;
            }
            kernel.store(&e, out);
        }
        total.add(&block_total);
        weighted.add(&block_weighted);
    }
    let total = total.value();
    let ln_total = ln_normal(total);
    let neg_entropy = weighted.value() / total - ln_total;
    let (factor, offset) = (scale / total, ln_total + neg_entropy);
    for (logits, out) in logits.chunks(LINE).zip(d_logits.chunks_mut(LINE)) {
        let mut d = kernel.load(logits, f32::NEG_INFINITY);
        let e = kernel.load(out, 0.0);
        for i in 0..LINE {
            d[i] = factor * e[i] * (bounded(d[i] - largest) - offset);
        }
        kernel.store(&d, out);
    }
    neg_entropy
}

/// At least -200, where `exp` is zero already: keeps `0 · ∞` out of the sums. A NaN stays.
#[inline(always)]
fn bounded(y: f32) -> f32 {
    if y < -200.0 { -200.0 } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    /// The divergence and its gradient in double precision.
    fn exact(logits: &[f32]) -> (f64, Vec<f64>) {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let total: f64 = logits.iter().map(|&l| (f64::from(l) - largest).exp()).sum();
        let ln_q: Vec<f64> = logits.iter().map(|&l| f64::from(l) - largest - total.ln()).collect();
        let neg_entropy: f64 =
            ln_q.iter().map(|l| if *l < -700.0 { 0.0 } else { l.exp() * l }).sum();
        let gradient = ln_q
            .iter()
            .map(|l| if *l < -700.0 { 0.0 } else { l.exp() * (l - neg_entropy) })
            .collect();
        (neg_entropy + (logits.len() as f64).ln(), gradient)
    }

    #[test]
    fn value_and_gradient_agree_with_double_precision() {
        let shapes: &[(usize, usize)] = if cfg!(miri) {
            &[(2, 10), (1, 17)]
        } else {
            &[(1, 1), (3, 2), (300, 10), (5, 16), (5, 33), (4, 1000), (2, 32_000), (0, 3), (0, 0)]
        };
        for isa in Isa::available() {
            for &(rows, n_classes) in shapes {
                for spread in [0.01, 3.0, 100.0] {
                    let logits: Vec<f32> =
                        values(rows * n_classes, 1).iter().map(|l| l * spread).collect();
                    let (mut kl, mut d) = (vec![0.0; rows], vec![0.0; rows * n_classes]);
                    kl_to_uniform_on(isa, n_classes, 2.0, &logits, &mut kl, &mut d).unwrap();
                    for (row, kl) in kl.iter().enumerate() {
                        let range = row * n_classes..(row + 1) * n_classes;
                        let (value, gradient) = exact(&logits[range.clone()]);
                        // Logs up to ln K and logits up to `spread`, each rounded a few times.
                        let scale = (n_classes as f64).ln() + f64::from(spread) + 1.0;
                        let bound = 8.0 * 2f64.powi(-24) * scale;
                        assert!((f64::from(*kl) - value).abs() < bound, "{}", isa.name());
                        for (d, gradient) in d[range].iter().zip(gradient) {
                            assert!((f64::from(*d) - 2.0 * gradient).abs() < 2.0 * bound);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn saturated_and_masked_logits_are_exact() {
        let (mut kl, mut d) = ([0.0; 2], [0.0; 8]);
        let logits =
            [0.0, -1e30, f32::NEG_INFINITY, -500.0, 7.0, 7.0, f32::NEG_INFINITY, f32::NEG_INFINITY];
        kl_to_uniform(4, 1.0, &logits, &mut kl, &mut d).unwrap();
        assert!((kl[0] - 4f64.ln() as f32).abs() < 2e-7);
        assert!((kl[1] - 2f64.ln() as f32).abs() < 1e-6);
        assert_eq!(d, [0.0; 8]);
    }

    #[test]
    fn a_nan_stays_visible() {
        let (mut kl, mut d) = ([0.0], [0.0; 3]);
        kl_to_uniform(3, 1.0, &[0.0, f32::NAN, 1.0], &mut kl, &mut d).unwrap();
        assert!(kl[0].is_nan() && d.iter().all(|d| d.is_nan()));
    }
}
