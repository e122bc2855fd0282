//! The training step of the categorical VAE, in burn's tensors.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{Adam, AdamConfig, GradientsParams, Optimizer};
use burn::tensor::activation::{log_softmax, relu, softmax};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Distribution, ElementConversion, Tensor, TensorData};

use crate::images::Images;

const PIXELS: usize = 784;
const HIDDEN: [usize; 2] = [512, 256];
const LATENTS: usize = 30;
const CATEGORIES: usize = 10;
const BATCH: usize = 100;
const TEMPERATURE: f32 = 1.0;
const LEARNING_RATE: f64 = 1e-3;

#[derive(Module, Debug)]
struct Vae<B: burn::tensor::backend::Backend> {
    encoder: Vec<Linear<B>>,
    decoder: Vec<Linear<B>>,
}

impl<B: AutodiffBackend> Vae<B> {
    fn new(device: &B::Device) -> Self {
        let layers = |widths: [usize; 4]| {
            widths.windows(2).map(|w| LinearConfig::new(w[0], w[1]).init(device)).collect()
        };
        let codes = LATENTS * CATEGORIES;
        Self {
            encoder: layers([PIXELS, HIDDEN[0], HIDDEN[1], codes]),
            decoder: layers([codes, HIDDEN[1], HIDDEN[0], PIXELS]),
        }
    }
}

/// Linear layers with a ReLU between them.
fn forward<B: AutodiffBackend>(layers: &[Linear<B>], x: Tensor<B, 2>) -> Tensor<B, 2> {
    layers.iter().enumerate().fold(x, |x, (i, layer)| {
        let y = layer.forward(x);
        if i + 1 < layers.len() { relu(y) } else { y }
    })
}

pub(crate) struct Step<B: AutodiffBackend> {
    model: Option<Vae<B>>,
    optimizer: OptimizerAdaptor<Adam, Vae<B>, B>,
    device: B::Device,
    order: Vec<usize>,
    next: usize,
    last_loss: f64,
}

impl<B: AutodiffBackend> Step<B> {
    pub(crate) fn new() -> Self {
        let device = B::Device::default();
        B::seed(&device, 0);
        Self {
            model: Some(Vae::new(&device)),
            optimizer: AdamConfig::new().with_epsilon(1e-8).init(),
            device,
            order: Vec::new(),
            next: 0,
            last_loss: f64::NAN,
        }
    }

    pub(crate) fn last_loss(&self) -> f64 {
        self.last_loss
    }

    /// One step; the relaxed negative ELBO of its batch, per image in nats.
    pub(crate) fn take(&mut self, images: &Images) -> f64 {
        let x = self.batch(images);
        let Some(model) = self.model.take() else { return f64::NAN };

        let logits = forward(&model.encoder, x.clone()).reshape([BATCH, LATENTS, CATEGORIES]);
        let uniform = Distribution::Uniform(1e-20, 1.0);
        let noise = Tensor::<B, 3>::random(logits.dims(), uniform, &self.device);
        let noise = noise.clamp_max(1.0 - 6e-8).log().neg().log().neg();
        let z = softmax((logits.clone() + noise) / TEMPERATURE, 2);
        let pixels = forward(&model.decoder, z.reshape([BATCH, LATENTS * CATEGORIES]));

        let nll = relu(pixels.clone()) - pixels.clone() * x + pixels.abs().neg().exp().log1p();
        let log_q = log_softmax(logits, 2);
        let kl = log_q.clone().exp() * (log_q + (CATEGORIES as f32).ln());
        let loss = (nll.sum() + kl.sum()) / BATCH as f32;

        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        self.model = Some(self.optimizer.step(LEARNING_RATE, model, gradients));
        self.last_loss = loss.into_scalar().elem();
        self.last_loss
    }

    /// The next images of a shuffled order, scaled to [0, 1].
    fn batch(&mut self, images: &Images) -> Tensor<B, 2> {
        if self.next + BATCH > self.order.len() {
            self.order = shuffled(images.n_images, self.next as u64);
            self.next = 0;
        }
        let mut values = Vec::with_capacity(BATCH * images.n_pixels);
        for &image in &self.order[self.next..self.next + BATCH] {
            let pixels = &images.pixels[image * images.n_pixels..(image + 1) * images.n_pixels];
            values.extend(pixels.iter().map(|&pixel| f32::from(pixel) / 255.0));
        }
        self.next += BATCH;
        Tensor::from_data(TensorData::new(values, [BATCH, images.n_pixels]), &self.device)
    }
}

/// Fisher and Yates with a splitmix generator: all that a benchmark needs.
fn shuffled(len: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    let mut state = seed;
    for i in (1..len).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(i, ((z ^ (z >> 31)) % (i as u64 + 1)) as usize);
    }
    order
}
