//! Valid configurations of every kind, with values from one end of each range to the other.

use std::path::PathBuf;

use catvae_data::Binarization;
use catvae_model::{Code, Conv, Likelihood, LogitsActivation, Mlp, ModelConfig, Vgg};
use catvae_train::{
    DataSettings, LearningRateSchedule, OptimizerKind, Precision, Provenance, TrainConfig,
    TrainingSettings,
};
use gumbel_core::TemperatureSchedule;
use gumbel_core::estimators::Estimator;
use proptest::num::f64::{NORMAL, POSITIVE, SUBNORMAL};
use proptest::prelude::*;

/// The largest integer of TOML.
const MOST: u64 = i64::MAX as u64;

/// Every size of a network up to a few million weights, every other value up to the end of its range.
pub(crate) fn any_config() -> impl Strategy<Value = TrainConfig> {
    (data(), model(), estimators(), training(), temperatures(), proptest::option::of(provenance()))
        .prop_map(|(data, mut model, estimator, training, temperature, mut provenance)| {
            if estimator == Estimator::DisArm {
                model.n_categories = 2;
            }
            if estimator == Estimator::Enumeration {
                (model.n_latents, model.n_categories) = (3, model.n_categories.min(25));
            }
            if let Some(provenance) = &mut provenance {
                provenance.image_shape = [1, model.n_pixels()];
            }
            TrainConfig { data, model, estimator, training, temperature, provenance }
        })
}

/// Also the ends, which a uniform draw would never meet.
fn integers(least: u64) -> impl Strategy<Value = u64> {
    prop_oneof![Just(least), least..100, least..=MOST, Just(MOST)]
}

