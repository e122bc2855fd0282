//! Subsets relaxed by one softmax after another.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{KSubset, items};
use crate::op::{widen, with_gradient};
use crate::structure::Structure;
use crate::structure::host::on_host;
use crate::{Error, Generator, Result, Temperature, gumbel_noise};

/// A relaxed subset of `k` items: the sum of `k` softmaxes of perturbed logits, each of which takes its share out of the next (Plötz and Roth
/// 2018; Xie and Ermon 2019): `s ← s + ln(1 - softmax(s / τ))`.
///
/// It is the published baseline. Its sum is `k`, but an entry may exceed 1, which the marginals that
/// [`KSubset::from_logits`]`.rsample` gives never do. As τ falls, it tends to the `k` largest of the perturbed logits.
///
/// # Shapes
/// - logits: `(batch…, n)`; output: the same.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) items.
/// # Errors
/// [`Error::InvalidTemperature`], [`Error::InvalidLogit`], [`Error::UnsupportedDType`]; [`Error::SubsetSize`] for a row that allows fewer
/// than `k` items.
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::{Generator, structure::successive_softmax};
///
/// let logits = Var::new(&[0f64, 1.0, 2.0], &Device::Cpu)?;
/// let y = successive_softmax(&logits, 2, 0.5, &mut Generator::new(0))?;
/// assert!((y.sum_all()?.to_scalar::<f64>()? - 2.0).abs() < 1e-12);
/// assert!(y.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn successive_softmax(
    logits: &Tensor,
    k: usize,
    tau: f64,
    g: &mut Generator,
) -> Result<Tensor> {
    let noise = gumbel_noise(logits.shape(), logits.dtype(), logits.device(), g)?;
    successive_softmax_with_noise(logits, &noise, k, tau)
}

/// [`successive_softmax`] with the given noise.
///
/// # Errors
/// Those of [`successive_softmax`]; [`Error::ShapeMismatch`] for noise of another shape.
pub fn successive_softmax_with_noise(
    logits: &Tensor,
    noise: &Tensor,
    k: usize,
    tau: f64,
) -> Result<Tensor> {
    Temperature::new(tau)?;
    if noise.dims() != logits.dims() {
        let (got, expected) = (noise.dims().to_vec(), logits.dims().to_vec());
        return Err(Error::ShapeMismatch { what: "noise", got, expected });
    }
    KSubset::new(k).check(logits)?;
    let (dtype, n) = (logits.dtype(), items(logits).max(1));
    let logits = widen(logits)?;
    let scores = (logits.detach() + noise.to_dtype(logits.dtype())?)?;
    let value = on_host([&scores], scores.shape(), |[scores], y| {
        y.par_chunks_mut(n).zip(scores.par_chunks(n)).for_each(|(y, scores)| {
            for step in steps(scores, k, tau) {
                y.iter_mut().zip(&step.share).for_each(|(y, share)| *y += share);
            }
        });
        Ok(())
    })?;
    let y = with_gradient("successive-softmax", value, [&logits], move |_, _, grad| {
        let d = on_host([&scores, grad], scores.shape(), |[scores, grad], d| {
            let rows = d.par_chunks_mut(n).zip(scores.par_chunks(n)).zip(grad.par_chunks(n));
            rows.for_each(|((d, scores), grad)| {
                for step in steps(scores, k, tau).iter().rev() {
                    step.back(tau, grad, d);
                }
            });
            Ok(())
        })?;
        Ok([Some(d)])
    })?;
    Ok(y.to_dtype(dtype)?)
}

/// One softmax: the shares `a`, and `1 - a` with all its digits.
struct Step {
    share: Vec<f64>,
    rest: Vec<f64>,
}

fn steps(scores: &[f64], k: usize, tau: f64) -> Vec<Step> {
    let mut scores = scores.to_vec();
    let mut steps = Vec::with_capacity(k);
    for _ in 0..k {
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if most == f64::NEG_INFINITY {
            break;
        }
        let weight: Vec<f64> = scores.iter().map(|x| ((x - most) / tau).exp()).collect();
        let total: f64 = weight.iter().sum();
        let share: Vec<f64> = weight.iter().map(|w| w / total).collect();
        // Only one item can have more than half. Its rest is the sum of the others.
        let rest = |i: usize| {
            if share[i] <= 0.5 {
                return 1.0 - share[i];
            }
            (0..share.len()).filter(|&j| j != i).map(|j| share[j]).sum()
        };
        let rest: Vec<f64> = (0..share.len()).map(rest).collect();
        scores.iter_mut().zip(&rest).for_each(|(x, rest)| *x += rest.ln());
        steps.push(Step { share, rest });
    }
    steps
}

impl Step {
    /// From the gradient of the scores after the step to that before it, with `grad` at the sum of shares.
    fn back(&self, tau: f64, grad: &[f64], d: &mut [f64]) {
        let n = d.len();
        let shares = || self.share.iter().enumerate().filter(|(_, share)| **share > 0.0);
        let mean: f64 = shares().map(|(i, a)| a * grad[i]).sum();
        // d ln(1 - a_i) / d s_j = a_i a_j / (1 - a_i) / τ, and -a_i / τ for j = i: quotients of at most one.
        let odds = |i: usize| if self.rest[i] > 0.0 { self.share[i] / self.rest[i] } else { 0.0 };
        let odds: Vec<f64> = (0..n).map(|i| odds(i) * d[i]).collect();
        let total: f64 = odds.iter().sum();
        for (j, a) in shares() {
            let through_rest = a * (total - odds[j]) - a * d[j];
            d[j] += (a * (grad[j] - mean) + through_rest) / tau;
        }
    }
}
