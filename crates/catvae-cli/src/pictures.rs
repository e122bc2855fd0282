//! The pictures of a model: samples from the prior, and reconstructions.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use catvae_data::{Batches, Binarization, EpochBatches, ImageSet};
use catvae_model::{CategoricalVae, Model, ModelSettings};
use gumbel_core::Generator;

use crate::grid::Grid;

/// Columns of the grid of reconstructions.
const COLUMNS: usize = 12;
/// Pairs of rows in it: originals above, reconstructions below.
const PAIRS: usize = 4;

/// Draws a grid of images decoded from uniform codes.
pub(crate) fn samples(
    model: &CategoricalVae,
    (rows, cols): (usize, usize),
    image_shape: [usize; 2],
    device: &Device,
    generator: &mut Generator,
    path: &Path,
) -> Result<()> {
    let mut grid = Grid::new(rows, cols, image_shape)?;
    let config = model.settings();
    // All logits equal: the uniform prior.
    let shape = [&[rows * cols], config.code.dims(config.code_shape()).as_slice()].concat();
    let prior_logits = Tensor::zeros(shape, DType::F32, device)?;
    let z = config.code.structure().sample(&prior_logits, generator)?;
    for (i, pixels) in pixel_means(model, &z)?.iter().enumerate() {
        grid.put(i / cols, i % cols, pixels);
    }
    grid.save(path)
}

/// Draws the first images of a set above their reconstructions from exact samples of their codes.
pub(crate) fn reconstructions(
    model: &CategoricalVae,
    images: &ImageSet,
    binarization: Binarization,
    device: &Device,
    generator: &mut Generator,
    path: &Path,
) -> Result<()> {
    let n_images = images.len().min(COLUMNS * PAIRS);
    let n_pairs = n_images.div_ceil(COLUMNS);
    let mut grid = Grid::new(2 * n_pairs, COLUMNS, [images.rows(), images.cols()])?;
    let Some(originals) = batches(&images.take(n_images), n_images, binarization).next() else {
        return Ok(());
    };
    let n_pixels = images.pixels_per_image();
    let input = Tensor::from_slice(&originals.images, (n_images, n_pixels), device)?;
    let logits = model.encode(&input)?.detach();
    let z = model.settings().code.structure().sample(&logits, generator)?;
    for (i, pixels) in pixel_means(model, &z)?.iter().enumerate() {
        let (pair, col) = (i / COLUMNS, i % COLUMNS);
        grid.put(2 * pair, col, &originals.images[i * n_pixels..][..n_pixels]);
        grid.put(2 * pair + 1, col, pixels);
    }
    grid.save(path)
}

/// Images in their order as the model sees them, as in an evaluation.
pub(crate) fn batches(
    images: &ImageSet,
    batch_size: usize,
    binarization: Binarization,
) -> EpochBatches {
    let batch_size = NonZeroUsize::new(batch_size).unwrap_or(NonZeroUsize::MIN);
    Batches { batch_size, shuffle_seed: None, binarization }.epoch(images, 0, 0)
}

/// Decodes codes to the means of their pixels, one vector per code.
pub(crate) fn pixel_means(model: &CategoricalVae, z: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(model.mean_images(z)?.detach().to_vec2::<f32>()?)
}
