//! The training step on the CPU: the objective, its gradient and the update, on buffers that live as
//! long as the run. For the estimators that draw one sample and send the gradient through it.
//!
//! The same mathematics as [`crate::Objective`] followed by [`crate::Optimizer::step`], which is its
//! oracle in the tests. What it leaves out is what a step need not do: no graph is recorded, no
//! gradient of a weight is written to memory (the optimiser runs while its tile is in cache), and
//! nothing is allocated after the first step.

use candle_core::Tensor;
use catvae_model::{Activation, CategoricalVae, Layer};
use gumbel_core::Generator;
use gumbel_core::estimators::{Estimator, SampledRows};
use gumbel_kernels::{
    AdamStep, LinearShape, bernoulli_nll, kl_to_uniform, largest_magnitude, linear_forward,
    linear_input_gradient, linear_weight_gradient, linear_weight_gradient_adam,
};

use crate::optimizer::{Moments, f32_values, with_slices};
use crate::step_times::{StepTimes, timed};
use crate::{Optimizer, Result};

/// What a step works with; everything but the buffers is handed in.
#[derive(Debug, Default)]
pub(crate) struct FusedStep {
    encoder: Tape,
    decoder: Tape,
    /// Forward only, for the unrelaxed objective.
    unrelaxed_decoder: Tape,
    z: SampledRows,
    exact_z: SampledRows,
    d_z: Vec<f32>,
    d_kl: Vec<f32>,
    kl_of_latents: Vec<f32>,
    nll_of_images: Vec<f32>,
    /// Gradients of a layer, where clipping needs to see them.
    d_weight: Vec<f32>,
    d_bias: Vec<f32>,
    times: StepTimes,
}

/// What a step is asked to do.
pub(crate) struct Request<'a> {
    /// `(batch, n_pixels)`, values in [0, 1].
    pub(crate) images: &'a [f32],
    pub(crate) batch: usize,
    pub(crate) temperature: f64,
    /// A [pathwise](Estimator::is_pathwise) one.
    pub(crate) estimator: Estimator,
    pub(crate) clip_gradient_norm: Option<f64>,
}

/// Means over the batch, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Loss {
    pub(crate) bce: f64,
    pub(crate) kl: f64,
}

impl FusedStep {
    /// Where the time of the steps so far went.
    pub(crate) fn times(&self) -> StepTimes {
        self.times
    }

    /// Both terms of the objective that is trained on. Keeps what [`Self::backward`] needs.
    pub(crate) fn forward(
        &mut self,
        model: &CategoricalVae,
        request: &Request,
        noise: &mut Generator,
    ) -> Result<Loss> {
        let &Request { images, batch, estimator, temperature, .. } = request;
        let config = model.config();
        let times = &mut self.times;
        times.steps += 1;
        timed(&mut times.forward_products, || {
            self.encoder.forward(model.encoder().layers(), batch, images)
        })?;
        let logits = self.encoder.output();
        let k = config.n_categories;
        timed(&mut times.sampling, || self.z.draw(estimator, temperature, k, logits, noise))?;

        resize(&mut self.d_kl, logits.len());
        resize(&mut self.kl_of_latents, batch * config.n_latents);
        let scale = 1.0 / batch as f32;
        timed(&mut times.losses, || {
            kl_to_uniform(k, scale, logits, &mut self.kl_of_latents, &mut self.d_kl)
        })?;

        timed(&mut times.forward_products, || {
            self.decoder.forward(model.decoder().layers(), batch, self.z.values())
        })?;
        let bce =
            timed(&mut times.losses, || self.decoder.nll(images, batch, &mut self.nll_of_images))?;
        Ok(Loss { bce, kl: mean(&self.kl_of_latents, batch) })
    }

    /// Cross-entropy of the unrelaxed objective, at the logits of the last forward pass.
    pub(crate) fn unrelaxed_bce(
        &mut self,
        model: &CategoricalVae,
        request: &Request,
        noise: &mut Generator,
    ) -> Result<f64> {
        let logits = self.encoder.output();
        let k = model.config().n_categories;
        self.exact_z.draw(Estimator::StraightThrough, 1.0, k, logits, noise)?;
        let layers = model.decoder().layers();
        self.unrelaxed_decoder.forward(layers, request.batch, self.exact_z.values())?;
        self.unrelaxed_decoder.nll(request.images, request.batch, &mut self.nll_of_images)
    }

