//! The gamma function's logarithm and its derivative, for positive arguments.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use crate::Result;
use crate::rows::Real;
use crate::rowwise::on_rows;

/// The Euler-Mascheroni constant γ: the mean of standard Gumbel noise.
pub(crate) const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

/// `lnΓ(x)` for `x > 0`, elementwise; f32 or f64. Gradient: `ψ(x)`. Computed on the host.
pub(crate) fn ln_gamma(x: &Tensor) -> Result<Tensor> {
    let host = x.to_device(&Device::Cpu)?.contiguous()?;
    Ok(host.apply_op1(LnGamma)?.to_device(x.device())?)
}

/// `ψ(x) = d lnΓ(x) / dx` for `x > 0`, elementwise. No gradient.
pub(crate) fn digamma(x: &Tensor) -> Result<Tensor> {
    let host = x.detach().to_device(&Device::Cpu)?.contiguous()?;
    Ok(host.apply_op1_no_bwd(&Digamma)?.to_device(x.device())?)
}

struct LnGamma;

impl CustomOp1 for LnGamma {
    fn name(&self) -> &'static str {
        "ln-gamma"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = on_rows!(self.name(), s, l, |x| x
            .iter()
            .map(|&x| Real::of(ln_gamma_of(x.wide())))
            .collect());
        Ok((out, l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some((grad * digamma(x)?)?))
    }
}

struct Digamma;

impl CustomOp1 for Digamma {
    fn name(&self) -> &'static str {
        "digamma"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = on_rows!(self.name(), s, l, |x| x
            .iter()
            .map(|&x| Real::of(digamma_of(x.wide())))
            .collect());
        Ok((out, l.shape().clone()))
    }
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
