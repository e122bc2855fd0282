//! Operations over the last dimension, with their gradients: softmax and its relatives.
//!
//! On the CPU each is one pass over its rows ([`crate::rows`]); on other devices it is the
//! composition of candle operations in [`plain`], which is also the oracle of the tests.
//! All take f32 or f64, and masked classes (`-inf`) get gradient exactly zero.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Shape, Tensor};

use crate::Result;
use crate::rows;

/// `(logits - max logits) + noise`, row by row: what is drawn and relaxed is its argmax.
///
/// The shift changes neither softmax nor argmax, and keeps the noise exact when logits are large.
/// Gradient: 1 for both arguments, as of `logits + noise`.
pub(crate) fn perturb(logits: &Tensor, noise: &Tensor) -> Result<Tensor> {
    if logits.device().is_cpu() {
        Ok(logits.contiguous()?.apply_op2(&noise.contiguous()?, Perturb)?)
    } else {
        plain::perturb(logits, noise)
    }
}

/// `softmax(x / τ)` for a checked number τ.
pub(crate) fn softmax(x: &Tensor, tau: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        Ok(x.contiguous()?.apply_op1(Softmax { tau })?)
    } else {
        plain::softmax(x, tau)
    }
}

/// `x - ln Σ e^x`.
pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        Ok(x.contiguous()?.apply_op1(LogSoftmax)?)
    } else {
        plain::log_softmax(x)
    }
}

/// `Σ p ln p` with `p = softmax(x)`; the last dimension is dropped.
pub(crate) fn negative_entropy(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        Ok(x.contiguous()?.apply_op1(NegativeEntropy)?)
    } else {
        plain::sum_p_log_p(x, 0.0)
    }
}

/// `Σ p (ln p + ln n)` with `p = softmax(x)` over `n` classes; the last dimension is dropped.
pub(crate) fn kl_to_uniform(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        Ok(x.contiguous()?.apply_op1(KlToUniform)?)
    } else {
        plain::sum_p_log_p(x, (x.dim(D::Minus1)? as f64).ln())
    }
}

/// The index of the largest value, the first of equals; the last dimension is dropped. No gradient.
pub(crate) fn argmax(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        Ok(x.detach().contiguous()?.apply_op1_no_bwd(&Argmax)?)
    } else {
        Ok(x.detach().argmax(D::Minus1)?)
    }
}

/// Ones at the largest value of each row, in the dtype of `x`. No gradient.
pub(crate) fn one_hot_argmax(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        Ok(x.detach().contiguous()?.apply_op1_no_bwd(&OneHotArgmax)?)
    } else {
        plain::one_hot_argmax(&x.detach())
    }
}

/// The same operations composed of candle's, on any device.
pub(crate) mod plain {
    use super::*;

    pub(crate) fn perturb(logits: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let shift = logits.detach().max_keepdim(D::Minus1)?;
        Ok((logits.broadcast_sub(&shift)? + noise)?)
    }

    pub(crate) fn softmax(x: &Tensor, tau: f64) -> Result<Tensor> {
        let shift = x.detach().max_keepdim(D::Minus1)?;
        let e = (x.broadcast_sub(&shift)? / tau)?.exp()?;
        Ok(e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?)
    }

    pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
        let shift = x.detach().max_keepdim(D::Minus1)?;
        let shifted = x.broadcast_sub(&shift)?;
        let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let log_p = shifted.broadcast_sub(&log_sum)?;
        // A constant where the class is masked, so that no gradient, not even NaN, passes there.
        keep_masked(&log_p, x)
    }

    pub(crate) fn sum_p_log_p(x: &Tensor, c: f64) -> Result<Tensor> {
        let log_p = log_softmax(x)?;
        let safe = super::zero_where_masked(&log_p)?;
        let p = log_p.exp()?;
        Ok((p * safe.affine(1.0, c)?)?.sum(D::Minus1)?)
    }

    pub(crate) fn one_hot_argmax(x: &Tensor) -> Result<Tensor> {
        let classes = crate::one_hot::positions(x.dim(D::Minus1)?, x.device())?;
        let hot = x.argmax_keepdim(D::Minus1)?.broadcast_eq(&classes)?;
        Ok(hot.to_dtype(x.dtype())?)
    }

    fn keep_masked(value: &Tensor, x: &Tensor) -> Result<Tensor> {
        let masked = x.detach().eq(f64::NEG_INFINITY)?;
        let constant = x.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?;
        Ok(masked.where_cond(&constant, value)?)
    }
}