fn sizes(least: u64) -> impl Strategy<Value = usize> {
    integers(least).prop_map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

fn positive() -> impl Strategy<Value = f64> {
    prop_oneof![POSITIVE | NORMAL | SUBNORMAL, 1e-6..10.0]
}

/// Quotes, line breaks, control characters, `#`, and what else a string may hold.
fn texts() -> impl Strategy<Value = String> {
    let awkward = "[\"'\\\\\n\r\t\u{0}\u{7f}#=\\[\\] a-zäß字😀]{0,12}";
    prop_oneof![any::<String>(), awkward]
}

fn data() -> impl Strategy<Value = DataSettings> {
    let binarizations = prop_oneof![
        Just(Binarization::Grey),
        Just(Binarization::Threshold),
        integers(0).prop_map(|seed| Binarization::Static { seed }),
        integers(0).prop_map(|seed| Binarization::Dynamic { seed }),
    ];
    let data_dirs = proptest::option::of(texts().prop_map(PathBuf::from));
    let limits = || proptest::option::of(sizes(1));
    (texts(), data_dirs, binarizations, limits(), limits(), limits()).prop_map(
        |(dataset, data_dir, binarization, n_train, n_validation, n_test)| DataSettings {
            dataset,
            data_dir,
            binarization,
            n_train,
            n_validation,
            n_test,
        },
    )
}

fn model() -> impl Strategy<Value = ModelConfig> {
    let logits = prop_oneof![Just(LogitsActivation::Linear), Just(LogitsActivation::Relu)];
    let hidden = proptest::collection::vec(1..1000_usize, 0..4);
    let likelihood = prop::sample::select(Likelihood::ALL);
    let channels = proptest::collection::vec(1..9_usize, 1..3);
    let network = prop_oneof![
        hidden.clone().prop_map(|hidden| Mlp { hidden }.into()),
        (channels.clone(), hidden.clone())
            .prop_map(|(channels, hidden)| Conv { channels, hidden }.into()),
        (channels, hidden).prop_map(|(channels, hidden)| Vgg { channels, hidden }.into()),
    ];
    // Sides that four divides, for the convolutions.
    let side = || (1..12_usize).prop_map(|n| 4 * n);
    let code = (1..40_usize, 2..40_usize);
    ([side(), side()], network, code, logits, likelihood).prop_map(
        |(image_shape, network, (n_latents, n_categories), logits, likelihood)| ModelConfig {
            image_shape,
            code: Code::Categories,
            n_latents,
            n_categories,
            logits,
            likelihood,
            network,
        },
    )
}

fn estimators() -> impl Strategy<Value = Estimator> {
    prop_oneof![
        proptest::sample::select(Estimator::ALL.to_vec()),
        (-30.0..30.0_f64).prop_map(|power| Estimator::DecoupledStraightThrough {
            backward_tau: 10_f64.powf(power),
        }),
        positive().prop_map(|gap| Estimator::GappedStraightThrough { gap }),
        sizes(1).prop_map(|draws| Estimator::GumbelRao { draws }),
        sizes(1).prop_map(|draws| Estimator::ReinMaxRao { draws }),
        sizes(2).prop_map(|samples| Estimator::Rloo { samples }),
    ]
}

fn training() -> impl Strategy<Value = TrainingSettings> {
    let counts = (sizes(1), sizes(1), sizes(0), integers(0), sizes(1), integers(0));
    let rates = (positive(), proptest::option::of(positive()));
    let optimizers = prop_oneof![Just(OptimizerKind::Adam), Just(OptimizerKind::RAdam)];
    let precisions = prop_oneof![Just(Precision::F32), Just(Precision::Bf16)];
    let schedules = prop_oneof![
        Just(LearningRateSchedule::Constant),
        Just(LearningRateSchedule::Linear),
        Just(LearningRateSchedule::Cosine)
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (counts, rates, (optimizers, schedules, precisions), flags, sizes(1)).prop_map(
        |(
            counts,
            (learning_rate, clip_gradient_norm),
            (optimizer, learning_rate_schedule, precision),
            flags,
            eval_draws,
        )| {
            let (epochs, batch_size, eval_every, checkpoint_every, keep_checkpoints, seed) = counts;
            let (unrelaxed, keep_best, test) = flags;
            TrainingSettings {
                epochs,
                batch_size,
                optimizer,
                learning_rate,
                learning_rate_schedule,
                precision,
                init_from: None,
                seed,
                eval_every,
                eval_draws,
                test,
                unrelaxed,
                checkpoint_every,
                keep_checkpoints,
                keep_best,
                clip_gradient_norm,
            }
        },
    )
}

fn temperatures() -> impl Strategy<Value = TemperatureSchedule> {
    let tau = || {
        let inside = (1.0..10.0, -30..30).prop_map(|(m, e): (f64, i32)| m * 10_f64.powi(e));
        prop_oneof![Just(1e-30), Just(1e30), inside.prop_map(|tau| tau.clamp(1e-30, 1e30))]
    };
    let rates = prop_oneof![Just(0.0), positive()];
    prop_oneof![
        tau().prop_map(|value| TemperatureSchedule::Constant { value }),
        (tau(), tau(), integers(1)).prop_map(|(init, end, steps)| TemperatureSchedule::Linear {
            init,
            end,
            steps
        }),
        (tau(), tau(), integers(1)).prop_map(|(init, end, steps)| TemperatureSchedule::Cosine {
            init,
            end,
            steps
        }),
        (tau(), rates, tau(), integers(1)).prop_map(|(init, rate, min, every)| {
            TemperatureSchedule::Exponential { init, rate, min, every }
        }),
    ]
}

fn provenance() -> impl Strategy<Value = Provenance> {
    let maybe = || proptest::option::of(texts());
    (texts(), texts(), texts(), texts(), maybe(), texts(), maybe()).prop_map(
        |(version, device, platform, train_sha256, validation_sha256, test_sha256, note)| {
            Provenance {
                version,
                device,
                platform,
                // That of the model, once it is known.
                image_shape: [1, 1],
                train_sha256,
                validation_sha256,
                test_sha256,
                note,
            }
        },
    )
}
