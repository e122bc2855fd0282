//! Convolutional networks, encoder and decoder mirrored.

use serde::{Deserialize, Serialize};

use super::mlp::dense;
use super::{Architecture, Initialisation, Sizes};
use crate::layer::{Activation, Conv2d, ConvSize, ConvTranspose2d, Layer};
use crate::{Error, Result};

/// Convolutions that halve the image, then fully connected layers; the decoder mirrors both. ReLU between them.
///
/// Every convolution has a 4 x 4 kernel, stride 2 and padding 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conv {
    /// Channels after each convolution, from the image inwards. Each halves rows and columns.
    pub channels: Vec<usize>,
    /// Hidden widths of the fully connected layers behind them. May be empty.
    pub hidden: Vec<usize>,
}

/// About as many parameters as [`Mlp`](super::Mlp)'s default has on 28 x 28 pixels: 1.23 and 1.22 million.
impl Default for Conv {
    fn default() -> Self {
        Self { channels: vec![32, 32], hidden: vec![320] }
    }
}

impl Architecture for Conv {
    fn encoder(&self, sizes: &Sizes, last: Activation) -> Result<Vec<Box<dyn Layer>>> {
        let halvings = self.halvings(sizes)?;
        let mut widths = self.widths(sizes, &halvings);
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        for size in halvings {
            layers.push(Box::new(Conv2d { size, activation: Activation::Relu }));
        }
        widths.push(sizes.code_width);
        layers.extend(dense(&widths, last));
        Ok(layers)
    }

    fn decoder(&self, sizes: &Sizes) -> Result<Vec<Box<dyn Layer>>> {
        let halvings = self.halvings(sizes)?;
        let mut widths = self.widths(sizes, &halvings);
        widths.push(sizes.code_width);
        widths.reverse();
        let mut layers = dense(&widths, Activation::Relu);
        for (i, size) in halvings.into_iter().enumerate().rev() {
            let activation = if i == 0 { Activation::Identity } else { Activation::Relu };
            layers.push(Box::new(ConvTranspose2d { size, activation }));
        }
        Ok(layers)
    }

    /// With PyTorch's, eight layers from image to image leave so little of it that training stays at the mean image.
    fn initialisation(&self) -> Initialisation {
        Initialisation::He
    }

    fn hidden(&mut self) -> &mut Vec<usize> {
        &mut self.hidden
    }
}

impl Conv {
    /// The convolutions of the encoder, from the image inwards.
    fn halvings(&self, sizes: &Sizes) -> Result<Vec<ConvSize>> {
        let [rows, cols] = sizes.image_shape;
        if self.channels.is_empty() {
            return Err(Error::TooSmall { field: "network.channels", minimum: 1, value: 0 });
        }
        let mut large = [1, rows, cols];
        let mut halvings = Vec::new();
        for &channels in &self.channels {
            let [_, rows, cols] = large;
            if rows % 2 != 0 || cols % 2 != 0 {
                let image_shape = sizes.image_shape;
                return Err(Error::NotHalvable { image_shape, times: self.channels.len() });
            }
            let small = [channels, rows / 2, cols / 2];
            halvings.push(ConvSize { large, small, kernel: 4, stride: 2, padding: 1 });
            large = small;
        }
        Ok(halvings)
    }

    /// Widths from the last convolution's output to the last hidden layer.
    fn widths(&self, sizes: &Sizes, halvings: &[ConvSize]) -> Vec<usize> {
        // A product beyond memory is refused later, with the weights.
        let count = |size: &ConvSize| size.small.iter().fold(1, |n: usize, &m| n.saturating_mul(m));
        let flat = halvings.last().map_or(sizes.n_pixels(), count);
        [flat].into_iter().chain(self.hidden.iter().copied()).collect()
    }
}
