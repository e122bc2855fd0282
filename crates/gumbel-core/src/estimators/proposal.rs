//! What an estimator asks of a loss, and how it answers with a gradient.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::EstimatorState;
use crate::op::with_gradient;
use crate::{Error, Result, Temperature};

/// Points at which an estimator wants the loss, and what it makes of the answers.
///
/// An estimator *proposes* codes, exact or relaxed. The model *evaluates* its loss there, and the loss's gradient where a point
/// wants it. The estimator *combines* them to the gradient of the logits. No graph is recorded on the way, so a training loop
/// with its own backward pass uses the same estimators as autograd does
/// ([`Estimator::objective`](super::Estimator::objective)).
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::{Estimator, EstimatorState, Evaluation};
///
/// let logits = Tensor::new(&[[[0.5f32, -1.0, 2.0]]], &Device::Cpu)?; // one latent of three categories
/// let mut state = EstimatorState::default();
/// let mut g = Generator::new(0);
/// let proposal = Estimator::ReinMax.propose(&logits, 1.0, &state, &mut g)?;
/// let mut evaluations = Vec::new();
/// for point in proposal.points() {
///     // The loss is Σ z², and its gradient 2 z.
///     let loss = point.z.sqr()?.sum((1, 2))?;
///     let gradient = if point.wants_gradient { Some((&point.z * 2.0)?) } else { None };
///     evaluations.push(Evaluation { loss, gradient });
/// }
/// let d_logits = proposal.combine(&evaluations, &mut state)?;
/// assert_eq!(d_logits.dims(), [1, 1, 3]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Proposal {
    points: Vec<Point>,
    /// All points one after the other, where they were made so.
    stacked: Option<Tensor>,
    combine: Combine,
}

/// A code at which the loss is wanted, for each row of the batch.
#[derive(Clone, Debug)]
pub struct Point {
    /// `(batch, event…)`, in the dtype of the logits, without a graph. It may be a view.
    pub z: Tensor,
    /// Whether the loss's gradient with respect to `z` is wanted too.
    pub wants_gradient: bool,
    /// How the loss here counts.
    pub weight: Weight,
}

/// How the loss at a point counts in the expected loss: in what is reported, and in the gradient of the model's own
/// parameters. The weights of all points sum to one.
#[derive(Clone, Debug)]
pub enum Weight {
    /// The same for every row.
    Uniform(f64),
    /// `(batch,)`.
    PerRow(Tensor),
}

/// What the model found at a point.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// `(batch,)`.
    pub loss: Tensor,
    /// `d loss[row] / d z[row]`, in the shape of `z`, where it was wanted.
    pub gradient: Option<Tensor>,
}

impl Evaluation {
    pub(super) fn gradient(&self) -> Result<&Tensor> {
        let missing = || Error::MissingGradient { shape: self.loss.dims().to_vec() };
        self.gradient.as_ref().ok_or_else(missing)
    }

    /// The evaluations of `n` points whose codes were [stacked](Proposal::stacked).
    ///
    /// # Shapes
    /// - loss: `(n · batch,)`; gradient: `(n · batch, event…)`.
    /// # Errors
    /// Those of candle, when the lengths are no multiple of `n`.
    pub fn split(loss: &Tensor, gradient: Option<&Tensor>, n: usize) -> Result<Vec<Self>> {
        let losses = loss.chunk(n, 0)?;
        let gradients = match gradient {
            Some(gradient) => gradient.chunk(n, 0)?.into_iter().map(Some).collect(),
            None => vec![None; n],
        };
        let pairs = losses.into_iter().zip(gradients);
        Ok(pairs.map(|(loss, gradient)| Self { loss, gradient }).collect())
    }
}

/// From the gradient at the one point to that of the logits: linear, row by row.
type Pull = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

/// Scores of which the sample is a function after they are divided by the temperature, in the shape of the logits.
type Scores = dyn Fn() -> Result<Tensor> + Send + Sync;

/// From the evaluations of all points to the gradient of the logits, and what is learnt on the way.
type Compare = dyn FnOnce(&[Evaluation], &mut EstimatorState) -> Result<Tensor> + Send;

enum Combine {
    /// For one point of weight one: the loss itself is not looked at.
    Through {
        pull: Arc<Pull>,
        scores: Option<Arc<Scores>>,
    },
    Evaluations(Box<Compare>),
}

impl std::fmt::Debug for Combine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Through { .. } => "Through",
            Self::Evaluations(_) => "Evaluations",
        })
    }
}

impl Point {
    /// A point where only the loss is wanted.
    pub(super) fn new(z: Tensor, weight: Weight) -> Self {
        Self { z, wants_gradient: false, weight }
    }
}

impl Proposal {
    /// One point, of which the gradient goes through to the logits.
    pub(super) fn through(
        z: Tensor,
        pull: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let point = Point { z, wants_gradient: true, weight: Weight::Uniform(1.0) };
        let combine = Combine::Through { pull: Arc::new(pull), scores: None };
        Self { points: vec![point], stacked: None, combine }
    }

    /// With a gradient for the temperature: the gradient that goes through is that of a function of `scores / τ`.
    pub(super) fn with_scores(
        mut self,
        of: impl Fn() -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        if let Combine::Through { scores, .. } = &mut self.combine {
            *scores = Some(Arc::new(of));
        }
        self
    }

    /// Points whose losses are compared.
    pub(super) fn new(
        points: Vec<Point>,
        combine: impl FnOnce(&[Evaluation], &mut EstimatorState) -> Result<Tensor> + Send + 'static,
    ) -> Self {
        Self { points, stacked: None, combine: Combine::Evaluations(Box::new(combine)) }
    }

