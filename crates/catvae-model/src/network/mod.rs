//! Networks: a chain of layers, and the kinds of encoder and decoder to choose from.

mod conv;
mod kind;
mod mlp;
mod tape;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Tensor, Var};

use crate::Result;
use crate::layer::{Activation, Layer, apply};

pub use conv::Conv;
pub use kind::{Architecture, NetworkConfig, Sizes};
pub use mlp::Mlp;
pub use tape::Tape;

/// Layers, one after another. The parameters are handed in: as tensors, or as one flat buffer.
#[derive(Clone, Debug)]
pub struct Network {
    placed: Vec<Placed>,
}

/// A layer with its place among PyTorch's modules and in the flat buffer.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) layer: Arc<dyn Layer>,
    pub(crate) name: String,
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Range<usize>,
}

/// A parameter that a network needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// PyTorch's name: `encoder.0.weight`.
    pub name: String,
    /// Its shape, in PyTorch's layout.
    pub shape: Vec<usize>,
    /// What its initial values are scaled by.
    pub fan_in: usize,
}

impl Network {
    /// Chains layers under the names that they have in PyTorch's `nn.Sequential`: `prefix.0`, `prefix.2`, … There
    /// an activation takes a place of its own, and so does `Flatten` or `Unflatten` between images and vectors.
    pub fn chain(prefix: &str, layers: Vec<Box<dyn Layer>>) -> Self {
        let (mut place, mut end, mut rank) = (0, 0, None);
        let placed = layers.into_iter().map(|layer| {
            let this_rank = layer.weight_shape().len();
            if rank.replace(this_rank).is_some_and(|before| before != this_rank) {
                place += 1;
            }
            let name = format!("{prefix}.{place}");
            place += if layer.activation() == Activation::Identity { 1 } else { 2 };
            let weight = end..end + layer.weight_shape().iter().product::<usize>();
            let bias = weight.end..weight.end + layer.bias_len();
            end = bias.end;
            Placed { layer: layer.into(), name, weight, bias }
        });
        Self { placed: placed.collect() }
    }

    /// The layers, first to last.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &dyn Layer> {
        self.placed.iter().map(|placed| placed.layer.as_ref())
    }

    pub(crate) fn placed(&self) -> &[Placed] {
        &self.placed
    }

    /// How many values all parameters have.
    pub fn n_parameters(&self) -> usize {
        self.placed.last().map_or(0, |placed| placed.bias.end)
    }

    /// The parameters in the order of the flat buffer: layer by layer, weight before bias.
    pub fn parameters(&self) -> impl Iterator<Item = ParameterSpec> {
        self.placed.iter().flat_map(|Placed { layer, name, .. }| {
            [("weight", layer.weight_shape()), ("bias", vec![layer.bias_len()])].map(
                |(suffix, shape)| ParameterSpec {
                    name: format!("{name}.{suffix}"),
                    shape,
                    fan_in: layer.fan_in(),
                },
            )
        })
    }

    /// Runs the layers on tensors.
    ///
    /// # Shapes
    /// - parameters: those of [`Self::parameters`]; x: `(batch, inputs)`; output: `(batch, outputs)`.
    ///
    /// # Errors
    /// A shape error when the width of `x` is not the first layer's.
    pub fn forward(&self, parameters: &[Var], x: &Tensor) -> Result<Tensor> {
        let layers = self.placed.iter().zip(parameters.chunks_exact(2));
        layers.fold(Ok(x.clone()), |x, (placed, parameters)| {
            apply(&placed.layer, &parameters[0], &parameters[1], &x?)
        })
    }
}
