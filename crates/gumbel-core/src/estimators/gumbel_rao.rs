//! Gumbel-Rao: straight-through Gumbel-softmax with the noise averaged out, given the sample.

use candle_core::Tensor;
use candle_core::shape::Dim;

use super::rule::{Request, Rule};
use super::{Estimator, Proposal};
use crate::{Error, Generator, Result, Temperature};

/// Draws an exact one-hot sample `D` with the straight-through Gumbel-softmax gradient averaged over
/// `draws` independent noises that all lead to `D` (Paulus et al. 2021, section 4).
///
/// By Rao and Blackwell the mean is that of `gumbel_softmax(logits, τ, hard = true, …)`, and the variance
/// is at most its. `draws = 1` is that estimator itself; with `draws → ∞` only the randomness of `D` is left.
///
/// - Bias: that of straight-through Gumbel-softmax at the same τ. What is gained is the freedom to
///   lower τ, and the bias with it, which alone would cost variance.
/// - Variance: falls with `draws`, soon to a floor; 10 take most of it, the literature uses 100.
/// - Cost: one evaluation of the loss. The noises are drawn in the backward pass, one at a time, and never
///   held together: no memory, and no time when no gradient is asked for.
/// - τ: 0.3 to 1 (Liu et al. 2023 with 100 draws).
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes. Taken twice, it is the same twice. None for a tensor of temperatures.
/// # Errors
/// [`Error::InvalidParameter`] when `draws` is 0; those of
/// [`categorical_straight_through`](super::categorical_straight_through).
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::gumbel_rao;
///
/// let logits = Var::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu)?;
/// let z = gumbel_rao(&logits, 0.5, 10, 1, &mut Generator::new(0))?;
/// assert!(z.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_rao<C: Dim>(
    logits: &Tensor,
    tau: impl Into<Temperature>,
    draws: usize,
    dim: C,
    g: &mut Generator,
) -> Result<Tensor> {
    Estimator::GumbelRao { draws }.sample(logits, tau, dim, g)
}

/// The mean over noises that lead to the sample, for every structure whose conditional noise is known.
#[derive(Clone, Copy)]
pub(super) struct GumbelRao {
    /// How many noises are averaged over.
    pub(super) draws: usize,
}

impl Rule for GumbelRao {
    const NAME: &'static str = "gumbel-rao";
    const DEFAULT: Self = Self { draws: 10 };
    const HAS_TEMPERATURE: bool = true;
    const IS_UNBIASED: bool = false;

    fn check(self) -> Result<()> {
        check_draws(self.draws)
    }

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let noises = conditional_noises(self.draws, request.g);
        let z = request.structure.perturb_and_solve(request.logits, request.g)?;
        let (structure, tau) = (request.structure.clone(), request.tau.clone());
        let (logits, sample) = (request.logits.clone(), z.clone());
        Ok(Proposal::through(z, move |grad| {
            structure.condition_vjp(&logits, &sample, &tau, &noises, grad)
        }))
    }
}

pub(super) fn check_draws(draws: usize) -> Result<()> {
    if draws == 0 {
        return Err(Error::InvalidParameter { name: "draws", value: 0.0, must: "at least 1" });
    }
    Ok(())
}

/// Where the noises of the backward pass come from, for a sample that is drawn next. Each draw has a stream of its own,
/// and a value in it has the position of its logit's noise in `g`. So the gradient of a row depends on the row's position
/// alone, and not on how many rows are in the batch.
pub(super) fn conditional_noises(draws: usize, g: &Generator) -> Vec<Generator> {
    (0..draws as u64).map(|draw| g.conditional(draw)).collect()
}
