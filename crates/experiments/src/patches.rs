//! Which patches of a three or an eight a classifier goes by (Chen et al. 2018, L2X, section 4.3): four of 49 patches are chosen for each image.
//!
//! The classifier that is explained has two convolutions of 5 × 5, with 8 and 16 channels. The selector (784, 200, 49) and the predictor (784, 200, 2), which sees the
//! chosen patches and learns the classifier's answers, are trained together: Adam at 1e-3, batches of 100, 5 passes over 11,982 images.
//! Counted is how often the classifier, which has never seen a masked image, and the predictor give the classifier's answer on the chosen patches; the paper has 0.958.

use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::Optimizer;
use candle_nn::ops::{log_softmax, softmax};
use catvae_data::{Dataset, ImageSet};
use gumbel_core::estimators::EstimatorState;
use gumbel_core::structure::KSubset;
use gumbel_core::{Generator, gumbel_top_k, one_hot, uniform};

use crate::feature_selection::methods;
use crate::method::Method;
use crate::network::{Mlp, adam};
use crate::report::{Column, Report, each_seed};

const SIDE: usize = 28;
const PATCH: usize = 4;
const PATCHES: usize = SIDE / PATCH;
const CHOSEN: usize = 4;
const BATCH: usize = 100;
const PASSES: usize = 5;

/// For each method how often the classifier and the predictor give the classifier's answer from the chosen patches.
pub(crate) fn run(seeds: u64, images: &Dataset) -> Result<Report> {
    anyhow::ensure!(
        images.train.rows() == SIDE && images.train.cols() == SIDE,
        "the images have {} x {} pixels; the patches are made for MNIST's {SIDE} x {SIDE}",
        images.train.rows(),
        images.train.cols()
    );
    let mut report = Report::new(
        "Four patches that tell a three from an eight",
        vec![
            Column::new("classifier on the patches").answer(1.0),
            Column::new("predictor on the patches").answer(1.0),
        ],
    );
    let (train, test) = (threes_and_eights(&images.train)?, threes_and_eights(&images.test)?);
    let classifier = Classifier::train(&train, 0)?;
    let answers = [classifier.answers(&train.0)?, classifier.answers(&test.0)?];
    eprintln!("the classifier is right for {:.4} of test images", agreement(&answers[1], &test.1)?);
    for (name, method) in &methods() {
        let images = [(&train.0, &answers[0]), (&test.0, &answers[1])];
        let one = |seed| explain(&classifier, method, images, seed);
        report.push(name, &each_seed(seeds, one)?);
    }
    Ok(report)
}

/// Pixels `(n, 784)` of threes and eights, and which are eights, `(n, 2)`.
fn threes_and_eights(set: &ImageSet) -> Result<(Tensor, Tensor)> {
    let labels = set.labels().context("MNIST without its labels")?;
    let which = || (0..set.len()).filter(|at| matches!(labels[*at], 3 | 8));
    let pixels = which().flat_map(|at| set.image(at)).map(|byte| f32::from(*byte) / 255.0);
    let pixels: Vec<f32> = pixels.collect();
    let eights: Vec<u32> = which().map(|at| u32::from(labels[at] == 8)).collect();
    let n = eights.len();
    let pixels = Tensor::from_vec(pixels, (n, SIDE * SIDE), &Device::Cpu)?;
    Ok((pixels, one_hot(&Tensor::new(eights, &Device::Cpu)?, 2, DType::F32)?))
}

/// The share of rows with the same largest entry.
fn agreement(a: &Tensor, b: &Tensor) -> Result<f64> {
    let same = a.argmax(1)?.eq(&b.argmax(1)?)?.to_dtype(DType::F64)?;
    Ok(same.mean_all()?.to_scalar()?)
}

/// The batches of one pass, in a random order.
fn shuffled(n: usize, g: &mut Generator) -> Result<Vec<Tensor>> {
    let order = gumbel_top_k(&Tensor::zeros(n, DType::F32, &Device::Cpu)?, n, g)?;
    (0..n / BATCH).map(|at| Ok(order.narrow(0, at * BATCH, BATCH)?)).collect()
}

fn cross_entropy(p: &Tensor, logits: &Tensor) -> Result<Tensor> {
    Ok((p * log_softmax(logits, 1)?)?.sum(1)?.neg()?)
}

/// Two convolutions, each with a maximum over 2 × 2, and two dense layers.
struct Classifier {
    convolutions: [(Var, Var); 2],
    head: Mlp,
}

