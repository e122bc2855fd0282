//! A run that was stopped anywhere and resumed leaves the same bits as one that was not.

use candle_core::Device;
use catvae_data::Binarization;
use catvae_model::Code;
use catvae_train::{
    EpochMetrics, LearningRateSchedule, OptimizerKind, Outcome, Precision, RunDir, TrainConfig,
};
use gumbel_core::TemperatureSchedule;
use gumbel_core::estimators::Estimator;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use sha2::{Digest, Sha256};

use crate::tiny;

fn schedules() -> impl Strategy<Value = TemperatureSchedule> {
    prop_oneof![
        Just(TemperatureSchedule::Constant { value: 0.8 }),
        Just(TemperatureSchedule::Linear { init: 1.5, end: 0.5, steps: 7 }),
        Just(TemperatureSchedule::Cosine { init: 2.0, end: 0.5, steps: 8 }),
        Just(TemperatureSchedule::Exponential { init: 1.0, rate: 0.05, min: 0.5, every: 2 }),
    ]
}

fn configs(estimator: Estimator, code: Code) -> impl Strategy<Value = TrainConfig> {
    let binarizations = prop_oneof![
        Just(Binarization::Grey),
        Just(Binarization::Threshold),
        (0..9_u64).prop_map(|seed| Binarization::Static { seed }),
        (0..9_u64).prop_map(|seed| Binarization::Dynamic { seed }),
    ];
    let optimizers = prop_oneof![Just(OptimizerKind::Adam), Just(OptimizerKind::RAdam)];
    // In bf16 where it can be had.
    let has_bf16 = Precision::Bf16.check_processor().is_ok();
    let precisions = prop_oneof![
        Just(Precision::F32),
        Just(if has_bf16 { Precision::Bf16 } else { Precision::F32 })
    ];
    let schedule_of_rate = |seed: u64| match seed % 3 {
        0 => LearningRateSchedule::Constant,
        1 => LearningRateSchedule::Linear,
        _ => LearningRateSchedule::Cosine,
    };
    let training = (optimizers, precisions, any::<bool>(), any::<bool>(), 0..1000_u64, 0..4_u64);
    (training, schedules(), binarizations).prop_map(move |(training, temperature, binarization)| {
        let mut config = tiny::config();
        let (optimizer, precision, clips, unrelaxed, seed, checkpoint_every) = training;
        config.estimator = estimator;
        config.model.code = code;
        config.training.optimizer = optimizer;
        config.training.precision = precision;
        config.training.clip_gradient_norm = clips.then_some(0.05);
        config.training.unrelaxed = unrelaxed;
        config.training.seed = seed;
        config.training.checkpoint_every = checkpoint_every;
        config.training.learning_rate = 0.02;
        config.training.learning_rate_schedule = schedule_of_rate(seed);
        // Half the time of these tests is waiting for the disk; the best one has a test of its own.
        config.training.keep_best = false;
        config.temperature = temperature;
        config.data.binarization = binarization;
        config
    })
}

/// SHA-256 of everything that a finished run leaves, without the times.
fn remains(config: &TrainConfig, run: &RunDir) -> String {
    let checkpoint =
        run.checkpoints().load_newest(&config.model, &Device::Cpu, |e| panic!("{e}")).unwrap();
    let mut sha256 = Sha256::new();
    for file in ["model.safetensors", "optimizer.safetensors"] {
        sha256.update(std::fs::read(checkpoint.path.join(file)).unwrap());
    }
    for state in [&checkpoint.noise, &checkpoint.unrelaxed_noise] {
        sha256.update(format!("{state:?}"));
    }
    sha256.update(format!(
        "{:?} {:?} {}",
        checkpoint.position, checkpoint.estimator_state, checkpoint.optimizer_steps
    ));
    for metrics in run.metrics().read().unwrap() {
        let timeless =
            EpochMetrics { train_seconds: 0.0, step_ms: 0.0, images_per_second: 0.0, ..metrics };
        sha256.update(serde_json::to_vec(&timeless).unwrap());
    }
    sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn stopped_anywhere_a_resumed_run_leaves_the_same_bits() {
    let n_steps = 3 * tiny::STEPS_PER_EPOCH;
    let stops = proptest::collection::btree_set(1..n_steps, 1..4);
    let of_categories = Estimator::ALL.map(|estimator| (estimator, Code::Categories));
    let others = [
        (Estimator::StraightThrough, Code::Chain),
        (Estimator::Reinforce, Code::Subset { k: 1, n: 3 }),
    ];
    for (estimator, code) in of_categories.into_iter().chain(others) {
        let mut runner = TestRunner::new(Config {
            cases: 3,
            rng_seed: RngSeed::Fixed(5),
            failure_persistence: None,
            ..Config::default()
        });
        let result = runner.run(&(configs(estimator, code), &stops), |(config, stops)| {
            let dir = tempfile::tempdir().unwrap();
            let whole = RunDir::new(dir.path().join("whole"));
            prop_assert_eq!(tiny::run_until(&config, &whole, u64::MAX), Outcome::Finished);
            let stopped = RunDir::new(dir.path().join("stopped"));
            for &stop_at in &stops {
                let outcome = tiny::run_until(&config, &stopped, stop_at);
                prop_assert!(matches!(outcome, Outcome::Stopped { .. }), "{outcome:?}");
            }
            prop_assert_eq!(tiny::run_until(&config, &stopped, u64::MAX), Outcome::Finished);
            prop_assert_eq!(remains(&config, &stopped), remains(&config, &whole));
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{estimator}, {code}: {error}"));
    }
}
