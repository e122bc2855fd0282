//! DisARM: antithetic pairs of binary samples.

use candle_core::{D, Tensor};

use super::objective::{Loss, Objective, weigh};
use super::rule::{Request, Rule};
use super::{Estimator, EstimatorState, Proposal};
use crate::op::sigmoid;
use crate::structure::Bits;
use crate::{Error, Generator, Result, logistic_noise};

/// For binary latents (two categories): two samples of opposite noise, `b = [φ + l > 0]` and
/// `b̃ = [φ - l > 0]` with the log-odds `φ = logits_1 - logits_0`, and the gradient
/// `½ (f(b) - f(b̃)) (b - b̃) σ(|φ|)` for `φ` (Dong et al. 2020, eq. 8; also U2G, Yin et al. 2020).
///
/// A latent that came out the same in both samples gets no gradient.
///
/// - Bias: none, for any loss, differentiable or not.
/// - Variance: below leave-one-out with two samples, at the same cost.
/// - Cost: two evaluations of the loss, forward and backward.
/// - τ: there is none.
///
/// # Shapes
/// - logits: `(batch, n_latents, 2)`. The loss takes that and returns `(batch,)`.
/// # Gradient
/// See [`Objective`]; exactly zero for masked (`-inf`) classes.
/// # Errors
/// [`Error::ShapeMismatch`] when there are not two categories; those of [`reinforce`](super::reinforce).
pub fn disarm<E: From<Error>>(
    logits: &Tensor,
    g: &mut Generator,
    f: &mut Loss<'_, E>,
) -> std::result::Result<Objective, E> {
    Estimator::DisArm.objective(&mut EstimatorState::default(), logits, 1.0, g, f)
}

/// For bits, and for categories of which there are two.
#[derive(Clone, Copy)]
pub(super) struct DisArm;

impl Rule for DisArm {
    const NAME: &'static str = "disarm";
    const DEFAULT: Self = Self;
    const HAS_TEMPERATURE: bool = false;
    const IS_UNBIASED: bool = true;

    fn propose(self, request: Request<'_>) -> Result<Proposal> {
        let logits = request.logits;
        request.structure.check(logits)?;
        let (log_odds, as_codes): (Tensor, fn(&Tensor) -> Result<Tensor>) = if request.is::<Bits>()
        {
            (logits.clone(), |bits| Ok(bits.clone()))
        } else {
            let logits = request.categories("disarm")?.rows(logits)?;
            let mut expected = logits.dims().to_vec();
            if expected.pop() != Some(2) {
                expected.push(2);
                let got = logits.dims().to_vec();
                return Err(Error::ShapeMismatch { what: "logits", got, expected });
            }
            (of(&logits, 1)?.sub(&of(&logits, 0)?)?, one_hot)
        };
        let noise = logistic_noise(log_odds.shape(), logits.dtype(), logits.device(), request.g)?;
        let bits = |x: Tensor| -> Result<Tensor> { Ok(x.gt(0.0)?.to_dtype(x.dtype())?) };
        let (first, second) = (bits((&log_odds + &noise)?)?, bits((&log_odds - noise)?)?);
        let z = Tensor::cat(&[as_codes(&first)?, as_codes(&second)?], 0)?;
        Proposal::of_stack(z, 2, move |evaluations, _| {
            let half = ((&evaluations[0].loss - &evaluations[1].loss)? * 0.5)?;
            let signs = (first - second)?;
            let d_log_odds = weigh(&(signs * sigmoid(&log_odds.abs()?)?)?, &half)?;
            // Of one-hot rows the code of d is [1 - d, d]: its slope is [-d, d].
            Ok((as_codes(&d_log_odds)? - as_codes(&d_log_odds.zeros_like()?)?)?)
        })
    }
}

fn of(logits: &Tensor, category: usize) -> Result<Tensor> {
    Ok(logits.narrow(D::Minus1, category, 1)?.squeeze(D::Minus1)?)
}

/// Bits as one-hot vectors: `[1 - b, b]`.
fn one_hot(bits: &Tensor) -> Result<Tensor> {
    Ok(Tensor::stack(&[&bits.affine(-1.0, 1.0)?, bits], bits.rank())?)
}
