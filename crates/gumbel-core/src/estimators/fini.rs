//! The minimum-norm estimator that is exact for quadratic losses ("Fini", He and Wu, proposition C.3).
//!
//! `gumbel_kernels::Fini` derives it and holds its arithmetic.

use candle_core::shape::Dim;
use candle_core::{D, DType, Device, Tensor};
use gumbel_kernels::StraightThrough;

use super::hard_sample::{Draw, Pullback};
use crate::op;
use crate::{Generator, Result};

/// Draws an exact one-hot sample with the gradient of the least-norm estimator that is exact for every
/// quadratic loss ("Fini", He and Wu, proposition C.3). `gumbel_kernels`' `Fini` derives it.
///
/// For a sample `i` it returns `½ (e_i - p) g_i + ½ J G⁺ s`, where `J = diag p - p pᵀ`, `G` is the graph
/// Laplacian with weights `p_i p_j / (p_i + p_j)`, and `s_j = p_j g_j / (p_i + p_j)`, `s_i = -Σ_{j ≠ i} s_j`.
/// For two classes this is [`reinmax`](super::reinmax) at τ = 1; for more, ReinMax is another member of the
/// same family, of larger norm.
///
/// - Bias: none for a loss that is quadratic in each latent given the others; of third order otherwise.
/// - Variance: the matrix that is applied to the loss's gradient has at most the expected squared norm of
///   ReinMax's.
/// - Cost: one evaluation of the loss, and one `K × K` linear system per row backward, on the CPU.
/// - τ: there is none.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same shape and dtype.
/// # Gradient
/// For the logits, exactly zero for masked (`-inf`) classes.
/// # Errors
/// [`Error::InvalidLogit`](crate::Error::InvalidLogit), [`Error::AllMasked`](crate::Error::AllMasked),
/// [`Error::UnsupportedDType`](crate::Error::UnsupportedDType).
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::fini;
///
/// let logits = Var::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu)?;
/// let z = fini(&logits, 1, &mut Generator::new(0))?;
/// assert!(z.sqr()?.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn fini<D: Dim>(logits: &Tensor, dim: D, g: &mut Generator) -> Result<Tensor> {
    Draw::new(logits, dim, g, "fini")?.with(Fini)
}

pub(super) struct Fini;

impl Pullback for Fini {
    fn name(&self) -> &'static str {
        "fini"
    }

    fn kernel(&self) -> StraightThrough {
        StraightThrough::Fini
    }

    fn plain(&self, logits: &Tensor, hard: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let values = |x: &Tensor| {
            x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()
        };
        let n = logits.dim(D::Minus1)?;
        let probs = op::softmax(&logits.to_device(&Device::Cpu)?.to_dtype(DType::F64)?, 1.0)?;
        let (probs, hard, grad) = (values(&probs)?, values(hard)?, values(grad)?);
        let mut out = vec![0.0; probs.len()];
        let mut system = gumbel_kernels::Fini::default();
        let arguments = probs.chunks_exact(n).zip(hard.chunks_exact(n)).zip(grad.chunks_exact(n));
        for (((probs, hard), grad), out) in arguments.zip(out.chunks_exact_mut(n)) {
            let sampled = hard.iter().position(|&d| d > 0.0).unwrap_or(0);
            system.gradient(probs, sampled, grad, out);
        }
        let out = Tensor::from_vec(out, logits.shape(), &Device::Cpu)?;
        Ok(out.to_dtype(logits.dtype())?.to_device(logits.device())?)
    }
}