/// The single-precision loops of `gumbel-kernels`, which have those of [`crate::rows`] as their oracle.
mod vectorised {
    use candle_core::{Error, Result};

    pub(super) fn softmax(x: &[f32], n: usize, tau: f64) -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len()];
        gumbel_kernels::softmax(n, tau as f32, x, &mut out).map_err(Error::wrap)?;
        Ok(out)
    }

    pub(super) fn softmax_grad(y: &[f32], grad: &[f32], n: usize, tau: f64) -> Result<Vec<f32>> {
        let mut out = vec![0.0; y.len()];
        gumbel_kernels::softmax_vjp(n, tau as f32, y, grad, &mut out).map_err(Error::wrap)?;
        Ok(out)
    }

    /// The divergences of the rows and their gradients.
    pub(super) fn kl_to_uniform(x: &[f32], n: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut kl, mut slope) = (vec![0.0; x.len() / n], vec![0.0; x.len()]);
        gumbel_kernels::kl_to_uniform(n, 1.0, x, &mut kl, &mut slope).map_err(Error::wrap)?;
        Ok((kl, slope))
    }
}

/// `x`, with `-inf` replaced by a constant 0: safe to multiply by a zero, with gradient zero there.
pub(crate) fn zero_where_masked(x: &Tensor) -> Result<Tensor> {
    let masked = x.detach().eq(f64::NEG_INFINITY)?;
    Ok(masked.where_cond(&x.zeros_like()?, x)?)
}

/// The elements of a contiguous tensor on the CPU.
pub(crate) fn elements<'a, T>(
    op: &'static str,
    values: &'a [T],
    layout: &Layout,
) -> candle_core::Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op }.bt()),
    }
}

/// [`elements`] of f32.
pub(crate) fn single<'a>(
    op: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [f32]> {
    match storage {
        CpuStorage::F32(values) => elements(op, values, layout),
        other => Err(unsupported(op, other)),
    }
}

/// Runs a generic function over f32 or f64 values and wraps its result in the same storage.
macro_rules! on_rows {
    ($op:expr, $s:expr, $l:expr, |$x:ident| $body:expr) => {
        match $s {
            candle_core::CpuStorage::F32(v) => {
                let $x = crate::rowwise::elements($op, v, $l)?;
                candle_core::CpuStorage::F32($body)
            }
            candle_core::CpuStorage::F64(v) => {
                let $x = crate::rowwise::elements($op, v, $l)?;
                candle_core::CpuStorage::F64($body)
            }
            other => return Err(crate::rowwise::unsupported($op, other)),
        }
    };
}
pub(crate) use on_rows;

/// [`on_rows`] for two arguments of one dtype.
macro_rules! on_rows2 {
    ($op:expr, $s1:expr, $l1:expr, $s2:expr, $l2:expr, |$x:ident, $y:ident| $body:expr) => {
        match ($s1, $s2) {
            (candle_core::CpuStorage::F32(v), candle_core::CpuStorage::F32(w)) => {
                let $x = crate::rowwise::elements($op, v, $l1)?;
                let $y = crate::rowwise::elements($op, w, $l2)?;
                candle_core::CpuStorage::F32($body)
            }
            (candle_core::CpuStorage::F64(v), candle_core::CpuStorage::F64(w)) => {
                let $x = crate::rowwise::elements($op, v, $l1)?;
                let $y = crate::rowwise::elements($op, w, $l2)?;
                candle_core::CpuStorage::F64($body)
            }
            (other, _) => return Err(crate::rowwise::unsupported($op, other)),
        }
    };
}
pub(crate) use on_rows2;

pub(crate) fn unsupported(op: &'static str, storage: &CpuStorage) -> candle_core::Error {
    use candle_core::backend::BackendStorage;
    candle_core::Error::UnsupportedDTypeForOp(storage.dtype(), op).bt()
}

/// The length of the last dimension.
pub(crate) fn last(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1).max(1)
}

/// The shape without its last dimension.
pub(crate) fn without_last(layout: &Layout) -> Shape {
    let dims = layout.dims();
    Shape::from(&dims[..dims.len().saturating_sub(1)])
}

struct Perturb;

impl CustomOp2 for Perturb {
    fn name(&self) -> &'static str {
        "perturb"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l1);
        let out = on_rows2!(self.name(), s1, l1, s2, l2, |x, e| rows::perturb(x, e, n));
        Ok((out, l1.shape().clone()))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        noise: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        // Noise is seldom a variable: its gradient is not worth a copy then.
        let wanted = |arg: &Tensor| arg.track_op().then(|| grad.clone());
        Ok((wanted(logits), wanted(noise)))
    }
}

