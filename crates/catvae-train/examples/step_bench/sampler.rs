//! The relaxed sampler as a library call on candle tensors, forward and back.

use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Shape, Tensor, Var};
use gumbel_core::{Generator, gumbel_noise, gumbel_softmax};

use crate::Result;
use crate::limit::Needs;

pub(crate) const SHAPES: [&[usize]; 4] =
    [&[100, 30, 10], &[4096, 16, 64], &[64, 32000], &[8, 512, 8192]];

/// Draws with fresh noise, and the gradient of the logits for a fixed gradient of the sample.
pub(crate) struct Sampler {
    logits: Var,
    upstream: Tensor,
    noise: Generator,
}

impl Sampler {
    pub(crate) fn name(shape: &[usize]) -> String {
        let dims: Vec<_> = shape.iter().map(usize::to_string).collect();
        format!("gumbel_softmax_{}", dims.join("x"))
    }

    pub(crate) fn new(shape: &[usize]) -> Result<Self> {
        let mut g = Generator::new(0);
        let logits = gumbel_noise(shape, candle_core::DType::F32, &Device::Cpu, &mut g)?;
        let upstream = gumbel_noise(shape, candle_core::DType::F32, &Device::Cpu, &mut g)?;
        Ok(Self { logits: Var::from_tensor(&logits)?, upstream, noise: g })
    }

    /// Reading logits and the gradient of the sample, writing the sample and the gradient of the logits.
    pub(crate) fn limit_ms(&self) -> f64 {
        Needs { gflop: 0.0, values: 4 * self.upstream.elem_count() }.ms()
    }

    pub(crate) fn draw(&mut self) -> Result<()> {
        let z = gumbel_softmax(self.logits.as_tensor(), 1.0, false, D::Minus1, &mut self.noise)?;
        let root = z.apply_op1(Upstream(self.upstream.clone()))?;
        let gradients = root.backward()?;
        gradients.get(&self.logits).ok_or("no gradient for the logits")?;
        Ok(())
    }
}

/// A scalar whose gradient is the given one: candle has no `backward` that starts from a gradient. Its value is
/// never looked at.
struct Upstream(Tensor);

impl CustomOp1 for Upstream {
    fn name(&self) -> &'static str {
        "upstream"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
