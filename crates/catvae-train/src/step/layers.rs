//! The training step on the CPU: a model made of layers, on slices that live as long as the run.
//!
//! The estimator proposes codes, the decoder evaluates them, the estimator combines what it found to the
//! gradient of the encoder's logits. No graph is recorded. The gradients of all parameters lie in one flat
//! buffer, summed over the batch: the norm that clipping needs, the look for values that are not finite
//! and the optimiser each go through it once.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use catvae_model::{Code, Layered, Model, ModelSettings, Parameter, Tape};
use gumbel_core::estimators::{Evaluation, Point, Weight};
use gumbel_core::op::read_slices;
use gumbel_kernels::{kl_to_uniform, largest_magnitude};
use rayon::prelude::*;

use super::times::{StepTimes, timed};
use super::{Failure, Request, StepLoss};
use crate::Optimizer;

/// Rows that are decoded at once, at most: the codes of an enumeration are many.
const MAX_ROWS: usize = 1 << 12;

/// The buffers of a step.
#[derive(Debug, Default)]
pub(crate) struct LayerStep {
    encoder: Tape,
    decoder: Tape,
    /// Forward only.
    unrelaxed_decoder: Tape,
    /// The encoder's, then the decoder's.
    gradient: Vec<f32>,
    /// Of the KL, for the logits.
    d_kl: Vec<f32>,
    /// Of each latent for categories, of each image for other codes.
    kl: Vec<f32>,
    nll_of_rows: Vec<f32>,
    times: StepTimes,
    /// The model's layers in bf16, where the run is in bf16.
    bf16: Option<Arc<Layered>>,
}

impl LayerStep {
    /// A step in bf16.
    pub(crate) fn in_bf16(layered: Layered) -> Self {
        Self { bf16: Some(Arc::new(layered)), ..Self::default() }
    }

    /// Where the time of the steps so far went.
    pub(crate) fn times(&self) -> StepTimes {
        self.times
    }

    /// Takes a step.
    ///
    /// # Errors
    /// Those of the estimator; a loss or a gradient that is not finite, before anything is updated.
    pub(crate) fn take<M: Model>(
        &mut self,
        model: &M,
        layered: &Layered,
        optimizer: &mut Optimizer,
        mut request: Request,
    ) -> Result<StepLoss, Failure> {
        self.times.steps += 1;
        let bf16 = self.bf16.clone();
        let layered = bf16.as_deref().unwrap_or(layered);
        let parameters = model.parameters();
        let (loss, may_overflow) = with_values(&parameters, |values| {
            self.forward_backward(model.settings(), layered, values, &mut request)
        })?;
        loss.check()?;
        if may_overflow && !largest_magnitude(&self.gradient).is_finite() {
            return Err(Failure::NotFinite(self.name_overflow(&parameters)));
        }
        let mean = 1.0 / request.batch as f64;
        let scale = match request.clip_gradient_norm {
            Some(max_norm) => mean.min(max_norm / squared_norm(&self.gradient).sqrt()),
            None => mean,
        };
        request.rescue.close();
        timed(&mut self.times.update, || {
            optimizer.step_flat(&parameters, &self.gradient, scale as f32)
        })?;
        Ok(loss)
    }