struct Softmax {
    tau: f64,
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l);
        let out = match s {
            CpuStorage::F32(v) => {
                CpuStorage::F32(vectorised::softmax(elements(self.name(), v, l)?, n, self.tau)?)
            }
            _ => on_rows!(self.name(), s, l, |x| rows::softmax(x, n, self.tau)),
        };
        Ok((out, l.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let op = SoftmaxGrad { tau: self.tau };
        Ok(Some(y.apply_op2_no_bwd(&grad.contiguous()?, &op)?))
    }
}

/// The gradient of `softmax(x / τ)` from the softmax itself and the gradient of it; zero where it is zero.
pub(crate) struct SoftmaxGrad {
    pub(crate) tau: f64,
}

impl CustomOp2 for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l1);
        let out = match (s1, s2) {
            (CpuStorage::F32(y), CpuStorage::F32(g)) => {
                let (y, g) = (elements(self.name(), y, l1)?, elements(self.name(), g, l2)?);
                CpuStorage::F32(vectorised::softmax_grad(y, g, n, self.tau)?)
            }
            _ => on_rows2!(self.name(), s1, l1, s2, l2, |y, g| {
                rows::softmax_grad(y, g, n, self.tau)
            }),
        };
        Ok((out, l1.shape().clone()))
    }
}

struct LogSoftmax;

impl CustomOp1 for LogSoftmax {
    fn name(&self) -> &'static str {
        "log-softmax"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l);
        let out = on_rows!(self.name(), s, l, |x| rows::log_softmax(x, n));
        Ok((out, l.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        log_p: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(log_p.apply_op2_no_bwd(&grad.contiguous()?, &LogSoftmaxGrad)?))
    }
}

struct LogSoftmaxGrad;

impl CustomOp2 for LogSoftmaxGrad {
    fn name(&self) -> &'static str {
        "log-softmax-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l1);
        let out = on_rows2!(self.name(), s1, l1, s2, l2, |p, g| rows::log_softmax_grad(p, g, n));
        Ok((out, l1.shape().clone()))
    }
}

struct NegativeEntropy;

impl CustomOp1 for NegativeEntropy {
    fn name(&self) -> &'static str {
        "negative-entropy"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l);
        let out = on_rows!(self.name(), s, l, |x| rows::sum_p_log_p(x, n, 0.0));
        Ok((out, without_last(l)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(x.apply_op2_no_bwd(&grad.contiguous()?, &SumPLogPGrad)?))
    }
}

struct KlToUniform;

impl CustomOp1 for KlToUniform {
    fn name(&self) -> &'static str {
        "kl-to-uniform"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l);
        let out = match s {
            CpuStorage::F32(v) => {
                CpuStorage::F32(vectorised::kl_to_uniform(elements(self.name(), v, l)?, n)?.0)
            }
            _ => on_rows!(self.name(), s, l, |x| rows::sum_p_log_p(x, n, (n as f64).ln())),
        };
        Ok((out, without_last(l)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(x.apply_op2_no_bwd(&grad.contiguous()?, &SumPLogPGrad)?))
    }
}

struct SumPLogPGrad;

impl CustomOp2 for SumPLogPGrad {
    fn name(&self) -> &'static str {
        "sum-p-log-p-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l1);
        let out = match (s1, s2) {
            (CpuStorage::F32(x), CpuStorage::F32(g)) => {
                let (x, g) = (elements(self.name(), x, l1)?, elements(self.name(), g, l2)?);
                let (_, mut slope) = vectorised::kl_to_uniform(x, n)?;
                for (row, &g) in slope.chunks_exact_mut(n).zip(g) {
                    row.iter_mut().for_each(|d| *d *= g);
                }
                CpuStorage::F32(slope)
            }
            _ => on_rows2!(self.name(), s1, l1, s2, l2, |x, g| rows::sum_p_log_p_grad(x, g, n)),
        };
        Ok((out, l1.shape().clone()))
    }
}

struct Argmax;

impl CustomOp1 for Argmax {
    fn name(&self) -> &'static str {
        "row-argmax"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l);
        let classes = match s {
            CpuStorage::F32(v) => rows::argmax(elements(self.name(), v, l)?, n),
            CpuStorage::F64(v) => rows::argmax(elements(self.name(), v, l)?, n),
            other => return Err(unsupported(self.name(), other)),
        };
        Ok((CpuStorage::U32(classes), without_last(l)))
    }
}

struct OneHotArgmax;

