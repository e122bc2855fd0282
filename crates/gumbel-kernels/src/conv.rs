//! Convolutions of batches of images for training: the product, its adjoint and the gradient of the weight.
//!
//! Images have PyTorch's layout, `(batch, channels, rows, columns)`, and weights `(out_channels, in_channels, kernel,
//! kernel)`. The adjoint of a convolution is PyTorch's `ConvTranspose2d`, so that three products serve both layers:
//!
//! | | `Conv2d` | `ConvTranspose2d`, described by the [`ConvShape`] of its adjoint |
//! |---|---|---|
//! | output | [`conv2d_forward`] | [`conv2d_adjoint`] |
//! | gradient of the input | [`conv2d_adjoint`] | [`conv2d_forward`] |
//! | gradient of the weight | [`conv2d_weight_gradient`] of `(x, dy)` | [`conv2d_weight_gradient`] of `(dy, x)` |
//! | gradient of the bias | [`channel_sums`] of `dy` | [`channel_sums`] of `dy` |
//!
//! A few images at a time become a matrix of patches (`patches.rs`) that stays in the second-level cache, and the driver
//! of the linear layer multiplies it. Threads take such groups of images. An image's result does not depend on the
//! batch around it, and the weight gradient adds images up in an order that the shape alone fixes, so that results are
//! the same bits for every number of threads.

mod adjoint;
mod epilogue;
mod forward;
mod patches;
mod weight_gradient;

use rayon::prelude::*;

pub use crate::conv::weight_gradient::{channel_sums, conv2d_weight_gradient};

use crate::conv::adjoint::conv2d_adjoint_on;
use crate::conv::epilogue::Epilogue;
use crate::conv::forward::conv2d_forward_on;
use crate::conv::patches::Patches;
use crate::error::{LengthError, check_len};
use crate::isa::Isa;
use crate::linear::Activation;
use crate::window::SERIAL_WORK;

/// The sizes of a two-dimensional convolution applied to a batch: a square kernel, with the same stride and the same
/// padding by zeros in both directions.
///
/// Batch and channels may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Channels of `x`.
    pub in_channels: usize,
    /// Rows of an image of `x`.
    pub in_rows: usize,
    /// Columns of an image of `x`.
    pub in_cols: usize,
    /// Channels of `y`.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Pixels from one patch to the next.
    pub stride: usize,
    /// Zeros around an image, on each side.
    pub padding: usize,
}

impl ConvShape {
    /// Rows of an image of `y`: `(in_rows + 2 padding - kernel) / stride + 1`, rounded down.
    ///
    /// # Errors
    /// [`LengthError`] when kernel or stride are zero, when the kernel is larger than the padded image, or when the padded
    /// image is too large to count.
    pub fn out_rows(&self) -> Result<usize, LengthError> {
        self.out_len("in_rows + 2 * padding", self.in_rows)
    }

    /// Columns of an image of `y`; as [`out_rows`](Self::out_rows).
    ///
    /// # Errors
    /// As [`out_rows`](Self::out_rows).
    pub fn out_cols(&self) -> Result<usize, LengthError> {
        self.out_len("in_cols + 2 * padding", self.in_cols)
    }

    fn out_len(&self, operand: &'static str, len: usize) -> Result<usize, LengthError> {
        check_len("stride", self.stride, self.stride.max(1))?;
        check_len("kernel", self.kernel, self.kernel.max(1))?;
        let padded = self.padding.checked_mul(2).and_then(|padding| padding.checked_add(len));
        let padded = padded.ok_or(LengthError { operand, expected: usize::MAX, actual: len })?;
        check_len(operand, padded, padded.max(self.kernel))?;
        Ok((padded - self.kernel) / self.stride + 1)
    }

