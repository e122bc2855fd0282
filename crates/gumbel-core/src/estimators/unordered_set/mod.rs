//! Score functions of samples without replacement.

mod beam;

use candle_core::{D, DType, Device, Tensor};
use gumbel_kernels::{MAX_DRAWN, set_probs};

use super::objective::{Loss, Objective, weigh};
use super::rule::{ONE, Request, Rule};
use super::weighted_sum::weighted_sum;
use super::{Estimator, EstimatorState, Point, Proposal, Weight};
use crate::op::log_softmax;
use crate::structure::Structure;
use crate::structure::host::values;
use crate::{Error, Generator, Result, gumbel_noise, one_hot};

/// The gradient from `n_samples` *different* codes, drawn without replacement (Kool et al. 2020, eq. 17):
/// `Σ_S ∇p(s) R(S, s) (f(s) - Σ_S p(s') R(S∖s, s') f(s'))`, with the leave-one-out ratios `R` of the unordered set `S`.
///
/// - Bias: none, for any loss, differentiable or not.
/// - Variance: below [`rloo`](super::rloo)'s where few codes have most of the probability: no evaluation is spent twice. With as many samples as
///   codes it is zero (the [enumeration](super::enumeration)); with one sample it is REINFORCE without a baseline.
/// - Cost: `n_samples` evaluations of the loss, and `n 2ⁿ` terms for the ratios.
/// - τ: there is none.
///
/// Codes are drawn latent by latent (stochastic beam search, Kool et al. 2019). A row with fewer codes than samples sees each once; what is left over
/// has weight zero.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`. The loss takes that and returns `(batch,)`.
/// # Gradient
/// See [`Objective`]; exactly zero for masked (`-inf`) classes.
/// # Errors
/// [`Error::InvalidParameter`] unless `1 <= n_samples <= 12`; those of [`reinforce`](super::reinforce).
pub fn unordered_set<E: From<Error>>(
    logits: &Tensor,
    n_samples: usize,
    g: &mut Generator,
    f: &mut Loss<'_, E>,
) -> std::result::Result<Objective, E> {
    let estimator = Estimator::UnorderedSet { samples: n_samples };
    estimator.objective(&mut EstimatorState::default(), logits, 1.0, g, f)
}

/// Samples without replacement, for categories.
#[derive(Clone, Copy)]
pub(super) struct UnorderedSet {
    /// How many codes are drawn.
    pub(super) samples: usize,
}

impl Rule for UnorderedSet {
    const NAME: &'static str = "unordered-set";
    const DEFAULT: Self = Self { samples: 4 };
    const HAS_TEMPERATURE: bool = false;
    const IS_UNBIASED: bool = true;

    fn check(self) -> Result<()> {
        if !(1..=MAX_DRAWN).contains(&self.samples) {
            let (value, must) = (self.samples as f64, "at least 1 and at most 12");
            return Err(Error::InvalidParameter { name: "samples", value, must });
        }
        Ok(())
    }

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let categories = request.categories(Self::NAME)?;
        categories.check(request.logits)?;
        let (k, logits) = (self.samples, request.logits.clone());
        let rows = categories.rows(&logits)?;
        let (batch, classes) = (rows.dim(0)?, rows.dim(D::Minus1)?);
        let latents = rows.elem_count() / (batch * classes);
        let log_probs = values(&log_softmax(&rows)?)?;
        let drawn = draw(&log_probs, [batch, latents, classes], k, request.g)?;
        let device = logits.device();
        let mut dims = rows.dims().to_vec();
        dims.pop();
        dims[0] = k * batch;
        let codes = Tensor::from_slice(&drawn.codes, dims, device)?;
        let z = categories.restore(&one_hot(&codes, classes, logits.dtype())?)?;
        let weights = Tensor::from_slice(&drawn.weights, (k, batch), device)?;
        let mut points = Vec::with_capacity(k);
        for sample in 0..k {
            let weight = Weight::PerRow(weights.get(sample)?.to_dtype(logits.dtype())?);
            points.push(Point::new(z.narrow(0, sample * batch, batch)?, weight));
        }
        Ok(Proposal::new(points, move |evaluations, _| {
            let mut losses = Vec::with_capacity(k * batch);
            for evaluation in evaluations {
                losses.extend(values(&evaluation.loss)?);
            }
            let factors = drawn.factors(&losses);
            let total = (0..batch).map(|row| (0..k).map(|s| factors[s * batch + row]).sum::<f64>());
            let total = Tensor::from_iter(total, &Device::Cpu)?;
            let factors = Tensor::from_vec(factors, (k, batch), &Device::Cpu)?;
            let on_device = |x: &Tensor| x.to_dtype(z.dtype())?.to_device(z.device());
            // ∇p(s) = p(s) (z - μ). The factors sum to zero but for rounding, unless there is one sample.
            let sum = weighted_sum(&z, &on_device(&factors)?)?;
            let mean = weigh(&categories.marginals(&logits, &ONE)?, &on_device(&total)?)?;
            Ok((sum - mean)?)
        }))
    }
}

