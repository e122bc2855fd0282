//! Gradients through categorical samples: which estimator to take, and all of them.
//!
//! The problem: a loss `f(z)` is evaluated at a one-hot sample `z` of `p = softmax(logits)`, and the gradient of
//! the expected loss with respect to the logits is wanted. A sample does not depend smoothly on its logits,
//! so the chain rule has nothing to offer; each estimator is another answer.
//!
//! # Which one to take
//!
//! - **The loss accepts relaxed vectors, and so may the model in use:** [`gumbel_softmax`](crate::gumbel_softmax).
//!   The gradient is exact for the relaxed loss, which is another loss than the one at exact samples.
//! - **The loss must see exact samples, and is differentiable** (the usual case: codes, routing, choices that
//!   later are hard): [`reinmax`] at τ = 1, or [`fini`], which has no temperature to tune. Both are exact
//!   where the loss is quadratic in each latent.
//! - **Little variance matters more than little bias** (small batches, many categories): [`gumbel_rao`] or
//!   [`reinmax_rao`]; at no extra cost [`gapped_straight_through`].
//! - **The loss has no gradient, or no bias is acceptable:** [`rloo`] for as many evaluations as you can pay;
//!   [`disarm`] when there are two categories; [`rebar`] when the loss is differentiable after all;
//!   [`reinforce`] when it can be evaluated only once. With few latents this is no sacrifice: on a VAE of four latents
//!   the draws of `rloo` with four samples vary less than `reinmax`'s.
//! - **There are few codes:** [`enumeration`] has neither bias nor variance, and tells how good the others are.
//!
//! | estimator | loss sees | bias | variance | evaluations | τ |
//! |---|---|---|---|---|---|
//! | [`gumbel_softmax`](crate::gumbel_softmax) | relaxed | falls with τ | grows as τ falls | 1 | 0.5 to 1 |
//! | [`gumbel_softmax`](crate::gumbel_softmax) with `hard` | exact | first order | grows as τ falls | 1 | 0.3 to 0.7 |
//! | [`categorical_straight_through`] | exact | first order | least | 1 | 1.3 to 1.5 |
//! | [`decoupled_straight_through`] | exact, tempered | first order | least | 1 | two |
//! | [`gapped_straight_through`] | exact | first order | small | 1 | 0.5 to 1 |
//! | [`gumbel_rao`] | exact | first order | small | 1 | 0.3 to 1 |
//! | [`reinmax`] | exact | second order | small | 1 | 1 to 1.5 |
//! | [`reinmax_rao`] | exact | between | small | 1 | 0.7 to 1 |
//! | [`fini`] | exact | second order | small | 1 | none |
//! | [`reinforce`] | exact | none | largest | 1 | none |
//! | [`rloo`] | exact | none | falls with n | n | none |
//! | [`unordered_set`] | exact, different | none | below `rloo` for few likely codes | n | none |
//! | [`disarm`] | exact, binary | none | below `rloo` with 2 | 2 | none |
//! | [`rebar`] | exact and relaxed | none | by the relaxation | 2 | 0.1 to 1 |
//! | [`implicit-mle`](Estimator::ImplicitMle) | exact | by λ | grows as λ falls | 1 | none |
//! | [`enumeration`] | every code | none | none | K^N | none |
//!
//! "First order" means: exact where the loss is linear in each latent. The ranges of τ are those that trained
//! best in the comparisons cited with each function.
//!
//! # How to call them
//! The straight-through family are functions from logits to a sample, like `gumbel_softmax`, whose backward pass is
//! the estimator: [`reinmax`]`(&logits, 1.0, dim, &mut g)`. The others need the loss itself, as a function
//! they may call several times, and return an [`Objective`]. [`Estimator`] offers all of them by one interface and by
//! name, with [`EstimatorState`] for what two of them learn. The temperature is a number, or a tensor with one value for each row.
//!
//! Underneath all of them is a [`Proposal`]: an estimator proposes points, the model evaluates its loss there, the estimator
//! combines the answers to the gradient of the logits. Training loops without autograd use it directly.
//!
//! Every one gives masked classes (logits of `-inf`) gradient exactly zero.
//!
//! # Other codes than categories
//! `gumbel-softmax`, `st-gumbel-softmax`, `straight-through`, `gumbel-rao`, `reinforce`, `rloo`, `implicit-mle` and `enumeration` are made of
//! what every [structure](crate::structure) has, and take all of them: [`Estimator::propose_on`]. `disarm` takes bits and two
//! categories, the others categories.

mod estimator;
mod objective;
mod proposal;
mod rule;
mod running_mean;
mod text;
mod weighted_sum;

mod decoupled_straight_through;
mod disarm;
mod enumeration;
mod fini;
mod gapped_straight_through;
mod gumbel_rao;
mod gumbel_softmax;
mod implicit_mle;
mod rebar;
mod reinforce;
mod reinmax;
mod reinmax_rao;
mod rloo;
mod st_gumbel_softmax;
mod straight_through;
mod unordered_set;

#[cfg(test)]
mod tests;

pub use crate::structure::{MAX_CODES, all_codes};
pub use decoupled_straight_through::decoupled_straight_through;
pub use disarm::disarm;
pub use enumeration::{enumeration, expected_loss};
pub use estimator::{Estimator, EstimatorState};
pub use fini::fini;
pub use gapped_straight_through::gapped_straight_through;
pub use gumbel_rao::gumbel_rao;
pub use objective::{Loss, Objective};
pub use proposal::{Evaluation, Point, Proposal, Weight};
pub use rebar::{ControlVariate, rebar};
pub use reinforce::{Baseline, reinforce};
pub use reinmax::reinmax;
pub use reinmax_rao::reinmax_rao;
pub use rloo::rloo;
pub use straight_through::categorical_straight_through;
pub use text::ParseEstimatorError;
pub use unordered_set::unordered_set;
