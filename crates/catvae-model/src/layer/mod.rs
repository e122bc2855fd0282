//! A layer of a network: over slices for training on the CPU, over tensors everywhere.
//!
//! These are two forms of one operation. The slices train fast. The tensors run on other devices and in
//! other types. The tests hold the two together.

mod conv2d;
mod conv_transpose2d;
mod linear;
mod op;

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::Tensor;
use gumbel_kernels::LengthError;

pub use conv_transpose2d::ConvTranspose2d;
pub use conv2d::{Conv2d, ConvSize};
pub use gumbel_kernels::{Activation, Precision};
pub use linear::Linear;
pub(crate) use op::apply;

/// What every operation on slices returns: [`LengthError`] when a slice does not fit the layer.
pub type SliceResult = std::result::Result<(), LengthError>;

/// Which product a layer is, for those who write it down in another language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// [`Linear`].
    Linear,
    /// [`Conv2d`].
    Conv2d(ConvSize),
    /// [`ConvTranspose2d`].
    ConvTranspose2d(ConvSize),
}

/// `y = activation(weight · x + bias)`, where the product is any that is linear in both.
///
/// # Shapes
/// - x: `(batch, inputs)`; y: `(batch, outputs)`; weight: [`Self::weight_shape`], in PyTorch's layout;
///   bias: `(bias_len,)`.
///
/// # Gradient
/// `dy` is the gradient *before* the activation. `relu_output` is the layer's input where that is the output
/// of a ReLU: `dx` is then the gradient before that ReLU, zero where the input is not positive.
pub trait Layer: Debug + Send + Sync {
    /// Which product it is.
    fn kind(&self) -> LayerKind;

    /// Values of one image that go in.
    fn inputs(&self) -> usize;

    /// Values of one image that come out.
    fn outputs(&self) -> usize;

    /// What is applied to the outputs.
    fn activation(&self) -> Activation;

    /// The shape of the weight.
    fn weight_shape(&self) -> Vec<usize>;

    /// The length of the bias.
    fn bias_len(&self) -> usize;

    /// How many inputs one output is a sum over: what initial parameters are scaled by.
    fn fan_in(&self) -> usize;

    /// The same layer, whose operations on slices round the factors of their products to bf16; `None` for one that
    /// has no such products.
    fn in_bf16(&self) -> Option<Arc<dyn Layer>> {
        None
    }

    /// `y` from `x`.
    ///
    /// # Errors
    /// [`LengthError`].
    fn forward(
        &self,
        weight: &[f32],
        bias: &[f32],
        batch: usize,
        x: &[f32],
        y: &mut [f32],
    ) -> SliceResult;

    /// `dx` from `dy`.
    ///
    /// # Errors
    /// [`LengthError`].
    fn input_gradient(
        &self,
        weight: &[f32],
        batch: usize,
        dy: &[f32],
        relu_output: Option<&[f32]>,
        dx: &mut [f32],
    ) -> SliceResult;

    /// The gradients of the parameters, summed over the batch; with `accumulate`, added to what is there.
    ///
    /// # Errors
    /// [`LengthError`].
    fn parameter_gradient(
        &self,
        batch: usize,
        x: &[f32],
        dy: &[f32],
        accumulate: bool,
        d_weight: &mut [f32],
        d_bias: &mut [f32],
    ) -> SliceResult;

    /// The same product, with the bias and without the activation, in candle's operations.
    ///
    /// # Errors
    /// A shape error of candle when the sizes do not fit.
    fn product(&self, weight: &Tensor, bias: &Tensor, x: &Tensor) -> candle_core::Result<Tensor>;
}