    /// `n` points of equal weight, drawn one after the other: `(n · batch, event…)`.
    pub(super) fn of_stack(
        stacked: Tensor,
        n: usize,
        combine: impl FnOnce(&[Evaluation], &mut EstimatorState) -> Result<Tensor> + Send + 'static,
    ) -> Result<Self> {
        let batch = stacked.dim(0)? / n;
        let mut points = Vec::with_capacity(n);
        for k in 0..n {
            let z = stacked.narrow(0, k * batch, batch)?;
            points.push(Point::new(z, Weight::Uniform(1.0 / n as f64)));
        }
        Ok(Self { stacked: Some(stacked), ..Self::new(points, combine) })
    }

    /// The points to evaluate.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The codes of all points in one tensor, `(n · batch, event…)`, for a model that evaluates them in one pass.
    ///
    /// # Errors
    /// Those of candle.
    pub fn stacked(&self) -> Result<Tensor> {
        match (&self.stacked, self.points.as_slice()) {
            (Some(stacked), _) => Ok(stacked.clone()),
            (None, [point]) => Ok(point.z.clone()),
            (None, points) => {
                Ok(Tensor::cat(&points.iter().map(|p| p.z.clone()).collect::<Vec<_>>(), 0)?)
            }
        }
    }

    /// The gradient of the logits, in their shape, for the sum over rows of the expected loss: exactly zero for a masked class.
    /// The estimator learns from the losses on the way: `state` is what it keeps for the next proposal.
    ///
    /// # Shapes
    /// - evaluations: one for each point, in their order.
    /// # Errors
    /// [`Error::ShapeMismatch`] for an evaluation that is missing, or of another shape than its point;
    /// [`Error::MissingGradient`] for one that was wanted.
    pub fn combine(self, evaluations: &[Evaluation], state: &mut EstimatorState) -> Result<Tensor> {
        let mismatch = |what, got, expected| Err(Error::ShapeMismatch { what, got, expected });
        if evaluations.len() != self.points.len() {
            return mismatch("evaluations", vec![evaluations.len()], vec![self.points.len()]);
        }
        for (point, evaluation) in self.points.iter().zip(evaluations) {
            let batch = &point.z.dims()[..1];
            if evaluation.loss.dims() != batch {
                return mismatch("the loss", evaluation.loss.dims().to_vec(), batch.to_vec());
            }
            if point.wants_gradient {
                let (got, expected) = (evaluation.gradient()?.dims(), point.z.dims());
                if got != expected {
                    return mismatch("the loss's gradient", got.to_vec(), expected.to_vec());
                }
            }
        }
        match self.combine {
            Combine::Through { pull, .. } => pull(evaluations[0].gradient()?),
            Combine::Evaluations(combine) => combine(evaluations, state),
        }
    }

    /// The one point as a node of the graph, where the gradient goes through one.
    pub(super) fn node(
        &self,
        name: &'static str,
        logits: &Tensor,
        tau: &Temperature,
    ) -> Option<Result<Tensor>> {
        let Combine::Through { pull, scores } = &self.combine else { return None };
        let (z, pull) = (&self.points[0].z, pull.clone());
        Some(match (tau, scores.clone()) {
            (Temperature::Tensor(tau), Some(scores)) if tau.track_op() => {
                with_gradient(name, z, [logits, tau], move |[_, tau], _, grad| {
                    let d_logits = pull(grad)?;
                    let d_tau = temperature_gradient(tau, &scores()?, &d_logits)?;
                    Ok([Some(d_logits), Some(d_tau)])
                })
            }
            _ => with_gradient(name, z, [logits], move |_, _, grad| Ok([Some(pull(grad)?)])),
        })
    }

    /// For logits of f16 or bf16, whose estimates are computed in f32: points and gradients in their dtype.
    pub(super) fn in_dtype(self, dtype: DType) -> Result<Self> {
        let Some(wide) = self.points.first().map(|p| p.z.dtype()).filter(|wide| *wide != dtype)
        else {
            return Ok(self);
        };
        let mut points = self.points;
        for point in &mut points {
            point.z = point.z.to_dtype(dtype)?;
        }
        let combine = match self.combine {
            Combine::Through { pull, scores } => Combine::Through {
                pull: Arc::new(move |grad| Ok(pull(&grad.to_dtype(wide)?)?.to_dtype(dtype)?)),
                scores,
            },
            Combine::Evaluations(combine) => Combine::Evaluations(Box::new(move |all, state| {
                let mut widened = all.to_vec();
                for evaluation in &mut widened {
                    if let Some(gradient) = &mut evaluation.gradient {
                        *gradient = gradient.to_dtype(wide)?;
                    }
                }
                Ok(combine(&widened, state)?.to_dtype(dtype)?)
            })),
        };
        let stacked = self.stacked.map(|z| z.to_dtype(dtype)).transpose()?;
        Ok(Self { points, stacked, combine })
    }
}

/// `-⟨scores, d_scores⟩ / τ`, summed to the shape of the temperature. Scores of a masked class, `-inf`, have gradient
/// zero and count for nothing.
fn temperature_gradient(tau: &Tensor, scores: &Tensor, d_scores: &Tensor) -> Result<Tensor> {
    let d_scores = d_scores.to_dtype(scores.dtype())?;
    let products = (scores * &d_scores)?;
    let mut total = d_scores.ne(0.0)?.where_cond(&products, &d_scores)?;
    while total.rank() > tau.rank() {
        total = total.sum(0)?;
    }
    for (dim, &n) in tau.dims().iter().enumerate() {
        if n == 1 {
            total = total.sum_keepdim(dim)?;
        }
    }
    Ok((total.neg()?.to_dtype(tau.dtype())? / tau.detach())?)
}
