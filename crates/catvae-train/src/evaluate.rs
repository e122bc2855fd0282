//! Measuring a model on images with exact discrete samples.

use std::num::NonZeroUsize;

use candle_core::{DType, Device, Tensor};
use catvae_data::{Batches, Binarization, ImageSet};
use catvae_model::{Model, ModelSettings};
use gumbel_core::Generator;
use serde::Serialize;

use crate::Result;

/// Images decoded at once; large enough to keep the products efficient.
pub(crate) const BATCH: NonZeroUsize = NonZeroUsize::new(500).unwrap();

/// The unrelaxed negative ELBO, mean over images, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// `bce + kl`.
    pub neg_elbo: f64,
    /// Negative log-likelihood, summed over pixels.
    pub bce: f64,
    /// KL to the uniform prior, summed over latents.
    pub kl: f64,
    /// Standard error of `neg_elbo` over images: how far other images of their kind may be from it. `None` for one image.
    pub standard_error: Option<f64>,
}

/// Evaluates with `n_draws` exact samples per image.
///
/// # Errors
/// Images of another width than the model's; logits that are NaN.
pub fn evaluate<M: Model>(
    model: &M,
    images: &ImageSet,
    binarization: Binarization,
    n_draws: NonZeroUsize,
    device: &Device,
    generator: &mut Generator,
) -> Result<Evaluation> {
    let structure = model.settings().code().structure();
    let (mut bce, mut kl) = (0.0, 0.0);
    let mut spread = Spread::default();
    for_each_batch(images, binarization, device, |images| {
        let latent_logits = model.encode(images)?.detach();
        let n_images = images.dim(0)? as f64;
        let kl_per_image = model.kl(&latent_logits)?;
        let mut losses = kl_per_image.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        for _ in 0..n_draws.get() {
            let z = structure.sample(&latent_logits, generator)?;
            let nll = model.neg_log_likelihood(&z, images)?.detach();
            bce += n_images * scalar(&nll.mean(0)?)?;
            kl += n_images * scalar(&kl_per_image.mean(0)?)?;
            let nll = nll.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            losses.iter_mut().zip(nll).for_each(|(loss, x)| *loss += x / n_draws.get() as f64);
        }
        losses.into_iter().for_each(|loss| spread.add(loss));
        Ok(())
    })?;
    let n = images.len() as f64 * n_draws.get() as f64;
    Ok(Evaluation {
        neg_elbo: (bce + kl) / n,
        bce: bce / n,
        kl: kl / n,
        standard_error: spread.standard_error(),
    })
}

/// The spread of numbers that arrive one by one (Welford 1962).
#[derive(Default)]
struct Spread {
    n: f64,
    mean: f64,
    /// Σ (x − mean)².
    squares: f64,
}

impl Spread {
    fn add(&mut self, x: f64) {
        self.n += 1.0;
        let off = x - self.mean;
        self.mean += off / self.n;
        self.squares += off * (x - self.mean);
    }

    /// Of the mean.
    fn standard_error(&self) -> Option<f64> {
        (self.n > 1.0).then(|| (self.squares / (self.n - 1.0) / self.n).sqrt())
    }
}

/// The importance-weighted bound on −ln p(x) with `n_samples` exact samples per image, mean over
/// images, in nats: `−ln (1/M) Σ_m p(x|z_m) p(z_m) / q(z_m|x)`. Burda et al. 2016, eq. 8.
///
/// With one sample it is an unbiased estimate of the negative ELBO; it falls towards −ln p(x) as
/// `n_samples` grows.
///
/// `on_batch` is told how many images are done.
///
/// # Errors
/// As [`evaluate`].
pub fn importance_weighted_bound<M: Model>(
    model: &M,
    images: &ImageSet,
    binarization: Binarization,
    n_samples: NonZeroUsize,
    device: &Device,
    generator: &mut Generator,
    mut on_batch: impl FnMut(usize),
) -> Result<f64> {
    let structure = model.settings().code().structure();
    let (mut total, mut n_done) = (0.0, 0);
    for_each_batch(images, binarization, device, |images| {
        let latent_logits = model.encode(images)?.detach();
        let mut log_sums = vec![LogSumExp::default(); images.dim(0)?];
        for _ in 0..n_samples.get() {
            let z = structure.sample(&latent_logits, generator)?;
            let nll = model.neg_log_likelihood(&z, images)?.detach();
            let log_weights = (model.log_prior_over_posterior(&latent_logits, &z)? - nll)?;
            let log_weights = log_weights.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            for (sum, log_weight) in log_sums.iter_mut().zip(log_weights) {
                sum.add(log_weight);
            }
        }
        let log_n_samples = (n_samples.get() as f64).ln();
        total += log_sums.iter().map(|sum| log_n_samples - sum.value()).sum::<f64>();
        n_done += log_sums.len();
        on_batch(n_done);
        Ok(())
    })?;
    Ok(total / images.len() as f64)
}

/// `ln Σ e^x` over numbers that arrive one by one, without overflow.
#[derive(Clone, Copy)]
struct LogSumExp {
    max: f64,
    /// Σ e^(x − max).
    scaled_sum: f64,
}

impl Default for LogSumExp {
    fn default() -> Self {
        Self { max: f64::NEG_INFINITY, scaled_sum: 0.0 }
    }
}

impl LogSumExp {
    fn add(&mut self, x: f64) {
        if x > self.max {
            self.scaled_sum = self.scaled_sum * (self.max - x).exp() + 1.0;
            self.max = x;
        } else {
            self.scaled_sum += (x - self.max).exp();
        }
    }

    fn value(&self) -> f64 {
        self.max + self.scaled_sum.ln()
    }
}

/// Test images keep one draw for good, so that evaluations can be compared with each other.
pub(crate) fn fixed(binarization: Binarization) -> Binarization {
    match binarization {
        Binarization::Dynamic { seed } => Binarization::Static { seed },
        fixed => fixed,
    }
}

fn for_each_batch(
    images: &ImageSet,
    binarization: Binarization,
    device: &Device,
    mut body: impl FnMut(&Tensor) -> Result<()>,
) -> Result<()> {
    let batches =
        Batches { batch_size: BATCH, shuffle_seed: None, binarization: fixed(binarization) };
    for batch in batches.epoch(images, 0, 0) {
        let tensor =
            Tensor::from_vec(batch.images, (batch.len, images.pixels_per_image()), device)?;
        body(&tensor)?;
    }
    Ok(())
}

/// Reads a scalar back from the device.
pub(crate) fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.to_dtype(DType::F32)?.to_scalar::<f32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_a_mean() {
        let mut spread = Spread::default();
        spread.add(1e6);
        assert_eq!(spread.standard_error(), None);
        [1e6 + 2.0, 1e6 + 1.0, 1e6 + 5.0].into_iter().for_each(|x| spread.add(x));
        // Deviations −2, 0, −1, 3 from the mean.
        let expected = (14.0_f64 / 3.0 / 4.0).sqrt();
        assert!((spread.standard_error().unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn log_sum_exp_survives_large_and_small_numbers() {
        let mut sum = LogSumExp::default();
        for x in [-1000.0, -1001.0, -999.0] {
            sum.add(x);
        }
        let expected = -999.0 + (1.0 + (-1.0_f64).exp() + (-2.0_f64).exp()).ln();
        assert!((sum.value() - expected).abs() < 1e-12);
    }
}
