//! The straight-through estimator of the marginals: an exact sample forward, the gradient of the probabilities backward.

use candle_core::Tensor;
use candle_core::shape::Dim;

use super::rule::{Request, Rule};
use super::{Estimator, Proposal};
use crate::{Generator, Result, Temperature};

/// Draws an exact one-hot sample of `softmax(logits)` whose gradient is that of `softmax(logits / τ)`.
///
/// Backward there is no noise: `J = (diag y - y yᵀ) / τ` with `y = softmax(logits / τ)`, whatever
/// was drawn (Bengio et al. 2013, section 4; for categories Jang et al. 2017, section 3.1).
///
/// - Bias: exact for a loss that is linear in each sample at τ = 1; otherwise a first-order approximation
///   (Liu et al. 2023, theorem 3.1), with the largest bias of the family here.
/// - Variance: only from where the loss's gradient is taken.
/// - Cost: one evaluation of the loss; the cheapest of all.
/// - τ: 1.3 to 1.5 trained best in the table of Liu et al. 2023.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes; for a tensor of temperatures, that of `softmax(logits / τ)`.
/// # Errors
/// [`Error::InvalidTemperature`](crate::Error::InvalidTemperature),
/// [`Error::InvalidLogit`](crate::Error::InvalidLogit), [`Error::AllMasked`](crate::Error::AllMasked),
/// [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::categorical_straight_through;
///
/// let logits = Var::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu)?;
/// let z = categorical_straight_through(&logits, 1.3, 1, &mut Generator::new(0))?;
/// assert_eq!(z.sum_all()?.to_scalar::<f32>()?, 1.0);
/// assert!(z.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn categorical_straight_through<D: Dim>(
    logits: &Tensor,
    tau: impl Into<Temperature>,
    dim: D,
    g: &mut Generator,
) -> Result<Tensor> {
    Estimator::StraightThrough.sample(logits, tau, dim, g)
}

/// An exact sample with the gradient of the marginals, for every structure.
#[derive(Clone, Copy)]
pub(super) struct StraightThrough;

impl Rule for StraightThrough {
    const NAME: &'static str = "straight-through";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = true;
    const IS_UNBIASED: bool = false;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let z = request.structure.sample(request.logits, request.g)?;
        let (logits, scores) = (request.logits.clone(), request.logits.clone());
        let (structure, tau) = (request.structure.clone(), request.tau.clone());
        let pull = move |grad: &Tensor| structure.marginals_vjp(&logits, &tau, grad);
        Ok(Proposal::through(z, pull).with_scores(move || Ok(scores.clone())))
    }
}