impl CustomOp1 for OneHotArgmax {
    fn name(&self) -> &'static str {
        "one-hot-argmax"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let n = last(l);
        let out = on_rows!(self.name(), s, l, |x| rows::one_hot_argmax(x, n));
        Ok((out, l.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    const MASK: f64 = f64::NEG_INFINITY;

    /// Rows with ordinary, saturated, equal and masked logits.
    fn logits(dtype: DType) -> Var {
        let x = [
            [0.3, -1.2, 2.0, 0.7],
            [80.0, -80.0, 79.0, 0.0],
            [1.0, 1.0, 1.0, 1.0],
            [MASK, 0.5, MASK, -0.25],
            [MASK, MASK, 3.0, MASK],
        ];
        Var::from_tensor(&Tensor::new(&x, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()).unwrap()
    }

    /// Fused and plain agree in value and in the gradient of a weighted sum, which never is NaN.
    fn agree(
        name: &str,
        fused: impl Fn(&Tensor) -> Result<Tensor>,
        plain: impl Fn(&Tensor) -> Result<Tensor>,
    ) {
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-6)] {
            let x = logits(dtype);
            let run = |f: &dyn Fn(&Tensor) -> Result<Tensor>| {
                let y = f(x.as_tensor()).unwrap();
                let n = y.elem_count();
                let weights: Vec<f64> = (0..n).map(|i| 0.3 + 0.17 * i as f64).collect();
                let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu)
                    .unwrap()
                    .to_dtype(dtype)
                    .unwrap();
                let total = (zero_where_masked(&y).unwrap() * weights).unwrap().sum_all().unwrap();
                let grads = total.backward().unwrap();
                let list = |t: &Tensor| {
                    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
                };
                (list(&y), list(grads.get(&x).unwrap()))
            };
            let (fused, plain) = (run(&fused), run(&plain));
            for (what, a, b) in [("value", &fused.0, &plain.0), ("gradient", &fused.1, &plain.1)] {
                assert_eq!(a.len(), b.len());
                for (a, b) in a.iter().zip(b) {
                    assert!(
                        a == b || (a - b).abs() <= tolerance * (1.0 + b.abs()),
                        "{name} {dtype:?} {what}: {a} {b}"
                    );
                }
            }
            let masked = list_masked(&x);
            for (i, &m) in masked.iter().enumerate() {
                assert!(
                    !m || fused.1[i] == 0.0,
                    "{name}: gradient of masked class {i} is {}",
                    fused.1[i]
                );
            }
        }
    }

    fn list_masked(x: &Var) -> Vec<bool> {
        let x = x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        x.into_iter().map(|x| x == MASK).collect()
    }

    #[test]
    fn fused_operations_equal_plain_ones_in_value_and_gradient() {
        agree("softmax 1", |x| softmax(x, 1.0), |x| plain::softmax(x, 1.0));
        agree("softmax 0.1", |x| softmax(x, 0.1), |x| plain::softmax(x, 0.1));
        agree("log_softmax", log_softmax, plain::log_softmax);
        agree("negative_entropy", negative_entropy, |x| plain::sum_p_log_p(x, 0.0));
        agree("kl_to_uniform", kl_to_uniform, |x| plain::sum_p_log_p(x, 4f64.ln()));
        let noise = |x: &Tensor| x.zeros_like().unwrap().affine(1.0, 0.3).unwrap();
        agree(
            "perturb",
            |x| softmax(&perturb(x, &noise(x))?, 1.0),
            |x| softmax(&plain::perturb(x, &noise(x))?, 1.0),
        );
    }

    #[test]
    fn the_largest_class_is_the_same_one_fused_and_plain() {
        for dtype in [DType::F32, DType::F64] {
            // Rows with equal logits too: the first of them is taken.
            let x = logits(dtype);
            let list = |t: Tensor| t.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
            let fused = list(one_hot_argmax(x.as_tensor()).unwrap());
            assert_eq!(fused, list(plain::one_hot_argmax(x.as_tensor()).unwrap()));
            let classes = argmax(x.as_tensor()).unwrap().to_vec1::<u32>().unwrap();
            assert_eq!(classes, [2, 0, 0, 1, 2]);
            assert!(fused.iter().zip(classes).all(|(row, k)| row[k as usize] == 1.0));
        }
    }

    #[test]
    fn large_logits_do_not_swallow_the_noise() {
        let x = Tensor::new(&[[1e8f32, 1e8]], &Device::Cpu).unwrap();
        let noise = Tensor::new(&[[0.125f32, 0.25]], &Device::Cpu).unwrap();
        let perturbed = perturb(&x, &noise).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(perturbed, [[0.125, 0.25]]);
    }
}
