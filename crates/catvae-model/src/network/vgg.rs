//! Convolutional networks of two layers a stage, encoder and decoder mirrored.

use serde::{Deserialize, Serialize};

use super::conv::{decoder, encoder, halvings};
use super::{Architecture, Initialisation, Sizes};
use crate::Result;
use crate::layer::{Activation, ConvSize, Layer};

/// Stages of a convolution that halves the image and one with a 3 x 3 kernel that keeps its size, as in Simonyan and
/// Zisserman 2015, then fully connected layers; the decoder mirrors both. ReLU between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vgg {
    /// Channels of each stage, from the image inwards.
    pub channels: Vec<usize>,
    /// Hidden widths of the fully connected layers behind them. May be empty.
    pub hidden: Vec<usize>,
}

/// About as many parameters as [`Mlp`](super::Mlp)'s default has on 28 x 28 pixels: 1.27 and 1.22 million.
impl Default for Vgg {
    fn default() -> Self {
        Self { channels: vec![32, 32], hidden: vec![320] }
    }
}

impl Architecture for Vgg {
    fn encoder(&self, sizes: &Sizes, last: Activation) -> Result<Vec<Box<dyn Layer>>> {
        Ok(encoder(&self.stages(sizes)?, &self.hidden, sizes, last))
    }

    fn decoder(&self, sizes: &Sizes) -> Result<Vec<Box<dyn Layer>>> {
        Ok(decoder(&self.stages(sizes)?, &self.hidden, sizes))
    }

    fn initialisation(&self) -> Initialisation {
        Initialisation::He
    }

    fn hidden(&mut self) -> &mut Vec<usize> {
        &mut self.hidden
    }
}

impl Vgg {
    fn stages(&self, sizes: &Sizes) -> Result<Vec<ConvSize>> {
        let stage = |halving: ConvSize| {
            let image = halving.small;
            [halving, ConvSize { large: image, small: image, kernel: 3, stride: 1, padding: 1 }]
        };
        Ok(halvings(&self.channels, sizes)?.into_iter().flat_map(stage).collect())
    }
}