impl Classifier {
    fn train((x, labels): &(Tensor, Tensor), seed: u64) -> Result<Self> {
        let mut g = Generator::new(seed);
        let mut layer = |inputs: usize, outputs: usize| -> Result<(Var, Var)> {
            let bound = ((inputs * 25) as f64).powf(-0.5);
            let mut draw = |shape: &[usize]| -> Result<Var> {
                let x = uniform(shape, DType::F32, &Device::Cpu, &mut g)?;
                Ok(Var::from_tensor(&x.affine(2.0 * bound, -bound)?)?)
            };
            Ok((draw(&[outputs, inputs, 5, 5])?, draw(&[1, outputs, 1, 1])?))
        };
        let convolutions = [layer(1, 8)?, layer(8, 16)?];
        let head = Mlp::new(&[16 * 49, 128, 2], Tensor::relu, &mut g)?;
        let this = Self { convolutions, head };
        let weights = this.convolutions.iter().flat_map(|(w, b)| [w.clone(), b.clone()]);
        let mut optimizer = adam(weights.chain(this.head.parameters()).collect(), 1e-3)?;
        for _ in 0..3 {
            for batch in shuffled(x.dim(0)?, &mut g)? {
                let (x, labels) = (x.index_select(&batch, 0)?, labels.index_select(&batch, 0)?);
                let loss = cross_entropy(&labels, &this.forward(&x)?)?.mean_all()?;
                optimizer.backward_step(&loss)?;
            }
        }
        Ok(this)
    }

    /// Probabilities `(n, 2)` of pixels `(n, 784)`, a thousand images at once.
    fn answers(&self, x: &Tensor) -> Result<Tensor> {
        let n = x.dim(0)?;
        let part = |from: usize| self.forward(&x.narrow(0, from, (n - from).min(1000))?);
        let logits = (0..n).step_by(1000).map(part).collect::<Result<Vec<_>>>()?;
        Ok(softmax(&Tensor::cat(&logits, 0)?, D::Minus1)?.detach())
    }

    /// Logits `(n, 2)` of pixels `(n, 784)`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.reshape(((), 1, SIDE, SIDE))?;
        for (weight, bias) in &self.convolutions {
            x = x.conv2d(weight, 2, 1, 1, 1)?.broadcast_add(bias)?.relu()?.max_pool2d(2)?;
        }
        self.head.forward(&x.flatten_from(1)?)
    }
}

/// A value for each patch, `(n, 49)`, spread over its pixels: `(n, 784)`.
fn spread(z: &Tensor) -> Result<Tensor> {
    let n = z.dim(0)?;
    let z = z.reshape((n, PATCHES, 1, PATCHES, 1))?;
    let z = z.broadcast_as((n, PATCHES, PATCH, PATCHES, PATCH))?;
    Ok(z.reshape((n, SIDE * SIDE))?)
}

/// Trains selector and predictor on images with the classifier's answers, and returns the two agreements on the test images.
fn explain(
    classifier: &Classifier,
    method: &Method<KSubset>,
    [(train, answers), (test, expected)]: [(&Tensor, &Tensor); 2],
    seed: u64,
) -> Result<Vec<f64>> {
    let mut g = Generator::new(seed).stream(2);
    let selector = Mlp::new(&[SIDE * SIDE, 200, PATCHES * PATCHES], Tensor::relu, &mut g)?;
    let predictor = Mlp::new(&[SIDE * SIDE, 200, 2], Tensor::relu, &mut g)?;
    let mut optimizer = adam([selector.parameters(), predictor.parameters()].concat(), 1e-3)?;
    let mut state = EstimatorState::default();
    for _ in 0..PASSES {
        for batch in shuffled(train.dim(0)?, &mut g)? {
            let (x, p) = (train.index_select(&batch, 0)?, answers.index_select(&batch, 0)?);
            let q = KSubset::from_logits(&selector.forward(&x)?, CHOSEN)?;
            let mut f = |z: &Tensor| cross_entropy(&p, &predictor.forward(&(&x * spread(z)?)?)?);
            optimizer.backward_step(&method.loss(&q, &mut state, &mut g, &mut f)?.sum_all()?)?;
        }
    }
    let chosen = KSubset::from_logits(&selector.forward(test)?, CHOSEN)?.mode()?;
    let seen = (test * spread(&chosen)?)?;
    let by_classifier = agreement(&classifier.answers(&seen)?, expected)?;
    Ok(vec![by_classifier, agreement(&predictor.forward(&seen)?, expected)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_covers_its_four_by_four_pixels() {
        let mut z = [0f32; 49];
        z[8] = 1.0; // the second in the second row
        let z = Tensor::new(&z, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let pixels = spread(&z).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (at, pixel) in pixels.into_iter().enumerate() {
            let inside = (4..8).contains(&(at / SIDE)) && (4..8).contains(&(at % SIDE));
            assert_eq!(pixel, f32::from(u8::from(inside)), "{at}");
        }
    }

    #[test]
    fn only_threes_and_eights_are_taken() {
        let bytes = vec![255; 3 * SIDE * SIDE];
        let set = ImageSet::new(bytes, vec![8, 1, 3], SIDE, SIDE).unwrap();
        let (pixels, labels) = threes_and_eights(&set).unwrap();
        assert_eq!(pixels.dims(), [2, SIDE * SIDE]);
        assert_eq!(labels.to_vec2::<f32>().unwrap(), [[0.0, 1.0], [1.0, 0.0]]);
    }
}
