//! Where randomness comes from: a generator, and noise with true tails.

mod generator;
mod noise;

pub use generator::{Generator, GeneratorState};
pub use noise::{fill_gumbel_noise, gumbel_noise, logistic_noise, uniform};
