//! One-hot vectors from class indices.

use candle_core::{D, DType, Device, Tensor};

use crate::{Error, Result};

/// Turns class indices into one-hot vectors along a new last dimension.
///
/// # Shapes
/// - indices: any shape, of an integer dtype; output: the same with `n_classes` appended.
/// # Gradient
/// None: the result is a constant.
/// # Errors
/// [`Error::IndexOutOfRange`], [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let classes = Tensor::new(&[2u32, 0], &Device::Cpu)?;
/// let hot = gumbel_core::one_hot(&classes, 3, DType::F32)?;
/// assert_eq!(hot.to_vec2::<f32>()?, [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn one_hot(indices: &Tensor, n_classes: usize, dtype: DType) -> Result<Tensor> {
    let indices = checked_indices(indices, n_classes)?;
    let classes = positions(n_classes, indices.device())?;
    Ok(indices.unsqueeze(D::Minus1)?.broadcast_eq(&classes)?.to_dtype(dtype)?)
}

/// Integer indices below `n_classes`, as u32.
pub(crate) fn checked_indices(indices: &Tensor, n_classes: usize) -> Result<Tensor> {
    if !matches!(indices.dtype(), DType::U8 | DType::U32 | DType::I64) {
        return Err(Error::UnsupportedDType {
            what: "indices",
            dtype: indices.dtype(),
            expected: "u8, u32 or i64",
        });
    }
    let wide = indices.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
    match wide.into_iter().find(|&i| i < 0 || i as usize >= n_classes) {
        Some(index) => Err(Error::IndexOutOfRange { index, n_classes }),
        None => Ok(indices.to_dtype(DType::U32)?),
    }
}

/// `[0, 1, …, n - 1]`.
pub(crate) fn positions(n: usize, device: &Device) -> Result<Tensor> {
    Ok(Tensor::arange(0u32, n as u32, device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_out_of_range_or_negative_are_refused() {
        let error =
            one_hot(&Tensor::new(&[0u32, 3], &Device::Cpu).unwrap(), 3, DType::F32).unwrap_err();
        assert!(matches!(error, Error::IndexOutOfRange { index: 3, n_classes: 3 }));
        let error =
            one_hot(&Tensor::new(&[-1i64], &Device::Cpu).unwrap(), 3, DType::F32).unwrap_err();
        assert!(matches!(error, Error::IndexOutOfRange { .. }));
        let error =
            one_hot(&Tensor::new(&[0f32], &Device::Cpu).unwrap(), 3, DType::F32).unwrap_err();
        assert!(matches!(error, Error::UnsupportedDType { .. }));
    }

    #[test]
    fn a_scalar_index_gives_a_vector() {
        let hot = one_hot(&Tensor::new(1u32, &Device::Cpu).unwrap(), 2, DType::F64).unwrap();
        assert_eq!(hot.to_vec1::<f64>().unwrap(), [0.0, 1.0]);
    }
}
