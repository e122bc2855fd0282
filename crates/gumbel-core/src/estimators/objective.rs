//! What an estimator hands to the backward pass, and the one place where losses are called.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, MetalStorage, Shape, Tensor};

use crate::logits::Rows;
use crate::{Error, Result};

/// A loss as a function of a sample: takes `(batch, n_latents, n_categories)`, returns `(batch,)`.
///
/// An estimator may call it several times and with relaxed samples; it must be the same function
/// each time, and each element's loss must depend on that element's sample only.
pub type Loss<'a, E> = dyn FnMut(&Tensor) -> std::result::Result<Tensor, E> + 'a;

/// A loss at a sample, ready for the backward pass.
#[derive(Clone, Debug)]
pub struct Objective {
    /// The loss, `(batch,)`, for reporting: no gradient. Where an estimator draws several samples it is
    /// their mean, and the exact expectation where every code is enumerated.
    pub loss: Tensor,
    /// `(batch,)`, of the same value. Its backward pass gives the estimator's gradient to the logits, and the
    /// ordinary gradient of `loss` to everything else the loss depends on, such as a decoder's weights.
    pub surrogate: Tensor,
}

impl Objective {
    /// For a loss whose own backward pass gives the estimator's gradient.
    pub(super) fn pathwise(loss: Tensor) -> Self {
        Self { loss: loss.detach(), surrogate: loss }
    }

    /// For a loss that leaves no gradient at the logits: theirs is `grad`, in the layout of `rows`.
    pub(super) fn scored(loss: Tensor, rows: &Rows, grad: &Tensor) -> Result<Self> {
        let value = loss.force_contiguous()?;
        let surrogate = value.apply_op3(&rows.rows, &grad.detach(), Scored)?;
        Ok(Self { loss: loss.detach(), surrogate })
    }
}

/// Logits `(batch, n_latents, n_categories)`, checked.
pub(super) fn latents(logits: &Tensor) -> Result<Rows> {
    logits.dims3()?;
    Rows::new(logits, 2)
}

/// Calls the loss and checks that it returns one value per element of the batch.
pub(super) fn evaluate<E: From<Error>>(
    f: &mut Loss<'_, E>,
    z: &Tensor,
) -> std::result::Result<Tensor, E> {
    let loss = f(z)?;
    let batch = z.dims()[0];
    if loss.dims() != [batch] {
        return Err(Error::ShapeMismatch {
            what: "the loss",
            got: loss.dims().to_vec(),
            expected: vec![batch],
        }
        .into());
    }
    Ok(loss)
}

/// `x * weights`, one weight per element of the batch: `(batch, …) * (batch,)`.
pub(super) fn weigh(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let mut dims = vec![1; x.rank()];
    dims[0] = x.dims()[0];
    let weights = weights.to_dtype(x.dtype())?.reshape(dims)?;
    Ok(x.broadcast_mul(&weights)?)
}

/// Value: the first argument, the loss. Gradient: that for the loss, and the third argument for the logits.
struct Scored;

impl CustomOp3 for Scored {
    fn name(&self) -> &'static str {
        "score-function"
    }

    fn cpu_fwd(
        &self,
        loss: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((loss.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        loss: &CudaStorage,
        layout: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        Ok((loss.try_clone(layout)?, layout.shape().clone()))
    }

    fn metal_fwd(
        &self,
        loss: &MetalStorage,
        layout: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> candle_core::Result<(MetalStorage, Shape)> {
        Ok((loss.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        at_logits: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(weigh(at_logits, grad)?), None))
    }
}
