//! Multilayer perceptrons, encoder and decoder mirrored.

use serde::{Deserialize, Serialize};

use super::{Architecture, Sizes};
use crate::Result;
use crate::layer::{Activation, Layer, Linear, Precision};

/// Fully connected layers with ReLU between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mlp {
    /// Hidden widths of the encoder, from the image inwards; the decoder mirrors them. May be empty.
    pub hidden: Vec<usize>,
}

impl Default for Mlp {
    fn default() -> Self {
        Self { hidden: vec![512, 256] }
    }
}

impl Architecture for Mlp {
    fn encoder(&self, sizes: &Sizes, last: Activation) -> Result<Vec<Box<dyn Layer>>> {
        Ok(dense(&self.widths(sizes), last))
    }

    fn decoder(&self, sizes: &Sizes) -> Result<Vec<Box<dyn Layer>>> {
        let mut widths = self.widths(sizes);
        widths.reverse();
        Ok(dense(&widths, Activation::Identity))
    }

    fn hidden(&mut self) -> &mut Vec<usize> {
        &mut self.hidden
    }
}

impl Mlp {
    fn widths(&self, sizes: &Sizes) -> Vec<usize> {
        let mut widths = vec![sizes.n_pixels()];
        widths.extend(&self.hidden);
        widths.push(sizes.code_width);
        widths
    }
}

/// Layers of widths `widths[0] → widths[1] → …`, ReLU between them and `last` after the last.
pub(super) fn dense(widths: &[usize], last: Activation) -> Vec<Box<dyn Layer>> {
    let n_layers = widths.len() - 1;
    let layers = widths.windows(2).enumerate().map(|(i, pair)| {
        let activation = if i + 1 == n_layers { last } else { Activation::Relu };
        Box::new(Linear {
            inputs: pair[0],
            outputs: pair[1],
            activation,
            precision: Precision::F32,
        }) as Box<dyn Layer>
    });
    layers.collect()
}
