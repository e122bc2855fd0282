//! Structures: sets of discrete codes, and what an estimator needs to know of them.
//!
//! A code `z` is a tensor of zeros and ones: one-hot rows, bits. A structure says which codes there are.
//! Its logits `θ` have the shape of `z` and give the distribution `p(z) = exp(⟨θ, z⟩ − A(θ))`, where the
//! log-partition `A` makes it sum to one. Everything else follows: the marginals `μ(θ) = E z` are the gradient
//! of `A`, `z − μ(θ)` is the gradient of `ln p(z)`, and `μ((θ + noise) / τ)` is a relaxed code.
//!
//! The [estimators](crate::estimators) that need no more than this are written once, for every [`Structure`], and so is the distribution,
//! [`Gibbs`](crate::distributions::Gibbs). `docs/structured.md` says which to take.

mod arborescence;
pub(crate) mod bits;
pub(crate) mod categories;
mod copies;
pub(crate) mod host;
mod k_subset;
mod linear_chain;
mod spanning_tree;
#[cfg(test)]
mod tests;

/// The guide's examples.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/structured.md")]
mod guide {}

use std::any::Any;
use std::fmt::Debug;

use candle_core::{DType, Tensor};

use crate::{Error, Generator, Result, Temperature, gumbel_noise};

pub use arborescence::{Arborescence, Roots};
pub use bits::Bits;
pub use categories::{Categories, all_codes};
pub use copies::Copies;
pub use k_subset::{KSubset, successive_softmax, successive_softmax_with_noise};
pub use linear_chain::{ChainOptions, Hmm, LinearChain};
pub use spanning_tree::SpanningTree;

/// A set of codes, with the operations that general estimators are made of.
///
/// Logits, scores, codes, marginals and gradients have one shape, `(batch, event…)`. Scores are logits, with or without
/// noise. A logit of `-inf` forbids the codes that have a one there: they are never drawn, and their marginals and
/// gradients are exactly zero. Nothing here records a graph. A temperature is a number or a tensor that broadcasts
/// to the logits.
///
/// A new structure states the required methods. The provided ones are compositions of these, for structures
/// that have nothing faster.
pub trait Structure: Any + Debug + Send + Sync {
    /// The name in error messages.
    fn name(&self) -> &'static str;

    /// How many of the last dimensions of logits are one event; those before are the batch. Without more knowledge,
    /// all but the first.
    fn event_rank(&self, logits: &Tensor) -> usize {
        logits.rank().saturating_sub(1)
    }

    /// What the codes are, in words: for error messages.
    fn support(&self) -> &'static str;

    /// Where in a row of the given event a vector of zeros and ones is no code: the first entry that is too many, or
    /// that something is missing at. `row` is its position in the batch.
    fn misfit(&self, row: usize, event: &[usize], z: &[f64]) -> Option<usize>;

    /// Refuses logits that define no distribution.
    ///
    /// # Errors
    /// Typed ones, for a shape that does not fit, for NaN and `+inf`, and where every code is forbidden.
    fn check(&self, logits: &Tensor) -> Result<()>;

