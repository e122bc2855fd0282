//! The law of an image's pixels given what the decoder says of them.
//!
//! Two forms of one law: slices with their gradient for training on the CPU, and candle's operations for
//! everything else. [`nll`] takes the one that fits. A new law is a file beside these, and a line in the list.

mod bernoulli;
mod continuous_bernoulli;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor};
use gumbel_kernels::LengthError;
use serde::{Deserialize, Serialize};

use crate::cpu::{f32_slice, kernel_error, tensor_slice};
use crate::{Error, Result};

/// A law of independent pixels in [0, 1], each given its logit.
pub trait PixelLaw: Sync {
    /// `−ln p(x)` of each image in nats, and its gradient for the logits times `scale`.
    ///
    /// # Shapes
    /// - logits, images, d_logits: `(batch, n_pixels)`; nll: `(batch,)`.
    ///
    /// # Errors
    /// [`LengthError`] when a slice does not fit.
    fn nll_slices(
        &self,
        n_pixels: usize,
        scale: f32,
        logits: &[f32],
        images: &[f32],
        nll: &mut [f32],
        d_logits: &mut [f32],
    ) -> std::result::Result<(), LengthError>;

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
}

impl Likelihood {
    /// `−ln p(image)` in nats, summed over pixels. Finite for every finite logit.
    ///
    /// # Shapes
    /// - logits, images: `(batch, n_pixels)`; output: `(batch,)`.
    ///
    /// # Gradient
    /// `mean − image` for the logits, `−logits` for the images: every law here has `e^(logit · x)` in its density.
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
        if logits.device().is_cpu() && logits.dtype() == DType::F32 && images.dtype() == DType::F32
        {
            let images = images.contiguous()?;
            return Ok(logits.contiguous()?.apply_op2(&images, OnSlices(self.law()))?);
        }
        plain(self.law(), logits, images)
    }
}

/// In candle's operations, and the oracle of the tests.
fn plain(law: &dyn PixelLaw, logits: &Tensor, images: &Tensor) -> Result<Tensor> {
    Ok(law.nll_of_pixels(logits, images)?.sum(candle_core::D::Minus1)?)
}

struct OnSlices(&'static dyn PixelLaw);

impl OnSlices {
    /// The value for each image, and the gradient of the logits.
    fn run(
        &self,
        shape: &Shape,
        logits: &[f32],
        images: &[f32],
    ) -> candle_core::Result<(Vec<f32>, Vec<f32>)> {
        let (batch, n_pixels) = shape.dims2()?;
        let (mut nll, mut d_logits) = (vec![0.0; batch], vec![0.0; batch * n_pixels]);
        let run = self.0.nll_slices(n_pixels, 1.0, logits, images, &mut nll, &mut d_logits);
        run.map_err(kernel_error)?;
        Ok((nll, d_logits))
    }
}

impl CustomOp2 for OnSlices {
    fn name(&self) -> &'static str {
        "likelihood"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        images: &CpuStorage,
        images_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (logits, images) =
            (f32_slice(logits, logits_layout)?, f32_slice(images, images_layout)?);
        let (nll, _) = self.run(logits_layout.shape(), logits, images)?;
        let batch = nll.len();
        Ok((CpuStorage::F32(nll), batch.into()))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        images: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let d_logits = {
            let (logits_storage, logits_layout) = logits.storage_and_layout();
            let (images_storage, images_layout) = images.storage_and_layout();
            let logits_values = tensor_slice(&logits_storage, logits_layout)?;
            let images_values = tensor_slice(&images_storage, images_layout)?;
            self.run(logits.shape(), logits_values, images_values)?.1
        };
        let d_logits = Tensor::from_vec(d_logits, logits.shape(), logits.device())?;
        let upstream = upstream.unsqueeze(1)?;
        let d_images = match images.track_op() {
            true => Some(logits.neg()?.broadcast_mul(&upstream)?),
            false => None,
        };
        Ok((Some(d_logits.broadcast_mul(&upstream)?), d_images))
    }
}

#[cfg(test)]
mod tests;
