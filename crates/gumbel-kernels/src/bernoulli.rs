//! The negative log-likelihood of Bernoulli variables from their logits, with its gradient.

use crate::error::LengthError;
use crate::isa::Isa;
use crate::likelihood::{Law, Pixel, nll_on};
use crate::vmath::{exp_nonpositive, ln_one_plus};

/// In each row of `row_len` logits `l` with targets `x` in [0, 1]:
/// `nll = Σ max(l, 0) − l·x + ln(1 + e^(−|l|))` in nats, and
/// `d_logits = scale · (sigmoid(l) − x)`, the gradient of `scale · nll`.
///
/// Finite for every finite logit.
///
/// # Shapes
/// - logits, targets, d_logits: `(rows, row_len)`; nll: `(rows)`.
///
/// # Errors
/// [`LengthError`] when the lengths do not fit.
pub fn bernoulli_nll(
    row_len: usize,
    scale: f32,
    logits: &[f32],
    targets: &[f32],
    nll: &mut [f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    nll_on(Isa::best(), Bernoulli, row_len, scale, logits, targets, nll, d_logits)
}

#[derive(Clone, Copy)]
struct Bernoulli;

impl Law for Bernoulli {
    #[inline(always)]
    fn pixel(self, l: f32, x: f32) -> Pixel {
        let decay = exp_nonpositive(-l.abs());
        let positive = if l < 0.0 { 0.0 } else { l };
        let sigmoid = if l < 0.0 { decay } else { 1.0 } / (1.0 + decay);
        Pixel { nll: positive - l * x + ln_one_plus(decay), slope: sigmoid - x }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    fn exact(l: f64, x: f64) -> (f64, f64) {
        (l.max(0.0) - l * x + (-l.abs()).exp().ln_1p(), 1.0 / (1.0 + (-l).exp()) - x)
    }

    #[test]
    fn value_and_gradient_agree_with_double_precision() {
        let shapes: &[(usize, usize)] = if cfg!(miri) {
            &[(2, 17)]
        } else {
            &[(1, 1), (3, 15), (2, 16), (5, 17), (100, 784), (3, 20_000), (0, 7), (0, 0)]
        };
        for isa in Isa::available() {
            for &(rows, row_len) in shapes {
                let logits: Vec<f32> = values(rows * row_len, 1).iter().map(|l| l * 30.0).collect();
                let targets: Vec<f32> = values(rows * row_len, 2).iter().map(|x| x.abs()).collect();
                let (mut nll, mut d) = (vec![0.0; rows], vec![0.0; rows * row_len]);
                nll_on(isa, Bernoulli, row_len, 0.25, &logits, &targets, &mut nll, &mut d).unwrap();
                for (row, nll) in nll.iter().enumerate() {
                    let mut total = 0.0;
                    for i in row * row_len..(row + 1) * row_len {
                        let (value, gradient) = exact(logits[i].into(), targets[i].into());
                        total += value;
                        // Four roundings of numbers up to one, at a quarter of the size.
                        assert!((f64::from(d[i]) - 0.25 * gradient).abs() < 6e-8, "{}", isa.name());
                    }
                    // Each of 16 lanes adds up to row_len / 16 terms; terms err by 3 units of 2^-24.
                    let bound = (row_len as f64 / 16.0 + 8.0) * 2f64.powi(-24) * total;
                    assert!((f64::from(*nll) - total).abs() <= bound, "{}", isa.name());
                }
            }
        }
    }

    #[test]
    fn saturated_logits_stay_finite_and_a_nan_stays_visible() {
        let (mut nll, mut d) = ([0.0; 3], [0.0; 6]);
        let logits = [1e38, -1e38, 17.0, -200.0, f32::NAN, 0.0];
        let targets = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        bernoulli_nll(2, 1.0, &logits, &targets, &mut nll, &mut d).unwrap();
        assert_eq!(nll[0], 0.0);
        assert_eq!(nll[1], 200.0 + 4.139_937_7e-8);
        assert!(nll[2].is_nan());
        assert_eq!(d[..2], [0.0, 0.0]);
        assert_eq!(d[3], -1.0);
        assert!(d[4].is_nan());
    }

    #[test]
    fn lengths_are_checked() {
        let error = bernoulli_nll(3, 1.0, &[0.0; 7], &[0.0; 7], &mut [0.0; 2], &mut [0.0; 7]);
        assert_eq!(error, Err(LengthError { operand: "logits", expected: 6, actual: 7 }));
        let error = bernoulli_nll(0, 1.0, &[0.0; 1], &[0.0; 1], &mut [], &mut [0.0; 1]);
        assert_eq!(error, Err(LengthError { operand: "logits", expected: 0, actual: 1 }));
    }
}
