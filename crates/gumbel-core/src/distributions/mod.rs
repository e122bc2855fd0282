//! Distributions over categories and bits, exact and relaxed.
//!
//! | | values | `rsample` | density | entropy | mean, variance, mode | `kl_divergence` |
//! |---|---|---|---|---|---|---|
//! | [`Categorical`] | class indices | – | mass | yes | mode | yes |
//! | [`OneHotCategorical`] | one-hot vectors | – | mass | yes | all | yes |
//! | [`RelaxedOneHotCategorical`] | points of the simplex | pathwise | on the simplex | – | – | – |
//! | [`ExpRelaxedOneHotCategorical`] | their logarithms | pathwise | in log space | yes | – | – |
//! | [`Bernoulli`] | 0 and 1 | – | mass | yes | all | yes |
//! | [`RelaxedBernoulli`] | (0, 1) | pathwise | on (0, 1) | – | – | – |
//! | [`LogitRelaxedBernoulli`] | real numbers | pathwise | in logit space | yes | all | – |
//! | [`Gumbel`] | real numbers | pathwise | on the line | yes | all | yes |
//! | [`PlackettLuce`] | rankings | by [`PlackettLuce::rsample_permutation`] | mass | up to 20 items | mode | up to 20 items |
//! | [`PlackettLuceSubset`] | k-hot vectors | – | mass | – | mode | – |
//! | [`Gibbs`] | codes of a [structure](crate::structure) | pathwise, relaxed or hard | mass | yes | all | yes |
//!
//! [`StraightThrough`] gives four of them exact samples with a gradient; [`Independent`] makes one distribution over
//! vectors of independent variables. [`Distribution`] is what they all have in common.
//!
//! # Conventions
//! - The shape of a sample is `sample_shape ++ batch_shape ++ event_shape`. The event of the vector
//!   distributions is the last dimension of their logits; the others have scalar events.
//! - `log_prob` broadcasts the value and the parameters against each other and drops the event's dimension.
//! - Everything is in nats, computed in at least f32 and returned in the dtype of the parameters.
//! - Parameters are checked once, when a distribution is made: NaN and `+inf` logits, rows without an
//!   allowed class and negative probabilities are errors. A logit of `-inf` masks a class: it is never
//!   drawn, and its gradient is exactly zero. [`mask_logits`](crate::mask_logits) makes such logits.
//! - Each sampler has a form that takes its noise, so that a draw can be replayed or shared.
//! - The densities of the relaxed distributions hold in log or logit space. On the simplex and on
//!   (0, 1) a coordinate that has been rounded to the boundary is read as the nearest number inside,
//!   so that the density stays finite; with small temperatures prefer the log and logit forms.

//! - Functions that only compute with candle's operations have candle's errors and no others.

mod distribution;

mod bernoulli;
mod categorical;
mod exp_relaxed_one_hot_categorical;
mod gibbs;
mod gumbel;
mod logit_relaxed_bernoulli;
mod one_hot_categorical;
mod plackett_luce;
mod plackett_luce_subset;
mod relaxed_bernoulli;
mod relaxed_one_hot_categorical;

mod independent;
mod straight_through;

mod parameters;
mod shapes;
#[cfg(test)]
mod tests;

pub use bernoulli::Bernoulli;
pub use categorical::Categorical;
pub use distribution::Distribution;
pub use exp_relaxed_one_hot_categorical::ExpRelaxedOneHotCategorical;
pub use gibbs::Gibbs;
pub(crate) use gibbs::{check_lambda, implicit_mle};
pub use gumbel::Gumbel;
pub use independent::Independent;
pub use logit_relaxed_bernoulli::LogitRelaxedBernoulli;
pub use one_hot_categorical::OneHotCategorical;
pub use plackett_luce::PlackettLuce;
pub use plackett_luce_subset::PlackettLuceSubset;
pub use relaxed_bernoulli::RelaxedBernoulli;
pub use relaxed_one_hot_categorical::RelaxedOneHotCategorical;
pub use straight_through::{HardAndSoft, StraightThrough};
