//! Score functions of samples without replacement.

mod beam;

use candle_core::{D, Device, Tensor};
use gumbel_kernels::{MAX_DRAWN, set_probs};

use super::objective::{Loss, Objective};
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
        let codes = Tensor::from_vec(drawn.codes, dims, device)?;
        let z = categories.restore(&one_hot(&codes, classes, logits.dtype())?)?;
        let weights = Tensor::from_vec(drawn.weights.clone(), (k, batch), device)?;
        let mut points = Vec::with_capacity(k);
        for sample in 0..k {
            let weight = Weight::PerRow(weights.get(sample)?.to_dtype(logits.dtype())?);
            points.push(Point::new(z.narrow(0, sample * batch, batch)?, weight));
        }
        let (weights, second) = (drawn.weights, drawn.second);
        Ok(Proposal::new(points, move |evaluations, _| {
            let mut losses = Vec::with_capacity(k * batch);
            for evaluation in evaluations {
                losses.extend(values(&evaluation.loss)?);
            }
            let mut factors = vec![0.0; k * batch];
            for s in 0..k {
                for row in 0..batch {
                    // With one sample there is nothing to compare it with.
                    let others = |t: usize| second[(row * k + s) * k + t] * losses[t * batch + row];
                    let baseline = if k == 1 { 0.0 } else { (0..k).map(others).sum() };
                    let at = s * batch + row;
                    factors[at] = weights[at] * (losses[at] - baseline);
                }
            }
            let total = (0..batch).map(|row| (0..k).map(|s| factors[s * batch + row]).sum::<f64>());
            let total = Tensor::from_iter(total, &Device::Cpu)?;
            let factors = Tensor::from_vec(factors, (k, batch), &Device::Cpu)?;
            let on_device = |x: &Tensor| x.to_dtype(z.dtype())?.to_device(z.device());
            // ∇p(s) = p(s) (z - μ). The factors sum to zero but for rounding, unless there is one sample.
            let sum = weighted_sum(&z, &on_device(&factors)?)?;
            let mean = super::objective::weigh(
                &categories.marginals(&logits, &ONE)?,
                &on_device(&total)?,
            )?;
            Ok((sum - mean)?)
        }))
    }
}

/// Codes without replacement.
struct Drawn {
    /// `(k, batch, latents)`.
    codes: Vec<u32>,
    /// `p(s) R(S, s)`, `(k, batch)`: they sum to one over the samples of a row.
    weights: Vec<f64>,
    /// `p(s') R(S∖s, s')`, `(batch, k, k)`.
    second: Vec<f64>,
}

fn draw(
    log_probs: &[f64],
    [batch, latents, classes]: [usize; 3],
    k: usize,
    g: &mut Generator,
) -> Result<Drawn> {
    // As many values for each row as its beams can need: rows do not depend on each other.
    let noise_len = latents * k * classes;
    let noise =
        values(&gumbel_noise((batch, noise_len), candle_core::DType::F64, &Device::Cpu, g)?)?;
    let mut drawn = Drawn {
        codes: vec![0; k * batch * latents],
        weights: vec![0.0; k * batch],
        second: vec![0.0; batch * k * k],
    };
    let rows = log_probs.chunks_exact(latents * classes).zip(noise.chunks_exact(noise_len));
    for (row, (log_probs, noise)) in rows.enumerate() {
        let set = beam::sample(log_probs, classes, k, noise);
        let n = set.log_probs.len();
        let probs = set_probs(&set.log_probs, set.log_outside)?;
        for s in 0..k {
            // Left over: the first code again, without weight.
            let code = &set.codes[if s < n { s } else { 0 }];
            drawn.codes[(s * batch + row) * latents..][..latents].copy_from_slice(code);
            if s < n {
                drawn.weights[s * batch + row] = (set.log_probs[s] + probs.first[s]).exp();
                for t in 0..n {
                    drawn.second[(row * k + s) * k + t] =
                        (set.log_probs[t] + probs.second[s * n + t]).exp();
                }
            }
        }
    }
    Ok(drawn)
}