/// Codes of all rows, drawn without replacement, with what their losses are weighed by.
struct Drawn {
    k: usize,
    batch: usize,
    /// `(k, batch, latents)`.
    codes: Vec<u32>,
    /// `p(s) R(S, s)`, `(k, batch)`: they sum to one over the samples of a row.
    weights: Vec<f64>,
    /// `p(s') R(S∖s, s')`, `(batch, k, k)`.
    second: Vec<f64>,
}

impl Drawn {
    fn new(k: usize, batch: usize, latents: usize) -> Self {
        let (codes, weights) = (vec![0; k * batch * latents], vec![0.0; k * batch]);
        Self { k, batch, codes, weights, second: vec![0.0; batch * k * k] }
    }

    /// Up to `k` codes of a row. What is left over is the first code again, without weight.
    fn put(&mut self, row: usize, set: &beam::Codes) -> Result<()> {
        let (k, batch, n) = (self.k, self.batch, set.log_probs.len());
        let latents = self.codes.len() / (k * batch);
        let probs = set_probs(&set.log_probs, set.log_outside)?;
        for s in 0..k {
            let at = s * batch + row;
            let code = &set.codes[if s < n { s } else { 0 }];
            self.codes[at * latents..][..latents].copy_from_slice(code);
            if s < n {
                self.weights[at] = (set.log_probs[s] + probs.first[s]).exp();
                for t in 0..n {
                    self.second[(row * k + s) * k + t] =
                        (set.log_probs[t] + probs.second[s * n + t]).exp();
                }
            }
        }
        Ok(())
    }

    /// What `z - μ` of every sample is multiplied by, `(k, batch)`, from the losses, `(k, batch)`.
    fn factors(&self, losses: &[f64]) -> Vec<f64> {
        let (k, batch) = (self.k, self.batch);
        let factor = |at: usize| {
            let (s, row) = (at / batch, at % batch);
            let others = |t: usize| self.second[(row * k + s) * k + t] * losses[t * batch + row];
            // With one sample there is nothing to compare it with.
            let baseline = if k == 1 { 0.0 } else { (0..k).map(others).sum() };
            self.weights[at] * (losses[at] - baseline)
        };
        (0..k * batch).map(factor).collect()
    }
}

fn draw(
    log_probs: &[f64],
    [batch, latents, classes]: [usize; 3],
    k: usize,
    g: &mut Generator,
) -> Result<Drawn> {
    // As many values for each row as its beams can need: rows do not depend on each other.
    let noise_len = latents * k * classes;
    let noise = values(&gumbel_noise((batch, noise_len), DType::F64, &Device::Cpu, g)?)?;
    let mut drawn = Drawn::new(k, batch, latents);
    let rows = log_probs.chunks_exact(latents * classes).zip(noise.chunks_exact(noise_len));
    for (row, (log_probs, noise)) in rows.enumerate() {
        drawn.put(row, &beam::sample(log_probs, classes, k, noise))?;
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests;
