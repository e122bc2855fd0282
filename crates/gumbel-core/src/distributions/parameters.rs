//! Parameters of the distributions, checked once.

use candle_core::{D, DType, Tensor};

use crate::checks::check_values;
use crate::gumbel_softmax::check_one_per_row;
use crate::logits::Rows;
use crate::op::widen;
use crate::{Error, Result, Temperature, straight_through};

/// Logits of a categorical variable: checked, in f32 or f64, with the dtype to return.
#[derive(Clone, Debug)]
pub(super) struct ClassLogits {
    pub(super) wide: Tensor,
    pub(super) dtype: DType,
}

impl ClassLogits {
    pub(super) fn new(logits: &Tensor) -> Result<Self> {
        let dim = classes_dim(logits, "logits")?;
        Ok(Self { wide: Rows::new(logits, dim)?.rows, dtype: logits.dtype() })
    }

    /// Logarithms of the probabilities, which need not sum to one; zero masks a class.
    pub(super) fn from_probs(probs: &Tensor) -> Result<Self> {
        classes_dim(probs, "probs")?;
        let must = "finite and >= 0";
        check_probs(probs, must, |p| (0.0..f64::INFINITY).contains(&p))?;
        let logits = log_or_masked(&widen(probs)?)?;
        let logits = Self::new(&logits).map_err(|error| match error {
            Error::AllMasked { mut row, .. } => {
                row.push(0);
                let must = "> 0 for at least one class of each row";
                Error::InvalidProbability { value: 0.0, index: row, must }
            }
            other => other,
        })?;
        Ok(Self { dtype: probs.dtype(), ..logits })
    }

    pub(super) fn n_classes(&self) -> usize {
        self.wide.dims().last().copied().unwrap_or(0)
    }

    pub(super) fn batch_shape(&self) -> &[usize] {
        let dims = self.wide.dims();
        &dims[..dims.len() - 1]
    }

    pub(super) fn event_shape(&self) -> &[usize] {
        let dims = self.wide.dims();
        &dims[dims.len() - 1..]
    }

    /// A result in the dtype of the parameters.
    pub(super) fn finish(&self, result: Tensor) -> Result<Tensor> {
        Ok(result.to_dtype(self.dtype)?)
    }
}

/// Logits of binary variables: checked, in f32 or f64, with the dtype to return.
#[derive(Clone, Debug)]
pub(super) struct BitLogits {
    pub(super) wide: Tensor,
    pub(super) dtype: DType,
}

impl BitLogits {
    pub(super) fn new(logits: &Tensor) -> Result<Self> {
        let bad = |value, index| Error::InvalidLogit { value, index };
        check_values(logits, "logits", |l| l < f64::INFINITY, bad)?;
        Ok(Self { wide: widen(logits)?.contiguous()?, dtype: logits.dtype() })
    }

    /// `ln p - ln(1 - p)`; 0 and 1 are certain and get gradient zero.
    pub(super) fn from_probs(probs: &Tensor) -> Result<Self> {
        check_probs(probs, "in [0, 1]", |p| (0.0..=1.0).contains(&p))?;
        let p = widen(probs)?;
        let upper = p.affine(-1.0, 1.0)?;
        let logits = {
            let (never, always) = (p.detach().eq(0.0)?, upper.detach().eq(0.0)?);
            let constant = |c: f64| p.zeros_like()?.affine(1.0, c);
            let edge = (&never + &always)?;
            let half = constant(0.5)?;
            let ratio =
                (edge.where_cond(&half, &p)?.log()? - edge.where_cond(&half, &upper)?.log()?)?;
            let below = never.where_cond(&constant(f64::NEG_INFINITY)?, &ratio)?;
            always.where_cond(&constant(f64::INFINITY)?, &below)?
        };
        Ok(Self { wide: logits, dtype: probs.dtype() })
    }

    /// A result in the dtype of the parameters.
    pub(super) fn finish(&self, result: Tensor) -> Result<Tensor> {
        Ok(result.to_dtype(self.dtype)?)
    }
}

fn classes_dim(x: &Tensor, what: &'static str) -> Result<usize> {
    x.rank().checked_sub(1).ok_or(Error::TooFewClasses { what, shape: vec![], min: 1 })
}

/// In double precision, or in single on devices that have no other: for densities and divergences, where many
/// classes are added, temperatures collect the gradients of all of them, and values may have more digits than the
/// parameters.
pub(super) fn precise(x: &Tensor) -> Result<Tensor> {
    let dtype = if x.device().is_metal() { DType::F32 } else { DType::F64 };
    Ok(x.to_dtype(dtype)?)
}

/// `kl`, with the values that rounding took below zero at zero.
pub(super) fn not_below_zero(kl: &Tensor) -> Result<Tensor> {
    straight_through(&kl.detach().maximum(0.0)?, kl)
}

/// 1 for each row with an entry that is not 0.
pub(super) fn any(flags: &Tensor) -> Result<Tensor> {
    Ok(flags.to_dtype(DType::F32)?.sum(D::Minus1)?.gt(0.0)?)
}

fn check_probs(probs: &Tensor, must: &'static str, good: impl Fn(f64) -> bool) -> Result<()> {
    let bad = |value, index| Error::InvalidProbability { value, index, must };
    check_values(probs, "probs", good, bad)
}

/// `ln x`, and a constant `-inf` where `x` is zero, so that the gradient there is zero.
fn log_or_masked(x: &Tensor) -> Result<Tensor> {
    let zero = x.detach().eq(0.0)?;
    let masked = x.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?;
    let safe = zero.where_cond(&x.ones_like()?, x)?;
    Ok(zero.where_cond(&masked, &safe.log()?)?)
}

/// The temperature of a relaxed categorical: one number, or one per row of classes.
pub(super) fn checked_row_temperature(
    tau: Temperature,
    logits: &ClassLogits,
) -> Result<Temperature> {
    tau.check()?;
    if let Temperature::Tensor(t) = &tau {
        check_one_per_row(t, &logits.wide, logits.wide.rank() - 1)?;
    }
    Ok(tau)
}

/// The temperature of relaxed bits: one number, or a tensor that broadcasts to the logits.
pub(super) fn checked_bit_temperature(tau: Temperature, logits: &BitLogits) -> Result<Temperature> {
    tau.check()?;
    if let Temperature::Tensor(t) = &tau {
        crate::gumbel_softmax::broadcast_temperature(t, &logits.wide)?;
    }
    Ok(tau)
}

/// A temperature as a tensor in the dtype of `like`, rank 0 when it is a number.
pub(super) fn temperature_tensor(tau: &Temperature, like: &Tensor) -> Result<Tensor> {
    match tau {
        Temperature::Fixed(tau) => Ok(Tensor::new(*tau, like.device())?.to_dtype(like.dtype())?),
        Temperature::Tensor(tau) => Ok(tau.to_dtype(like.dtype())?),
    }
}

/// `ln τ` for each row of classes; `rows` has the shape to broadcast to.
pub(super) fn log_temperature_of_rows(tau: &Temperature, rows: &Tensor) -> Result<Tensor> {
    let log_tau = temperature_tensor(tau, rows)?.log()?;
    let per_row = if log_tau.rank() == 0 { log_tau } else { log_tau.squeeze(D::Minus1)? };
    Ok(per_row.broadcast_as(rows.shape())?)
}
