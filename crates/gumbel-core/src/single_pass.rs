//! Samples of single-precision logits on the CPU in one pass: the logits are read once, the result is
//! written once, and the noise is never in memory.
//!
//! The noise is that of [`crate::gumbel_noise`], so a seed gives the same sample as the general path of
//! [`crate::gumbel_softmax`] and [`crate::gumbel_max`] (to rounding), which is the oracle of the tests.

use candle_core::{DType, Tensor};
use gumbel_kernels::{SampleError, gumbel_argmax, gumbel_one_hot, gumbel_softmax};

use crate::logits::Rows;
use crate::op::{Value, read_slices, softmax_grad, with_gradient};
use crate::{Generator, Result};

/// Logits that can be sampled in one pass, with their classes along the last dimension.
pub(crate) struct SinglePass<'a> {
    logits: &'a Tensor,
    n_classes: usize,
}

impl<'a> SinglePass<'a> {
    /// `None` where the general path is needed: other devices and dtypes, classes along another
    /// dimension (the noise lies in the order of the logits), and no classes at all.
    pub(crate) fn new(logits: &'a Tensor, dim: usize) -> Option<Self> {
        let dims = logits.dims();
        let possible = logits.device().is_cpu()
            && logits.dtype() == DType::F32
            && dim + 1 == dims.len()
            && dims[dim] > 0;
        possible.then(|| Self { logits, n_classes: dims[dim] })
    }

    /// `softmax((logits + g) / τ)` for a checked τ, or with `hard` the one-hot vector of its largest
    /// entry, with the same gradient.
    pub(crate) fn relax(&self, tau: f64, hard: bool, g: &mut Generator) -> Result<Tensor> {
        let (n, (noise, position)) = (self.n_classes, g.gumbel_stream());
        let relaxed = move |logits: &[f32], out: &mut [f32]| {
            gumbel_softmax(n, tau as f32, logits, noise, position, out)
        };
        let sample = if hard { self.hard(g)? } else { self.draw(0.0, n, g, relaxed)? };
        let sample = Value::Slice(sample, self.logits.shape().clone());
        with_gradient("gumbel-softmax", sample, [self.logits], move |[logits], sample, grad| {
            if !hard {
                return Ok([Some(softmax_grad(sample, grad, tau)?)]);
            }
            // Drawn again from the same noise, so that only those who want a gradient pay for it.
            let mut again = vec![0.0; logits.elem_count()];
            read_slices([logits], |[x]| relaxed(x, &mut again).map_err(cannot_draw))?;
            let again = Value::Slice(again, logits.shape().clone()).into_tensor();
            Ok([Some(softmax_grad(&again, grad, tau)?)])
        })
    }

    /// The one-hot vector of `argmax(logits + g)`, a constant.
    pub(crate) fn one_hot(&self, g: &mut Generator) -> Result<Tensor> {
        Ok(Value::Slice(self.hard(g)?, self.logits.shape().clone()).into_tensor())
    }

    /// `argmax(logits + g)`.
    pub(crate) fn argmax(&self, g: &mut Generator) -> Result<Tensor> {
        let (n, (noise, position)) = (self.n_classes, g.gumbel_stream());
        let classes = self.draw(0, 1, g, |x, out| gumbel_argmax(n, x, noise, position, out))?;
        let dims = self.logits.dims();
        Ok(Tensor::from_vec(classes, &dims[..dims.len() - 1], self.logits.device())?)
    }

    fn hard(&self, g: &mut Generator) -> Result<Vec<f32>> {
        let (n, (noise, position)) = (self.n_classes, g.gumbel_stream());
        self.draw(0.0, n, g, |x, out| gumbel_one_hot(n, x, noise, position, out))
    }

    /// A result of `width` values for each row. A draw that is refused uses no noise.
    fn draw<T: Clone>(
        &self,
        zero: T,
        width: usize,
        g: &mut Generator,
        kernel: impl FnOnce(&[f32], &mut [T]) -> std::result::Result<(), SampleError>,
    ) -> Result<Vec<T>> {
        let n_logits = self.logits.elem_count();
        let mut out = vec![zero; n_logits / self.n_classes * width];
        read_slices([self.logits], |[x]| {
            kernel(x, &mut out).or_else(|error| {
                // The kernel has found a row that cannot be drawn from; this names what is wrong with it.
                Rows::new(self.logits, self.logits.rank() - 1)?;
                Err(cannot_draw(error))
            })
        })?;
        g.skip(n_logits);
        Ok(out)
    }
}

fn cannot_draw(error: SampleError) -> crate::Error {
    candle_core::Error::wrap(error).into()
}