    /// Checks the three operands, each with the name that the caller knows it by.
    fn check(
        &self,
        x: (&'static str, usize),
        weight: (&'static str, usize),
        y: (&'static str, usize),
    ) -> Result<Patches, LengthError> {
        let patches = Patches::new(*self, self.out_rows()?, self.out_cols()?);
        check_len(x.0, x.1, product(&[self.batch, self.in_channels, patches.pixels]))?;
        check_len(weight.0, weight.1, product(&[self.out_channels, patches.len]))?;
        check_len(y.0, y.1, product(&[self.batch, self.out_channels, patches.positions]))?;
        Ok(patches)
    }
}

/// The number of values in an array of these sizes; one that cannot be counted is `usize::MAX`, which no slice has.
fn product(sizes: &[usize]) -> usize {
    if sizes.contains(&0) { 0 } else { sizes.iter().copied().fold(1, usize::saturating_mul) }
}

/// `y = activation(conv(x, weight) + bias)`, and zero where `relu_output` is not positive.
///
/// `relu_output` is for the gradient of a transposed convolution with respect to its input, as in
/// [`linear_input_gradient`](crate::linear_input_gradient); a forward pass has none.
///
/// # Shapes
/// - x: `(batch, in_channels, in_rows, in_cols)`; weight: `(out_channels, in_channels, kernel, kernel)`; bias:
///   `(out_channels)`; y, relu_output: `(batch, out_channels, out_rows, out_cols)`.
///
/// # Errors
/// [`LengthError`] when a slice does not fit `shape`, or when `shape` has no output.
pub fn conv2d_forward(
    shape: ConvShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    relu_output: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), LengthError> {
    let epilogue = Epilogue { bias, activation, relu_output };
    conv2d_forward_on(Isa::best(), shape, x, weight, epilogue, y)
}

/// `dx = activation(convᵀ(dy, weight) + bias)`, and zero where `relu_output` is not positive.
///
/// With `relu_output`, the convolution's input where that is the output of a ReLU, this is the gradient before that
/// activation. With bias and activation it is the forward pass of `ConvTranspose2d`, whose weight `(its inputs, its
/// outputs, kernel, kernel)` is the weight of `shape` as it lies. `in_rows` and `in_cols` say how large `dx` is, so that
/// there is no separate output padding.
///
/// # Shapes
/// - dy: `(batch, out_channels, out_rows, out_cols)`; weight: `(out_channels, in_channels, kernel, kernel)`; bias:
///   `(in_channels)`; dx, relu_output: `(batch, in_channels, in_rows, in_cols)`.
///
/// # Errors
/// [`LengthError`] when a slice does not fit `shape`, or when `shape` has no output.
pub fn conv2d_adjoint(
    shape: ConvShape,
    dy: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    relu_output: Option<&[f32]>,
    dx: &mut [f32],
) -> Result<(), LengthError> {
    let epilogue = Epilogue { bias, activation, relu_output };
    conv2d_adjoint_on(Isa::best(), shape, dy, weight, epilogue, dx)
}

/// Values that the patches of a group of images may take: 512 KiB, half of a second-level cache.
const GROUP_VALUES: usize = 1 << 17;

/// Columns of a group; more would not make its product faster.
const GROUP_COLUMNS: usize = 1 << 10;

/// Images in a group, such that each thread has one.
fn images_per_group(patches: &Patches) -> usize {
    let by_cache = (GROUP_VALUES / patches.len.max(1)).min(GROUP_COLUMNS) / patches.positions;
    by_cache.min(patches.shape.batch.div_ceil(rayon::current_num_threads())).max(1)
}

/// Cuts `out` into groups of images and runs them with their first image's index, in parallel where there is enough work.
fn each_group(
    patches: &Patches,
    (images, image_len): (usize, usize),
    out: &mut [f32],
    run: impl Fn(usize, &mut [f32]) + Sync,
) {
    let len = images * image_len;
    if patches.multiply_adds() < SERIAL_WORK {
        out.chunks_mut(len).enumerate().for_each(|(i, out)| run(i * images, out));
    } else {
        let groups = out.par_chunks_mut(len).enumerate().with_max_len(1);
        groups.for_each(|(i, out)| run(i * images, out));
    }
}

#[cfg(test)]
mod tests;
