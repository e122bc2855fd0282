//! One value that names an estimator and its parameters.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::objective::{Loss, Objective, evaluate, latents};
use super::{
    Baseline, ControlVariate, categorical_straight_through, decoupled_straight_through, disarm,
    enumeration, fini, gapped_straight_through, gumbel_rao, rebar, reinforce, reinmax, reinmax_rao,
    rloo,
};
use crate::{Error, Generator, gumbel_softmax};

/// How a gradient gets through a categorical sample.
///
/// As text, on command lines and in configuration files, it is the name in kebab case, with parameters
/// that are not the default after a colon: `gumbel-rao`, `gumbel-rao:draws=100`.
///
/// # Example
/// ```
/// use candle_core::{D, Device, Tensor, Var};
/// use gumbel_core::estimators::{Estimator, EstimatorState};
/// use gumbel_core::{Generator, Result};
///
/// let estimator: Estimator = "rloo:samples=4".parse()?;
/// let mut state = EstimatorState::default();
/// let mut g = Generator::new(0);
/// let logits = Var::zeros((8, 2, 3), candle_core::DType::F32, &Device::Cpu)?;
/// let weights = Var::new(&[1f32, 2.0, 3.0], &Device::Cpu)?;
/// // The loss of a sample: what a decoder and a likelihood are in a VAE.
/// let mut loss = |z: &Tensor| -> Result<Tensor> {
///     Ok(z.broadcast_mul(&weights)?.sum(D::Minus1)?.sum(D::Minus1)?.sqr()?)
/// };
/// let objective = estimator.objective(&mut state, &logits, 1.0, &mut g, &mut loss)?;
/// let grads = objective.surrogate.mean_all()?.backward()?;
/// assert!(grads.get(&logits).is_some() && grads.get(&weights).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Estimator {
    /// [`gumbel_softmax`]: a relaxed sample.
    #[default]
    GumbelSoftmax,
    /// [`gumbel_softmax`] with `hard`: an exact sample, the relaxed one's gradient.
    StGumbelSoftmax,
    /// [`categorical_straight_through`].
    StraightThrough,
    /// [`decoupled_straight_through`]; the forward temperature is the one the objective is given.
    DecoupledStraightThrough {
        /// The temperature of the gradient; 1.3 by default.
        backward_tau: f64,
    },
    /// [`gapped_straight_through`].
    GappedStraightThrough {
        /// The least distance between the sampled class and the others; 1 by default.
        gap: f64,
    },
    /// [`gumbel_rao`].
    GumbelRao {
        /// How many noises are averaged over; 10 by default.
        draws: usize,
    },
    /// [`reinmax`].
    ReinMax,
    /// [`reinmax_rao`].
    ReinMaxRao {
        /// How many noises are averaged over; 10 by default.
        draws: usize,
    },
    /// [`fini`].
    Fini,
    /// [`reinforce`].
    Reinforce,
    /// [`rloo`].
    Rloo {
        /// How many samples are drawn; 4 by default.
        samples: usize,
    },
    /// [`disarm`], for two categories only.
    DisArm,
    /// [`rebar`].
    Rebar,
    /// [`enumeration`], for few codes only.
    Enumeration,
}

/// What the estimators learn while they are used. Serialise it with a checkpoint, for a run that continues exactly.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EstimatorState {
    /// Of [`reinforce`].
    pub baseline: Baseline,
    /// Of [`rebar`].
    pub control: ControlVariate,
}

impl Estimator {
    /// Every estimator, with its default parameters.
    pub const ALL: [Self; 14] = [
        Self::GumbelSoftmax,
        Self::StGumbelSoftmax,
        Self::StraightThrough,
        Self::DecoupledStraightThrough { backward_tau: 1.3 },
        Self::GappedStraightThrough { gap: 1.0 },
        Self::GumbelRao { draws: 10 },
        Self::ReinMax,
        Self::ReinMaxRao { draws: 10 },
        Self::Fini,
        Self::Reinforce,
        Self::Rloo { samples: 4 },
        Self::DisArm,
        Self::Rebar,
        Self::Enumeration,
    ];