    /// Exact samples of `p`, from logits that are checked on the way.
    ///
    /// # Errors
    /// Those of [`Structure::check`].
    fn sample(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor>;

    /// The code of the largest `⟨scores, z⟩`.
    ///
    /// # Errors
    /// Those of candle.
    fn solve(&self, scores: &Tensor) -> Result<Tensor>;

    /// `A(scores)`, of shape `(batch,)`, in nats.
    ///
    /// # Errors
    /// Those of candle.
    fn log_partition(&self, scores: &Tensor) -> Result<Tensor>;

    /// `μ(scores / τ)`.
    ///
    /// # Errors
    /// Those of candle.
    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor>;

    /// The gradient of `⟨μ(scores / τ), grad⟩` with respect to the scores: `H grad / τ`, where `H` is the Hessian of `A`.
    ///
    /// # Errors
    /// Those of candle.
    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor>;

    /// Every code for logits of this shape, `(n_codes, event…)`.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when there are too many.
    fn codes(&self, logits: &Tensor) -> Result<Tensor>;

    /// Perturbed scores, drawn given that `z` is their [solution](Structure::solve). The noise is that of
    /// [`Structure::perturb`]; each row's depends on the position of the row in the generator's stream.
    ///
    /// # Errors
    /// [`Error::UnsupportedStructure`] where the conditional law is not known.
    fn condition(&self, logits: &Tensor, z: &Tensor, g: &mut Generator) -> Result<Tensor> {
        let _ = (logits, z, g);
        Err(Error::UnsupportedStructure {
            estimator: "conditional noise",
            takes: "categories or bits",
            structure: self.name(),
        })
    }

    /// Logits with noise, so that their [solution](Structure::solve) is a random code: Gumbel noise.
    ///
    /// # Errors
    /// Those of [`Structure::check`].
    fn perturb(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.check(logits)?;
        Ok((logits + gumbel_noise(logits.shape(), logits.dtype(), logits.device(), g)?)?)
    }

    /// The solution of [perturbed](Structure::perturb) logits.
    ///
    /// # Errors
    /// Those of [`Structure::check`].
    fn perturb_and_solve(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.solve(&self.perturb(logits, g)?)
    }

    /// Relaxed samples: the marginals of [perturbed](Structure::perturb) logits.
    ///
    /// # Errors
    /// Those of [`Structure::check`].
    fn relax(&self, logits: &Tensor, tau: &Temperature, g: &mut Generator) -> Result<Tensor> {
        self.marginals(&self.perturb(logits, g)?, tau)
    }

    /// The gradient through a relaxed sample, with respect to the logits. `g` stands where the sample was drawn from.
    ///
    /// # Errors
    /// Those of candle.
    fn relax_vjp(
        &self,
        logits: &Tensor,
        relaxed: &Tensor,
        tau: &Temperature,
        g: &mut Generator,
        grad: &Tensor,
    ) -> Result<Tensor> {
        let _ = relaxed;
        self.marginals_vjp(&self.perturb(logits, g)?, tau, grad)
    }

    /// The mean of [`Structure::marginals_vjp`] over [conditional](Structure::condition) scores, one for each of the generators.
    ///
    /// # Errors
    /// Those of [`Structure::condition`].
    fn condition_vjp(
        &self,
        logits: &Tensor,
        z: &Tensor,
        tau: &Temperature,
        draws: &[Generator],
        grad: &Tensor,
    ) -> Result<Tensor> {
        let mut total = grad.zeros_like()?;
        for draw in draws {
            let scores = self.condition(logits, z, &mut draw.clone())?;
            total = (total + self.marginals_vjp(&scores, tau, grad)?)?;
        }
        Ok((total / draws.len().max(1) as f64)?)
    }
}

/// The largest number of codes that is enumerated.
pub const MAX_CODES: usize = 16_384;

/// `base ^ exponent`, at most [`MAX_CODES`].
pub(crate) fn count_codes(base: usize, exponent: usize) -> Result<usize> {
    let n_codes = u32::try_from(exponent).ok().and_then(|exponent| base.checked_pow(exponent));
    match n_codes {
        Some(n_codes) if n_codes <= MAX_CODES => Ok(n_codes),
        _ => Err(Error::InvalidParameter {
            name: "the number of codes to enumerate, n_categories ^ n_latents,",
            value: (base as f64).powf(exponent as f64),
            must: "at most 16,384 (4 latents of 8 categories have 4,096)",
        }),
    }
}

/// A temperature to compute with: checked, a number where it is one value, without a history.
///
/// # Errors
/// [`Error::InvalidTemperature`]; [`Error::ShapeMismatch`] when it does not broadcast to the logits.
pub(crate) fn constant(tau: &Temperature, logits: &Tensor) -> Result<Temperature> {
    tau.check()?;
    let Temperature::Tensor(values) = tau else { return Ok(tau.clone()) };
    let mismatch = || Error::ShapeMismatch {
        what: "temperature",
        got: values.dims().to_vec(),
        expected: logits.dims().to_vec(),
    };
    values.broadcast_as(logits.shape()).map_err(|_| mismatch())?;
    if values.elem_count() == 1 {
        let value = values.detach().to_dtype(DType::F64)?.flatten_all()?.get(0)?;
        return Ok(Temperature::Fixed(value.to_scalar()?));
    }
    Ok(Temperature::Tensor(values.detach().to_dtype(logits.dtype())?))
}

/// `x / τ`.
fn divide(x: &Tensor, tau: &Temperature) -> Result<Tensor> {
    Ok(match tau {
        Temperature::Fixed(1.0) => x.clone(),
        Temperature::Fixed(tau) => (x / *tau)?,
        Temperature::Tensor(tau) => x.broadcast_div(tau)?,
    })
}
