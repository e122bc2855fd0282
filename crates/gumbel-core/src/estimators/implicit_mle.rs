//! Implicit maximum-likelihood estimation: the difference of two best codes.

use super::rule::{Request, Rule};
use super::{Point, Proposal, Weight};
use crate::Result;
use crate::distributions::{check_lambda, implicit_mle};

/// The best code `z` of perturbed logits, with the gradient `(z − z') / λ`, where `z'` is the best code after a step of size λ against the loss's
/// gradient (Niepert et al. 2021), for every structure. Only the solver is needed: no marginals.
///
/// - Bias: falls with λ, as a difference quotient's does; the gradient is of the loss linearised at `z`.
/// - Variance: grows as λ falls: most draws give zero, and the others 1 / λ.
/// - Cost: one evaluation of the loss, and one more solution in the backward pass.
/// - τ: there is none.
#[derive(Clone, Copy)]
pub(super) struct ImplicitMle {
    /// The size of the step, in units of 1 / the loss of a row.
    pub(super) lambda: f64,
}

impl Rule for ImplicitMle {
    const NAME: &'static str = "implicit-mle";
    const DEFAULT: Self = Self { lambda: 10.0 };
    const HAS_TEMPERATURE: bool = false;
    const IS_UNBIASED: bool = false;

    fn check(self) -> Result<()> {
        check_lambda(self.lambda)
    }

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let structure = request.structure.clone();
        let (z, pull) = implicit_mle(structure, request.logits, self.lambda, request.g)?;
        // The step is not linear in the gradient: it takes that of the row's own loss, however the rows are weighted.
        let point = Point { z, wants_gradient: true, weight: Weight::Uniform(1.0) };
        Ok(Proposal::new(vec![point], move |evaluations, _| pull(evaluations[0].gradient()?)))
    }
}
