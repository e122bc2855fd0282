//! Log-softmax.

use candle_core::{D, Tensor};

use super::{allowed, largest, on_slices, with_gradient};
use crate::Result;

/// `x - ln Σ e^x` over the last dimension; masked classes (`-inf`) stay `-inf`.
///
/// # Gradient
/// `g - p Σ g`, and zero for masked classes, whose incoming gradient is ignored.
pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let kernel =
        |[x]: [&[f32]; 1], y: &mut [f32]| gumbel_kernels::log_softmax(n, x, y).map_err(Into::into);
    let value = on_slices([x], x.shape(), kernel, |[x]| composition(x))?;
    with_gradient("log-softmax", value, [x], |_, log_p, grad| Ok([Some(gradient(log_p, grad)?)]))
}

/// The value in candle's operations.
pub(super) fn composition(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&largest(x)?)?;
    // The logarithm is subtracted last: near the top of a row the result is small and must keep its bits.
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok(shifted.broadcast_sub(&log_sum)?)
}

fn gradient(log_p: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let n = log_p.dim(D::Minus1)?;
    let kernel = |[log_p, grad]: [&[f32]; 2], d: &mut [f32]| {
        gumbel_kernels::log_softmax_vjp(n, log_p, grad, d).map_err(Into::into)
    };
    let composition = |[log_p, grad]: [&Tensor; 2]| {
        let (allowed, zero) = (allowed(log_p)?, log_p.zeros_like()?);
        let total = allowed.where_cond(grad, &zero)?.sum_keepdim(D::Minus1)?;
        let d = (grad - log_p.exp()?.broadcast_mul(&total)?)?;
        Ok(allowed.where_cond(&d, &zero)?)
    };
    Ok(on_slices([log_p, grad], log_p.shape(), kernel, composition)?.into_tensor())
}
