//! The training step that a user's run takes, with the pipeline that makes its batches.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Device;
use catvae_data::{Batches, Binarization, EpochBatches, IdxKind, ImageSet, read_idx};
use catvae_model::ModelConfig;
use catvae_train::{StepTimes, TrainConfig, Trainer, TrainingSettings};
use serde_json::{Value, json};

use crate::Result;

const BATCH_SIZE: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// Multiply-adds of one step, counted as two operations: forward, gradients of all weights, and gradients of every
/// layer's input but the first's.
const GFLOP: f64 = {
    let (weights, first) = (2 * (784 * 512 + 512 * 256 + 256 * 300), 784 * 512);
    (2 * 100 * (3 * weights - first)) as f64 / 1e9
};

pub(crate) struct Step {
    trainer: Trainer,
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
    pub(crate) fn new(images: &Path) -> Result<Self> {
        let idx = read_idx(images, IdxKind::Images)?;
        let &[_, rows, cols] = idx.dims.as_slice() else {
            return Err("the file holds no images".into());
        };
        let images = ImageSet::new(idx.data, None, rows, cols)?;

        let config = TrainConfig {
            model: ModelConfig::mlp([images.rows(), images.cols()], &[512, 256], [30, 10]),
            training: TrainingSettings {
                batch_size: BATCH_SIZE.get(),
                learning_rate: 1e-3,
                unrelaxed: false,
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
        let gflops = GFLOP / (ms(self.total) / 1e3);
        let peak = peak_gflops();
        json!({
            "mean_ms": ms(self.total),
            "parts_ms": parts.map(|(name, time)| (name.to_owned(), json!(ms(time)))).collect::<serde_json::Map<_, _>>(),
            "gflops": gflops,
            "peak_gflops": peak,
            "share_of_peak": gflops / peak,
        })
    }

    fn times(&self) -> StepTimes {
        self.trainer.step_times().unwrap_or_default()
    }
}

/// Multiply-adds in registers on all threads at once.
fn peak_gflops() -> f64 {
    let duration = Duration::from_millis(200);
    rayon::broadcast(|_| gumbel_kernels::peak_gflops(duration)).iter().sum()
}
