//! The gamma function's logarithm and its derivative, for positive arguments.

use candle_core::{DType, Device, Tensor};

use super::with_gradient;
use crate::Result;

/// The Euler-Mascheroni constant γ: the mean of standard Gumbel noise.
pub(crate) const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

/// `lnΓ(x)` for `x > 0`, elementwise; f32 or f64. Gradient: `ψ(x)`. Computed on the host.
pub(crate) fn ln_gamma(x: &Tensor) -> Result<Tensor> {
    with_gradient("ln-gamma", on_host(x, ln_gamma_of)?, [x], |[x], _, grad| {
        Ok([Some((grad * digamma(x)?)?)])
    })
}

/// `ψ(x) = d lnΓ(x) / dx` for `x > 0`, elementwise. No gradient.
pub(crate) fn digamma(x: &Tensor) -> Result<Tensor> {
    on_host(x, digamma_of)
}

fn on_host(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    let host = x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let y = host.flatten_all()?.to_vec1::<f64>()?.into_iter().map(f).collect();
    let y = Tensor::from_vec(y, x.shape(), &Device::Cpu)?;
    Ok(y.to_dtype(x.dtype())?.to_device(x.device())?)
}

/// Where the asymptotic series below are exact to f64: their first left-out terms are under 1e-16.
const LARGE: f64 = 12.0;

/// Stirling's series (Abramowitz and Stegun 6.1.40) above [`LARGE`], and `Γ(x+1) = x Γ(x)` up to there.
fn ln_gamma_of(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < LARGE {
        product *= x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = 1.0 / 12.0
        - y * (1.0 / 360.0
            - y * (1.0 / 1260.0
                - y * (1.0 / 1680.0 - y * (1.0 / 1188.0 - y * (691.0 / 360_360.0 - y / 156.0)))));
    let half_ln_2_pi = 0.918_938_533_204_672_8;
    (x - 0.5) * x.ln() - x + half_ln_2_pi + series / x - product.ln()
}

/// Its derivative, term by term (Abramowitz and Stegun 6.3.18).
fn digamma_of(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < LARGE {
        sum += 1.0 / x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = y
        * (1.0 / 12.0
            - y * (1.0 / 120.0
                - y * (1.0 / 252.0
                    - y * (1.0 / 240.0 - y * (1.0 / 132.0 - y * (691.0 / 32_760.0 - y / 12.0))))));
    x.ln() - 0.5 / x - series - sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_and_factorials_are_met() {
        // Γ(1/2) = sqrt(π), ψ(1) = -γ, ψ(1/2) = -γ - 2 ln 2; n! and the harmonic numbers for the rest.
        assert!((ln_gamma_of(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-14);
        assert!((digamma_of(1.0) + EULER_GAMMA).abs() < 1e-14);
        assert!((digamma_of(0.5) + EULER_GAMMA + 2.0 * std::f64::consts::LN_2).abs() < 1e-14);
        let (mut ln_factorial, mut harmonic) = (0.0, 0.0);
        for n in 1..2000u32 {
            let x = f64::from(n);
            // The sums over n terms are rounded too.
            let near = |got: f64, sum: f64| (got - sum).abs() < 1e-14 * (2.0 + sum);
            assert!(near(ln_gamma_of(x), ln_factorial), "{n}");
            assert!(near(digamma_of(x) + EULER_GAMMA, harmonic), "{n}");
            ln_factorial += x.ln();
            harmonic += 1.0 / x;
        }
    }
}
