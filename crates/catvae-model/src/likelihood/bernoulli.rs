//! Bernoulli pixels.

use candle_core::Tensor;
use gumbel_kernels::bernoulli_nll;

use super::{NllKernel, PixelLaw};

/// `−ln p(x) = max(l, 0) − l·x + ln(1 + e^(−|l|))`, with mean `sigmoid(l)`.
pub(super) struct Bernoulli;

impl PixelLaw for Bernoulli {
    fn kernel(&self) -> NllKernel {
        bernoulli_nll
    }

    fn nll_of_pixels(&self, logits: &Tensor, images: &Tensor) -> candle_core::Result<Tensor> {
        // max(l, 0) = (l + |l|)/2: with candle's derivative of |l| at 0 (+1), the terms add up to
        // sigmoid(0) − x there too, which they would not with relu, whose derivative at 0 is 1.
        let magnitude = logits.abs()?;
        let positive_part = ((logits + &magnitude)? * 0.5)?;
        let log1p = (magnitude.neg()?.exp()? + 1.0)?.log()?;
        (positive_part - (logits * images)?)? + log1p
    }

    fn mean(&self, logits: &Tensor) -> candle_core::Result<Tensor> {
        // By tanh: candle's exp of −l overflows where the mean is 0.
        ((logits * 0.5)?.tanh()? + 1.0)? * 0.5
    }
}
