//! Networks: chains of layers, and the kinds of encoder and decoder to choose from.

mod conv;
mod kind;
mod mlp;
mod tape;
mod vgg;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Tensor, Var};

use crate::Result;
use crate::layer::{Activation, Layer, apply};

pub use conv::Conv;
pub use kind::{Architecture, NetworkConfig, Sizes};
pub use mlp::Mlp;
pub use tape::Tape;
pub use vgg::Vgg;

/// Layers, one after another. The parameters are handed in.
#[derive(Clone, Debug)]
pub struct Network {
    placed: Vec<Placed>,
    initialisation: Initialisation,
}

/// A layer with its name in PyTorch, and the places of its gradients in a flat buffer.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) layer: Arc<dyn Layer>,
    pub(crate) name: String,
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Range<usize>,
}

/// A parameter that a network needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// PyTorch's name: `encoder.0.weight`.
    pub name: String,
    /// Its shape, in PyTorch's layout.
    pub shape: Vec<usize>,
    /// Initial values are uniform between the negative of this and this.
    pub bound: f64,
}

/// How initial weights are scaled. Biases are uniform within `1/√fan_in` in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialisation {
    /// Uniform within `1/√fan_in`, PyTorch's default: a signal shrinks to 0.4 of its size in each layer with a ReLU.
    PyTorch,
    /// Uniform within `√(6/fan_in)` before a ReLU, which keeps the signal's size (He et al. 2015, eq. 10).
    He,
}

impl Network {
    /// Chains layers under the names that they have in PyTorch's `nn.Sequential`: `prefix.0`, `prefix.2`, … There
    /// an activation takes a place of its own, and so does `Flatten` or `Unflatten` between images and vectors.
    pub fn chain(
        prefix: &str,
        layers: Vec<Box<dyn Layer>>,
        initialisation: Initialisation,
    ) -> Self {
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
        Self { placed: placed.collect(), initialisation }
    }

    /// The same network in bf16 on slices; `None` where a layer has no products in bf16.
    pub fn in_bf16(&self) -> Option<Self> {
        let place =
            |placed: &Placed| Some(Placed { layer: placed.layer.in_bf16()?, ..placed.clone() });
        let placed = self.placed.iter().map(place).collect::<Option<_>>()?;
        Some(Self { placed, ..*self })
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

    /// The parameters in order: layer by layer, weight before bias.
    pub fn parameters(&self) -> impl Iterator<Item = ParameterSpec> {
        self.placed.iter().flat_map(|Placed { layer, name, .. }| {
            let bound = 1.0 / (layer.fan_in() as f64).sqrt();
            let he =
                self.initialisation == Initialisation::He && layer.activation() == Activation::Relu;
            let gain = if he { 6_f64.sqrt() } else { 1.0 };
            [
                ("weight", layer.weight_shape(), gain * bound),
                ("bias", vec![layer.bias_len()], bound),
            ]
            .map(|(suffix, shape, bound)| ParameterSpec {
                name: format!("{name}.{suffix}"),
                shape,
                bound,
            })
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
        self.placed
            .iter()
            .zip(parameters.chunks_exact(2))
            .try_fold(x.clone(), |x, (placed, parameters)| {
                apply(&placed.layer, &parameters[0], &parameters[1], &x)
            })
    }
}
