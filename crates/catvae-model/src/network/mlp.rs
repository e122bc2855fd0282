//! A multilayer perceptron with ReLU between its layers.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use gumbel_core::Generator;

use crate::{Activation, Error, Parameter, Result, linear, uniform_fan_in};

/// Layers of widths `widths[0] → widths[1] → …`, ReLU between them, `last` after the last.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Layer>,
}

/// A layer, `activation(x · weightᵀ + bias)`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `(out_features, in_features)`.
    pub weight: Var,
    /// `(out_features,)`.
    pub bias: Var,
    /// What follows.
    pub activation: Activation,
}

impl Mlp {
    /// Draws initial parameters: every layer's weight, then its bias, from [`uniform_fan_in`].
    pub(crate) fn initialise(
        widths: &[usize],
        last: Activation,
        device: &Device,
        generator: &mut Generator,
    ) -> Result<Self> {
        Self::build(widths, last, |_, shape, fan_in| {
            uniform_fan_in(shape, fan_in, device, generator)
        })
    }

    /// Takes parameters out of a state dict, under the names of PyTorch's `nn.Sequential`:
    /// `{prefix}.0.weight`, `{prefix}.0.bias`, `{prefix}.2.weight`, … (activations sit between).
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::WrongParameterShape`], [`Error::WrongParameterType`].
    pub(crate) fn from_state_dict(
        prefix: &str,
        widths: &[usize],
        last: Activation,
        tensors: &mut HashMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        Self::build(widths, last, |suffix, shape, _| {
            let name = format!("{prefix}.{suffix}");
            let tensor =
                tensors.remove(&name).ok_or_else(|| Error::MissingTensor { name: name.clone() })?;
            if tensor.dims() != shape {
                let (expected, actual) = (shape.to_vec(), tensor.dims().to_vec());
                return Err(Error::WrongParameterShape { name, expected, actual });
            }
            if tensor.dtype() != DType::F32 {
                let actual = format!("{:?}", tensor.dtype());
                return Err(Error::WrongParameterType { name, actual });
            }
            Ok(tensor.to_device(device)?)
        })
    }

    fn build(
        widths: &[usize],
        last: Activation,
        mut parameter: impl FnMut(&str, &[usize], usize) -> Result<Tensor>,
    ) -> Result<Self> {
        let n_layers = widths.len() - 1;
        let layers = widths.windows(2).enumerate().map(|(i, pair)| {
            let (fan_in, fan_out) = (pair[0], pair[1]);
            let weight = parameter(&weight_suffix(i), &[fan_out, fan_in], fan_in)?;
            let bias = parameter(&bias_suffix(i), &[fan_out], fan_in)?;
            Ok(Layer {
                weight: Var::from_tensor(&weight)?,
                bias: Var::from_tensor(&bias)?,
                activation: if i + 1 == n_layers { last } else { Activation::Relu },
            })
        });
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Runs the layers.
    ///
    /// # Shapes
    /// - x: `(batch, widths[0])`; output: `(batch, widths[last])`.
    ///
    /// # Errors
    /// A shape error when the width of `x` is not the first layer's.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| {
            linear(&x, &layer.weight, &layer.bias, layer.activation)
        })
    }

    /// The parameters in order, under PyTorch's names.
    pub(crate) fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        let mut parameters = Vec::with_capacity(2 * self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            parameters.push(Parameter {
                name: format!("{prefix}.{}", weight_suffix(i)),
                var: layer.weight.clone(),
            });
            parameters.push(Parameter {
                name: format!("{prefix}.{}", bias_suffix(i)),
                var: layer.bias.clone(),
            });
        }
        parameters
    }
}

/// In an `nn.Sequential` the activations take the odd places.
fn weight_suffix(layer: usize) -> String {
    format!("{}.weight", 2 * layer)
}

fn bias_suffix(layer: usize) -> String {
    format!("{}.bias", 2 * layer)
}
