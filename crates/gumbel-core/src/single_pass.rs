//! Samples of single-precision logits on the CPU in one pass: the logits are read once, the result is
//! written once, and the noise is never in memory.
//!
//! The noise is that of [`crate::gumbel_noise`], so a seed gives the same sample as the general path of
//! [`crate::gumbel_softmax`] and [`crate::gumbel_max`] (to rounding), which is the oracle of the tests.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};
use gumbel_kernels::{GumbelStream, SampleError, gumbel_argmax, gumbel_one_hot, gumbel_softmax};

use crate::logits::Rows;
use crate::rowwise::{SoftmaxGrad, last, single, without_last};
use crate::{Generator, Result};

/// Logits that can be sampled in one pass, with their classes along the last dimension.
pub(crate) struct SinglePass<'a> {
    logits: &'a Tensor,
    dim: usize,
}

impl<'a> SinglePass<'a> {
    /// `None` where the general path is needed: other devices and dtypes, classes along another
    /// dimension (whose noise lies in the order of the logits), and no classes at all.
    pub(crate) fn new(logits: &'a Tensor, dim: usize) -> Option<Self> {
        let dims = logits.dims();
        let possible = logits.device().is_cpu()
            && logits.dtype() == DType::F32
            && dim + 1 == dims.len()
            && dims[dim] > 0;
        possible.then_some(Self { logits, dim })
    }

    /// `softmax((logits + g) / τ)` for a checked τ, or with `hard` the one-hot vector of its largest
    /// entry, with the same gradient.
    pub(crate) fn relax(&self, tau: f64, hard: bool, g: &mut Generator) -> Result<Tensor> {
        let (noise, position) = g.gumbel_stream();
        let op = Relax { tau, hard, noise, position };
        self.finish(self.logits.contiguous()?.apply_op1(op), g)
    }

    /// The one-hot vector of `argmax(logits + g)`, a constant.
    pub(crate) fn one_hot(&self, g: &mut Generator) -> Result<Tensor> {
        let (noise, position) = g.gumbel_stream();
        let op = Relax { tau: 1.0, hard: true, noise, position };
        self.finish(self.logits.detach().contiguous()?.apply_op1_no_bwd(&op), g)
    }

    /// `argmax(logits + g)`.
    pub(crate) fn argmax(&self, g: &mut Generator) -> Result<Tensor> {
        let (noise, position) = g.gumbel_stream();
        let op = Argmax { noise, position };
        self.finish(self.logits.detach().contiguous()?.apply_op1_no_bwd(&op), g)
    }

    fn finish(&self, sample: candle_core::Result<Tensor>, g: &mut Generator) -> Result<Tensor> {
        match sample {
            Ok(sample) => {
                g.skip(self.logits.elem_count());
                Ok(sample)
            }
            Err(error) => {
                // The kernel has found a row that cannot be drawn from; this names what is wrong with it.
                Rows::new(self.logits, self.dim)?;
                Err(error.into())
            }
        }
    }
}

fn in_rows(error: SampleError) -> candle_core::Error {
    candle_core::Error::wrap(error)
}

struct Relax {
    tau: f64,
    hard: bool,
    noise: GumbelStream,
    position: u64,
}

impl CustomOp1 for Relax {
    fn name(&self) -> &'static str {
        "gumbel-softmax"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let logits = single(self.name(), s, l)?;
        let mut out = vec![0.0; logits.len()];
        if self.hard {
            gumbel_one_hot(last(l), logits, self.noise, self.position, &mut out)
        } else {
            gumbel_softmax(last(l), self.tau as f32, logits, self.noise, self.position, &mut out)
        }
        .map_err(in_rows)?;
        Ok((CpuStorage::F32(out), l.shape().clone()))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        sample: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let op = SoftmaxGrad { tau: self.tau };
        if self.hard {
            // Drawn again from the same noise, so that only those who want a gradient pay for it.
            let relaxed = logits.detach().apply_op1_no_bwd(&Self { hard: false, ..*self })?;
            return Ok(Some(relaxed.apply_op2_no_bwd(&grad, &op)?));
        }
        Ok(Some(sample.apply_op2_no_bwd(&grad, &op)?))
    }
}

struct Argmax {
    noise: GumbelStream,
    position: u64,
}

impl CustomOp1 for Argmax {
    fn name(&self) -> &'static str {
        "gumbel-max"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let logits = single(self.name(), s, l)?;
        let mut classes = vec![0; logits.len() / last(l)];
        gumbel_argmax(last(l), logits, self.noise, self.position, &mut classes).map_err(in_rows)?;
        Ok((CpuStorage::U32(classes), without_last(l)))
    }
}
