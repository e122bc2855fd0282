//! Decoupled straight-through: one temperature for sampling, another for the gradient.

use candle_core::Tensor;
use candle_core::shape::Dim;

use super::rule::{Request, Rule};
use super::{Estimator, Proposal};
use crate::structure::Structure;
use crate::{Generator, Result, Temperature};

/// Draws an exact one-hot sample of `softmax(logits / τ_f)` whose gradient is that of
/// `softmax(logits / τ_b)` (Shah et al., arXiv 2410.13331, second version, 2026: "Decoupled ST").
///
/// `forward_tau` sets how much is explored, `backward_tau` how the gradient is spread over the classes: two
/// questions to which [`categorical_straight_through`](super::categorical_straight_through) and straight-through
/// Gumbel-softmax have one answer. The paper reports its best pairs far from τ_f = τ_b. (Its first version, of 2024,
/// decouples straight-through Gumbel-softmax instead, whose gradient keeps the noise of the sample.)
///
/// Beware that at τ_f ≠ 1 the sampled distribution is no longer `softmax(logits)`: a KL term computed
/// from the logits is then that of another distribution. τ_f = 1 is
/// [`categorical_straight_through`](super::categorical_straight_through).
///
/// - Bias and variance: those of straight-through, at τ_b.
/// - Cost: one evaluation of the loss.
/// - τ: τ_f = 1 where the sampled distribution matters; τ_b from 1.3.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes. None for the temperatures: no sample moves with τ_f.
/// # Errors
/// Those of [`categorical_straight_through`](super::categorical_straight_through), for either temperature.
pub fn decoupled_straight_through<D: Dim>(
    logits: &Tensor,
    forward_tau: impl Into<Temperature>,
    backward_tau: f64,
    dim: D,
    g: &mut Generator,
) -> Result<Tensor> {
    let estimator = Estimator::DecoupledStraightThrough { backward_tau };
    estimator.sample(logits, forward_tau, dim, g)
}

#[derive(Clone, Copy)]
pub(super) struct DecoupledStraightThrough {
    /// The temperature of the gradient; that of the sample is the one a proposal is asked for.
    pub(super) backward_tau: f64,
}

impl Rule for DecoupledStraightThrough {
    const NAME: &'static str = "decoupled-straight-through";
    const DEFAULT: Self = Self { backward_tau: 1.3 };
    const HAS_TEMPERATURE: bool = true;
    const IS_UNBIASED: bool = false;

    fn check(self) -> Result<()> {
        Temperature::new(self.backward_tau).map(|_| ())
    }

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let categories = request.categories(Self::NAME)?;
        let logits = request.logits.clone();
        let z = match request.tau {
            Temperature::Fixed(1.0) => categories.sample(&logits, request.g)?,
            tau => categories.sample(&categories.tempered(&logits, tau)?, request.g)?,
        };
        let tau = Temperature::Fixed(self.backward_tau);
        Ok(Proposal::through(z, move |grad| categories.marginals_vjp(&logits, &tau, grad)))
    }
}
