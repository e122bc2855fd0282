//! Exact one-hot samples whose backward pass is an estimator's formula.

use candle_core::backend::BackendStorage;
use candle_core::shape::Dim;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, D, DType, Layout, MetalStorage, Shape, Tensor,
};
use gumbel_kernels::{StraightThrough, straight_through_vjp};

use crate::logits::Rows;
use crate::rowwise::{last, one_hot_argmax, perturb, plain, single};
use crate::{Generator, Result, gumbel_noise};

/// How an estimator turns the gradient at its sample into the gradient at the logits.
///
/// All arguments are contiguous, with classes last, and in one dtype (f32 or f64); `hard` is one-hot; a
/// masked class has logit `-inf` and must get exactly zero.
pub(super) trait Pullback: Send + Sync {
    /// What error messages call the operation.
    fn name(&self) -> &'static str;

    /// The pass over rows of f32 on the CPU.
    fn kernel(&self) -> StraightThrough;

    /// The same in candle's operations: for f64 and other devices, and the oracle of the tests.
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

/// `y (g - Σ g y) / τ` in candle's operations: the gradient through `softmax(· / τ)` of value `y`; zero where `y`
/// is zero, whatever `g` is there.
pub(super) fn softmax_grad(y: &Tensor, grad: &Tensor, tau: f64) -> Result<Tensor> {
    let weighted = y.gt(0.0)?.where_cond(&(y * grad)?, &y.zeros_like()?)?;
    let total = weighted.sum_keepdim(D::Minus1)?;
    Ok(((weighted - y.broadcast_mul(&total)?)? / tau)?)
}

/// `softmax(logits / τ)` in candle's operations.
pub(super) fn softmax(logits: &Tensor, tau: f64) -> Result<Tensor> {
    plain::softmax(logits, tau)
}

/// Value: the second argument. Gradient: the pullback's, for the first.
pub(super) struct HardSample<P>(pub(super) P);

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
        let at_logits = if logits.device().is_cpu() && logits.dtype() == DType::F32 {
            let op = OnRows { name: self.0.name(), estimator: self.0.kernel() };
            logits.apply_op3_no_bwd(hard, &grad, &op)?
        } else {
            self.0.plain(&logits, hard, &grad)?
        };
        Ok((Some(at_logits), None))
    }
}

/// The pass over rows of f32 on the CPU.
struct OnRows {
    name: &'static str,
    estimator: StraightThrough,
}

impl CustomOp3 for OnRows {
    fn name(&self) -> &'static str {
        self.name
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
        let logits = single(self.name, logits, l1)?;
        let (hard, grad) = (single(self.name, hard, l2)?, single(self.name, grad, l3)?);
        let mut out = vec![0.0; logits.len()];
        straight_through_vjp(last(l1), self.estimator, logits, hard, grad, &mut out)
            .map_err(candle_core::Error::wrap)?;
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}
