//! `Σ p ln p` with `p = softmax(x)`: the negative entropy, and the divergence from the uniform distribution.

use candle_core::{D, Tensor};

use super::{allowed, log_softmax, on_slices, with_gradient};
use crate::Result;

/// `Σ p ln p` over the last dimension, which is dropped. Gradient: `p (ln p - Σ p ln p)`.
pub(crate) fn neg_entropy(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let kernel = |[x]: [&[f32]; 1], y: &mut [f32]| {
        gumbel_kernels::neg_entropy(n, x, y, &mut vec![0.0; x.len()]).map_err(Into::into)
    };
    let value = on_slices([x], without_last(x), kernel, |[x]| composition(x, 0.0))?;
    with_gradient("neg-entropy", value, [x], |[x], _, grad| Ok([Some(gradient(x, grad)?)]))
}

/// `Σ p (ln p + ln n)` over the `n` classes of the last dimension, which is dropped; never below zero. Gradient: that
/// of [`neg_entropy`].
pub(crate) fn kl_to_uniform(x: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let kernel = |[x]: [&[f32]; 1], y: &mut [f32]| {
        gumbel_kernels::kl_to_uniform(n, 1.0, x, y, &mut vec![0.0; x.len()]).map_err(Into::into)
    };
    let composition = |[x]: [&Tensor; 1]| Ok(composition(x, (n as f64).ln())?.maximum(0.0)?);
    let value = on_slices([x], without_last(x), kernel, composition)?;
    with_gradient("kl-to-uniform", value, [x], |[x], _, grad| Ok([Some(gradient(x, grad)?)]))
}

fn without_last(x: &Tensor) -> &[usize] {
    &x.dims()[..x.rank() - 1]
}

/// `p`, and `ln p` where it is finite, else 0: `0 ln 0 = 0`.
fn p_and_log_p(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let log_p = log_softmax::composition(x)?;
    Ok((log_p.exp()?, allowed(&log_p)?.where_cond(&log_p, &log_p.zeros_like()?)?))
}

/// `Σ p (ln p + c)`.
fn composition(x: &Tensor, c: f64) -> Result<Tensor> {
    let (p, log_p) = p_and_log_p(x)?;
    Ok((p * log_p.affine(1.0, c)?)?.sum(D::Minus1)?)
}

fn gradient(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let kernel = |[x, grad]: [&[f32]; 2], d: &mut [f32]| {
        gumbel_kernels::neg_entropy(n, x, &mut vec![0.0; grad.len()], d)?;
        for ((x, d), &grad) in x.chunks_exact(n).zip(d.chunks_exact_mut(n)).zip(grad) {
            for (&x, d) in x.iter().zip(d) {
                *d = if x == f32::NEG_INFINITY { 0.0 } else { *d * grad };
            }
        }
        Ok(())
    };
    let composition = |[x, grad]: [&Tensor; 2]| {
        let (p, log_p) = p_and_log_p(x)?;
        let mean = (&p * &log_p)?.sum_keepdim(D::Minus1)?;
        let slope = (p * log_p.broadcast_sub(&mean)?)?;
        let d = slope.broadcast_mul(&grad.unsqueeze(D::Minus1)?)?;
        Ok(allowed(x)?.where_cond(&d, &d.zeros_like()?)?)
    };
    Ok(on_slices([x, grad], x.shape(), kernel, composition)?.into_tensor())
}
