//! What the library takes for a valid configuration, `catvae train --config` trains.

#[path = "../../../catvae-train/tests/reliability/any_config.rs"]
mod any_config;

use std::fs;

use catvae_model::NetworkConfig;
use catvae_train::{Precision, TrainConfig};
use gumbel_core::TemperatureSchedule;
use gumbel_core::estimators::Estimator;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::place::{Place, stderr};

/// The same configuration at a size that a test can pay for, on the data of a [`Place`].
fn affordable(mut config: TrainConfig) -> TrainConfig {
    config.data.dataset = "tiny".to_owned();
    config.data.data_dir = Some("data".into());
    // At least one image stays to be trained on.
    config.data.n_validation = config.data.n_validation.map(|n| n % 64 + 1);
    config.data.n_train = config.data.n_train.map(|n| n.max(128));
    // Those of other images.
    config.provenance = None;
    config.model.image_shape = [2, 2];
    let narrow = |hidden: &mut Vec<usize>| hidden.iter_mut().for_each(|w| *w = *w % 4 + 1);
    match &mut config.model.network {
        NetworkConfig::Mlp(mlp) => narrow(&mut mlp.hidden),
        NetworkConfig::Conv(conv) => {
            // Two pixels can be halved once.
            conv.channels.truncate(1);
            narrow(&mut conv.hidden);
        }
        NetworkConfig::Vgg(vgg) => {
            vgg.channels.truncate(1);
            narrow(&mut vgg.hidden);
        }
    }
    (config.model.n_latents, config.model.n_categories) = (2, 2);
    let training = &mut config.training;
    training.epochs = 1;
    // Not every processor and network has bf16.
    training.precision = Precision::F32;
    training.eval_draws = training.eval_draws % 3 + 1;
    training.batch_size = training.batch_size.clamp(64, 1 << 20);
    training.checkpoint_every = training.checkpoint_every.max(4);
    // A step must not leave the numbers of f32, which would rightly end the run.
    training.learning_rate = training.learning_rate.min(0.1);
    config.estimator = match config.estimator {
        Estimator::DecoupledStraightThrough { backward_tau } => {
            Estimator::DecoupledStraightThrough { backward_tau: backward_tau.clamp(0.1, 10.0) }
        }
        Estimator::GappedStraightThrough { gap } => {
            Estimator::GappedStraightThrough { gap: gap.min(10.0) }
        }
        Estimator::GumbelRao { draws } => Estimator::GumbelRao { draws: draws.min(20) },
        Estimator::ReinMaxRao { draws } => Estimator::ReinMaxRao { draws: draws.min(20) },
        Estimator::Rloo { samples } => Estimator::Rloo { samples: samples.min(20) },
        estimator => estimator,
    };
    let tau = |tau: f64| tau.clamp(0.1, 10.0);
    config.temperature = match config.temperature {
        TemperatureSchedule::Constant { value } => {
            TemperatureSchedule::Constant { value: tau(value) }
        }
        TemperatureSchedule::Linear { init, end, steps } => {
            TemperatureSchedule::Linear { init: tau(init), end: tau(end), steps }
        }
        TemperatureSchedule::Cosine { init, end, steps } => {
            TemperatureSchedule::Cosine { init: tau(init), end: tau(end), steps }
        }
        TemperatureSchedule::Exponential { init, rate, min, every } => {
            TemperatureSchedule::Exponential { init: tau(init), rate, min: tau(min), every }
        }
    };
    config
}

#[test]
fn every_valid_configuration_is_accepted_and_written_back_unchanged() {
    let place = Place::new();
    let config = Config {
        cases: 40,
        rng_seed: RngSeed::Fixed(9),
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&any_config::any_config(), |config| {
        let config = affordable(config);
        let text = config.to_toml().unwrap();
        fs::write(place.path("config.toml"), &text).unwrap();
        let _ = fs::remove_dir_all(place.path("run"));
        let output = place.catvae("train --config config.toml --out run").output().unwrap();
        prop_assert!(output.status.success(), "{}\n{}", stderr(&output), text);
        let mut written = place.run().read_config().unwrap();
        prop_assert!(written.provenance.take().is_some());
        prop_assert_eq!(written, config);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