    /// Whether its mean is the exact gradient for every loss.
    pub fn is_unbiased(self) -> bool {
        matches!(
            self,
            Self::Reinforce | Self::Rloo { .. } | Self::DisArm | Self::Rebar | Self::Enumeration
        )
    }

    /// Whether the temperature matters to it.
    pub fn has_temperature(self) -> bool {
        match self {
            Self::Fini | Self::Reinforce | Self::Rloo { .. } | Self::DisArm | Self::Enumeration => {
                false
            }
            Self::GumbelSoftmax
            | Self::StGumbelSoftmax
            | Self::StraightThrough
            | Self::DecoupledStraightThrough { .. }
            | Self::GappedStraightThrough { .. }
            | Self::GumbelRao { .. }
            | Self::ReinMax
            | Self::ReinMaxRao { .. }
            | Self::Rebar => true,
        }
    }

    /// Whether one sample is drawn and the gradient goes through it: straight-through and relaxed estimators, which
    /// never see the loss's value. These can be had as [`SampledRows`](super::SampledRows) too.
    pub fn is_pathwise(self) -> bool {
        match self {
            Self::GumbelSoftmax
            | Self::StGumbelSoftmax
            | Self::StraightThrough
            | Self::DecoupledStraightThrough { .. }
            | Self::GappedStraightThrough { .. }
            | Self::GumbelRao { .. }
            | Self::ReinMax
            | Self::ReinMaxRao { .. }
            | Self::Fini => true,
            Self::Reinforce
            | Self::Rloo { .. }
            | Self::DisArm
            | Self::Rebar
            | Self::Enumeration => false,
        }
    }

    /// Whether the loss only ever sees exact one-hot samples.
    pub fn samples_are_exact(self) -> bool {
        !matches!(self, Self::GumbelSoftmax | Self::Rebar)
    }

    /// The loss at a sample, with this estimator's gradient.
    ///
    /// For a VAE the loss is the decoder's term alone; a KL term that is computed from the logits has its exact
    /// gradient already and is added to the surrogate.
    ///
    /// # Shapes
    /// - logits: `(batch, n_latents, n_categories)`. The loss takes that and returns `(batch,)`.
    /// # Gradient
    /// See [`Objective`]; exactly zero for masked (`-inf`) classes.
    /// # Errors
    /// Those of the estimator's function; those of the loss.
    pub fn objective<E: From<Error>>(
        self,
        state: &mut EstimatorState,
        logits: &Tensor,
        tau: f64,
        g: &mut Generator,
        f: &mut Loss<'_, E>,
    ) -> std::result::Result<Objective, E> {
        latents(logits)?;
        let z = match self {
            Self::GumbelSoftmax => gumbel_softmax(logits, tau, false, 2, g),
            Self::StGumbelSoftmax => gumbel_softmax(logits, tau, true, 2, g),
            Self::StraightThrough => categorical_straight_through(logits, tau, 2, g),
            Self::DecoupledStraightThrough { backward_tau } => {
                decoupled_straight_through(logits, tau, backward_tau, 2, g)
            }
            Self::GappedStraightThrough { gap } => gapped_straight_through(logits, tau, gap, 2, g),
            Self::GumbelRao { draws } => gumbel_rao(logits, tau, draws, 2, g),
            Self::ReinMax => reinmax(logits, tau, 2, g),
            Self::ReinMaxRao { draws } => reinmax_rao(logits, tau, draws, 2, g),
            Self::Fini => fini(logits, 2, g),
            Self::Reinforce => return reinforce(logits, &mut state.baseline, g, f),
            Self::Rloo { samples } => return rloo(logits, samples, g, f),
            Self::DisArm => return disarm(logits, g, f),
            Self::Rebar => return rebar(logits, tau, &mut state.control, g, f),
            Self::Enumeration => return enumeration(logits, f),
        };
        Ok(Objective::pathwise(evaluate(f, &z?)?))
    }
}
