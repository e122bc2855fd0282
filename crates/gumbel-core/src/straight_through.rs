//! The straight-through combinator: one value forward, another's gradient backward.

use candle_core::Tensor;

use crate::op::with_gradient;
use crate::{Error, Result};

/// Exactly the value of `hard`, with the gradient of `soft` (Bengio et al. 2013).
///
/// There is no rounding: `hard + soft - soft` is off by a rounding error of `soft`, this is a copy of `hard`.
///
/// # Shapes
/// - hard, soft: the same shape and dtype; so is the result.
/// # Gradient
/// Identity for `soft`, none for `hard`.
/// # Errors
/// [`Error::ShapeMismatch`] when the shapes differ, [`Error::UnsupportedDType`] when the dtypes do.
/// # Example
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use gumbel_core::straight_through;
///
/// let soft = Var::new(&[0.1f32, 0.9], &Device::Cpu)?;
/// let hard = Tensor::new(&[0f32, 1.0], &Device::Cpu)?;
/// let y = straight_through(&hard, &soft)?;
/// assert_eq!(y.to_vec1::<f32>()?, [0.0, 1.0]);
/// let grads = (y * 3.0)?.sum_all()?.backward()?;
/// assert_eq!(grads.get(&soft).unwrap().to_vec1::<f32>()?, [3.0, 3.0]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn straight_through(hard: &Tensor, soft: &Tensor) -> Result<Tensor> {
    if hard.dims() != soft.dims() {
        return Err(Error::ShapeMismatch {
            what: "hard",
            got: hard.dims().to_vec(),
            expected: soft.dims().to_vec(),
        });
    }
    if hard.dtype() != soft.dtype() {
        return Err(Error::UnsupportedDType {
            what: "hard",
            dtype: hard.dtype(),
            expected: "the dtype of soft",
        });
    }
    with_gradient("straight-through", hard, [soft], |_, _, grad| Ok([Some(grad.clone())]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    #[test]
    fn the_value_is_exact_where_adding_and_subtracting_is_not() {
        let soft = Var::new(&[0.3f32, 1e-9, 0.7], &Device::Cpu).unwrap();
        let hard = Tensor::new(&[1f32, 1.0 / 3.0, 0.1], &Device::Cpu).unwrap();
        let rounded = ((&hard + soft.as_tensor()).unwrap() - soft.as_tensor()).unwrap();
        assert_ne!(rounded.to_vec1::<f32>().unwrap(), hard.to_vec1::<f32>().unwrap());
        let y = straight_through(&hard, &soft).unwrap();
        assert_eq!(y.to_vec1::<f32>().unwrap(), hard.to_vec1::<f32>().unwrap());
    }

    #[test]
    fn views_keep_their_values() {
        let all = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((3, 4)).unwrap();
        let soft = Var::zeros((2, 4), DType::F32, &Device::Cpu).unwrap();
        let rows = all.narrow(0, 1, 2).unwrap();
        let y = straight_through(&rows, &soft).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), rows.to_vec2::<f32>().unwrap());
        let turned = all.narrow(1, 1, 2).unwrap().t().unwrap();
        let soft = Var::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let y = straight_through(&turned, &soft).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), turned.to_vec2::<f32>().unwrap());
    }

    #[test]
    fn the_hard_value_gets_no_gradient() {
        let hard = Var::new(&[1f32, 0.0], &Device::Cpu).unwrap();
        let soft = Var::new(&[0.5f32, 0.5], &Device::Cpu).unwrap();
        let grads = straight_through(&hard, &soft).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(&hard).is_none());
        assert!(grads.get(&soft).is_some());
    }

    #[test]
    fn shapes_and_dtypes_must_agree() {
        let a = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
        let b = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
        let c = Tensor::zeros(2, DType::F64, &Device::Cpu).unwrap();
        assert!(matches!(straight_through(&a, &b), Err(Error::ShapeMismatch { .. })));
        assert!(matches!(straight_through(&a, &c), Err(Error::UnsupportedDType { .. })));
    }
}