    /// The gradient before every activation, checked and clipped. Returns the name of the first
    /// parameter whose gradient is not finite.
    pub(crate) fn backward(
        &mut self,
        model: &CategoricalVae,
        request: &Request,
    ) -> Result<Option<String>> {
        let &Request { images, batch, .. } = request;
        let (encoder, decoder) = (model.encoder().layers(), model.decoder().layers());
        let times = &mut self.times;
        resize(&mut self.d_z, self.z.values().len());
        timed(&mut times.backward_products, || {
            self.decoder.backward(decoder, batch, Some(&mut self.d_z))
        })?;

        let mut d_logits = std::mem::take(self.encoder.d_output());
        resize(&mut d_logits, self.d_z.len());
        let logits = self.encoder.output();
        timed(&mut times.sampling, || self.z.backward(logits, &self.d_z, &mut d_logits))?;
        for (d, d_kl) in d_logits.iter_mut().zip(&self.d_kl) {
            *d += d_kl;
        }
        *self.encoder.d_output() = d_logits;
        self.encoder.mask_output(encoder);
        timed(&mut times.backward_products, || self.encoder.backward(encoder, batch, None))?;

        let z = self.z.values();
        let (in_encoder, in_decoder) = rayon::join(
            || self.encoder.may_overflow(batch, images),
            || self.decoder.may_overflow(batch, z),
        );
        for (may_overflow, prefix, tape, layers, x) in [
            (in_encoder, "encoder", &self.encoder, encoder, images),
            (in_decoder, "decoder", &self.decoder, decoder, z),
        ] {
            if may_overflow
                && let Some(layer) = tape.first_overflow(layers, batch, x, &mut self.d_weight)?
            {
                return Ok(Some(format!("{prefix}.{}.weight", 2 * layer)));
            }
        }
        if let Some(max_norm) = request.clip_gradient_norm {
            let mut squared_norm = 0.0;
            for (tape, layers, x) in [(&self.encoder, encoder, images), (&self.decoder, decoder, z)]
            {
                squared_norm +=
                    tape.squared_norm(layers, batch, x, &mut self.d_weight, &mut self.d_bias)?;
            }
            if squared_norm > max_norm * max_norm {
                // Every gradient is linear in these.
                let scale = (max_norm / squared_norm.sqrt()) as f32;
                self.encoder.scale_gradients(scale);
                self.decoder.scale_gradients(scale);
            }
        }
        Ok(None)
    }

    /// Updates every parameter in place.
    pub(crate) fn update(
        &mut self,
        model: &CategoricalVae,
        optimizer: &mut Optimizer,
        request: &Request,
    ) -> Result<()> {
        let step = optimizer.begin_step();
        let (encoder, decoder) = (model.encoder().layers(), model.decoder().layers());
        let (of_encoder, of_decoder) = optimizer.moments().split_at(2 * encoder.len());
        let z = self.z.values();
        timed(&mut self.times.update, || {
            self.encoder.update(encoder, request.batch, request.images, &step, of_encoder)?;
            self.decoder.update(decoder, request.batch, z, &step, of_decoder)
        })
    }
}

/// What a network leaves on its way forward and backward.
#[derive(Debug, Default)]
struct Tape {
    /// Of each layer, after its activation.
    outputs: Vec<Vec<f32>>,
    /// Of each layer, before its activation.
    d_outputs: Vec<Vec<f32>>,
}

impl Tape {
    fn output(&self) -> &[f32] {
        self.outputs.last().map_or(&[], Vec::as_slice)
    }

    /// The gradient before the last activation, to be filled in.
    fn d_output(&mut self) -> &mut Vec<f32> {
        let n_layers = self.outputs.len();
        self.d_outputs.resize_with(n_layers, Vec::new);
        &mut self.d_outputs[n_layers - 1]
    }

    fn input_of<'a>(&'a self, layer: usize, x: &'a [f32]) -> &'a [f32] {
        layer.checked_sub(1).map_or(x, |below| &self.outputs[below])
    }

    fn forward(&mut self, layers: &[Layer], batch: usize, x: &[f32]) -> Result<()> {
        self.outputs.resize_with(layers.len(), Vec::new);
        for (i, layer) in layers.iter().enumerate() {
            let shape = shape_of(layer, batch)?;
            let (below, here) = self.outputs.split_at_mut(i);
            let input = below.last().map_or(x, Vec::as_slice);
            resize(&mut here[0], batch * shape.outputs);
            with_values(&layer.weight, |weight| {
                with_values(&layer.bias, |bias| {
                    let activation = layer.activation.into();
                    Ok(linear_forward(shape, input, weight, Some(bias), activation, &mut here[0])?)
                })
            })?;
        }
        Ok(())
    }

    /// Mean over the batch of the pixels' NLL; leaves its gradient before the last activation.
    fn nll(&mut self, images: &[f32], batch: usize, nll_of_images: &mut Vec<f32>) -> Result<f64> {
        resize(nll_of_images, batch);
        self.d_output();
        let (Some(logits), Some(d_logits)) = (self.outputs.last(), self.d_outputs.last_mut())
        else {
            return Ok(0.0);
        };
        resize(d_logits, logits.len());
        let scale = 1.0 / batch as f32;
        bernoulli_nll(images.len() / batch, scale, logits, images, nll_of_images, d_logits)?;
        Ok(mean(nll_of_images, batch))
    }

