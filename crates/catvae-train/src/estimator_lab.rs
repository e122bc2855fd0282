//! Gradient estimators against the exact gradient of a trained model.

use std::num::NonZeroUsize;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use catvae_data::{Batches, Binarization, ImageSet};
use catvae_model::{Code, Model, ModelSettings};
use gumbel_core::Generator;
use gumbel_core::estimators::{Estimator, EstimatorState, Evaluation, all_codes, expected_loss};
use serde::Serialize;

use crate::{Error, Result};

/// Codes decoded at once: their pixels fill a few megabytes.
const CHUNK: usize = 1024;

/// Draws that are taken and thrown away, so that running means have settled.
const WARM_UP: usize = 20;

/// A trained model whose codes can all be decoded, some images, and the exact gradient there.
///
/// The loss is the decoder's negative log-likelihood, in nats, and the gradient is that with respect to the logits of
/// the posterior, `(n_images, n_latents, n_categories)` or the [dimensions](Code::dims) of another code; the KL term has no need of an estimator. Norms and
/// cosines are over the whole gradient, images and all, as in the measurements of ReinMax (Liu et al. 2023).
pub struct EstimatorLab<'a, M> {
    model: &'a M,
    images: Tensor,
    logits: Tensor,
    exact: Vec<f64>,
    exact_ms: f64,
}

/// How an estimator's gradient lies to the exact one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EstimatorMeasurement {
    /// The estimator.
    pub estimator: Estimator,
    /// The temperature, for the estimators that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// How many draws were averaged over.
    pub samples: usize,
    /// ‖mean − exact‖ / ‖exact‖.
    pub relative_bias: f64,
    /// What `relative_bias` comes to for an unbiased estimator of this spread: `relative_std / √samples`.
    pub bias_floor: f64,
    /// ‖standard deviation‖ / ‖exact‖.
    pub relative_std: f64,
    /// The cosine between the mean and the exact gradient.
    pub cosine: f64,
    /// The mean over draws of the cosine between one draw and the exact gradient.
    pub draw_cosine: f64,
    /// Time of one draw for all images, forward and backward, in milliseconds.
    pub ms_per_draw: f64,
}

impl<'a, M: Model> EstimatorLab<'a, M> {
    /// Encodes the images and computes the exact gradient, by decoding every code once.
    ///
    /// # Errors
    /// [`gumbel_core::Error::InvalidParameter`] when there are more than 16,384 codes; images of another
    /// width than the model's; none at all.
    pub fn new(
        model: &'a M,
        images: &ImageSet,
        binarization: Binarization,
        device: &Device,
    ) -> Result<Self> {
        let Some(batch_size) = NonZeroUsize::new(images.len()) else {
            return Err(Error::TooFewImages { what: "the test set", n_images: 0, needed: 1 });
        };
        let batches = Batches { batch_size, shuffle_seed: None, binarization };
        let pixels = batches.epoch(images, 0, 0).flat_map(|batch| batch.images).collect();
        let shape = (images.len(), images.pixels_per_image());
        let images = Tensor::from_vec(pixels, shape, device)?;
        let logits = model.encode(&images)?.detach();
        let start = Instant::now();
        let exact = exact_gradient(model, &images, &logits)?;
        let exact_ms = milliseconds(start);
        Ok(Self { model, images, logits, exact, exact_ms })
    }

    /// How long the exact gradient took, in milliseconds.
    pub fn exact_ms(&self) -> f64 {
        self.exact_ms
    }

    /// Whether an estimator can be measured here: disarm needs two categories, and enumeration is the exact
    /// gradient itself.
    pub fn takes(&self, estimator: Estimator) -> bool {
        match estimator {
            Estimator::DisArm => self.model.settings().code_shape()[1] == 2,
            Estimator::Enumeration => false,
            _ => crate::config::takes(estimator, self.model.settings().code()).unwrap_or(false),
        }
    }

