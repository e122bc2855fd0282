//! DisARM: antithetic pairs of binary samples.

use candle_core::{D, Tensor};

use super::objective::{Loss, Objective, evaluate, latents, weigh};
use crate::elementwise::sigmoid;
use crate::logits::Rows;
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
    let rows = latents(logits)?;
    let (batch, n_latents, n_categories) = rows.rows.dims3().map_err(Error::from)?;
    if n_categories != 2 {
        let expected = vec![batch, n_latents, 2];
        return Err(
            Error::ShapeMismatch { what: "logits", got: logits.dims().to_vec(), expected }.into()
        );
    }
    let pair = Pair::draw(&rows, g)?;
    let loss = evaluate(f, &one_hot(&pair.first, logits)?)?;
    let antithetic = evaluate(f, &one_hot(&pair.second, logits)?)?;
    Ok(pair.score(&rows, &loss, &antithetic)?)
}

/// Bits `(batch, n_latents)` of opposite noise, and the log-odds of 1.
struct Pair {
    log_odds: Tensor,
    first: Tensor,
    second: Tensor,
}

impl Pair {
    fn draw(rows: &Rows, g: &mut Generator) -> Result<Self> {
        let logits = rows.rows.detach();
        let of = |category| -> Result<Tensor> {
            Ok(logits.narrow(D::Minus1, category, 1)?.squeeze(D::Minus1)?)
        };
        let log_odds = (of(1)? - of(0)?)?;
        let noise = logistic_noise(log_odds.shape(), log_odds.dtype(), log_odds.device(), g)?;
        let bits = |x: Tensor| -> Result<Tensor> { Ok(x.gt(0.0)?.to_dtype(log_odds.dtype())?) };
        let (first, second) = (bits((&log_odds + &noise)?)?, bits((&log_odds - &noise)?)?);
        Ok(Self { log_odds, first, second })
    }

    fn score(&self, rows: &Rows, loss: &Tensor, antithetic: &Tensor) -> Result<Objective> {
        let difference = (loss - antithetic)?.detach();
        let signs = (&self.first - &self.second)?;
        let grad = weigh(&(signs * sigmoid(&self.log_odds.abs()?)?)?, &(difference * 0.5)?)?;
        let grad = Tensor::stack(&[&grad.neg()?, &grad], 2)?;
        Objective::scored(((loss + antithetic)? * 0.5)?, rows, &grad)
    }
}

/// Bits as one-hot vectors in the dtype of the logits: `[1 - b, b]`.
fn one_hot(bits: &Tensor, logits: &Tensor) -> Result<Tensor> {
    let others = bits.affine(-1.0, 1.0)?;
    Ok(Tensor::stack(&[&others, bits], 2)?.to_dtype(logits.dtype())?)
}
