//! One value that names an estimator and its parameters, and the list of all of them.

use std::sync::Arc;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::objective::{self, Loss, Objective};
use super::rule::{Request, Rule};
use super::text::Form;
use super::{Baseline, ControlVariate, Proposal};
use crate::op::widen;
use crate::structure::{Categories, Structure, constant};
use crate::{Error, Generator, Result, Temperature};

/// Makes the enum from the rules in the files of this folder: a line for each, with its parameters.
macro_rules! registry {
    ($($file:ident::$rule:ident $({ $($parameter:ident: $type:ty),+ })?),+ $(,)?) => {
        $(use super::$file::$rule;)+

        /// How a gradient gets through a discrete sample.
        ///
        /// As text, on command lines and in configuration files, it is the name in kebab case, with parameters
        /// that are not the default after a colon: `gumbel-rao`, `gumbel-rao:draws=100`. A table,
        /// `{ name = "gumbel-rao", draws = 100 }`, is read too.
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
        #[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
        #[serde(try_from = "Form", into = "String")]
        #[non_exhaustive]
        pub enum Estimator {
            $(
                #[doc = concat!("`", stringify!($file), "` of the [table](crate::estimators).")]
                $rule $({
                    $(
                        #[doc = concat!("The `", stringify!($parameter), "` of its function.")]
                        $parameter: $type
                    ),+
                })?
            ),+
        }

        impl Estimator {
            /// Every estimator, with its default parameters.
            pub const ALL: [Self; [$(<$rule as Rule>::NAME),+].len()] =
                [$(Self::$rule $({ $($parameter: <$rule as Rule>::DEFAULT.$parameter),+ })?),+];

            fn facts(self) -> Facts {
                match self {
                    $(Self::$rule $({ $($parameter: _),+ })? => Facts::of::<$rule>()),+
                }
            }

            /// Refuses parameters that are out of their range, as [`Self::propose`] does.
            ///
            /// # Errors
            /// [`Error::InvalidParameter`], [`Error::InvalidTemperature`].
            pub fn check(self) -> Result<()> {
                match self {
                    $(Self::$rule $({ $($parameter),+ })? => {
                        $rule $({ $($parameter),+ })?.check()
                    })+
                }
            }

            fn answer(self, request: Request<'_>) -> Result<Proposal> {
                match self {
                    $(Self::$rule $({ $($parameter),+ })? => {
                        $rule $({ $($parameter),+ })?.propose(request)
                    })+
                }
            }

            /// Names and values of the parameters.
            pub(super) fn parameters(self) -> Vec<(&'static str, String)> {
                match self {
                    $(Self::$rule $({ $($parameter),+ })? => {
                        vec![$($((stringify!($parameter), $parameter.to_string())),+)?]
                    })+
                }
            }

            /// Sets a parameter from text; `None` where there is none of the name, and what it must be where the text is not it.
            pub(super) fn set(
                &mut self,
                name: &str,
                text: &str,
            ) -> Option<std::result::Result<(), &'static str>> {
                match self {
                    $(Self::$rule $({ $($parameter),+ })? => {
                        $($(if name == stringify!($parameter) {
                            return Some(match text.parse::<$type>() {
                                Ok(value) => {
                                    *$parameter = value;
                                    Ok(())
                                }
                                Err(_) if stringify!($type) == "usize" => Err("a whole number"),
                                Err(_) => Err("a number"),
                            });
                        })+)?
                    })+
                }
                None
            }
        }
    };
}

registry! {
    gumbel_softmax::GumbelSoftmax,
    st_gumbel_softmax::StGumbelSoftmax,
    straight_through::StraightThrough,
    decoupled_straight_through::DecoupledStraightThrough { backward_tau: f64 },
    gapped_straight_through::GappedStraightThrough { gap: f64 },
    gumbel_rao::GumbelRao { draws: usize },
    reinmax::ReinMax,
    reinmax_rao::ReinMaxRao { draws: usize },
    fini::Fini,
    reinforce::Reinforce,
    rloo::Rloo { samples: usize },
    unordered_set::UnorderedSet { samples: usize },
    disarm::DisArm,
    rebar::Rebar,
    implicit_mle::ImplicitMle { lambda: f64 },
    enumeration::Enumeration,
}

/// What is true of an estimator whatever its parameters are.
struct Facts {
    name: &'static str,
    has_temperature: bool,
    is_unbiased: bool,
    samples_are_exact: bool,
}

impl Facts {
    fn of<R: Rule>() -> Self {
        Self {
            name: R::NAME,
            has_temperature: R::HAS_TEMPERATURE,
            is_unbiased: R::IS_UNBIASED,
            samples_are_exact: R::SAMPLES_ARE_EXACT,
        }
    }
}

impl Default for Estimator {
    /// [`gumbel_softmax`](crate::gumbel_softmax).
    fn default() -> Self {
        Self::GumbelSoftmax
    }
}

/// What the estimators learn while they are used. Serialise it with a checkpoint, for a run that continues exactly.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EstimatorState {
    /// Of [`reinforce`](super::reinforce).
    pub baseline: Baseline,
    /// Of [`rebar`](super::rebar).
    pub control: ControlVariate,
}

