//! Discrete sampling with gradients on candle tensors: Gumbel-max, Gumbel-softmax, straight-through and other estimators.

pub mod distributions;
mod elementwise;
mod entropy;
mod error;
mod generator;
mod gumbel_max;
mod gumbel_sigmoid;
mod gumbel_softmax;
mod log_prob;
mod logits;
mod noise;
mod one_hot;
mod rows;
mod rowwise;
mod special;
mod straight_through;
mod temperature;
mod temperature_schedule;

pub use entropy::{entropy, kl_to_uniform};
pub use error::{Error, Result};
pub use generator::{Generator, GeneratorState};
pub use gumbel_max::{gumbel_max, gumbel_max_with_noise, sample_one_hot};
pub use gumbel_sigmoid::{gumbel_sigmoid, gumbel_sigmoid_with_noise};
pub use gumbel_softmax::{gumbel_softmax, gumbel_softmax_with_noise};
pub use log_prob::log_prob;
pub use logits::mask_logits;
pub use noise::{fill_gumbel_noise, gumbel_noise, logistic_noise, uniform};
pub use one_hot::one_hot;
pub use straight_through::straight_through;
pub use temperature::{LearnableTemperature, Temperature};
pub use temperature_schedule::TemperatureSchedule;
