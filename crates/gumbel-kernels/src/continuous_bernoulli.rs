//! The negative log-likelihood of continuous Bernoulli variables from their logits, with its gradient.
//!
//! Loaiza-Ganem and Cunningham 2019. A pixel `x` in [0, 1] has the density `e^(l x − A(l))`, with
//! `A(l) = ln((e^l − 1) / l)`; at `l = 0` it is uniform. The mean is `A'(l) = 1 / (1 − e^(−l)) − 1 / l`.
//!
//! Both are 0/0 at `l = 0`. With `a = |l|`, `A(l) = max(l, 0) + ln((1 − e^(−a)) / a)`, and for `a < 1` the
//! series of `A(l) − l/2 = ln(sinh(a/2) / (a/2))`, whose first term that is left out is 5e-11.

use crate::error::LengthError;
use crate::isa::Isa;
use crate::likelihood::{Law, Pixel, nll_on};
use crate::vmath::{exp_nonpositive, ln_normal};

/// In each row of `row_len` logits `l` with targets `x` in [0, 1]: `nll = Σ A(l) − l·x` in nats, and
/// `d_logits = scale · (A'(l) − x)`, the gradient of `scale · nll`.
///
/// A negative log-density: it can be below zero. Finite for every finite logit.
///
/// # Shapes
/// - logits, targets, d_logits: `(rows, row_len)`; nll: `(rows)`.
///
/// # Errors
/// [`LengthError`] when the lengths do not fit.
pub fn continuous_bernoulli_nll(
    row_len: usize,
    scale: f32,
    logits: &[f32],
    targets: &[f32],
    nll: &mut [f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    nll_on(Isa::best(), ContinuousBernoulli, row_len, scale, logits, targets, nll, d_logits)
}

#[derive(Clone, Copy)]
struct ContinuousBernoulli;

impl Law for ContinuousBernoulli {
    #[inline(always)]
    fn pixel(self, l: f32, x: f32) -> Pixel {
        let a = l.abs();
        let a2 = a * a;
        // ln(sinh(a/2) / (a/2)) and its derivative; the coefficients are B₂ₙ / (2n (2n)!).
        let even = a2
            * (1.0 / 24.0
                + a2 * (-1.0 / 2880.0
                    + a2 * (1.0 / 181_440.0
                        + a2 * (-1.0 / 9_676_800.0 + a2 * (1.0 / 479_001_600.0)))));
        let odd = l
            * (1.0 / 12.0
                + a2 * (-1.0 / 720.0
                    + a2 * (1.0 / 30_240.0
                        + a2 * (-1.0 / 1_209_600.0 + a2 * (1.0 / 47_900_160.0)))));
        let complement = 1.0 - exp_nonpositive(-a);
        // Away from zero, where the logarithm sees normal numbers only.
        let divisor = if a < 1.0 { 1.0 } else { a };
        let positive = if l < 0.0 { 0.0 } else { l };
        let log_above = ln_normal(complement.max(0.5)) - ln_normal(divisor);
        let mean_above = 1.0 / complement - 1.0 / divisor;
        let mean = if l < 0.0 { 1.0 - mean_above } else { mean_above };
        let near = a < 1.0;
        Pixel {
            // The first difference cancels at saturated logits: nothing may be added before.
            nll: if near { even + l * (0.5 - x) } else { (positive - l * x) + log_above },
            slope: if near { odd + (0.5 - x) } else { mean - x },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    /// `A(l)` and `A'(l)` in double precision, by the series near zero.
    fn exact(l: f64) -> (f64, f64) {
        let a = l.abs();
        if a < 1e-3 {
            (l / 2.0 + l * l / 24.0, 0.5 + l / 12.0)
        } else {
            let log_normalizer = l.max(0.0) + (-(-a).exp_m1() / a).ln();
            (log_normalizer, -1.0 / (-l).exp_m1() - 1.0 / l)
        }
    }

    #[test]
    fn value_and_gradient_agree_with_double_precision() {
        let rows: &[usize] = if cfg!(miri) { &[17] } else { &[1, 15, 16, 17, 784, 20_000] };
        for isa in Isa::available() {
            for &row_len in rows {
                for size in [1e-6, 1e-2, 1.0, 1.01, 8.0, 60.0] {
                    let logits: Vec<f32> = values(row_len, 1).iter().map(|l| l * size).collect();
                    let targets: Vec<f32> = values(row_len, 2).iter().map(|x| x.abs()).collect();
                    let (mut nll, mut d) = ([0.0], vec![0.0; row_len]);
                    let law = ContinuousBernoulli;
                    nll_on(isa, law, row_len, 0.25, &logits, &targets, &mut nll, &mut d).unwrap();
                    let (mut total, mut magnitude) = (0.0, 0.0);
                    for i in 0..row_len {
                        let (l, x) = (f64::from(logits[i]), f64::from(targets[i]));
                        let (log_normalizer, mean) = exact(l);
                        total += log_normalizer - l * x;
                        magnitude += 1.0 + l.abs();
                        let slope = 0.25 * (mean - x);
                        assert!((f64::from(d[i]) - slope).abs() < 1e-7, "{} at {l}", isa.name());
                    }
                    // A lane adds up to row_len / 16 terms, each of a few roundings of |l| + 1.
                    let bound = (row_len as f64 / 16.0 + 8.0) * 2f64.powi(-24) * magnitude;
                    assert!((f64::from(nll[0]) - total).abs() <= bound, "{}", isa.name());
                }
            }
        }
    }

    #[test]
    fn it_is_uniform_at_zero_and_finite_at_saturated_logits_and_a_nan_stays_visible() {
        let (mut nll, mut d) = ([0.0; 5], [0.0; 5]);
        let logits = [0.0, 1e38, -1e38, -200.0, f32::NAN];
        continuous_bernoulli_nll(1, 1.0, &logits, &[0.25, 1.0, 0.0, 0.0, 0.0], &mut nll, &mut d)
            .unwrap();
        assert_eq!((nll[0], d[0]), (0.0, 0.25));
        // −ln of the density e^l l / (e^l − 1) at its end.
        for (nll, l) in [(nll[1], 1e38_f32), (nll[2], 1e38), (nll[3], 200.0)] {
            assert!((nll + l.ln()).abs() < 1e-4, "{nll}");
        }
        assert!(d[1].abs() < 1e-6 && d[2].abs() < 1e-6);
        assert!(nll[4].is_nan() && d[4].is_nan());
    }
}
