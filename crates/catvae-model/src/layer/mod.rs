//! A layer of a network: over slices for training on the CPU, over tensors everywhere.
//!
//! Two forms of one operation. The slices are what trains fast; the tensors run on other devices, and the
//! tests hold the two together. A layer owns no parameters: they lie one after another in a buffer of
//! its network, in the order of [`Layer::parameters`].

mod conv2d;
mod conv_transpose2d;
mod linear;

use std::fmt::Debug;

use candle_core::Tensor;
use gumbel_kernels::LengthError;

use crate::Result;

pub use conv_transpose2d::ConvTranspose2d;
pub use conv2d::{Conv2d, ConvSize};
pub use gumbel_kernels::Activation;
pub use linear::{Linear, linear};

/// A parameter that a layer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// PyTorch's name for it: `weight` or `bias`.
    pub name: &'static str,
    /// Its shape, in PyTorch's layout.
    pub shape: Vec<usize>,
    /// Inputs of one output, by which the initial values are scaled.
    pub fan_in: usize,
}

impl ParameterSpec {
    /// How many values it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `y = activation(f(x))`, with `f` linear in `x` and in the parameters.
///
/// # Shapes
/// - x: `(batch, inputs)`; y: `(batch, outputs)`; `parameters` and their gradient: all parameters of the layer,
///   one after another.
///
/// # Gradient
/// `dy` is the gradient *before* the activation. `relu_output` is the layer's input where that comes out
/// of a ReLU: `dx` is then the gradient before that ReLU, zero where the input is not positive.
///
/// # Errors
/// Every operation on slices gives [`LengthError`] when a slice does not fit.
pub trait Layer: Debug + Send + Sync {
    /// Values of one image that go in.
    fn inputs(&self) -> usize;

    /// Values of one image that come out.
    fn outputs(&self) -> usize;

    /// What is applied to the outputs.
    fn activation(&self) -> Activation;

    /// The parameters, in the order of their buffer.
    fn parameters(&self) -> Vec<ParameterSpec>;

    /// `y` from `x`.
    ///
    /// # Errors
    /// Those of the trait.
    fn forward(
        &self,
        parameters: &[f32],
        batch: usize,
        x: &[f32],
        y: &mut [f32],
    ) -> std::result::Result<(), LengthError>;

    /// `dx` from `dy`.
    ///
    /// # Errors
    /// Those of the trait.
    fn input_gradient(
        &self,
        parameters: &[f32],
        batch: usize,
        dy: &[f32],
        relu_output: Option<&[f32]>,
        dx: &mut [f32],
    ) -> std::result::Result<(), LengthError>;

    /// The gradient of all parameters, summed over the batch; with `accumulate`, added to what is there.
    ///
    /// # Errors
    /// Those of the trait.
    fn parameter_gradient(
        &self,
        batch: usize,
        x: &[f32],
        dy: &[f32],
        accumulate: bool,
        gradient: &mut [f32],
    ) -> std::result::Result<(), LengthError>;

    /// The same as [`Self::forward`] on tensors of any device, with a gradient for `x` and for the parameters.
    ///
    /// # Errors
    /// A shape error of candle when the sizes do not fit.
    fn forward_tensor(&self, parameters: &[Tensor], x: &Tensor) -> Result<Tensor>;
}

/// Applies an activation to a tensor.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::Identity => x.clone(),
        // Not candle's relu, whose gradient at 0 is 1.
        Activation::Relu => x.gt(0_f64)?.where_cond(x, &x.zeros_like()?)?,
    })
}
