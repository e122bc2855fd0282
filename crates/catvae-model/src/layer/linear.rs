//! A fully connected layer.

use std::sync::Arc;

use candle_core::Tensor;
use gumbel_kernels::{
    Activation, LinearShape, Precision, linear_forward, linear_input_gradient,
    linear_weight_gradient,
};

use super::{Layer, LayerKind, SliceResult};

/// `y = activation(x · weightᵀ + bias)`, PyTorch's `nn.Linear`. The weight is `(outputs, inputs)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Columns of x.
    pub inputs: usize,
    /// Columns of y.
    pub outputs: usize,
    /// What is applied to y.
    pub activation: Activation,
    /// Of the factors of its products on slices.
    pub precision: Precision,
}

impl Linear {
    fn shape(&self, batch: usize) -> LinearShape {
        LinearShape { batch, inputs: self.inputs, outputs: self.outputs }
    }
}

impl Layer for Linear {
    fn kind(&self) -> LayerKind {
        LayerKind::Linear
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn activation(&self) -> Activation {
        self.activation
    }

    fn weight_shape(&self) -> Vec<usize> {
        vec![self.outputs, self.inputs]
    }

    fn bias_len(&self) -> usize {
        self.outputs
    }

    fn fan_in(&self) -> usize {
        self.inputs
    }

    fn in_bf16(&self) -> Option<Arc<dyn Layer>> {
        Some(Arc::new(Self { precision: Precision::Bf16, ..*self }))
    }

    fn forward(
        &self,
        weight: &[f32],
        bias: &[f32],
        batch: usize,
        x: &[f32],
        y: &mut [f32],
    ) -> SliceResult {
        linear_forward(self.precision, self.shape(batch), x, weight, Some(bias), self.activation, y)
    }

    fn input_gradient(
        &self,
        weight: &[f32],
        batch: usize,
        dy: &[f32],
        relu_output: Option<&[f32]>,
        dx: &mut [f32],
    ) -> SliceResult {
        linear_input_gradient(self.precision, self.shape(batch), dy, weight, relu_output, dx)
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
        linear_weight_gradient(
            self.precision,
            self.shape(batch),
            dy,
            x,
            accumulate,
            d_weight,
            Some(d_bias),
        )
    }

    fn product(&self, weight: &Tensor, bias: &Tensor, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&weight.t()?)?.broadcast_add(bias)
    }
}