impl Estimator {
    /// The name without parameters.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether its mean is the exact gradient for every loss.
    pub fn is_unbiased(self) -> bool {
        self.facts().is_unbiased
    }

    /// Whether the temperature matters to it.
    pub fn has_temperature(self) -> bool {
        self.facts().has_temperature
    }

    /// Whether the loss only ever sees exact one-hot samples.
    pub fn samples_are_exact(self) -> bool {
        self.facts().samples_are_exact
    }

    /// Points at which to evaluate a loss of categorical latents, and the gradient that is made of the answers.
    ///
    /// # Shapes
    /// - logits: `(batch, n_latents, n_categories)`. tau: a number, or a tensor that broadcasts to `(batch, n_latents, 1)`.
    /// # Gradient
    /// None is recorded: see [`Proposal::combine`].
    /// # Errors
    /// [`Error::InvalidLogit`], [`Error::AllMasked`], [`Error::UnsupportedDType`], [`Error::UnexpectedShape`],
    /// [`Error::InvalidTemperature`] for the estimators that have one, [`Error::InvalidParameter`].
    pub fn propose(
        self,
        logits: &Tensor,
        tau: impl Into<Temperature>,
        state: &EstimatorState,
        g: &mut Generator,
    ) -> Result<Proposal> {
        latents(logits)?;
        let structure: Arc<dyn Structure> = Arc::new(Categories::default());
        self.propose_on(&structure, logits, &tau.into(), state, g)
    }

    /// [`Self::propose`] for codes of any structure, with logits of the structure's shape.
    ///
    /// # Errors
    /// Those of [`Self::propose`]; [`Error::UnsupportedStructure`] for estimators that are made for categories.
    pub fn propose_on(
        self,
        structure: &Arc<dyn Structure>,
        logits: &Tensor,
        tau: &Temperature,
        state: &EstimatorState,
        g: &mut Generator,
    ) -> Result<Proposal> {
        self.check()?;
        let wide = widen(&logits.detach())?;
        let tau = match self.has_temperature() {
            true => constant(tau, &wide)?,
            false => Temperature::Fixed(1.0),
        };
        if wide.elem_count() == 0 {
            // There is nothing to draw and nothing to learn from.
            structure.check(&wide)?;
            return Proposal::through(wide, |grad| Ok(grad.clone())).in_dtype(logits.dtype());
        }
        let proposal = self.answer(Request { structure, logits: &wide, tau: &tau, state, g })?;
        proposal.in_dtype(logits.dtype())
    }

    /// The loss at a sample, with this estimator's gradient.
    ///
    /// For a VAE the loss is the decoder's term alone; a KL term that is computed from the logits has its exact
    /// gradient already and is added to the surrogate.
    ///
    /// # Shapes
    /// - logits: `(batch, n_latents, n_categories)`. The loss takes that and returns `(batch,)`.
    /// # Gradient
    /// See [`Objective`]; exactly zero for masked (`-inf`) classes. Which estimators have one for a tensor of temperatures
    /// is said with their functions.
    /// # Errors
    /// Those of [`Self::propose`]; those of the loss.
    pub fn objective<E: From<Error>>(
        self,
        state: &mut EstimatorState,
        logits: &Tensor,
        tau: impl Into<Temperature>,
        g: &mut Generator,
        f: &mut Loss<'_, E>,
    ) -> std::result::Result<Objective, E> {
        latents(logits)?;
        self.objective_on(
            &(Arc::new(Categories::default()) as _),
            state,
            (logits, tau.into()),
            g,
            f,
        )
    }

    /// [`Self::objective`] for codes of any structure, with logits of the structure's shape.
    ///
    /// # Errors
    /// Those of [`Self::propose_on`]; those of the loss.
    pub fn objective_on<E: From<Error>>(
        self,
        structure: &Arc<dyn Structure>,
        state: &mut EstimatorState,
        (logits, tau): (&Tensor, Temperature),
        g: &mut Generator,
        f: &mut Loss<'_, E>,
    ) -> std::result::Result<Objective, E> {
        let proposal = self.propose_on(structure, logits, &tau, state, g)?;
        objective::objective(self.name(), proposal, (logits, &tau), state, f)
    }

    /// A sample with classes along `dim`, and with this estimator's gradient: for those whose gradient goes through one.
    pub(super) fn sample<D: candle_core::shape::Dim>(
        self,
        logits: &Tensor,
        tau: impl Into<Temperature>,
        dim: D,
        g: &mut Generator,
    ) -> Result<Tensor> {
        let structure: Arc<dyn Structure> = Arc::new(Categories::along(dim, logits.shape())?);
        let (tau, state) = (tau.into(), EstimatorState::default());
        let proposal = self.propose_on(&structure, logits, &tau, &state, g)?;
        let many = || Error::NotPathwise { estimator: self.name() };
        proposal.node(self.name(), logits, &tau).ok_or_else(many)?
    }
}

/// Refuses logits that are not `(batch, n_latents, n_categories)`.
pub(super) fn latents(logits: &Tensor) -> Result<()> {
    match logits.rank() {
        3 => Ok(()),
        _ => Err(Error::UnexpectedShape {
            what: "logits",
            got: logits.dims().to_vec(),
            expected: "(batch, n_latents, n_categories); `unsqueeze(1)` makes one latent of each row",
        }),
    }
}
