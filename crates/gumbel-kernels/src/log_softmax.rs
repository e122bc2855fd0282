//! Log-softmax over rows, and its gradient. Sums of long rows are kept in double precision.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::{LongSum, row_max};
use crate::rows::{check_rows, rows_per_chunk};
use crate::vmath::{exp_nonpositive, ln_normal};

/// `log_probs = logits - ln Σ e^logits` over rows of `n_classes`; a logit of `-inf` stays `-inf`.
///
/// # Shapes
/// - logits, log_probs: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn log_softmax(
    n_classes: usize,
    logits: &[f32],
    log_probs: &mut [f32],
) -> Result<(), LengthError> {
    log_softmax_on(Isa::best(), n_classes, logits, log_probs)
}

/// The gradient of [`log_softmax`]: `d_logits = d - p Σ d` with `p = e^log_probs`.
///
/// Zero where `log_probs` is `-inf`; what `d_log_probs` is there does not matter.
///
/// # Shapes
/// - log_probs (the result of the forward pass), d_log_probs, d_logits: `(rows, n_classes)`.
///
/// # Errors
/// [`LengthError`] when the lengths differ or are no multiple of `n_classes`.
pub fn log_softmax_vjp(
    n_classes: usize,
    log_probs: &[f32],
    d_log_probs: &[f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    vjp_on(Isa::best(), n_classes, log_probs, d_log_probs, d_logits)
}

fn log_softmax_on(
    isa: Isa,
    n_classes: usize,
    logits: &[f32],
    log_probs: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("logits", logits.len(), n_classes)?;
    check_len("log_probs", log_probs.len(), logits.len())?;
    if logits.is_empty() {
        return Ok(());
    }
    let len = n_classes * rows_per_chunk(n_classes);
    logits.par_chunks(len).zip(log_probs.par_chunks_mut(len)).for_each(|(logits, log_probs)| {
        isa.dispatch(LogSoftmax { n_classes, logits, log_probs });
    });
    Ok(())
}

fn vjp_on(
    isa: Isa,
    n_classes: usize,
    log_probs: &[f32],
    d_log_probs: &[f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("log_probs", log_probs.len(), n_classes)?;
    check_len("d_log_probs", d_log_probs.len(), log_probs.len())?;
    check_len("d_logits", d_logits.len(), log_probs.len())?;
    if log_probs.is_empty() {
        return Ok(());
    }
    let len = n_classes * rows_per_chunk(n_classes);
    log_probs
        .par_chunks(len)
        .zip(d_log_probs.par_chunks(len))
        .zip(d_logits.par_chunks_mut(len))
        .for_each(|((log_probs, d_log_probs), d_logits)| {
            isa.dispatch(Vjp { n_classes, log_probs, d_log_probs, d_logits });
        });
    Ok(())
}

struct LogSoftmax<'a> {
    n_classes: usize,
    logits: &'a [f32],
    log_probs: &'a mut [f32],
}

impl Task for LogSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let rows = self.logits.chunks_exact(self.n_classes);
        for (logits, out) in rows.zip(self.log_probs.chunks_exact_mut(self.n_classes)) {
            let largest = row_max(kernel, logits);
            let mut total = LongSum::default();
            for logits in logits.chunks(LINE) {
                let mut e = kernel.load(logits, f32::NEG_INFINITY);
                for e in &mut e {
                    *e = exp_nonpositive(*e - largest);
                }
                total.add(&e);
            }
            let ln_total = ln_normal(total.value());
            for (logits, out) in logits.chunks(LINE).zip(out.chunks_mut(LINE)) {
                let mut y = kernel.load(logits, f32::NEG_INFINITY);
                for y in &mut y {
                    // The logarithm is subtracted last: near the top of a row the result is small and must keep its bits.
                    *y = (*y - largest) - ln_total;
                }
                kernel.store(&y, out);
            }
        }
    }
}

struct Vjp<'a> {
    n_classes: usize,
    log_probs: &'a [f32],
    d_log_probs: &'a [f32],
    d_logits: &'a mut [f32],
}