    /// The objectives, and the gradient of the one that is trained on; whether that might not be finite.
    fn forward_backward(
        &mut self,
        settings: &impl ModelSettings,
        layered: &Layered,
        values: &[&[f32]],
        request: &mut Request,
    ) -> Result<(StepLoss, bool), Failure> {
        let Layered { encoder, decoder, likelihood } = layered;
        let law = likelihood.law();
        let (of_encoder, of_decoder) = values.split_at(2 * encoder.layers().len());
        self.gradient.resize(encoder.n_parameters() + decoder.n_parameters(), 0.0);
        let (d_encoder, d_decoder) = self.gradient.split_at_mut(encoder.n_parameters());
        let (images, batch) = (request.images, request.batch);
        let times = &mut self.times;
        let (code, shape) = (settings.code(), settings.code_shape());
        let structure = code.structure();

        timed(&mut times.forward, || self.encoder.forward(encoder, of_encoder, batch, images))?;
        let logits_shape = [&[batch], code.dims(shape).as_slice()].concat();
        let logits = Tensor::from_slice(self.encoder.output().0, logits_shape, &Device::Cpu)?;
        let proposal = timed(&mut times.sampling, || {
            let tau = request.temperature.into();
            request.estimator.propose_on(&structure, &logits, &tau, request.state, request.noise)
        })?;
        timed(&mut times.losses, || kl(code, shape, &logits, &mut self.kl, &mut self.d_kl))?;

        let mut evaluations = Vec::with_capacity(proposal.points().len());
        let mut nll = 0.0;
        let mut may_overflow = false;
        let groups: Vec<_> = groups(proposal.points(), batch).collect();
        let mut accumulate = false;
        for group in &groups {
            let rows = group.len() * batch;
            let z = Tensor::cat(&group.iter().map(|point| &point.z).collect::<Vec<_>>(), 0)?;
            let wants_gradient = group.iter().any(|point| point.wants_gradient);
            let mut d_z = vec![0.0; if wants_gradient { z.elem_count() } else { 0 }];
            read_slices([&z], |[z]| {
                let tape = &mut self.decoder;
                timed(&mut times.forward, || tape.forward(decoder, of_decoder, rows, z))?;
                self.nll_of_rows.resize(rows, 0.0);
                let nll_of_rows = &mut self.nll_of_rows;
                timed(&mut times.losses, || {
                    let (output, d_output) = tape.output();
                    let per_point = output.len() / group.len();
                    let pixels = output.chunks(per_point).zip(d_output.chunks_mut(per_point));
                    for ((logits, d_logits), nll) in pixels.zip(nll_of_rows.chunks_mut(batch)) {
                        law.kernel()(images.len() / batch, 1.0, logits, images, nll, d_logits)?;
                    }
                    Ok::<_, gumbel_core::Error>(())
                })?;
                let weights = weigh(group, batch, tape.output().1, nll_of_rows)?;
                nll +=
                    weights.iter().zip(&*nll_of_rows).map(|(w, l)| w * f64::from(*l)).sum::<f64>();
                timed(&mut times.backward, || {
                    let d_input = wants_gradient.then_some(d_z.as_mut_slice());
                    tape.backward(decoder, of_decoder, rows, d_input)
                })?;
                if counts(&group[0]) {
                    may_overflow |= tape.may_overflow(decoder, z, groups.len());
                    timed(&mut times.backward, || {
                        tape.parameter_gradient(decoder, rows, z, accumulate, d_decoder)
                    })?;
                    accumulate = true;
                }
                Ok(())
            })?;
            let loss = Tensor::from_slice(&self.nll_of_rows, rows, &Device::Cpu)?;
            let gradient = match wants_gradient {
                true => Some(Tensor::from_vec(d_z, z.shape(), &Device::Cpu)?),
                false => None,
            };
            evaluations.extend(Evaluation::split(&loss, gradient.as_ref(), group.len())?);
        }

        let start = Instant::now();
        let bce_unrelaxed = match &mut request.unrelaxed_noise {
            Some(noise) => {
                let of_images = &mut self.nll_of_rows;
                let tape = &mut self.unrelaxed_decoder;
                let z = structure.sample(&logits, noise)?;
                Some(unrelaxed(tape, of_images, layered, of_decoder, images, &z)?)
            }
            None => None,
        };
        let untimed = start.elapsed();

        let d_logits =
            timed(&mut times.sampling, || proposal.combine(&evaluations, request.state))?;
        read_slices([&d_logits], |[d_logits]| {
            let (_, d_output) = self.encoder.output();
            for ((d, a), b) in d_output.iter_mut().zip(d_logits).zip(&self.d_kl) {
                *d = a + b;
            }
            Ok(())
        })?;
        timed(&mut times.backward, || {
            self.encoder.backward(encoder, of_encoder, batch, None)?;
            self.encoder.parameter_gradient(encoder, batch, images, false, d_encoder)
        })?;
        may_overflow |= self.encoder.may_overflow(encoder, images, 1);

        let kl = self.kl.iter().map(|&x| f64::from(x)).sum::<f64>();
        let n_images = batch as f64;
        let loss = StepLoss { bce: nll / n_images, kl: kl / n_images, bce_unrelaxed, untimed };
        Ok((loss, may_overflow))
    }

    /// The first parameter whose gradient is not finite.
    fn name_overflow(&self, parameters: &[Parameter]) -> String {
        let mut rest = self.gradient.as_slice();
        for Parameter { name, var } in parameters {
            let (gradient, others) = rest.split_at(var.elem_count());
            if !largest_magnitude(gradient).is_finite() {
                return format!("the gradient of {name} is not finite");
            }
            rest = others;
        }
        "a gradient is not finite".to_owned()
    }
}

