//! Jigsaws of MNIST's images with Gumbel-Sinkhorn (Mena et al. 2018, section 5.2): the pieces of an image in random order go back to
//! their places.
//!
//! Each piece alone goes through a network (pixels, 512, places). Batches of 32 images, 5 samples each, τ = 1, 20 iterations, Adam at 1e-3, one pass over the training
//! images. The paper has a convolution in the network's place, and ten passes.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::Optimizer;
use catvae_data::{Dataset, ImageSet, load_folder};
use gumbel_core::{Generator, Iterations, SinkhornOptions, gumbel_top_k};

use crate::network::{Mlp, adam};
use crate::report::{Column, Report, each_seed};
use crate::unscramble::{Lists, loss, wrong};

const BATCH: usize = 32;
const SAMPLES: usize = 5;
const N_TEST: usize = 2_000;

/// MNIST, or `None` and a message where the folder is not there.
pub(crate) fn images(data_dir: &Path) -> Result<Option<Dataset>> {
    if !data_dir.is_dir() {
        eprintln!(
            "skipped: {} is no folder with MNIST's four files; name it with --data-dir, or get it by `cargo xtask download`",
            data_dir.display()
        );
        return Ok(None);
    }
    Ok(Some(load_folder(data_dir)?))
}

/// For each number of pieces the shares of wrong pieces and of images with any, and what Sinkhorn's iterations leave.
pub(crate) fn run(seeds: u64, sides: &[usize], images: &Dataset) -> Result<Report> {
    let (rows, columns) = (images.train.rows(), images.train.cols());
    anyhow::ensure!(
        sides.iter().all(|side| (1..=rows.min(columns)).contains(side)),
        "images of {rows} x {columns} pixels make 1 to {} pieces a side",
        rows.min(columns)
    );
    let mut report = Report::new(
        "Jigsaws of MNIST by Gumbel-Sinkhorn",
        vec![
            Column::new("wrong pieces").answer(0.0),
            Column::new("images with any").answer(0.0),
            Column::new("residual of the last step").log(),
        ],
    );
    for &side in sides {
        let one = |seed| train(side, images, seed);
        report.push(&format!("{side} × {side} pieces"), &each_seed(seeds, one)?);
    }
    Ok(report)
}

fn train(side: usize, images: &Dataset, seed: u64) -> Result<Vec<f64>> {
    let options = SinkhornOptions { iterations: Some(Iterations::Fixed(20)), ..Default::default() };
    let mut g = Generator::new(seed);
    let pixels = (images.train.rows() / side) * (images.train.cols() / side);
    let network = Mlp::new(&[pixels, 512, side * side], Tensor::relu, &mut g)?;
    let mut optimizer = adam(network.parameters(), 1e-3)?;
    let mut residual = 0.0;
    for batch in permutations(1, images.train.len(), &mut g)?.to_vec2::<u32>()?[0].chunks(BATCH) {
        let lists = puzzles(&images.train, batch, side, &mut g)?;
        let (loss, largest) = loss(&network, &lists, &options, SAMPLES, &mut g)?;
        optimizer.backward_step(&loss)?;
        residual = largest;
    }
    let test: Vec<u32> = (0..N_TEST.min(images.test.len()) as u32).collect();
    let lists = puzzles(&images.test, &test, side, &mut Generator::new(seed).stream(1))?;
    let [pieces, any] = wrong(&network, &lists)?;
    Ok(vec![pieces, any, residual])
}

/// Uniform permutations of `n`, `(count, n)`.
fn permutations(count: usize, n: usize, g: &mut Generator) -> Result<Tensor> {
    Ok(gumbel_top_k(&Tensor::zeros((count, n), DType::F32, &Device::Cpu)?, n, g)?)
}

/// The images in `side × side` pieces, in a random order and in theirs. Rows and columns that are left over are cut off.
fn puzzles(set: &ImageSet, which: &[u32], side: usize, g: &mut Generator) -> Result<Lists> {
    let (n, rows, columns) = (which.len(), set.rows(), set.cols());
    let bytes: Vec<f32> = which
        .iter()
        .flat_map(|at| set.image(*at as usize).iter().map(|byte| f32::from(*byte) / 255.0))
        .collect();
    let (height, width) = (rows / side, columns / side);
    let x = Tensor::from_vec(bytes, (n, rows, columns), &Device::Cpu)?;
    let x = x.narrow(1, 0, height * side)?.narrow(2, 0, width * side)?;
    let x = x.reshape((n, side, height, side, width))?.transpose(2, 3)?;
    let solved = x.reshape((n, side * side, height * width))?;
    let order = permutations(n, side * side, g)?.unsqueeze(2)?;
    let pieces = solved.gather(&order.broadcast_as(solved.shape())?.contiguous()?, 1)?;
    Ok(Lists { pieces, solved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_blocks_of_the_image() {
        // Pixel (r, c) is 10 r + c; five columns of which the last is left over.
        let bytes = (0..4).flat_map(|row| (0..5).map(move |column| 10 * row + column)).collect();
        let set = ImageSet::new(bytes, None, 4, 5).unwrap();
        let lists = puzzles(&set, &[0], 2, &mut Generator::new(0)).unwrap();
        let values = |x: &Tensor| -> Vec<Vec<u8>> {
            let rows = x.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
            rows.iter().map(|row| row.iter().map(|x| (x * 255.0).round() as u8).collect()).collect()
        };
        let solved = values(&lists.solved);
        let expected = [[0, 1, 10, 11], [2, 3, 12, 13], [20, 21, 30, 31], [22, 23, 32, 33]];
        assert_eq!(solved, expected);
        let mut pieces = values(&lists.pieces);
        pieces.sort();
        assert_eq!(pieces, expected);
    }

    #[test]
    fn without_mnist_it_is_skipped() {
        assert!(images(Path::new("no/such/folder")).unwrap().is_none());
    }
}
