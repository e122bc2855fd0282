//! Training and evaluation of the categorical VAE.
//!
//! Read in this order: [`TrainConfig`] says what a run is; [`Trainer`] takes the steps, on the
//! *relaxed* objective, and tracks the *unrelaxed* one beside it; [`evaluate`] measures a model
//! with exact one-hot samples; [`RunDir`], the checkpoints and the metrics are what stays of it.
//!
//! **This crate never** parses arguments, prints, or draws pictures.

mod checkpoint;
mod config;
mod durable;
mod error;
mod estimator_lab;
mod estimator_table;
mod evaluate;
mod latents;
mod learning_rate;
mod metrics;
mod objective;
mod optimizer;
mod precision;
mod rescue;
mod run_dir;
mod settings;
mod state_dict;
mod step;
pub mod stream;
mod sums;
mod trainer;
#[doc(hidden)]
pub mod untrusted;

pub use checkpoint::{Checkpoints, LoadedCheckpoint, LoadedModel, Position};
pub use config::{DataSettings, Provenance, RunConfig, TrainConfig, TrainingSettings};
pub use durable::write_atomically;
pub use error::{Error, Result};
pub use estimator_lab::{EstimatorLab, EstimatorMeasurement};
pub use evaluate::{Evaluation, evaluate, importance_weighted_bound};
pub use latents::{LatentStatistics, LatentUse, latent_statistics};
pub use learning_rate::LearningRateSchedule;
pub use metrics::{EpochMetrics, Metrics};
pub use objective::Objective;
pub use optimizer::{BETA1, BETA2, EPSILON, Moments, Optimizer, OptimizerKind};
pub use precision::Precision;
pub use rescue::Rescue;
pub use run_dir::{LockedRun, RunDir};
pub use settings::Setting;
pub use step::StepLoss;
pub use step::times::StepTimes;
pub use trainer::{Event, Outcome, StepReport, Trainer};
