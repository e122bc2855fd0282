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
        Ok(encoder(&halvings(&self.channels, sizes)?, &self.hidden, sizes, last))
    }

    fn decoder(&self, sizes: &Sizes) -> Result<Vec<Box<dyn Layer>>> {
        Ok(decoder(&halvings(&self.channels, sizes)?, &self.hidden, sizes))
    }

    /// With PyTorch's, eight layers from image to image leave so little of it that training stays at the mean image.
    fn initialisation(&self) -> Initialisation {
        Initialisation::He
    }

    fn hidden(&mut self) -> &mut Vec<usize> {
        &mut self.hidden
    }
}

/// Convolutions that halve rows and columns, to so many channels each, from the image inwards.
pub(super) fn halvings(channels: &[usize], sizes: &Sizes) -> Result<Vec<ConvSize>> {
    let [rows, cols] = sizes.image_shape;
    if channels.is_empty() {
        return Err(Error::TooSmall { field: "network.channels", minimum: 1, value: 0 });
    }
    let mut large = [1, rows, cols];
    let mut halvings = Vec::new();
    for &c in channels {
        let [_, rows, cols] = large;
        if rows % 2 != 0 || cols % 2 != 0 {
            let image_shape = sizes.image_shape;
            return Err(Error::NotHalvable { image_shape, times: channels.len() });
        }
        let small = [c, rows / 2, cols / 2];
        halvings.push(ConvSize { large, small, kernel: 4, stride: 2, padding: 1 });
        large = small;
    }
    Ok(halvings)
}

/// Convolutions, from the image inwards, then fully connected layers.
pub(super) fn encoder(
    convolutions: &[ConvSize],
    hidden: &[usize],
    sizes: &Sizes,
    last: Activation,
) -> Vec<Box<dyn Layer>> {
    let convolutions = convolutions
        .iter()
        .map(|&size| Box::new(Conv2d { size, activation: Activation::Relu }) as Box<dyn Layer>);
    let mut layers: Vec<_> = convolutions.collect();
    let mut widths = vec![layers.last().map_or(sizes.n_pixels(), |layer| layer.outputs())];
    widths.extend(hidden);
    widths.push(sizes.code_width);
    layers.extend(dense(&widths, last));
    layers
}

/// The mirror of [`encoder`].
pub(super) fn decoder(
    convolutions: &[ConvSize],
    hidden: &[usize],
    sizes: &Sizes,
) -> Vec<Box<dyn Layer>> {
    let mirrored = convolutions.iter().enumerate().rev().map(|(i, &size)| {
        let activation = if i == 0 { Activation::Identity } else { Activation::Relu };
        Box::new(ConvTranspose2d { size, activation }) as Box<dyn Layer>
    });
    let mirrored: Vec<_> = mirrored.collect();
    let mut widths = vec![sizes.code_width];
    widths.extend(hidden.iter().rev());
    widths.push(mirrored.first().map_or(sizes.n_pixels(), |layer| layer.inputs()));
    dense(&widths, Activation::Relu).into_iter().chain(mirrored).collect()
}
