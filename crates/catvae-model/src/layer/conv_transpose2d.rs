//! A transposed convolution of images.

use candle_core::Tensor;
use gumbel_kernels::{
    Activation, channel_sums, conv2d_adjoint, conv2d_forward, conv2d_weight_gradient,
};

use super::conv2d::count;
use super::{ConvSize, Layer, LayerKind, SliceResult};

/// `y = activation(convᵀ(x, weight) + bias)`, PyTorch's `nn.ConvTranspose2d`, from the smaller image to the
/// larger one: the adjoint of the [`Conv2d`](super::Conv2d) of the same size, with the same weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose2d {
    /// The two images and the kernel.
    pub size: ConvSize,
    /// What is applied to y.
    pub activation: Activation,
}

impl Layer for ConvTranspose2d {
    fn kind(&self) -> LayerKind {
        LayerKind::ConvTranspose2d(self.size)
    }

    fn inputs(&self) -> usize {
        count(self.size.small)
    }

    fn outputs(&self) -> usize {
        count(self.size.large)
    }

    fn activation(&self) -> Activation {
        self.activation
    }

    fn weight_shape(&self) -> Vec<usize> {
        self.size.weight_shape()
    }

    fn bias_len(&self) -> usize {
        self.size.large[0]
    }

    /// Not PyTorch's count, which takes the weight's second size for the inputs also where it is the outputs.
    fn fan_in(&self) -> usize {
        let ConvSize { small, kernel, stride, .. } = self.size;
        (small[0] * kernel * kernel / (stride * stride)).max(1)
    }

    fn forward(
        &self,
        weight: &[f32],
        bias: &[f32],
        batch: usize,
        x: &[f32],
        y: &mut [f32],
    ) -> SliceResult {
        conv2d_adjoint(self.size.shape(batch), x, weight, Some(bias), self.activation, None, y)
    }

    fn input_gradient(
        &self,
        weight: &[f32],
        batch: usize,
        dy: &[f32],
        relu_output: Option<&[f32]>,
        dx: &mut [f32],
    ) -> SliceResult {
        let shape = self.size.shape(batch);
        conv2d_forward(shape, dy, weight, None, Activation::Identity, relu_output, dx)
    }

    fn parameter_gradient(
        &self,
        batch: usize,
        x: &[f32],
        dy: &[f32],
        accumulate: bool,
        d_weight: &mut [f32],
        d_bias: &mut [f32],
    ) -> SliceResult {
        let [channels, rows, cols] = self.size.large;
        channel_sums((batch, channels, rows * cols), dy, accumulate, d_bias)?;
        conv2d_weight_gradient(self.size.shape(batch), dy, x, accumulate, d_weight)
    }

    fn product(&self, weight: &Tensor, bias: &Tensor, x: &Tensor) -> candle_core::Result<Tensor> {
        let ConvSize { large, small, kernel, stride, padding } = self.size;
        let x = x.reshape(((), small[0], small[1], small[2]))?;
        // Where the stride does not divide, the larger image has rows that the smaller one does not say.
        let output_padding = large[1] + 2 * padding - kernel - (small[1] - 1) * stride;
        let y = x.conv_transpose2d(weight, padding, output_padding, stride, 1)?;
        y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?.flatten_from(1)
    }
}
