//! REINFORCE with a running baseline.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::hard_sample::{Draw, softmax};
use super::objective::{Loss, Objective, evaluate, latents, weigh};
use super::running_mean::RunningMean;
use crate::{Error, Generator, Result};

/// The running mean of the loss that [`reinforce`] subtracts: serialise it with a checkpoint.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(transparent)]
pub struct Baseline(RunningMean);

impl Baseline {
    /// The exponential mean of the batch means seen so far, reaching back about 100 of them.
    pub fn mean(&self) -> Option<f64> {
        self.0.get()
    }
}

/// The score-function estimator, `(f(z) - c) ∇ ln p(z)` with an exact sample `z`, where the baseline `c` is
/// the running mean of earlier losses (Williams 1992; `∇ ln p(z) = z - softmax(logits)`).
///
/// On the first call there is no earlier loss: `c` is then the mean of the batch's other losses.
///
/// - Bias: none, for any loss, differentiable or not.
/// - Variance: large, and growing with the number of latents: the whole loss is credited to every one of them.
/// - Cost: one evaluation of the loss.
/// - τ: there is none.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`. The loss takes that and returns `(batch,)`.
/// # Gradient
/// See [`Objective`]; exactly zero for masked (`-inf`) classes.
/// # Errors
/// [`Error::InvalidLogit`], [`Error::AllMasked`], [`Error::UnsupportedDType`], [`Error::ShapeMismatch`] for
/// logits or losses of another shape; those of the loss.
/// # Example
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use gumbel_core::estimators::{Baseline, reinforce};
/// use gumbel_core::{Generator, Result};
///
/// let logits = Var::new(&[[[0.5f32, -1.0, 2.0]]], &Device::Cpu)?;
/// // A loss without a gradient: 1 unless the first class is drawn.
/// let mut loss = |z: &Tensor| -> Result<Tensor> { Ok((1.0 - z.narrow(2, 0, 1)?.flatten_all()?)?) };
/// let mut baseline = Baseline::default();
/// let objective = reinforce(&logits, &mut baseline, &mut Generator::new(0), &mut loss)?;
/// assert!(objective.surrogate.mean_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn reinforce<E: From<Error>>(
    logits: &Tensor,
    baseline: &mut Baseline,
    g: &mut Generator,
    f: &mut Loss<'_, E>,
) -> std::result::Result<Objective, E> {
    latents(logits)?;
    let draw = Draw::new(logits, 2, g, "reinforce")?;
    let loss = evaluate(f, &draw.sample()?)?;
    Ok(score(draw, loss, baseline)?)
}

fn score(draw: Draw, loss: Tensor, baseline: &mut Baseline) -> Result<Objective> {
    let values = loss.detach().to_dtype(DType::F64)?;
    let batch = loss.elem_count() as f64;
    if batch == 0.0 {
        return Objective::scored(loss, &draw.rows, &draw.hard);
    }
    let mean = values.mean_all()?.to_scalar::<f64>()?;
    let advantage = match baseline.mean() {
        Some(earlier) => (values - earlier)?,
        // f_i minus the mean of the others: (n f_i - Σ f) / (n - 1).
        None if batch > 1.0 => ((values - mean)? * (batch / (batch - 1.0)))?,
        None => values,
    };
    baseline.0.update(mean);
    let score = (&draw.hard - softmax(&draw.rows.rows.detach(), 1.0)?)?;
    Objective::scored(loss, &draw.rows, &weigh(&score, &advantage)?)
}
