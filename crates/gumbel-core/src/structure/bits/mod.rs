//! Independent bits.

use candle_core::Tensor;

use super::{Structure, count_codes, divide};
use crate::checks::check_values;
use crate::op::{sigmoid, softplus};
use crate::{Error, Generator, Result, Temperature, logistic_noise};

/// Independent Bernoulli variables, with their log-odds as logits. A code is any tensor of zeros and ones.
///
/// The marginals are `sigmoid(logits)`, and a relaxed code is a Gumbel-sigmoid sample: its noise is logistic, the
/// difference of two Gumbel values. A temperature may differ between bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits;

impl Structure for Bits {
    fn name(&self) -> &'static str {
        "bits"
    }

    fn support(&self) -> &'static str {
        "all vectors of zeros and ones"
    }

    fn misfit(&self, _: usize, _: &[usize], _: &[f64]) -> Option<usize> {
        None
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        check_values(
            logits,
            "logits",
            |logit| logit < f64::INFINITY,
            |value, index| Error::InvalidLogit { value, index },
        )
    }

    fn sample(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.perturb_and_solve(logits, g)
    }

    fn solve(&self, scores: &Tensor) -> Result<Tensor> {
        Ok(scores.gt(0.0)?.to_dtype(scores.dtype())?)
    }

    fn log_partition(&self, scores: &Tensor) -> Result<Tensor> {
        let batch = scores.dim(0)?;
        let n_bits = scores.elem_count() / batch.max(1);
        Ok(softplus(scores)?.reshape((batch, n_bits))?.sum(1)?)
    }

    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor> {
        sigmoid(&divide(&scores.detach(), tau)?)
    }

    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
        let x = divide(&scores.detach(), tau)?;
        let slope = (sigmoid(&x)? * sigmoid(&x.neg()?)?)?;
        // A bit that is certain has gradient zero, whatever is asked there.
        let slope = slope.gt(0.0)?.where_cond(&(&slope * grad)?, &slope.zeros_like()?)?;
        divide(&slope, tau)
    }

    fn codes(&self, logits: &Tensor) -> Result<Tensor> {
        let mut dims = logits.dims().to_vec();
        let n_bits: usize = dims.iter().skip(1).product();
        let n_codes = count_codes(2, n_bits)?;
        let bit = |code: usize, bit: usize| (code >> (n_bits - 1 - bit) & 1) as u8;
        let bits: Vec<u8> =
            (0..n_codes).flat_map(|code| (0..n_bits).map(move |at| bit(code, at))).collect();
        dims[0] = n_codes;
        Ok(Tensor::from_vec(bits, dims, logits.device())?.to_dtype(logits.dtype())?)
    }

    /// A bit and its opposite are two categories, so that `θ + noise` is `±ln(1 + e^noise / p)` with the probability `p`
    /// of the opposite (see [`super::Categories`]).
    fn condition(&self, logits: &Tensor, z: &Tensor, g: &mut Generator) -> Result<Tensor> {
        let noise = logistic_noise(logits.shape(), logits.dtype(), logits.device(), g)?;
        let sign = z.affine(2.0, -1.0)?;
        let distance = softplus(&(noise + softplus(&(logits.detach() * &sign)?)?)?)?;
        Ok((distance * sign)?)
    }

    fn perturb(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.check(logits)?;
        let noise = logistic_noise(logits.shape(), logits.dtype(), logits.device(), g)?;
        Ok((logits.detach() + noise)?)
    }
}
