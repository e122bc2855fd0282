//! Discrete sampling with gradients on candle tensors: Gumbel-max, Gumbel-softmax, straight-through and other estimators.
//!
//! A network that chooses - a category, a bit, a code - cannot be differentiated through the choice.
//! This crate has the ways around it: exact samples, relaxed samples with a gradient, densities for
//! both, and the estimators that trade bias for variance between them.
//!
//! # Which function to take
//! | to get | take |
//! |---|---|
//! | exact samples, no gradient | [`gumbel_max`] (indices), [`sample_one_hot`] |
//! | relaxed samples with a gradient | [`gumbel_softmax`], for bits [`gumbel_sigmoid`] |
//! | exact samples with the relaxed gradient | the same with `hard` |
//! | the largest values; samples without replacement | [`top_k`], [`gumbel_top_k`] |
//! | different sequences of a model that goes step by step | [`stochastic_beam_search`] |
//! | relaxed permutations and assignments | [`soft_sort`], [`neural_sort`], [`sinkhorn`], [`gumbel_sinkhorn`]; exact: [`matching`] |
//! | any value with the gradient of another | [`straight_through`] |
//! | an operation of your own | [`op`] |
//! | less bias, less variance, or a loss without a gradient | [`estimators`] (which one: there) |
//! | densities, moments, divergences | [`distributions`] |
//! | the KL term of a categorical VAE | [`kl_to_uniform`] |
//!
//! # A relaxed choice
//! [`gumbel_softmax`] draws `softmax((logits + g) / τ)`: near one-hot for small τ, near uniform for
//! large τ, with its largest entry where the exact sample is at every τ. Values between the corners
//! reach the rest of the model; with `hard` only corners do, and the gradient stays.
//! ```
//! use candle_core::{Device, Var};
//! use gumbel_core::{Generator, gumbel_softmax};
//!
//! let logits = Var::new(&[[1.0f32, 0.0, -1.0], [0.0, 2.0, 0.0]], &Device::Cpu)?;
//! let mut g = Generator::new(42);
//! let y = gumbel_softmax(&logits, 0.5, true, 1, &mut g)?; // (2, 3), one-hot rows
//! let loss = y.narrow(1, 0, 1)?.mean_all()?;
//! let gradient = loss.backward()?.get(&logits).cloned();
//! assert!(gradient.is_some());
//! # Ok::<(), gumbel_core::Error>(())
//! ```
//!
//! # Temperature
//! A number, a tensor (one τ per row, say) or a [`LearnableTemperature`]; [`TemperatureSchedule`]
//! anneals it. Between 0.5 and 1 is usual for ten classes; watch a measure taken on exact samples
//! while annealing, since the relaxed objective improves by itself as τ falls.
//! ```
//! use gumbel_core::{Temperature, TemperatureSchedule};
//!
//! let schedule = TemperatureSchedule::Linear { init: 1.0, end: 0.5, steps: 10_000 }.checked()?;
//! let tau = Temperature::new(schedule.at(5_000))?;
//! assert!(matches!(tau, Temperature::Fixed(t) if t == 0.75));
//! # Ok::<(), gumbel_core::Error>(())
//! ```
//!
//! # Randomness is an argument
//! Every sampler takes a [`Generator`]: seed, stream and position fix every draw, on every device
//! and for any number of threads. Its [state](Generator::state) is saved with a checkpoint. The
//! `_with_noise` forms take the noise itself, to replay a draw or to share it between samples.
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use gumbel_core::{Generator, gumbel_max_with_noise, gumbel_noise, gumbel_softmax_with_noise};
//!
//! let logits = Tensor::new(&[[1.0f32, 0.0, -1.0]], &Device::Cpu)?;
//! let noise = gumbel_noise((1, 3), DType::F32, &Device::Cpu, &mut Generator::new(1))?;
//! let exact = gumbel_max_with_noise(&logits, &noise, 1)?;
//! let relaxed = gumbel_softmax_with_noise(&logits, &noise, 0.1, false, 1)?;
//! assert_eq!(exact.to_vec1::<u32>()?, relaxed.argmax(1)?.to_vec1::<u32>()?);
//! # Ok::<(), gumbel_core::Error>(())
//! ```
//!
//! # Masks
//! A logit of `-inf` masks its class: never drawn, exactly 0 in relaxed samples, gradient exactly
//! zero. [`mask_logits`] makes such logits. A row without an allowed class is an error that names it.
//! ```
//! use candle_core::{Device, Tensor};
//! use gumbel_core::{Generator, gumbel_max, mask_logits};
//!
//! let logits = Tensor::new(&[[5.0f32, 0.0, 1.0]], &Device::Cpu)?;
//! let legal = Tensor::new(&[[0u8, 1, 0]], &Device::Cpu)?;
//! let action = gumbel_max(&mask_logits(&logits, &legal, 1)?, 1, &mut Generator::new(0))?;
//! assert_eq!(action.to_vec1::<u32>()?, [1]);
//! # Ok::<(), gumbel_core::Error>(())
//! ```
//!
//! # Distributions
//! The [`distributions`] have the interface known from other libraries, from logits or
//! probabilities, with densities that hold in log and logit space.
//! ```
//! use candle_core::{Device, Tensor};
//! use gumbel_core::Generator;
//! use gumbel_core::distributions::{Bernoulli, ExpRelaxedOneHotCategorical, OneHotCategorical};
//!
//! let logits = Tensor::new(&[[1.0f32, 0.0, -1.0], [0.0, 2.0, 0.0]], &Device::Cpu)?;
//! let q = OneHotCategorical::from_logits(&logits)?;
//! let z = q.sample(8, &mut Generator::new(0))?; // (8, 2, 3)
//! assert_eq!(q.log_prob(&z)?.dims(), &[8, 2]);
//! assert_eq!(q.kl_to_uniform()?.dims(), &[2]);
//!
//! let relaxed = ExpRelaxedOneHotCategorical::from_logits(0.5, &logits)?;
//! let x = relaxed.rsample((), &mut Generator::new(0))?;
//! assert_eq!(relaxed.log_prob(&x)?.dims(), &[2]);
//!
//! let coin = Bernoulli::from_probs(&Tensor::new(0.5f32, &Device::Cpu)?)?;
//! assert_eq!(coin.entropy()?.to_scalar::<f32>()?, std::f32::consts::LN_2);
//! # Ok::<(), gumbel_core::Error>(())
//! ```
//!
//! # Numbers
//! - Entropies, divergences and log-probabilities are in nats.
//! - Tensors may be f16, bf16, f32 or f64; half precision is computed in f32 and rounded at the end.
//! - Noise has its true tails down to probabilities of 2^-64, in f32 as in f64.
//! - Bad input - NaN or `+inf` logits, a temperature of zero, tensors that do not fit together - is an
//!   [`Error`] that carries the offending value. On the CPU the check is one pass over the logits;
//!   on another device it waits for the result of a reduction.
//! - Gradients are first order.
//!
//! # What is not here
//! No networks and no parameters but [`LearnableTemperature`]'s, no files, no optimisers.

