//! The negative log-likelihood of pixels with 256 levels under a logistic law, with its gradient.
//!
//! Kingma et al. 2016 (appendix) and Salimans et al. 2017 (eq. 2): a level has the mass that a logistic variable has
//! within half a level of it; black and white take the tails. The variable's location is `½ + s·l` for the logit
//! `l`, and its scale `s` is fixed. So `P(X ≤ x) = sigmoid((x + h − ½) / s − l)` with `h` half a level, and the logit
//! moves the odds as a Bernoulli variable's does.

use crate::error::LengthError;
use crate::isa::Isa;
use crate::likelihood::{Law, Pixel, nll_on};
use crate::vmath::{sigmoid, softplus};

/// The scale `s` of the logistic law, for pixels in [0, 1]. Of 0.05, 0.12 and 0.2 the one with the best objective on MNIST.
pub const LOGISTIC_SCALE: f64 = 0.2;

/// Half the distance between two of the 256 levels.
pub const HALF_LEVEL: f64 = 0.5 / 255.0;

/// In each row of `row_len` logits with targets in [0, 1]: `nll = −Σ ln P(X = x)` in nats, and its gradient for the
/// logits times `scale`. A target between two levels counts as a level of its own, as wide as the others.
///
/// Finite for every finite logit, and never below zero.
///
/// # Shapes
/// - logits, targets, d_logits: `(rows, row_len)`; nll: `(rows)`.
///
/// # Errors
/// [`LengthError`] when the lengths do not fit.
pub fn discretised_logistic_nll(
    row_len: usize,
    scale: f32,
    logits: &[f32],
    targets: &[f32],
    nll: &mut [f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    let law = DiscretisedLogistic::new();
    nll_on(Isa::best(), law, row_len, scale, logits, targets, nll, d_logits)
}

#[derive(Clone, Copy)]
struct DiscretisedLogistic {
    /// `h / s`.
    half: f32,
    /// `−ln(1 − e^(−2h/s))`.
    log_width: f32,
}

impl DiscretisedLogistic {
    fn new() -> Self {
        let half = HALF_LEVEL / LOGISTIC_SCALE;
        Self { half: half as f32, log_width: -(-(-2.0 * half).exp_m1()).ln() as f32 }
    }
}

impl Law for DiscretisedLogistic {
    /// `sigmoid(b) − sigmoid(a) = sigmoid(b) sigmoid(−a) (1 − e^(a − b))`: products only, so nothing cancels.
    #[inline(always)]
    fn pixel(self, l: f32, x: f32) -> Pixel {
        const H: f32 = HALF_LEVEL as f32;
        let centre = (x - 0.5) * (1.0 / LOGISTIC_SCALE as f32) - l;
        let (below, above) = (centre - self.half, centre + self.half);
        // Black has no lower edge, white no upper one.
        let (has_lower, has_upper) = (x > H, x < 1.0 - H);
        let lower = if has_lower { softplus(below) } else { 0.0 };
        let upper = if has_upper { softplus(-above) } else { 0.0 };
        let width = if has_lower && has_upper { self.log_width } else { 0.0 };
        let d_lower = if has_lower { sigmoid(below) } else { 0.0 };
        let d_upper = if has_upper { sigmoid(-above) } else { 0.0 };
        Pixel { nll: lower + upper + width, slope: d_upper - d_lower }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    /// Value and derivative in double precision, from differences of the cumulative law.
    fn exact(l: f64, x: f64) -> (f64, f64) {
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        let edge = |h: f64| (x + h - 0.5) / LOGISTIC_SCALE - l;
        let (below, above) = (edge(-HALF_LEVEL), edge(HALF_LEVEL));
        let black = x <= HALF_LEVEL;
        let white = x >= 1.0 - HALF_LEVEL;
        let lower = if black { 0.0 } else { sigmoid(below) };
        let tail = if white { 0.0 } else { sigmoid(-above) };
        // From the side where nothing cancels.
        let mass = match (below > 0.0, black, white) {
            (true, true, _) => 1.0 - tail,
            (true, false, _) => sigmoid(-below) - tail,
            (false, _, true) => 1.0 - lower,
            (false, _, false) => sigmoid(above) - lower,
        };
        (-mass.ln(), tail - lower)
    }

    #[test]
    fn value_and_gradient_agree_with_double_precision() {
        let rows: &[usize] = if cfg!(miri) { &[17] } else { &[1, 15, 16, 17, 784, 5_000] };
        for isa in Isa::available() {
            for &row_len in rows {
                for size in [1e-3, 1.0, 9.0] {
                    let logits: Vec<f32> = values(row_len, 1).iter().map(|l| l * size).collect();
                    let level = |x: &f32| (x.abs() * 255.0).round() / 255.0;
                    let targets: Vec<f32> = values(row_len, 2).iter().map(level).collect();
                    let (mut nll, mut d) = ([0.0], vec![0.0; row_len]);
                    let law = DiscretisedLogistic::new();
                    nll_on(isa, law, row_len, 0.25, &logits, &targets, &mut nll, &mut d).unwrap();
                    let mut total = 0.0;
                    for i in 0..row_len {
                        let (value, slope) = exact(logits[i].into(), targets[i].into());
                        total += value;
                        // The edges are rounded at ten to twenty, the sigmoids at one.
                        assert!((f64::from(d[i]) - 0.25 * slope).abs() < 1e-6, "{}", isa.name());
                    }
                    // A lane adds up to row_len / 16 terms, each of a few roundings.
                    let bound = (row_len as f64 / 16.0 + 32.0) * 2f64.powi(-24) * total;
                    assert!((f64::from(nll[0]) - total).abs() <= bound, "{}", isa.name());
                }
            }
        }
    }

    #[test]
    fn the_256_levels_have_mass_one_and_saturated_logits_stay_finite() {
        let levels: Vec<f32> = (0..256).map(|k| k as f32 / 255.0).collect();
        for l in [-12.0, -1.0, 0.0, 0.3, 30.0] {
            let (mut nll, mut d) = (vec![0.0; 256], vec![0.0; 256]);
            discretised_logistic_nll(1, 1.0, &vec![l; 256], &levels, &mut nll, &mut d).unwrap();
            let mass: f64 = nll.iter().map(|v| f64::from(-v).exp()).sum();
            assert!((mass - 1.0).abs() < 1e-5, "{l}: {mass}");
        }
        let (mut nll, mut d) = ([0.0; 3], [0.0; 3]);
        let logits = [-1e38, 1e38, f32::NAN];
        discretised_logistic_nll(1, 1.0, &logits, &[0.0, 0.5, 0.0], &mut nll, &mut d).unwrap();
        assert_eq!((nll[0], d[0]), (0.0, 0.0));
        assert!(nll[1].is_finite() && d[1] == 1.0 && nll[2].is_nan());
    }
}
