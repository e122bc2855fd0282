//! The training step that a user's run takes, with the pipeline that makes its batches.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Device;
use catvae_data::{Batches, Binarization, EpochBatches, IdxKind, ImageSet, read_idx};
use catvae_model::{Conv, ModelConfig};
use catvae_train::{Precision, StepTimes, TrainConfig, Trainer, TrainingSettings};
use gumbel_core::estimators::Estimator;
use serde_json::{Value, json};

use crate::Result;
use crate::limit::{Needs, peak_gflops};

const BATCH_SIZE: NonZeroUsize = NonZeroUsize::new(100).unwrap();

const WEIGHTS: usize = 2 * (784 * 512 + 512 * 256 + 256 * 300);

/// Of the first layer: its input needs no gradient.
const FIRST: usize = 784 * 512;

/// A multiply-add for each of these weights and each image, counted as two operations.
const fn gflop(weights: usize) -> f64 {
    (2 * 100 * weights) as f64 / 1e9
}

/// Weights are read by each product but the gradient of weights, which writes; the optimiser reads four values and
/// writes three.
const FORWARD: Needs = Needs { gflop: gflop(WEIGHTS), values: WEIGHTS };
const BACKWARD: Needs = Needs { gflop: gflop(2 * WEIGHTS - FIRST), values: 2 * WEIGHTS - FIRST };
const OPTIMIZER: Needs = Needs { gflop: 0.0, values: 7 * WEIGHTS };
const STEP: Needs = Needs {
    gflop: FORWARD.gflop + BACKWARD.gflop,
    values: FORWARD.values + BACKWARD.values + OPTIMIZER.values,
};

/// What differs from the step of the article.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing but the precision of the products.
    Article(Precision),
    /// The gradient.
    Estimator(&'static str),
    /// The network.
    Conv,
}

pub(crate) struct Step {
    trainer: Trainer,
    kind: Kind,
    images: ImageSet,
    batches: Batches,
    epoch: u64,
    source: EpochBatches,
    /// Since the last [`Step::forget_times`].
    total: Duration,
    waiting: Duration,
    before: StepTimes,
}

impl Step {
    pub(crate) fn new(images: &Path, kind: Kind) -> Result<Self> {
        let idx = read_idx(images, IdxKind::Images)?;
        let &[_, rows, cols] = idx.dims.as_slice() else {
            return Err("the file holds no images".into());
        };
        let images = ImageSet::new(idx.data, None, rows, cols)?;

        let size = [images.rows(), images.cols()];
        // As wide a code of bits as of categories.
        let code = if kind == Kind::Estimator("disarm") { [150, 2] } else { [30, 10] };
        let mut model = ModelConfig::mlp(size, &[512, 256], code);
        if kind == Kind::Conv {
            model.network = Conv::default().into();
        }
        let (precision, estimator) = match kind {
            Kind::Article(precision) => (precision, Estimator::default()),
            Kind::Estimator(name) => (Precision::F32, name.parse()?),
            Kind::Conv => (Precision::F32, Estimator::default()),
        };
        let config = TrainConfig {
            model,
            estimator,
            training: TrainingSettings {
                batch_size: BATCH_SIZE.get(),
                learning_rate: 1e-3,
                unrelaxed: false,
                precision,
                ..TrainingSettings::default()
            },
            ..TrainConfig::default()
        };
        let batches = Batches {
            batch_size: BATCH_SIZE,
            shuffle_seed: Some(config.training.seed),
            binarization: Binarization::Grey,
        };
        Ok(Self {
            kind,
            trainer: Trainer::new(config, Device::Cpu)?,
            source: batches.epoch(&images, 0, 0),
            images,
            batches,
            epoch: 0,
            total: Duration::ZERO,
            waiting: Duration::ZERO,
            before: StepTimes::default(),
        })
    }

    pub(crate) fn take(&mut self) -> Result<()> {
        let start = Instant::now();
        let batch = match self.source.next() {
            Some(batch) => batch,
            None => {
                self.epoch += 1;
                self.source = self.batches.epoch(&self.images, self.epoch, 0);
                self.source.next().ok_or("fewer images than a batch holds")?
            }
        };
        self.waiting += start.elapsed();
        let loss = self.trainer.take_step(&batch)?;
        self.source.recycle(batch);
        self.total += start.elapsed();
        // Read back as a number by then: `take_step` has checked that it is finite.
        std::hint::black_box(loss);
        Ok(())
    }

    pub(crate) fn forget_times(&mut self) {
        self.total = Duration::ZERO;
        self.waiting = Duration::ZERO;
        self.before = self.times();
    }

    /// Mean milliseconds by operation since [`Step::forget_times`], and the rate of the whole step.
    pub(crate) fn breakdown(&self) -> Value {
        let (now, before) = (self.times(), self.before);
        let n_steps = (now.steps - before.steps).max(1) as f64;
        let ms = |total: Duration| total.as_secs_f64() * 1e3 / n_steps;
        let parts = [
            ("waiting_for_batch", self.waiting),
            ("forward", now.forward - before.forward),
            ("sampling", now.sampling - before.sampling),
            ("losses", now.losses - before.losses),
            ("backward", now.backward - before.backward),
            ("optimizer", now.update - before.update),
        ];
        let rest = self.total.saturating_sub(parts.iter().map(|(_, time)| *time).sum());
        let parts = parts.into_iter().chain([("rest", rest)]);
        let gflops = STEP.gflop / (ms(self.total) / 1e3);
        let peak = self.gain() * peak_gflops();
        json!({
            "mean_ms": ms(self.total),
            "parts_ms": parts.map(|(name, time)| (name.to_owned(), json!(ms(time)))).collect::<serde_json::Map<_, _>>(),
            "limits_ms": {
                "forward": self.limit(FORWARD),
                "backward": self.limit(BACKWARD),
                "optimizer": self.limit(OPTIMIZER),
            },
            "limit_ms": self.limit_ms(),
            "gflops": gflops,
            "peak_gflops": peak,
            "share_of_peak": gflops / peak,
        })
    }

    /// The least milliseconds for a step, where it is the article's.
    pub(crate) fn limit_ms(&self) -> Option<f64> {
        matches!(self.kind, Kind::Article(_)).then(|| self.limit(STEP))
    }

    fn limit(&self, needs: Needs) -> f64 {
        Needs { gflop: needs.gflop / self.gain(), ..needs }.ms()
    }

    /// How many times the rate of f32 the products could have.
    fn gain(&self) -> f64 {
        match self.kind {
            Kind::Article(Precision::Bf16) => gumbel_kernels::bf16_gain(),
            _ => 1.0,
        }
    }

    fn times(&self) -> StepTimes {
        self.trainer.step_times().unwrap_or_default()
    }
}
