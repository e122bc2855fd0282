//! Logits with noise, and the largest of them: what is drawn.

use candle_core::{D, DType, Tensor};

use super::{largest, on_slices, read_slices, with_gradient};
use crate::Result;
use crate::one_hot::positions;

/// `(logits - max logits) + noise`, row by row: what is drawn and relaxed is its argmax.
///
/// The shift changes neither softmax nor argmax, and keeps the noise exact when logits are large.
///
/// # Gradient
/// 1 for both arguments, as of `logits + noise`.
pub(crate) fn perturb(logits: &Tensor, noise: &Tensor) -> Result<Tensor> {
    let n = logits.dim(D::Minus1)?;
    let kernel = |[logits, noise]: [&[f32]; 2], y: &mut [f32]| {
        gumbel_kernels::perturb(n, logits, noise, y).map_err(Into::into)
    };
    let composition =
        |[logits, noise]: [&Tensor; 2]| Ok((logits.broadcast_sub(&largest(logits)?)? + noise)?);
    let value = on_slices([logits, noise], logits.shape(), kernel, composition)?;
    let both =
        |_: [&Tensor; 2], _: &Tensor, grad: &Tensor| Ok([Some(grad.clone()), Some(grad.clone())]);
    with_gradient("perturb", value, [logits, noise], both)
}

/// The index of the largest value, the first of equals; the last dimension is dropped. No gradient.
pub(crate) fn argmax(x: &Tensor) -> Result<Tensor> {
    let dims = &x.dims()[..x.rank() - 1];
    if x.elem_count() == 0 {
        return Ok(Tensor::zeros(dims, DType::U32, x.device())?);
    }
    if !(x.device().is_cpu() && x.dtype() == DType::F32) {
        return Ok(x.detach().argmax(D::Minus1)?);
    }
    let n = x.dim(D::Minus1)?;
    let mut classes = vec![0; x.elem_count() / n];
    read_slices([x], |[x]| Ok(gumbel_kernels::argmax(n, x, &mut classes)?))?;
    Ok(Tensor::from_vec(classes, dims, x.device())?)
}

/// Ones at the largest value of each row, the first of equals, in the dtype of `x`. No gradient.
pub(crate) fn one_hot_argmax(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let kernel = |[x]: [&[f32]; 1], y: &mut [f32]| {
        gumbel_kernels::one_hot_argmax(n, x, y).map_err(Into::into)
    };
    let composition = |[x]: [&Tensor; 1]| {
        let hot = argmax(x)?.unsqueeze(D::Minus1)?.broadcast_eq(&positions(n, x.device())?)?;
        Ok(hot.to_dtype(x.dtype())?)
    };
    Ok(on_slices([x], x.shape(), kernel, composition)?.into_tensor())
}
