//! The categorical variational autoencoder: configuration, initialisation, encoder, decoder and loss.
//!
//! The model of Jang et al. 2017 (appendix; "Categorical Reparameterization with Gumbel-Softmax"):
//! an MLP encoder maps an image to the logits of `n_latents` categorical variables with
//! `n_categories` categories each; a mirrored MLP decoder maps their (relaxed or exact) one-hot
//! samples to the logits of Bernoulli pixels; the prior over every latent is uniform.
//!
//! | letter | axis |
//! |---|---|
//! | `batch` | images |
//! | `n_pixels` | pixels of an image, row by row |
//! | `n_latents` | categorical variables of a code (the article's N = 30) |
//! | `n_categories` | categories of each variable (the article's K = 10) |
//!
//! **This crate never** reads files, draws from a generator it was not handed, or optimises.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use catvae_model::{CategoricalVae, ModelConfig, NegElbo};
//! use gumbel_core::{Generator, gumbel_softmax};
//!
//! let mut generator = Generator::new(0);
//! let config = ModelConfig { n_pixels: 16, hidden: vec![8], n_latents: 3, n_categories: 4, ..ModelConfig::default() };
//! let model = CategoricalVae::initialise(&config, &Device::Cpu, &mut generator)?;
//! let images = Tensor::zeros((2, 16), DType::F32, &Device::Cpu)?;
//! let logits = model.encode(&images)?;
//! let z = gumbel_softmax(&logits, 1.0, false, 2, &mut generator)?;
//! let loss = NegElbo::new(&model.decode(&z)?, &images, &logits)?;
//! let gradients = loss.total()?.backward()?;
//! assert!(model.parameters().iter().all(|p| gradients.get(p.var.as_tensor()).is_some()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod cpu;
mod error;
mod init;
mod linear;
mod loss;
mod mlp;
mod parameters;
mod vae;

pub use config::{LogitsActivation, ModelConfig};
pub use error::{Error, Result};
pub use init::uniform_fan_in;
pub use linear::{Activation, linear};
pub use loss::{NegElbo, bernoulli_nll, kl_to_uniform_prior};
pub use mlp::{Layer, Mlp};
pub use parameters::Parameter;
pub use vae::CategoricalVae;
