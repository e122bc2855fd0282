//! REBAR: REINFORCE with the relaxed loss as its control variate.
//!
//! # The control variate
//! Let `x = ln p + G` be the perturbed logits, `i` their largest and `y = softmax(x / τ)`. Tucker et al. 2017
//! add to the score function `f(z) ∇ ln p(z)` a multiple `η` of
//! `c = -f(ỹ) ∇ ln p(z) + ∇ f(y) - ∇ f(ỹ)`, where `ỹ` is computed from noise that is independent given `z`.
//! Its mean is zero. The noise behind `ỹ` may be chosen so that `ỹ = y` in value (their coupling, which
//! lowers the variance); the two differ then only as functions of the logits. With `d_j = x_j - x_i`:
//!
//! - `y` moves with the logits as `x` does, `∂x_j / ∂ln p_j = 1`;
//! - given `z`, `d_j = -ln(1 + E_j / (E_i p_j))` for exponential noise `E`, so `∂d_j / ∂ln p_j = 1 - e^{d_j}`.
//!
//! Let `h` be the gradient of `f(y)` with respect to `x`, which sums to zero, and `q_j = h_j e^{d_j}`. Then
//! `∇ f(y) - ∇ f(ỹ) = q - p Σ q`, where the second term is the derivative of `ln p = logits - ln Σ e^logits`. So
//!
//! `c = -f(y) (z - p) + q - p Σ q`
//!
//! needs one relaxed evaluation of the loss with its gradient. A baseline may be subtracted from `f(z)` and from
//! `f(y)` alike, since `∇ ln p(z)` has mean zero: at the best `η` REBAR is then never worse than REINFORCE.

use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};

use super::objective::{Loss, Objective, weigh};
use super::rule::{ONE, Request, Rule};
use super::running_mean::RunningMean;
use super::{Estimator, EstimatorState, Point, Proposal, Weight};
use crate::op::one_hot_argmax;
use crate::structure::Structure;
use crate::structure::categories::{below_largest, softmax, softmax_vjp};
use crate::{Error, Generator, Result, Temperature};

/// What [`rebar`] learns: serialise it with a checkpoint.
///
/// A baseline, the running mean of the loss, and the scale `η` that minimises the variance of `a + η c`, where
/// `a` is the score-function estimate with that baseline: `-E[a·c] / E[c·c]`. The means run over the calls so
/// far, about the last 100, and never include the present one, so that the estimate stays unbiased.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ControlVariate {
    loss: RunningMean,
    score_times_control: RunningMean,
    control_squared: RunningMean,
}

impl ControlVariate {
    /// The scale `η` for the next call; 1 until it is known, after two calls.
    pub fn scale(&self) -> f64 {
        match (self.score_times_control.get(), self.control_squared.get()) {
            (Some(covariance), Some(variance)) if variance > 0.0 => -covariance / variance,
            _ => 1.0,
        }
    }

    fn update(&mut self, loss: &Tensor, score: &Tensor, control: &Tensor) -> Result<()> {
        let mean = |x: &Tensor| -> Result<f64> {
            Ok(x.detach().to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?)
        };
        // Without a baseline yet, the score is of another size than it will be.
        if self.loss.get().is_some() {
            self.score_times_control.update(mean(&(score * control)?)?);
            self.control_squared.update(mean(&control.sqr()?)?);
        }
        self.loss.update(mean(loss)?);
        Ok(())
    }
}

/// The score-function estimator with the relaxed loss as control variate (Tucker et al. 2017), its scale
/// learnt ([`ControlVariate`]) and its temperature given. The source of this file derives the formula.
///
/// - Bias: none. The loss must be defined, and differentiable, at relaxed samples too.
/// - Variance: as much below REINFORCE's as the relaxed loss follows the discrete one.
/// - Cost: two evaluations of the loss, one exact and one relaxed, and the backward pass of both.
/// - τ: 0.1 to 1, small where the loss is not smooth between the codes; the published method learns τ as well.
///
/// # Shapes
/// - logits: `(batch, n_latents, n_categories)`. The loss takes that and returns `(batch,)`.
/// # Gradient
/// See [`Objective`]; exactly zero for masked (`-inf`) classes. What else the loss depends on gets the gradient
/// at the exact sample only.
/// # Errors
/// [`Error::InvalidTemperature`]; those of [`reinforce`](super::reinforce).
pub fn rebar<E: From<Error>>(
    logits: &Tensor,
    tau: impl Into<Temperature>,
    control: &mut ControlVariate,
    g: &mut Generator,
    f: &mut Loss<'_, E>,
) -> std::result::Result<Objective, E> {
    let mut state = EstimatorState { control: *control, ..Default::default() };
    let objective = Estimator::Rebar.objective(&mut state, logits, tau, g, f);
    *control = state.control;
    objective
}

#[derive(Clone, Copy)]
pub(super) struct Rebar;

impl Rule for Rebar {
    const NAME: &'static str = "rebar";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = true;
    const IS_UNBIASED: bool = true;
    const SAMPLES_ARE_EXACT: bool = false;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let categories = request.categories(Self::NAME)?;
        let tau = categories.temperature(request.tau, request.logits)?;
        let perturbed = categories.rows(&categories.perturb(request.logits, request.g)?)?;
        let (hard, below) = (one_hot_argmax(&perturbed)?, below_largest(&perturbed)?);
        let relaxed = softmax(&below, &tau)?;
        let exact = Point::new(categories.restore(&hard)?, Weight::Uniform(1.0));
        let smooth = Point::new(categories.restore(&relaxed)?, Weight::Uniform(0.0));
        let points = vec![exact, Point { wants_gradient: true, ..smooth }];
        let (logits, control) = (request.logits.clone(), request.state.control);
        Ok(Proposal::new(points, move |evaluations, state| {
            let (exact, smooth) = (&evaluations[0], &evaluations[1]);
            let p = softmax(&categories.rows(&logits)?, &ONE)?;
            let baseline = control.loss.get().unwrap_or(0.0);
            let score = (hard - &p)?;
            let h = softmax_vjp(&relaxed, &tau, &categories.rows(smooth.gradient()?)?)?;
            let q = (h * below.exp()?)?;
            let pathwise = (&q - p.broadcast_mul(&q.sum_keepdim(D::Minus1)?)?)?;
            let c = (pathwise - weigh(&score, &(&smooth.loss - baseline)?)?)?;
            let a = weigh(&score, &(&exact.loss - baseline)?)?;
            let grad = (&a + (&c * control.scale())?)?;
            state.control.update(&exact.loss, &a, &c)?;
            categories.restore(&grad)
        }))
    }
}
