//! Pixels with 256 levels under a logistic law of fixed scale.

use candle_core::{DType, Tensor};
use gumbel_kernels::{HALF_LEVEL, LOGISTIC_SCALE, discretised_logistic_nll};

use super::{NllKernel, PixelLaw};

/// The mass of a logistic variable around a level, with location `½ + s·l` and scale `s`
/// ([`discretised_logistic_nll`]).
pub(super) struct DiscretisedLogistic;

impl PixelLaw for DiscretisedLogistic {
    fn kernel(&self) -> NllKernel {
        discretised_logistic_nll
    }

    fn nll_of_pixels(&self, logits: &Tensor, images: &Tensor) -> candle_core::Result<Tensor> {
        let half = HALF_LEVEL / LOGISTIC_SCALE;
        let centre = (((images - 0.5)? * (1.0 / LOGISTIC_SCALE))? - logits)?;
        let lower = softplus(&(&centre - half)?)?;
        let upper = softplus(&(&centre + half)?.neg()?)?;
        // Black has no lower edge, white no upper one.
        let has_lower = images.gt(HALF_LEVEL)?.to_dtype(logits.dtype())?;
        let has_upper = images.lt(1.0 - HALF_LEVEL)?.to_dtype(logits.dtype())?;
        let log_width = -(-(-2.0 * half).exp_m1()).ln();
        let width = ((&has_lower * &has_upper)? * log_width)?;
        ((lower * has_lower)? + (upper * has_upper)?)? + width
    }

    /// `1 − ∫ P(X ≤ x) dx`: the sum over 256 levels by the midpoint rule, right to 1e-5.
    fn mean(&self, logits: &Tensor) -> candle_core::Result<Tensor> {
        // Beyond 100 the mean is 0 or 1, and the difference of two large numbers would not be.
        let negative = logits.to_dtype(DType::F64)?.clamp(-100.0, 100.0)?.neg()?;
        let reach = 0.5 / LOGISTIC_SCALE;
        let below = softplus(&(&negative + reach)?)?;
        let above = softplus(&(&negative - reach)?)?;
        let mean = (((below - above)? * -LOGISTIC_SCALE)? + 1.0)?;
        mean.clamp(0.0, 1.0)?.to_dtype(logits.dtype())
    }
}

/// `ln(1 + e^x)`.
fn softplus(x: &Tensor) -> candle_core::Result<Tensor> {
    let magnitude = x.abs()?;
    ((x + &magnitude)? * 0.5)? + (magnitude.neg()?.exp()? + 1.0)?.log()?
}
