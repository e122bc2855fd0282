//! Runs of a small model: they learn, they resume bit for bit, and they stop with a reason.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Device;
use catvae_data::{Binarization, Dataset, digits_with};
use catvae_model::{CategoricalVae, Model, ModelConfig};
use catvae_train::{
    EpochMetrics, Event, LearningRateSchedule, OptimizerKind, Outcome, RunDir, TrainConfig,
    Trainer, TrainingSettings,
};
use gumbel_core::TemperatureSchedule;
use gumbel_core::estimators::Estimator;

const N_TRAIN: usize = 120;

fn dataset() -> Dataset {
    digits_with(5, N_TRAIN, 40)
}

fn config() -> TrainConfig {
    TrainConfig {
        model: ModelConfig::mlp([28, 28], &[24, 12], [4, 5]),
        training: TrainingSettings {
            epochs: 3,
            batch_size: 16,
            learning_rate: 3e-3,
            ..TrainingSettings::default()
        },
        ..TrainConfig::default()
    }
}

/// Runs until `stop_at` steps are taken.
fn run_until(trainer: &mut Trainer, run: &RunDir, stop_at: u64) -> Outcome {
    trainer
        .run(&dataset(), &run.lock().unwrap(), &mut |event| match event {
            Event::Step(report) if report.step == stop_at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .unwrap()
}

fn run_whole(config: &TrainConfig, folder: &Path) -> RunDir {
    let run = RunDir::new(folder);
    let mut trainer = Trainer::new(config.clone(), Device::Cpu).unwrap();
    assert_eq!(run_until(&mut trainer, &run, u64::MAX), Outcome::Finished);
    run
}

#[derive(PartialEq)]
struct Remains {
    /// Weights and moments, as bits.
    tensors: Vec<(String, Vec<u32>)>,
    metrics: Vec<EpochMetrics>,
    state: String,
}

/// What a run leaves behind, without the times, which differ from run to run.
fn remains(config: &TrainConfig, run: &RunDir) -> Remains {
    let checkpoint =
        run.checkpoints().load_newest(&config.model, &Device::Cpu, |e| panic!("{e}")).unwrap();
    let bits = |t: &candle_core::Tensor| {
        t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
    };
    let mut tensors = Vec::new();
    for (p, m) in checkpoint.model.parameters().iter().zip(&checkpoint.moments) {
        tensors.push((p.name.clone(), bits(p.var.as_tensor())));
        tensors.push((format!("{} m", p.name), bits(&m.exp_avg)));
        tensors.push((format!("{} v", p.name), bits(&m.exp_avg_sq)));
    }
    let timeless = run.metrics().read().unwrap().into_iter().map(|m| EpochMetrics {
        train_seconds: 0.0,
        step_ms: 0.0,
        images_per_second: 0.0,
        ..m
    });
    let state = format!(
        "{:?} {:?} {:?} {}",
        checkpoint.position,
        checkpoint.noise,
        checkpoint.unrelaxed_noise,
        checkpoint.optimizer_steps
    );
    Remains { tensors, metrics: timeless.collect(), state }
}

#[test]
fn training_lowers_both_objectives() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.training.epochs = 12;
    let run = run_whole(&config, dir.path());
    let metrics = run.metrics().read().unwrap();
    assert_eq!(metrics.len(), 12);
    let (first, last) = (&metrics[0], &metrics[11]);
    // From 784·ln 2 = 543 nats of a blank model down to what 4 latents can tell of 120 images.
    assert!(first.train_neg_elbo > 350.0, "{first:?}");
    assert!(last.train_neg_elbo < 0.75 * first.train_neg_elbo, "{last:?}");
    assert!(last.train_neg_elbo_unrelaxed < first.train_neg_elbo_unrelaxed, "{last:?}");
    assert!(last.test_neg_elbo < first.test_neg_elbo, "{last:?}");
    let sum = last.test_bce.unwrap() + last.test_kl.unwrap();
    assert!((sum - last.test_neg_elbo.unwrap()).abs() < 1e-9);
}

#[test]
fn a_learning_rate_that_falls_is_nearly_0_in_the_last_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.training.learning_rate_schedule = LearningRateSchedule::Linear;
    let run = run_whole(&config, dir.path());
    // 3 epochs of 8 batches: the last steps of the epochs are those after 7, 15 and 23 of 24.
    for (metrics, done) in run.metrics().read().unwrap().iter().zip([7.0, 15.0, 23.0]) {
        let expected = 3e-3 * (1.0 - done / 24.0);
        assert!((metrics.learning_rate - expected).abs() < 1e-12, "{metrics:?}");
    }
    // The optimiser's steps shrink with it: the 24th is 1/24 of what it is at a constant rate.
    let mut moved = Vec::new();
    for schedule in [LearningRateSchedule::Linear, LearningRateSchedule::Constant] {
        config.training.learning_rate_schedule = schedule;
        config.training.checkpoint_every = 1;
        let run = run_whole(&config, &dir.path().join(format!("{schedule:?}")));
        let weight = |name: &str| {
            let path = run.path().join("checkpoints").join(name).join("model.safetensors");
            let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
            tensors["encoder.0.bias"].clone()
        };
        let change = (weight("step-000000024") - weight("step-000000023")).unwrap();
        moved.push(change.abs().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap());
    }
    assert!(moved[0] > 0.0 && moved[0] < 0.2 * moved[1], "{moved:?}");
}

