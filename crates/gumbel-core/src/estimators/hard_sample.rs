//! Exact one-hot samples whose backward pass is an estimator's formula.

use candle_core::backend::BackendStorage;
use candle_core::shape::Dim;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, D, Layout, MetalStorage, Shape, Tensor,
    WithDType,
};

use crate::logits::Rows;
use crate::rows::{self, Real};
use crate::rowwise::{elements, one_hot_argmax, perturb, plain, unsupported};
use crate::{Generator, Result, gumbel_noise};

/// f32 and f64, with the one function of theirs that is worth a vectorised pass.
pub(super) trait Value: Real + WithDType {
    /// `(1 + e^x)^(-1/τ)` of each element; 1 at `-inf`, 0 at `inf`.
    fn logistic_powers(x: &[Self], tau: f64) -> candle_core::Result<Vec<Self>>;
}

impl Value for f32 {
    fn logistic_powers(x: &[Self], tau: f64) -> candle_core::Result<Vec<Self>> {
        let (mut powers, mut out) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        gumbel_kernels::softplus(x, &mut powers).map_err(candle_core::Error::wrap)?;
        let scale = -1.0 / tau as f32;
        powers.iter_mut().for_each(|p| *p *= scale);
        gumbel_kernels::exp(&powers, &mut out).map_err(candle_core::Error::wrap)?;
        Ok(out)
    }
}

impl Value for f64 {
    fn logistic_powers(x: &[Self], tau: f64) -> candle_core::Result<Vec<Self>> {
        Ok(x.iter().map(|&x| (-rows::softplus(x) / tau).exp()).collect())
    }
}

/// How an estimator turns the gradient at its sample into the gradient at the logits.
///
/// All arguments are rows of `n` classes, contiguous and in one dtype (f32 or f64); `hard` is
/// one-hot; a masked class has logit `-inf` and must get exactly zero.
pub(super) trait Pullback: Send + Sync {
    /// What error messages call the operation.
    fn name(&self) -> &'static str;

    /// One pass over rows on the CPU.
    fn rows<T: Value>(&self, logits: &[T], hard: &[T], grad: &[T], n: usize) -> Result<Vec<T>>;

    /// The same in candle's operations: for other devices, and the oracle of the tests.
    fn plain(&self, logits: &Tensor, hard: &Tensor, grad: &Tensor) -> Result<Tensor>;
}

/// Checked logits, and an exact sample for each of their rows.
pub(super) struct Draw {
    pub(super) rows: Rows,
    /// One-hot, with classes last, in the dtype of `rows`. No gradient.
    pub(super) hard: Tensor,
}

impl Draw {
    /// The sample of [`sample_one_hot`](crate::sample_one_hot), from the same noise.
    pub(super) fn new<D: Dim>(
        logits: &Tensor,
        dim: D,
        g: &mut Generator,
        name: &'static str,
    ) -> Result<Self> {
        Self::tempered(logits, 1.0, dim, g, name)
    }

    /// A sample of `softmax(logits / τ)`.
    pub(super) fn tempered<D: Dim>(
        logits: &Tensor,
        tau: f64,
        dim: D,
        g: &mut Generator,
        name: &'static str,
    ) -> Result<Self> {
        let rows = Rows::new(logits, dim.to_index(logits.shape(), name)?)?;
        let noise = gumbel_noise(logits.shape(), rows.rows.dtype(), logits.device(), g)?;
        let noise = rows.like(&noise, "noise")?;
        let drawn_from = match tau {
            1.0 => rows.rows.detach(),
            tau => (rows.rows.detach() / tau)?,
        };
        let hard = one_hot_argmax(&perturb(&drawn_from, &noise)?)?;
        Ok(Self { rows, hard })
    }

    /// The sample in the layout and dtype of the logits, without a gradient.
    pub(super) fn sample(&self) -> Result<Tensor> {
        self.rows.restore(&self.hard)
    }

    /// The sample in the layout and dtype of the logits, with the gradient of `pullback`.
    pub(super) fn with<P: Pullback + 'static>(self, pullback: P) -> Result<Tensor> {
        let sample = self.rows.rows.apply_op2(&self.hard, HardSample(pullback))?;
        self.rows.restore(&sample)
    }
}

/// `y (g - Σ g y) / τ` in candle's operations: the gradient through `softmax(· / τ)` of value `y`.
pub(super) fn softmax_grad(y: &Tensor, grad: &Tensor, tau: f64) -> Result<Tensor> {
    let weighted = (y * grad)?;
    let total = weighted.sum_keepdim(D::Minus1)?;
    Ok(((weighted - y.broadcast_mul(&total)?)? / tau)?)
}

/// `softmax(logits / τ)` in candle's operations.
pub(super) fn softmax(logits: &Tensor, tau: f64) -> Result<Tensor> {
    plain::softmax(logits, tau)
}

/// Value: the second argument. Gradient: the pullback's, for the first.
struct HardSample<P>(P);

impl<P: Pullback + 'static> CustomOp2 for HardSample<P> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        hard: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((hard.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        hard: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        Ok((hard.try_clone(layout)?, layout.shape().clone()))
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        hard: &MetalStorage,
        layout: &Layout,
    ) -> candle_core::Result<(MetalStorage, Shape)> {
        Ok((hard.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        hard: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (logits, grad) = (logits.detach(), grad.contiguous()?);
        let at_logits = if logits.device().is_cpu() {
            logits.apply_op3_no_bwd(hard, &grad, &OnRows(&self.0))?
        } else {
            self.0.plain(&logits, hard, &grad)?
        };
        Ok((Some(at_logits), None))
    }
}

/// A pullback on the CPU.
struct OnRows<'a, P>(&'a P);

impl<P: Pullback> CustomOp3 for OnRows<'_, P> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        l1: &Layout,
        hard: &CpuStorage,
        l2: &Layout,
        grad: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let name = self.name();
        let n = l1.dims().last().copied().unwrap_or(1).max(1);
        let out = match (logits, hard, grad) {
            (CpuStorage::F32(x), CpuStorage::F32(d), CpuStorage::F32(g)) => {
                let (x, d, g) =
                    (elements(name, x, l1)?, elements(name, d, l2)?, elements(name, g, l3)?);
                CpuStorage::F32(self.0.rows(x, d, g, n)?)
            }
            (CpuStorage::F64(x), CpuStorage::F64(d), CpuStorage::F64(g)) => {
                let (x, d, g) =
                    (elements(name, x, l1)?, elements(name, d, l2)?, elements(name, g, l3)?);
                CpuStorage::F64(self.0.rows(x, d, g, n)?)
            }
            (other, _, _) => return Err(unsupported(name, other)),
        };
        Ok((out, l1.shape().clone()))
    }
}
