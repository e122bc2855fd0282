//! Independent variables as one.

use candle_core::{D, Shape, Tensor};

use super::Distribution;
use crate::{Error, Generator, Result};

/// The last `n_dims` dimensions of a batch as part of the event: one value is a whole vector (matrix, …) of
/// independent variables, with the sum of their log-probabilities and of their entropies.
///
/// # Shapes
/// - base: batch shape `(batch..., moved...)`, event shape `(event...)`; here `(batch...)` and `(moved..., event...)`.
/// # Gradient
/// That of the base.
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::{Distribution, Independent, OneHotCategorical};
///
/// // 30 latents of 10 categories for each of 4 images.
/// let logits = Tensor::zeros((4, 30, 10), DType::F32, &Device::Cpu)?;
/// let code = Independent::new(OneHotCategorical::from_logits(&logits)?, 1)?;
/// assert_eq!((code.batch_shape(), code.event_shape()), (&[4][..], &[30, 10][..]));
/// let z = code.sample(().into(), &mut Generator::new(0))?;
/// assert_eq!(code.log_prob(&z)?.dims(), &[4]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Independent<B> {
    base: B,
    n_dims: usize,
    event_shape: Vec<usize>,
}

impl<B: Distribution> Independent<B> {
    /// Moves the last `n_dims` dimensions of the batch into the event.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when the batch has fewer dimensions.
    pub fn new(base: B, n_dims: usize) -> Result<Self> {
        let batch = base.batch_shape();
        let Some(kept) = batch.len().checked_sub(n_dims) else {
            let must = "at most the number of dimensions of the batch";
            return Err(Error::InvalidParameter { name: "n_dims", value: n_dims as f64, must });
        };
        let event_shape = [&batch[kept..], base.event_shape()].concat();
        Ok(Self { base, n_dims, event_shape })
    }

    /// The distribution of the single variables.
    pub fn base(&self) -> &B {
        &self.base
    }

    fn sum(&self, mut per_variable: Tensor) -> Result<Tensor> {
        for _ in 0..self.n_dims {
            per_variable = per_variable.sum(D::Minus1)?;
        }
        Ok(per_variable)
    }
}

impl<B: Distribution> Distribution for Independent<B> {
    fn name(&self) -> &'static str {
        self.base.name()
    }

    fn batch_shape(&self) -> &[usize] {
        let batch = self.base.batch_shape();
        &batch[..batch.len() - self.n_dims]
    }

    fn event_shape(&self) -> &[usize] {
        &self.event_shape
    }

    fn sample(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        self.base.sample(sample_shape, g)
    }

    fn rsample(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        self.base.rsample(sample_shape, g)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.sum(self.base.log_prob(value)?)
    }

    fn entropy(&self) -> Result<Tensor> {
        self.sum(self.base.entropy()?)
    }

    fn mean(&self) -> Result<Tensor> {
        self.base.mean()
    }

    fn variance(&self) -> Result<Tensor> {
        self.base.variance()
    }

    fn mode(&self) -> Result<Tensor> {
        self.base.mode()
    }

    fn logits(&self) -> Result<Tensor> {
        self.base.logits()
    }
}