    /// Draws `n_samples` gradients of all images. `on_draw` is called after each.
    ///
    /// # Errors
    /// Those of the estimator.
    pub fn measure(
        &self,
        estimator: Estimator,
        temperature: f64,
        n_samples: NonZeroUsize,
        generator: &mut Generator,
        mut on_draw: impl FnMut(),
    ) -> Result<EstimatorMeasurement> {
        let mut state = EstimatorState::default();
        for _ in 0..WARM_UP {
            self.draw(estimator, temperature, &mut state, generator)?;
        }
        let exact_norm = norm(&self.exact);
        let mut moments = Moments::new(self.exact.len());
        let (mut cosines, mut ms) = (0.0, 0.0);
        for _ in 0..n_samples.get() {
            let start = Instant::now();
            let gradient = self.draw(estimator, temperature, &mut state, generator)?;
            ms += milliseconds(start);
            let gradient = to_f64(&gradient)?;
            cosines += cosine(&gradient, &self.exact);
            moments.add(&gradient);
            on_draw();
        }
        let n = n_samples.get() as f64;
        let off: Vec<f64> = moments.mean.iter().zip(&self.exact).map(|(m, e)| m - e).collect();
        let relative_std = moments.total_variance().sqrt() / exact_norm;
        Ok(EstimatorMeasurement {
            estimator,
            temperature: estimator.has_temperature().then_some(temperature),
            samples: n_samples.get(),
            relative_bias: norm(&off) / exact_norm,
            bias_floor: relative_std / n.sqrt(),
            relative_std,
            cosine: cosine(&moments.mean, &self.exact),
            draw_cosine: cosines / n,
            ms_per_draw: ms / n,
        })
    }

    /// One draw of the gradient, in the shape of the logits.
    fn draw(
        &self,
        estimator: Estimator,
        temperature: f64,
        state: &mut EstimatorState,
        generator: &mut Generator,
    ) -> Result<Tensor> {
        let logits = Var::from_tensor(&self.logits)?;
        let mut loss =
            |z: &Tensor| -> Result<Tensor> { Ok(self.model.neg_log_likelihood(z, &self.images)?) };
        let structure = self.model.settings().code().structure();
        let at = (logits.as_tensor(), temperature.into());
        let objective = estimator.objective_on(&structure, state, at, generator, &mut loss)?;
        let mut gradients = objective.surrogate.sum_all()?.backward()?;
        let gradient = gradients.remove(logits.as_tensor());
        gradient.ok_or_else(|| Error::NoGradient { parameter: "the latent logits".to_owned() })
    }
}

/// The gradient of the summed expected loss with respect to the logits, in f64.
fn exact_gradient<M: Model>(model: &M, images: &Tensor, logits: &Tensor) -> Result<Vec<f64>> {
    let code = model.settings().code();
    let structure = code.structure();
    let codes = match code {
        Code::Categories => {
            let [n_latents, n_categories] = model.settings().code_shape();
            all_codes(n_latents, n_categories, logits.dtype(), logits.device())?
        }
        _ => structure.codes(logits)?,
    };
    let n_codes = codes.dim(0)?;
    let mut losses = Vec::new();
    for start in (0..n_codes).step_by(CHUNK) {
        let chunk = codes.narrow(0, start, CHUNK.min(n_codes - start))?;
        losses.push(model.neg_log_likelihoods(&chunk, images)?);
    }
    let losses = Tensor::cat(&losses, 1)?.to_dtype(DType::F64)?;
    let logits = logits.to_dtype(DType::F64)?;
    if code != Code::Categories {
        let (state, g) = (&mut EstimatorState::default(), &mut Generator::new(0));
        let all = Estimator::Enumeration.propose_on(&structure, &logits, &1.0.into(), state, g)?;
        let of_code =
            |code| Ok(Evaluation { loss: losses.narrow(1, code, 1)?.squeeze(1)?, gradient: None });
        let evaluations = (0..n_codes).map(of_code).collect::<Result<Vec<_>>>()?;
        return to_f64(&all.combine(&evaluations, state)?);
    }
    let logits = Var::from_tensor(&logits)?;
    let expected = expected_loss(logits.as_tensor(), &losses)?;
    let mut gradients = expected.sum_all()?.backward()?;
    let gradient = gradients.remove(logits.as_tensor());
    let missing = || Error::NoGradient { parameter: "the latent logits".to_owned() };
    to_f64(&gradient.ok_or_else(missing)?)
}

/// Mean and variance of vectors that come one by one. Welford 1962.
struct Moments {
    n: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(len: usize) -> Self {
        Self { n: 0.0, mean: vec![0.0; len], squares: vec![0.0; len] }
    }

    fn add(&mut self, x: &[f64]) {
        self.n += 1.0;
        for ((mean, square), x) in self.mean.iter_mut().zip(&mut self.squares).zip(x) {
            let before = x - *mean;
            *mean += before / self.n;
            *square += before * (x - *mean);
        }
    }