// Randomness and temperatures.
mod random;
mod temperature;

// Functions.
mod entropy;
mod gumbel_max;
mod gumbel_sigmoid;
mod gumbel_softmax;
mod log_prob;
mod logits;
mod one_hot;
mod order;
mod straight_through;

// What is built of them.
mod beam;
pub mod distributions;
pub mod estimators;
pub mod structure;

// Machinery.
mod checks;
mod error;
pub mod op;
mod single_pass;

pub use beam::{BeamSamples, stochastic_beam_search};
pub use entropy::{entropy, kl_to_uniform};
pub use error::{Error, Result};
pub use gumbel_max::{gumbel_max, gumbel_max_with_noise, sample_one_hot};
pub use gumbel_sigmoid::{gumbel_sigmoid, gumbel_sigmoid_with_noise};
pub use gumbel_softmax::{gumbel_softmax, gumbel_softmax_with_noise};
pub use log_prob::log_prob;
pub use logits::mask_logits;
pub use one_hot::one_hot;
pub use order::{
    Iterations, Sinkhorn, SinkhornGradient, SinkhornOptions, Sort, gumbel_sinkhorn, gumbel_top_k,
    gumbel_top_k_with_noise, matching, neural_sort, sinkhorn, soft_sort, top_k,
};
pub use random::{
    Generator, GeneratorState, fill_gumbel_noise, gumbel_noise, logistic_noise, uniform,
};
pub use straight_through::straight_through;
pub use temperature::{LearnableTemperature, Temperature, TemperatureSchedule};