#[test]
fn a_resumed_run_is_bit_equal_to_an_uninterrupted_one() {
    let mut variants = vec![config(); 5];
    // Estimators with a state of their own.
    variants[3].estimator = Estimator::Reinforce;
    variants[4].estimator = Estimator::Rebar;
    variants[1].estimator = Estimator::StGumbelSoftmax;
    variants[1].training.optimizer = OptimizerKind::RAdam;
    variants[1].data.binarization = Binarization::Dynamic { seed: 4 };
    variants[1].temperature =
        TemperatureSchedule::Exponential { init: 1.0, rate: 0.02, min: 0.5, every: 3 };
    variants[2].training.unrelaxed = false;
    variants[2].training.clip_gradient_norm = Some(50.0);
    variants[2].temperature = TemperatureSchedule::Cosine { init: 2.0, end: 0.5, steps: 20 };
    for config in variants {
        let dir = tempfile::tempdir().unwrap();
        let whole = run_whole(&config, &dir.path().join("whole"));
        // An epoch has 8 steps: at an epoch's first, in its middle, at its end.
        for stop_at in [1, 5, 8, 13, 17, 23] {
            let run = RunDir::new(dir.path().join(format!("stopped-{stop_at}")));
            let mut trainer = Trainer::new(config.clone(), Device::Cpu).unwrap();
            let Outcome::Stopped { .. } = run_until(&mut trainer, &run, stop_at) else {
                panic!("the run was not stopped at step {stop_at}");
            };
            drop(trainer);
            let checkpoint = run
                .checkpoints()
                .load_newest(&config.model, &Device::Cpu, |e| panic!("{e}"))
                .unwrap();
            let mut trainer = Trainer::resume(config.clone(), checkpoint, Device::Cpu).unwrap();
            assert_eq!(run_until(&mut trainer, &run, u64::MAX), Outcome::Finished);
            assert!(remains(&config, &run) == remains(&config, &whole), "stopped at {stop_at}");
        }
    }
}

#[test]
fn every_estimator_trains() {
    for estimator in Estimator::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        config.estimator = estimator;
        config.training.epochs = 6;
        // Few enough codes to enumerate, and the two categories that disarm is for.
        config.model.n_categories = 2;
        let run = run_whole(&config, dir.path());
        let metrics = run.metrics().read().unwrap();
        let (first, last) = (metrics[0].test_neg_elbo.unwrap(), metrics[5].test_neg_elbo.unwrap());
        assert!(last < 0.9 * first, "{estimator}: from {first} to {last}");
    }
}

#[test]
fn tracking_the_unrelaxed_objective_does_not_change_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let with = config();
    let mut without = config();
    without.training.unrelaxed = false;
    let with_run = run_whole(&with, &dir.path().join("with"));
    let without_run = run_whole(&without, &dir.path().join("without"));
    assert!(remains(&with, &with_run).tensors == remains(&without, &without_run).tensors);
    assert_eq!(without_run.metrics().read().unwrap()[0].train_neg_elbo_unrelaxed, None);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_names_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.training.learning_rate = 1e30;
    config.training.checkpoint_every = 1;
    let run = RunDir::new(dir.path());
    let mut trainer = Trainer::new(config.clone(), Device::Cpu).unwrap();
    let error = trainer
        .run(&dataset(), &run.lock().unwrap(), &mut |_| ControlFlow::Continue(()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("at step") && error.contains("the run is stopped"), "{error}");
    assert!(error.contains("Last good checkpoint: "), "{error}");
    run.checkpoints().load_newest(&config.model, &Device::Cpu, |e| panic!("{e}")).unwrap();
}

#[test]
fn a_damaged_newest_checkpoint_is_reported_and_the_one_before_it_used() {
    let dir = tempfile::tempdir().unwrap();
    let config = config();
    let run = run_whole(&config, dir.path());
    let steps: Vec<u64> = run.checkpoints().list().unwrap().iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [24, 16, 8]);
    let newest = run.checkpoints().list().unwrap()[0].1.clone();
    for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        let path = newest.join(file);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for bad in [flipped, good[..good.len() - 1].to_vec(), Vec::new()] {
            std::fs::write(&path, &bad).unwrap();
            let mut warnings = Vec::new();
            let loaded = run
                .checkpoints()
                .load_newest(&config.model, &Device::Cpu, |e| warnings.push(e.to_string()))
                .unwrap();
            assert_eq!(loaded.position.step, 16, "{file}");
            assert!(warnings.len() == 1 && warnings[0].contains("is damaged"), "{warnings:?}");
        }
        std::fs::write(&path, &good).unwrap();
    }
    let loaded =
        run.checkpoints().load_newest(&config.model, &Device::Cpu, |e| panic!("{e}")).unwrap();
    assert_eq!(loaded.position.step, 24);
}

#[test]
fn a_checkpoint_of_other_sizes_is_an_error_that_names_the_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    let run = run_whole(&config, dir.path());
    config.model.n_latents = 5;
    let error =
        run.checkpoints().load_newest(&config.model, &Device::Cpu, |_| ()).unwrap_err().to_string();
    assert!(error.contains("encoder.4.weight has the shape [20, 12]"), "{error}");
}

#[test]
fn the_seed_alone_fixes_the_initial_model() {
    let model = |seed| {
        let mut config = config();
        config.training.seed = seed;
        let trainer = Trainer::new(config, Device::Cpu).unwrap();
        weights(trainer.model())
    };
    assert!(model(3) == model(3));
    assert!(model(3) != model(4));
}

fn weights(model: &CategoricalVae) -> Vec<Vec<f32>> {
    let parameters = model.parameters();
    parameters.iter().map(|p| p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
}