    /// The sum of the coordinates' variances.
    fn total_variance(&self) -> f64 {
        self.squares.iter().sum::<f64>() / self.n
    }
}

fn to_f64(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / (norm(a) * norm(b))
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use catvae_model::{CategoricalVae, ModelConfig};

    use super::*;

    fn model(n_categories: usize) -> CategoricalVae {
        let config = ModelConfig::mlp([3, 3], &[8], [2, n_categories]);
        let model =
            CategoricalVae::initialise(&config, &Device::Cpu, &mut Generator::new(1)).unwrap();
        // Initial weights hardly move the pixels: larger ones make a loss that bends.
        for parameter in model.parameters() {
            let larger = (parameter.var.as_tensor() * 4.0).unwrap();
            parameter.var.set(&larger).unwrap();
        }
        model
    }

    fn images(n: usize) -> ImageSet {
        let pixels = (0..9 * n).map(|i| (i * 67 % 256) as u8).collect();
        ImageSet::new(pixels, vec![0; n], 3, 3).unwrap()
    }

    fn lab(model: &CategoricalVae) -> EstimatorLab<'_, CategoricalVae> {
        EstimatorLab::new(model, &images(4), Binarization::Grey, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_exact_gradient_is_that_of_enumeration() {
        let model = model(3);
        let lab = lab(&model);
        let mut state = EstimatorState::default();
        let mut generator = Generator::new(0);
        let gradient = lab.draw(Estimator::Enumeration, 1.0, &mut state, &mut generator).unwrap();
        let gradient = to_f64(&gradient).unwrap();
        // One is computed in f32 throughout, from losses of about six nats.
        for (a, b) in gradient.iter().zip(&lab.exact) {
            assert!((a - b).abs() < 5e-6, "{a} {b}");
        }
        assert!(norm(&lab.exact) > 0.1);
    }

    #[test]
    fn an_unbiased_estimator_stays_at_the_floor_and_a_biased_one_does_not() {
        let model = model(2);
        let lab = lab(&model);
        let n_samples = NonZeroUsize::new(800).unwrap();
        let measure = |estimator: Estimator| {
            assert!(lab.takes(estimator));
            lab.measure(estimator, 1.0, n_samples, &mut Generator::new(3), || ()).unwrap()
        };
        for estimator in [Estimator::Rloo { samples: 4 }, Estimator::DisArm, Estimator::Rebar] {
            let row = measure(estimator);
            // The squared ratio is a mean of eight squared normal variables, of unequal weights; if they count
            // as four only, it passes 4 with probability 3e-3.
            assert!(row.relative_bias < 2.0 * row.bias_floor, "{row:?}");
            assert!(row.cosine > 0.9 && row.cosine <= 1.0, "{row:?}");
        }
        let row = measure(Estimator::StraightThrough);
        assert!(row.relative_bias > 5.0 * row.bias_floor, "{row:?}");
        assert_eq!((row.samples, row.temperature), (800, Some(1.0)));
        assert!(row.ms_per_draw > 0.0);
    }

    #[test]
    fn a_seed_fixes_the_measurement() {
        let model = model(3);
        let lab = lab(&model);
        let measure = |seed| {
            let n_samples = NonZeroUsize::new(10).unwrap();
            let mut generator = Generator::new(seed);
            let mut draws = 0;
            let row =
                lab.measure(Estimator::ReinMax, 1.0, n_samples, &mut generator, || draws += 1);
            assert_eq!(draws, 10);
            EstimatorMeasurement { ms_per_draw: 0.0, ..row.unwrap() }
        };
        assert_eq!(measure(1), measure(1));
        assert_ne!(measure(1), measure(2));
    }

    #[test]
    fn too_many_codes_and_no_images_are_errors() {
        let config = ModelConfig::mlp([3, 3], &[4], [15, 2]);
        let large =
            CategoricalVae::initialise(&config, &Device::Cpu, &mut Generator::new(1)).unwrap();
        let of = |model, n| EstimatorLab::new(model, &images(n), Binarization::Grey, &Device::Cpu);
        let error = of(&large, 2).err().unwrap().to_string();
        assert!(error.contains("at most 16,384 (") && error.ends_with("but is 32768"), "{error}");
        assert!(matches!(of(&model(2), 0), Err(Error::TooFewImages { .. })));
    }
}
