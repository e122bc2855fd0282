//! REINFORCE with a running baseline.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::objective::{Loss, Objective, weigh};
use super::rule::{ONE, Request, Rule};
use super::running_mean::RunningMean;
use super::{Estimator, EstimatorState, Point, Proposal, Weight};
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
    let mut state = EstimatorState { baseline: *baseline, ..Default::default() };
    let objective = Estimator::Reinforce.objective(&mut state, logits, 1.0, g, f);
    *baseline = state.baseline;
    objective
}

/// A score function with a running baseline, for every structure.
#[derive(Clone, Copy)]
pub(super) struct Reinforce;

impl Rule for Reinforce {
    const NAME: &'static str = "reinforce";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = false;
    const IS_UNBIASED: bool = true;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let z = request.structure.sample(request.logits, request.g)?;
        let point = Point::new(z.clone(), Weight::Uniform(1.0));
        let (structure, logits) = (request.structure.clone(), request.logits.clone());
        // Fixed before the loss is seen: so it leaves the mean as it is.
        let baseline = request.state.baseline.mean();
        Ok(Proposal::new(vec![point], move |evaluations, state| {
            let losses = evaluations[0].loss.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            let n = losses.len() as f64;
            let mean = losses.iter().sum::<f64>() / n;
            let advantage = losses.iter().map(|loss| match baseline {
                Some(earlier) => loss - earlier,
                // The loss minus the mean of the others: (n f_i - Σ f) / (n - 1).
                None if n > 1.0 => (loss - mean) * n / (n - 1.0),
                None => *loss,
            });
            let advantage = Tensor::from_iter(advantage, z.device())?;
            state.baseline.0.update(mean);
            weigh(&(&z - structure.marginals(&logits, &ONE)?)?, &advantage)
        }))
    }
}
