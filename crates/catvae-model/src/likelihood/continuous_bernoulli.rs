//! Continuous Bernoulli pixels.

use candle_core::{DType, Tensor};
use gumbel_kernels::continuous_bernoulli_nll;

use super::{NllKernel, PixelLaw};

/// `−ln p(x) = A(l) − l·x` with `A(l) = ln((e^l − 1) / l)` and mean `A'(l)` (Loaiza-Ganem and Cunningham 2019).
///
/// At `l = 0` both formulas are 0/0. There the operations take the series of `A(l) − l/2`, which is even.
pub(super) struct ContinuousBernoulli;

impl PixelLaw for ContinuousBernoulli {
    fn kernel(&self) -> NllKernel {
        continuous_bernoulli_nll
    }

    fn nll_of_pixels(&self, logits: &Tensor, images: &Tensor) -> candle_core::Result<Tensor> {
        let small = logits.abs()?.lt(1.0)?;
        // Each branch sees only logits that it can take, so that its gradient is finite where the other is taken.
        let near = small.where_cond(logits, &logits.zeros_like()?)?;
        let far = small.where_cond(&logits.ones_like()?, logits)?;
        let square = near.sqr()?;
        let even = (square.clone() * polynomial(&square, &EVEN)?)?;
        let magnitude = far.abs()?;
        let positive_part = ((&far + &magnitude)? * 0.5)?;
        let complement = (1.0 - magnitude.neg()?.exp()?)?;
        let at_far =
            ((positive_part - (&far * images)?)? + (complement.log()? - magnitude.log()?)?)?;
        let at_near = (even + (&near * (0.5 - images)?)?)?;
        small.where_cond(&at_near, &at_far)
    }

    fn mean(&self, logits: &Tensor) -> candle_core::Result<Tensor> {
        let wide = logits.to_dtype(DType::F64)?;
        let small = wide.abs()?.lt(1.0)?;
        let near = small.where_cond(&wide, &wide.zeros_like()?)?;
        let far = small.where_cond(&wide.ones_like()?, &wide)?;
        let odd = ((&near * polynomial(&near.sqr()?, &ODD)?)? + 0.5)?;
        let magnitude = far.abs()?;
        let above = ((1.0 - magnitude.neg()?.exp()?)?.recip()? - magnitude.recip()?)?;
        let mean = far.gt(0.0)?.where_cond(&above, &(1.0 - &above)?)?;
        small.where_cond(&odd, &mean)?.to_dtype(logits.dtype())
    }
}

/// `A(l) − l/2 = ln(sinh(l/2) / (l/2))` over `l²`, in powers of `l²`: `B₂ₙ / (2n (2n)!)`.
const EVEN: [f64; 6] = [
    1.0 / 24.0,
    -1.0 / 2880.0,
    1.0 / 181_440.0,
    -1.0 / 9_676_800.0,
    1.0 / 479_001_600.0,
    -691.0 / 15_692_092_416_000.0,
];

/// `A'(l) − 1/2` over `l`, in powers of `l²`: `B₂ₙ / (2n)!`.
const ODD: [f64; 6] = [
    1.0 / 12.0,
    -1.0 / 720.0,
    1.0 / 30_240.0,
    -1.0 / 1_209_600.0,
    1.0 / 47_900_160.0,
    -691.0 / 1_307_674_368_000.0,
];

/// `Σ c_i x^i`.
fn polynomial(x: &Tensor, coefficients: &[f64]) -> candle_core::Result<Tensor> {
    let mut value = x.zeros_like()?;
    for &c in coefficients.iter().rev() {
        value = ((value * x)? + c)?;
    }
    Ok(value)
}
