//! Softmax with a temperature.

use candle_core::{D, Tensor};

use super::{largest, on_slices, with_gradient};
use crate::Result;

/// `softmax(x / τ)` over the last dimension, for a checked number τ.
///
/// # Gradient
/// [`softmax_grad`].
pub(crate) fn softmax(x: &Tensor, tau: f64) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let kernel = |[x]: [&[f32]; 1], y: &mut [f32]| {
        gumbel_kernels::softmax(n, tau as f32, x, y).map_err(Into::into)
    };
    let value = on_slices([x], x.shape(), kernel, |[x]| composition(x, tau))?;
    with_gradient("softmax", value, [x], move |_, y, grad| Ok([Some(softmax_grad(y, grad, tau)?)]))
}

/// [`softmax`] in candle's operations.
fn composition(x: &Tensor, tau: f64) -> Result<Tensor> {
    // Divided, not multiplied by 1/τ, which overflows for the smallest τ.
    let e = (x.broadcast_sub(&largest(x)?)? / tau)?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?)
}

/// The gradient through `y = softmax(x / τ)`: `y (g - Σ g y) / τ`, and zero where `y` is zero whatever `g` is there.
pub(crate) fn softmax_grad(y: &Tensor, grad: &Tensor, tau: f64) -> Result<Tensor> {
    let n = y.dim(D::Minus1)?;
    let kernel = |[y, grad]: [&[f32]; 2], d: &mut [f32]| {
        gumbel_kernels::softmax_vjp(n, tau as f32, y, grad, d).map_err(Into::into)
    };
    let composition = |[y, grad]: [&Tensor; 2]| {
        let (used, zero) = (y.gt(0.0)?, y.zeros_like()?);
        let total = used.where_cond(&(y * grad)?, &zero)?.sum_keepdim(D::Minus1)?;
        let d = ((y * grad.broadcast_sub(&total)?)? / tau)?;
        Ok(used.where_cond(&d, &zero)?)
    };
    Ok(on_slices([y, grad], y.shape(), kernel, composition)?.into_tensor())
}
