//! Relaxed labels of an exact backward sample.

use candle_core::{DType, Tensor};
use gumbel_kernels::{Real, chain_gumbel_crf, chain_gumbel_crf_vjp};

use super::{Dims, LinearChain};
use crate::distributions::Gibbs;
use crate::op::with_gradient;
use crate::structure::host::values;
use crate::{Error, Generator, Result, Temperature, gumbel_noise, straight_through};

impl Gibbs<LinearChain> {
    /// Gumbel-CRF (Fu et al. 2020): draws labels from the last to the first by Gumbel-max, and relaxes each draw to
    /// `softmax((ln p_t + noise_t) / τ)`, where `p_t` is the law of label `t` given the exact label after it. With `hard` the value
    /// is the exact labels, one-hot, with the gradient of the relaxed ones.
    ///
    /// # Shapes
    /// - output: `(batch…, T, K)`, zero beyond a row's length.
    /// # Gradient
    /// For the logits, with the exact labels as constants; exactly zero for masked edges.
    /// # Errors
    /// [`Error::InvalidTemperature`].
    pub fn gumbel_crf(&self, tau: f64, hard: bool, g: &mut Generator) -> Result<Tensor> {
        let dims = Dims::of(self.wide_logits())?;
        let (dtype, device) = (self.wide_logits().dtype(), self.wide_logits().device());
        let noise = [dims.batch, &[dims.steps, dims.k]].concat();
        self.gumbel_crf_with_noise(&gumbel_noise(noise, dtype, device, g)?, tau, hard)
    }

    /// [`Self::gumbel_crf`] with Gumbel noise `(batch…, T, K)`.
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`], [`Error::ShapeMismatch`].
    pub fn gumbel_crf_with_noise(&self, noise: &Tensor, tau: f64, hard: bool) -> Result<Tensor> {
        Temperature::new(tau)?;
        let (logits, chain) = (self.wide_logits(), self.structure().clone());
        let dims = Dims::of(logits)?;
        let shape = [dims.batch, &[dims.steps, dims.k]].concat();
        if noise.dims() != shape {
            let got = noise.dims().to_vec();
            return Err(Error::ShapeMismatch { what: "noise", got, expected: shape });
        }
        let (soft, labels) = match logits.dtype() {
            DType::F32 => draw::<f32>(&chain, logits, noise, tau)?,
            _ => draw::<f64>(&chain, logits, noise, tau)?,
        };
        let (again, one_hot) = (labels.clone(), self.one_hot(&labels, &soft)?);
        let y = with_gradient("gumbel-crf", soft, [logits], move |[x], soft, grad| {
            Ok([Some(match x.dtype() {
                DType::F32 => pull::<f32>(&chain, x, soft, &again, grad, tau)?,
                _ => pull::<f64>(&chain, x, soft, &again, grad, tau)?,
            })])
        })?;
        let y = self.finish(&y)?;
        if hard { straight_through(&self.finish(&one_hot)?, &y) } else { Ok(y) }
    }

    /// Ones at the labels inside of each row's length, like `y`.
    fn one_hot(&self, labels: &[u32], y: &Tensor) -> Result<Tensor> {
        let dims = Dims::of(self.wide_logits())?;
        let mut hot = vec![0u8; y.elem_count()];
        for (row, labels) in labels.chunks(dims.steps).enumerate() {
            for (t, &label) in labels[..self.structure().length(row, dims.steps)].iter().enumerate()
            {
                hot[(row * dims.steps + t) * dims.k + label as usize] = 1;
            }
        }
        Ok(Tensor::from_vec(hot, y.shape(), y.device())?.to_dtype(y.dtype())?)
    }
}

/// The elements in one of the two dtypes that are computed with.
fn list<S: Real>(x: &Tensor) -> Result<Vec<S>> {
    Ok(values(x)?.into_iter().map(S::constant).collect())
}

fn tensor<S: Real>(x: &[S], dims: &[usize], like: &Tensor) -> Result<Tensor> {
    let x: Vec<f64> = x.iter().map(|x| x.value()).collect();
    Ok(Tensor::from_vec(x, dims, like.device())?.to_dtype(like.dtype())?)
}

fn draw<S: Real>(
    chain: &LinearChain,
    logits: &Tensor,
    noise: &Tensor,
    tau: f64,
) -> Result<(Tensor, Vec<u32>)> {
    let dims = Dims::of(logits)?;
    let lengths = chain.lengths_of(dims.rows);
    let mut soft = vec![S::constant(0.0); noise.elem_count()];
    let mut labels = vec![0; dims.rows * dims.steps];
    let (x, noise_of) = (list::<S>(logits)?, list::<S>(noise)?);
    chain_gumbel_crf(dims.shape(&lengths), tau, &x, &noise_of, &mut soft, &mut labels)?;
    Ok((tensor(&soft, noise.dims(), logits)?, labels))
}

fn pull<S: Real>(
    chain: &LinearChain,
    logits: &Tensor,
    soft: &Tensor,
    labels: &[u32],
    grad: &Tensor,
    tau: f64,
) -> Result<Tensor> {
    let dims = Dims::of(logits)?;
    let lengths = chain.lengths_of(dims.rows);
    let mut d = vec![S::constant(0.0); logits.elem_count()];
    let (x, soft, grad) = (list::<S>(logits)?, list::<S>(soft)?, list::<S>(grad)?);
    chain_gumbel_crf_vjp(dims.shape(&lengths), tau, &x, (&soft, labels), &grad, &mut d)?;
    tensor(&d, logits.dims(), logits)
}