    /// Where the last layer has a ReLU, its gradient passes where its output is positive.
    fn mask_output(&mut self, layers: &[Layer]) {
        let relu = layers.last().is_some_and(|layer| layer.activation == Activation::Relu);
        if let (true, Some(output), Some(d)) =
            (relu, self.outputs.last(), self.d_outputs.last_mut())
        {
            for (d, &y) in d.iter_mut().zip(output) {
                *d = if y > 0.0 { *d } else { 0.0 };
            }
        }
    }

    /// From the gradient before the last activation to that before each, and to the input's.
    fn backward(
        &mut self,
        layers: &[Layer],
        batch: usize,
        d_input: Option<&mut Vec<f32>>,
    ) -> Result<()> {
        for i in (1..layers.len()).rev() {
            let shape = shape_of(&layers[i], batch)?;
            let below = &self.outputs[i - 1];
            let relu_output =
                (layers[i - 1].activation == Activation::Relu).then_some(below.as_slice());
            let (d_below, d_here) = self.d_outputs.split_at_mut(i);
            let d_below = &mut d_below[i - 1];
            resize(d_below, below.len());
            with_values(&layers[i].weight, |weight| {
                Ok(linear_input_gradient(shape, &d_here[0], weight, relu_output, d_below)?)
            })?;
        }
        if let (Some(first), Some(d_input)) = (layers.first(), d_input) {
            let shape = shape_of(first, batch)?;
            with_values(&first.weight, |weight| {
                Ok(linear_input_gradient(shape, &self.d_outputs[0], weight, None, d_input)?)
            })?;
        }
        Ok(())
    }

    /// Whether a weight gradient might not be finite.
    ///
    /// A sum over the batch of products cannot leave f32's range while the largest factors, times the
    /// batch, stay inside it: where this is false, nobody needs to look at the gradients.
    fn may_overflow(&self, batch: usize, x: &[f32]) -> bool {
        self.d_outputs.iter().enumerate().any(|(i, d_output)| {
            let input = largest_magnitude(self.input_of(i, x)).max(1.0);
            !(largest_magnitude(d_output) * input * batch as f32).is_finite()
        })
    }

    /// The first layer with a weight gradient that is not finite.
    fn first_overflow(
        &self,
        layers: &[Layer],
        batch: usize,
        x: &[f32],
        d_weight: &mut Vec<f32>,
    ) -> Result<Option<usize>> {
        for (i, layer) in layers.iter().enumerate() {
            let (input, d_output) = (self.input_of(i, x), &self.d_outputs[i]);
            let shape = shape_of(layer, batch)?;
            resize(d_weight, shape.outputs * shape.inputs);
            linear_weight_gradient(shape, d_output, input, d_weight, None)?;
            if !largest_magnitude(d_output).is_finite() || !largest_magnitude(d_weight).is_finite()
            {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }

    fn squared_norm(
        &self,
        layers: &[Layer],
        batch: usize,
        x: &[f32],
        d_weight: &mut Vec<f32>,
        d_bias: &mut Vec<f32>,
    ) -> Result<f64> {
        let mut squared_norm = 0.0;
        for (i, layer) in layers.iter().enumerate() {
            let shape = shape_of(layer, batch)?;
            resize(d_weight, shape.outputs * shape.inputs);
            resize(d_bias, shape.outputs);
            let (input, d_output) = (self.input_of(i, x), &self.d_outputs[i]);
            linear_weight_gradient(shape, d_output, input, d_weight, Some(d_bias))?;
            for gradient in [&*d_weight, &*d_bias] {
                squared_norm += gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
            }
        }
        Ok(squared_norm)
    }

    fn scale_gradients(&mut self, scale: f32) {
        for d in self.d_outputs.iter_mut().flatten() {
            *d *= scale;
        }
    }

    fn update(
        &self,
        layers: &[Layer],
        batch: usize,
        x: &[f32],
        step: &AdamStep,
        moments: &[Moments],
    ) -> Result<()> {
        for (i, (layer, moments)) in layers.iter().zip(moments.chunks_exact(2)).enumerate() {
            let shape = shape_of(layer, batch)?;
            let (input, d_output) = (self.input_of(i, x), &self.d_outputs[i]);
            with_slices(&layer.weight, &moments[0], |weight| {
                with_slices(&layer.bias, &moments[1], |bias| {
                    linear_weight_gradient_adam(shape, d_output, input, step, weight, Some(bias))
                        .map_err(candle_core::Error::wrap)
                })
            })?;
        }
        Ok(())
    }
}

fn shape_of(layer: &Layer, batch: usize) -> Result<LinearShape> {
    let (outputs, inputs) = layer.weight.dims2()?;
    Ok(LinearShape { batch, inputs, outputs })
}

fn with_values<T>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    body(f32_values(&storage, layout)?)
}

/// Makes a buffer fit; its old values do not matter.
fn resize(buffer: &mut Vec<f32>, len: usize) {
    buffer.resize(len, 0.0);
}

fn mean(sums: &[f32], batch: usize) -> f64 {
    sums.iter().map(|&x| f64::from(x)).sum::<f64>() / batch as f64
}
