//! A run so small that a thousand of its checkpoints can be written and every byte of one damaged.

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Device;
use catvae_data::{Dataset, ImageSet};
use catvae_model::ModelConfig;
use catvae_train::{Error, Event, LoadedCheckpoint, Outcome, RunDir, TrainConfig, Trainer};

/// Steps of an epoch of [`config`] on [`dataset`].
pub(crate) const STEPS_PER_EPOCH: u64 = 3;

/// Two diagonals of 2x2 pixels.
pub(crate) fn dataset() -> Dataset {
    let set = |n: usize| {
        let labels: Vec<u8> = (0..n).map(|i| (i * i % 3 % 2) as u8).collect();
        let pixels = labels.iter().flat_map(|&label| match label {
            0 => [0, 250, 240, 10],
            _ => [255, 20, 0, 245],
        });
        ImageSet::new(pixels.collect(), labels, 2, 2).unwrap()
    };
    // The last batch of an epoch is smaller than the others.
    Dataset { name: "diagonals".to_owned(), train: set(10), validation: None, test: set(4) }
}

pub(crate) fn config() -> TrainConfig {
    let model = ModelConfig::mlp([2, 2], &[3], [2, 2]);
    let mut config = TrainConfig { model, ..TrainConfig::default() };
    config.training.epochs = 3;
    config.training.batch_size = 4;
    config
}

/// Runs until `stop_at` steps are taken, from the newest checkpoint if there is one.
pub(crate) fn run_until(config: &TrainConfig, run: &RunDir, stop_at: u64) -> Outcome {
    let run = run.lock().unwrap();
    let mut trainer = match run.checkpoints().list().unwrap().is_empty() {
        true => Trainer::new(config.clone(), Device::Cpu).unwrap(),
        false => {
            let checkpoint = load(config, &run, |_| ()).unwrap();
            Trainer::resume(config.clone(), checkpoint, Device::Cpu).unwrap()
        }
    };
    let dataset = config.clone().bind_data(dataset(), "cpu").unwrap();
    trainer
        .run(&dataset, &run, &mut |event| match event {
            Event::Step(report) if report.step == stop_at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .unwrap()
}

pub(crate) fn load(
    config: &TrainConfig,
    run: &RunDir,
    on_damage: impl FnMut(&Error),
) -> catvae_train::Result<LoadedCheckpoint> {
    run.checkpoints().load_newest(&config.model, &Device::Cpu, on_damage)
}

/// Steps of the checkpoints, newest first.
pub(crate) fn steps(run: &RunDir) -> Vec<u64> {
    run.checkpoints().list().unwrap().iter().map(|(step, _)| *step).collect()
}

/// Changes a byte in the middle of a checkpoint's model.
pub(crate) fn damage(checkpoint: &Path) {
    let path = checkpoint.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
}
