//! A convolution of images.

use candle_core::Tensor;
use gumbel_kernels::{
    Activation, ConvShape, channel_sums, conv2d_adjoint, conv2d_forward, conv2d_weight_gradient,
};

use super::{Layer, LayerKind, SliceResult};

/// The sizes of a convolution from a larger image to a smaller one. Images are `(channels, rows, columns)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSize {
    /// Channels, rows and columns of the larger image.
    pub large: [usize; 3],
    /// Channels, rows and columns of the smaller image.
    pub small: [usize; 3],
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Pixels from one patch to the next.
    pub stride: usize,
    /// Zeros around the larger image, on each side.
    pub padding: usize,
}

impl ConvSize {
    pub(super) fn shape(&self, batch: usize) -> ConvShape {
        let [in_channels, in_rows, in_cols] = self.large;
        ConvShape {
            batch,
            in_channels,
            in_rows,
            in_cols,
            out_channels: self.small[0],
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        }
    }

    pub(super) fn weight_shape(&self) -> Vec<usize> {
        vec![self.small[0], self.large[0], self.kernel, self.kernel]
    }
}

/// Values of an image. A product beyond memory is refused later, with the weights.
pub(super) fn count(image: [usize; 3]) -> usize {
    image.into_iter().fold(1, usize::saturating_mul)
}

/// `y = activation(conv(x, weight) + bias)`, PyTorch's `nn.Conv2d`, from the larger image to the smaller one.
/// The weight is `(small channels, large channels, kernel, kernel)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// The two images and the kernel.
    pub size: ConvSize,
    /// What is applied to y.
    pub activation: Activation,
}

impl Layer for Conv2d {
    fn kind(&self) -> LayerKind {
        LayerKind::Conv2d(self.size)
    }

    fn inputs(&self) -> usize {
        count(self.size.large)
    }

    fn outputs(&self) -> usize {
        count(self.size.small)
    }

    fn activation(&self) -> Activation {
        self.activation
    }

    fn weight_shape(&self) -> Vec<usize> {
        self.size.weight_shape()
    }

    fn bias_len(&self) -> usize {
        self.size.small[0]
    }

    fn fan_in(&self) -> usize {
        self.size.large[0] * self.size.kernel * self.size.kernel
    }

    fn forward(
        &self,
        weight: &[f32],
        bias: &[f32],
        batch: usize,
        x: &[f32],
        y: &mut [f32],
    ) -> SliceResult {
        conv2d_forward(self.size.shape(batch), x, weight, Some(bias), self.activation, None, y)
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
        conv2d_adjoint(shape, dy, weight, None, Activation::Identity, relu_output, dx)
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
        let [channels, rows, cols] = self.size.small;
        channel_sums((batch, channels, rows * cols), dy, accumulate, d_bias)?;
        conv2d_weight_gradient(self.size.shape(batch), x, dy, accumulate, d_weight)
    }

    fn product(&self, weight: &Tensor, bias: &Tensor, x: &Tensor) -> candle_core::Result<Tensor> {
        let [channels, rows, cols] = self.size.large;
        let x = x.reshape(((), channels, rows, cols))?;
        let y = x.conv2d(weight, self.size.padding, self.size.stride, 1, 1)?;
        y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?.flatten_from(1)
    }
}