impl Task for Vjp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let rows = self
            .log_probs
            .chunks_exact(self.n_classes)
            .zip(self.d_log_probs.chunks_exact(self.n_classes))
            .zip(self.d_logits.chunks_exact_mut(self.n_classes));
        for ((log_p, d), out) in rows {
            let mut total = LongSum::default();
            for (log_p, d) in log_p.chunks(LINE).zip(d.chunks(LINE)) {
                let log_p = kernel.load(log_p, f32::NEG_INFINITY);
                let mut d = kernel.load(d, 0.0);
                for i in 0..LINE {
                    d[i] = if log_p[i] == f32::NEG_INFINITY { 0.0 } else { d[i] };
                }
                total.add(&d);
            }
            let total = total.value();
            for ((log_p, d), out) in
                log_p.chunks(LINE).zip(d.chunks(LINE)).zip(out.chunks_mut(LINE))
            {
                let (log_p, mut d) = (kernel.load(log_p, f32::NEG_INFINITY), kernel.load(d, 0.0));
                for i in 0..LINE {
                    let d_logit = d[i] - exp_nonpositive(log_p[i]) * total;
                    d[i] = if log_p[i] == f32::NEG_INFINITY { 0.0 } else { d_logit };
                }
                kernel.store(&d, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    #[test]
    fn value_and_gradient_agree_with_double_precision() {
        let shapes: &[(usize, usize)] = if cfg!(miri) {
            &[(2, 10), (1, 17)]
        } else {
            &[(1, 1), (3, 2), (40, 10), (5, 16), (5, 33), (2, 50_257), (0, 3), (0, 0)]
        };
        for isa in Isa::available() {
            for &(rows, n) in shapes {
                for spread in [0.0, 3.0, 60.0] {
                    let logits: Vec<f32> = values(rows * n, 1).iter().map(|l| l * spread).collect();
                    let d = values(rows * n, 2);
                    let (mut log_p, mut out) = (vec![0.0; rows * n], vec![0.0; rows * n]);
                    log_softmax_on(isa, n, &logits, &mut log_p).unwrap();
                    vjp_on(isa, n, &log_p, &d, &mut out).unwrap();
                    for row in 0..rows {
                        let row = row * n..(row + 1) * n;
                        let wide =
                            |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
                        let (l, d) = (wide(&logits[row.clone()]), wide(&d[row.clone()]));
                        let largest = l.iter().copied().fold(f64::MIN, f64::max);
                        let ln_total = l.iter().map(|l| (l - largest).exp()).sum::<f64>().ln();
                        let d_total: f64 = d.iter().sum();
                        for (i, k) in row.enumerate() {
                            let exact = l[i] - largest - ln_total;
                            // The logit, the logarithm and their difference, each rounded once or twice.
                            let bound = 2f64.powi(-22) * (1.0 + exact.abs() + f64::from(spread));
                            assert!((f64::from(log_p[k]) - exact).abs() < bound, "{}", isa.name());
                            let exact = d[i] - f64::from(log_p[k]).exp() * d_total;
                            let bound = 2f64.powi(-22) * (1.0 + d[i].abs() + d_total.abs());
                            assert!((f64::from(out[k]) - exact).abs() < bound, "{}", isa.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn masked_classes_keep_their_value_and_get_no_gradient() {
        let m = f32::NEG_INFINITY;
        let (mut log_p, mut out) = ([0.0; 4], [1.0; 4]);
        log_softmax(4, &[m, 1.0, m, 1.0], &mut log_p).unwrap();
        assert_eq!((log_p[0], log_p[2]), (m, m));
        assert!((log_p[1] + std::f32::consts::LN_2).abs() < 1e-7);
        log_softmax_vjp(4, &log_p, &[f32::NAN, 1.0, f32::INFINITY, -1.0], &mut out).unwrap();
        assert_eq!(out, [0.0, 1.0, 0.0, -1.0]);
    }
}