/// The KL term and its gradient.
fn kl(
    code: Code,
    [n_latents, n_categories]: [usize; 2],
    logits: &Tensor,
    kl: &mut Vec<f32>,
    d_kl: &mut Vec<f32>,
) -> Result<(), Failure> {
    if code == Code::Categories {
        kl.resize(logits.dim(0)? * n_latents, 0.0);
        d_kl.resize(logits.elem_count(), 0.0);
        read_slices([logits], |[logits]| Ok(kl_to_uniform(n_categories, 1.0, logits, kl, d_kl)?))?;
        return Ok(());
    }
    let logits = Var::from_tensor(logits)?;
    let divergence = code.kl(&logits)?;
    let mut gradients = divergence.sum_all()?.backward()?;
    let missing = || crate::Error::NoGradient { parameter: "the latent logits".to_owned() };
    let gradient = gradients.remove(logits.as_tensor()).ok_or_else(missing)?;
    *kl = divergence.to_vec1()?;
    *d_kl = gradient.flatten_all()?.to_vec1()?;
    Ok(())
}

/// Points that are decoded together: those next to each other whose loss counts for the decoder, or does not,
/// up to a number of rows.
fn groups(points: &[Point], batch: usize) -> impl Iterator<Item = &[Point]> {
    let most = (MAX_ROWS / batch.max(1)).max(1);
    points.chunk_by(|a, b| counts(a) == counts(b)).flat_map(move |alike| alike.chunks(most))
}

/// Whether the loss at a point counts for the decoder's parameters.
fn counts(point: &Point) -> bool {
    !matches!(point.weight, Weight::Uniform(0.0))
}

/// Weights the gradients at the decoder's output, row by row, where the points do not all have weight one. Returns
/// the weight of each row's loss.
fn weigh(
    group: &[Point],
    batch: usize,
    d_output: &mut [f32],
    nll_of_rows: &[f32],
) -> gumbel_core::Result<Vec<f64>> {
    let mut weights = Vec::with_capacity(nll_of_rows.len());
    for point in group {
        match &point.weight {
            Weight::Uniform(weight) => weights.resize(weights.len() + batch, *weight),
            Weight::PerRow(of_rows) => {
                let of_rows = of_rows.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?;
                weights.extend(of_rows);
            }
        }
    }
    let n_pixels = d_output.len() / weights.len().max(1);
    // A point that counts for nothing is evaluated for its own gradient.
    if counts(&group[0]) && weights.iter().any(|&weight| weight != 1.0) {
        d_output.par_chunks_mut(n_pixels.max(1)).zip(&weights).for_each(|(row, &weight)| {
            for d in row {
                *d *= weight as f32;
            }
        });
    }
    Ok(weights)
}

/// Mean negative log-likelihood at an exact sample.
fn unrelaxed(
    tape: &mut Tape,
    nll_of_images: &mut Vec<f32>,
    Layered { decoder, likelihood, .. }: &Layered,
    values: &[&[f32]],
    images: &[f32],
    z: &Tensor,
) -> Result<f64, Failure> {
    let batch = z.dim(0)?;
    nll_of_images.resize(batch, 0.0);
    read_slices([z], |[z]| {
        tape.forward(decoder, values, batch, z)?;
        let (output, d_output) = tape.output();
        let n_pixels = images.len() / batch;
        likelihood.law().kernel()(n_pixels, 1.0, output, images, nll_of_images, d_output)?;
        Ok(())
    })?;
    Ok(nll_of_images.iter().map(|&x| f64::from(x)).sum::<f64>() / batch as f64)
}

/// Hands the values of variables on the CPU to `body`.
fn with_values<R>(
    parameters: &[Parameter],
    body: impl FnOnce(&[&[f32]]) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let guards: Vec<_> = parameters.iter().map(|p| p.var.storage_and_layout()).collect();
    let values =
        guards.iter().map(|(storage, layout)| crate::optimizer::f32_values(storage, layout));
    body(&values.collect::<candle_core::Result<Vec<_>>>()?)
}

/// Σ x², in f64, added up in an order that threads do not change.
fn squared_norm(values: &[f32]) -> f64 {
    let sums = values
        .par_chunks(1 << 14)
        .map(|chunk| chunk.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>());
    sums.collect::<Vec<_>>().iter().sum()
}
