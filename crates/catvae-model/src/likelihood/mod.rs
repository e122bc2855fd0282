//! The law of an image's pixels given what the decoder says of them.
//!
//! Two forms of one law: slices with their gradient for training on the CPU, and candle's operations for
//! everything else. [`nll`] takes the one that fits. A new law is a file beside these, and a line in the list.

mod bernoulli;
mod continuous_bernoulli;
mod discretised_logistic;

use candle_core::{DType, Tensor};
use gumbel_core::op::{Value, read_slices, with_gradient};
use gumbel_kernels::LengthError;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// `−ln p(x)` of each image in nats, and its gradient for the logits times `scale`: a function of `n_pixels`, `scale`, logits,
/// images, nll and d_logits.
///
/// # Shapes
/// - logits, images, d_logits: `(batch, n_pixels)`; nll: `(batch,)`.
///
/// # Errors
/// [`LengthError`] when a slice does not fit.
pub type NllKernel =
    fn(usize, f32, &[f32], &[f32], &mut [f32], &mut [f32]) -> std::result::Result<(), LengthError>;

/// A law of independent pixels in [0, 1], each given its logit.
pub trait PixelLaw: Send + Sync {
    /// The law on slices.
    fn kernel(&self) -> NllKernel;

    /// `−ln p(x)` of each pixel in candle's operations.
    ///
    /// # Errors
    /// Only what the device reports.
    fn nll_of_pixels(&self, logits: &Tensor, images: &Tensor) -> candle_core::Result<Tensor>;

    /// The mean of each pixel.
    ///
    /// # Errors
    /// Only what the device reports.
    fn mean(&self, logits: &Tensor) -> candle_core::Result<Tensor>;
}

/// Declares the list: documentation, name in configurations, type.
macro_rules! laws {
    ($($(#[$doc:meta])* $name:literal => $law:ident in $file:ident),+ $(,)?) => {
        /// Which law the pixels have.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Likelihood {
            $($(#[$doc])* #[serde(rename = $name)] $law),+
        }

        impl Likelihood {
            /// All laws.
            pub const ALL: &[Self] = &[$(Self::$law),+];

            /// The names of all laws.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The law of this name.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$law),)+ _ => None }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$law => $name),+ }
            }

            /// Its formulas.
            pub fn law(self) -> &'static dyn PixelLaw {
                match self { $(Self::$law => &$file::$law),+ }
            }
        }
    };
}

laws! {
    /// Black or white; a grey pixel gives the cross-entropy between two Bernoulli laws, which is no density.
    #[default]
    "bernoulli" => Bernoulli in bernoulli,
    /// A density on grey pixels (Loaiza-Ganem and Cunningham 2019). Its negative logarithm can be below zero, and at
    /// pixels that are exactly 0 or 1 it falls without bound as the logit grows: for pixels that are really continuous.
    "continuous-bernoulli" => ContinuousBernoulli in continuous_bernoulli,
    /// The mass of the 256 levels of a grey pixel under a logistic law of fixed scale (Salimans et al. 2017, eq. 2). Never
    /// below zero, also for images with many pixels at exactly 0 or 1.
    "discretised-logistic" => DiscretisedLogistic in discretised_logistic,
}

impl Likelihood {
    /// `−ln p(image)` in nats, summed over pixels. Finite for every finite logit.
    ///
    /// # Shapes
    /// - logits, images: `(batch, n_pixels)`; output: `(batch,)`.
    ///
    /// # Gradient
    /// The derivative for the logits. The images are data and get none.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the two shapes differ.
    pub fn nll(self, logits: &Tensor, images: &Tensor) -> Result<Tensor> {
        if logits.dims() != images.dims() {
            return Err(Error::ShapeMismatch {
                what: "images",
                expected: format!("{:?}, the shape of the logits", logits.dims()),
                actual: images.dims().to_vec(),
            });
        }
        let law = self.law();
        let on_slices =
            logits.device().is_cpu() && [logits, images].iter().all(|t| t.dtype() == DType::F32);
        if !on_slices {
            return plain(law, logits, images);
        }
        let (nll, _) = on_cpu(law, logits, images)?;
        let batch = nll.len();
        let nll = Value::Slice(nll, batch.into());
        let inputs = [logits, images];
        Ok(with_gradient("likelihood", nll, inputs, move |[logits, images], _, upstream| {
            let (_, d_logits) = on_cpu(law, logits, images)?;
            let d_logits = Tensor::from_vec(d_logits, logits.shape(), logits.device())?;
            Ok([Some(d_logits.broadcast_mul(&upstream.unsqueeze(1)?)?), None])
        })?)
    }
}

/// On slices: the value for each image, and the gradient of the logits.
fn on_cpu(
    law: &dyn PixelLaw,
    logits: &Tensor,
    images: &Tensor,
) -> gumbel_core::Result<(Vec<f32>, Vec<f32>)> {
    let (batch, n_pixels) = logits.dims2()?;
    let (mut nll, mut d_logits) = (vec![0.0; batch], vec![0.0; batch * n_pixels]);
    read_slices([logits, images], |[logits, images]| {
        Ok(law.kernel()(n_pixels, 1.0, logits, images, &mut nll, &mut d_logits)?)
    })?;
    Ok((nll, d_logits))
}

/// In candle's operations, and the oracle of the tests.
fn plain(law: &dyn PixelLaw, logits: &Tensor, images: &Tensor) -> Result<Tensor> {
    Ok(law.nll_of_pixels(logits, &images.detach())?.sum(candle_core::D::Minus1)?)
}

#[cfg(test)]
mod tests;
