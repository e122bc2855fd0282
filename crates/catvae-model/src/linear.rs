//! One layer: product, bias and activation as a single operation.

use candle_core::Tensor;

use crate::Result;

/// What follows a layer's product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`, with gradient 0 at 0 as in PyTorch.
    Relu,
}

/// `activation(x · weightᵀ + bias)`.
///
/// # Shapes
/// - x: `(batch, in_features)`; weight: `(out_features, in_features)`, PyTorch's layout;
///   bias: `(out_features,)`; output: `(batch, out_features)`.
///
/// # Gradient
/// With respect to x, weight and bias.
///
/// # Errors
/// A shape error of candle when the sizes do not fit.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    let output = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
    Ok(match activation {
        Activation::Identity => output,
        // Not candle's relu, whose gradient at 0 is 1.
        Activation::Relu => output.gt(0_f64)?.where_cond(&output, &output.zeros_like()?)?,
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn relu_has_gradient_zero_at_zero() {
        let x = Var::new(&[[1.0_f32], [0.0], [-1.0]], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[[2.0_f32]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.0_f32], &Device::Cpu).unwrap();
        let y = linear(&x, &weight, &bias, Activation::Relu).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[2.0], [0.0], [0.0]]);
        let gradients = y.backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gradient, [[2.0], [0.0], [0.0]]);
    }
}
