//! The log-probability of one-hot vectors under a categorical distribution.

use candle_core::{D, Tensor};

use crate::checks::check_float;
use crate::logits::Rows;
use crate::op::log_softmax;
use crate::{Error, Result};

/// `Σ_k one_hot_k ln softmax(logits)_k` over the last dimension, in nats.
///
/// From log-softmax, so that saturated logits lose nothing; a masked class (`-inf`) adds nothing
/// unless it is the one that is hot, and then the result is `-inf`. A relaxed vector gives its
/// cross entropy, negated.
///
/// # Shapes
/// - logits: `(..., n_classes)`; one_hot: the same. Output: `(...)`, in the dtype of the logits.
/// # Gradient
/// For the logits `one_hot - softmax(logits) Σ one_hot`, exactly zero for masked classes; for
/// `one_hot` the log-probabilities, zero for masked classes it does not use.
/// # Errors
/// [`Error::ShapeMismatch`], [`Error::InvalidLogit`], [`Error::AllMasked`], [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use gumbel_core::{log_prob, one_hot};
///
/// let logits = Tensor::new(&[[0f64, 0.0], [1000.0, 0.0]], &Device::Cpu)?;
/// let value = one_hot(&Tensor::new(&[1u32, 1], &Device::Cpu)?, 2, DType::F64)?;
/// assert_eq!(log_prob(&logits, &value)?.to_vec1::<f64>()?, [-std::f64::consts::LN_2, -1000.0]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn log_prob(logits: &Tensor, one_hot: &Tensor) -> Result<Tensor> {
    let dim = logits.rank().saturating_sub(1);
    if logits.dims() != one_hot.dims() || logits.rank() == 0 {
        return Err(Error::ShapeMismatch {
            what: "one_hot",
            got: one_hot.dims().to_vec(),
            expected: logits.dims().to_vec(),
        });
    }
    let rows = Rows::new(logits, dim)?;
    check_float(one_hot, "one_hot")?;
    let value = one_hot.to_dtype(rows.rows.dtype())?;
    let total = weigh(&value, &log_softmax(&rows.rows)?)?;
    Ok(total.to_dtype(logits.dtype())?)
}

/// `Σ w x` over the last dimension with `0 · -inf = 0`, in value and in gradient.
pub(crate) fn weigh(weights: &Tensor, x: &Tensor) -> Result<Tensor> {
    let unused = (weights.detach().eq(0.0)? * x.detach().eq(f64::NEG_INFINITY)?)?;
    let safe = unused.where_cond(&x.zeros_like()?, x)?;
    Ok((weights * safe)?.sum(D::Minus1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn a_masked_class_costs_nothing_unless_it_is_hot() {
        let m = f64::NEG_INFINITY;
        let logits = Var::new(&[[0.0, m, 0.0], [0.0, m, 0.0]], &Device::Cpu).unwrap();
        let value = Var::new(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], &Device::Cpu).unwrap();
        let lp = log_prob(&logits, &value).unwrap();
        assert_eq!(lp.to_vec1::<f64>().unwrap(), [-std::f64::consts::LN_2, m]);
        let grads = lp.get(0).unwrap().backward().unwrap();
        let g = grads.get(&logits).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(g, [[0.5, 0.0, -0.5], [0.0, 0.0, 0.0]]);
        let g = grads.get(&value).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(g[0], [-std::f64::consts::LN_2, 0.0, -std::f64::consts::LN_2]);
    }

    #[test]
    fn shapes_must_agree() {
        let logits = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let value = Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(matches!(log_prob(&logits, &value), Err(Error::ShapeMismatch { .. })));
    }
}
