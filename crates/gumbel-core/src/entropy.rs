//! Entropy of a categorical distribution, and its divergence from the uniform one.

use candle_core::Tensor;

use crate::logits::Rows;
use crate::op;
use crate::{Error, Result};

/// The entropy `-Σ p ln p` of `p = softmax(logits)` over the last dimension, in nats.
///
/// From log-softmax with `0 ln 0 = 0`: exact at saturated and at masked (`-inf`) logits.
///
/// # Shapes
/// - logits: `(..., n_classes)`. Output: `(...)`, in the dtype of the logits.
/// # Gradient
/// `-p (ln p + entropy)`, exactly zero for masked classes.
/// # Errors
/// [`Error::InvalidLogit`], [`Error::AllMasked`], [`Error::TooFewClasses`], [`Error::UnsupportedDType`].
pub fn entropy(logits: &Tensor) -> Result<Tensor> {
    let rows = over_last(logits)?;
    Ok(op::neg_entropy(&rows.rows)?.neg()?.to_dtype(logits.dtype())?)
}

/// The Kullback-Leibler divergence of `q = softmax(logits)` from the uniform distribution over the
/// last dimension: `Σ q (ln q + ln K)`, in nats. The KL term of a categorical VAE with a uniform prior.
///
/// The uniform distribution is over all `K` classes, masked ones included.
///
/// # Shapes
/// - logits: `(..., n_classes)`. Output: `(...)`, in the dtype of the logits.
/// # Gradient
/// `q (ln q - Σ q ln q)`, exactly zero for masked classes.
/// # Errors
/// [`Error::InvalidLogit`], [`Error::AllMasked`], [`Error::TooFewClasses`], [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{entropy, kl_to_uniform};
///
/// let logits = Tensor::new(&[[0f64, 0.0], [1000.0, 0.0]], &Device::Cpu)?;
/// let ln_2 = std::f64::consts::LN_2;
/// assert_eq!(entropy(&logits)?.to_vec1::<f64>()?, [ln_2, 0.0]);
/// assert_eq!(kl_to_uniform(&logits)?.to_vec1::<f64>()?, [0.0, ln_2]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn kl_to_uniform(logits: &Tensor) -> Result<Tensor> {
    let rows = over_last(logits)?;
    Ok(op::kl_to_uniform(&rows.rows)?.to_dtype(logits.dtype())?)
}

fn over_last(logits: &Tensor) -> Result<Rows> {
    match logits.rank().checked_sub(1) {
        Some(dim) => Rows::new(logits, dim),
        None => Err(Error::TooFewClasses { what: "logits", shape: vec![], min: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn entropy_and_divergence_equal_their_sums_and_hold_when_saturated() {
        let m = f64::NEG_INFINITY;
        let rows =
            [[0.1, -0.7, 1.3, 0.0], [80.0, -80.0, 0.0, 5.0], [m, 0.0, m, 0.0], [m, m, m, 7.0]];
        let logits = Tensor::new(&rows, &Device::Cpu).unwrap();
        let h = entropy(&logits).unwrap().to_vec1::<f64>().unwrap();
        let kl = kl_to_uniform(&logits).unwrap().to_vec1::<f64>().unwrap();
        for (i, row) in rows.iter().enumerate() {
            let z: f64 = row.iter().map(|l| l.exp()).sum();
            let expected: f64 =
                row.iter().map(|l| l.exp() / z).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum();
            // Sums of four terms below 1.4: a few units of 1.1e-16 each.
            assert!((h[i] - expected).abs() < 1e-15, "{i}: {} {expected}", h[i]);
            assert!((kl[i] - (4f64.ln() - expected)).abs() < 2e-15);
        }
        assert_eq!((h[3], kl[2], kl[3]), (0.0, std::f64::consts::LN_2, 4f64.ln()));
    }

    #[test]
    fn half_precision_is_computed_in_single() {
        // 1,000 equal classes: summed in f16 the probabilities would not reach one.
        let logits = Tensor::zeros((1, 1000), DType::F16, &Device::Cpu).unwrap();
        let h = entropy(&logits).unwrap();
        assert_eq!(h.dtype(), DType::F16);
        let h = h.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()[0];
        // f16 has 11 bits: 1000.ln() = 6.91 to half of 2^-8.
        assert!((h - 1000f64.ln()).abs() < 2f64.powi(-8));
    }

    #[test]
    fn a_scalar_is_refused() {
        let scalar = Tensor::new(1f32, &Device::Cpu).unwrap();
        assert!(matches!(entropy(&scalar), Err(Error::TooFewClasses { .. })));
    }
}
