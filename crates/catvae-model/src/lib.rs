//! The categorical variational autoencoder: configuration, initialisation, encoder, decoder and loss.
//!
//! An encoder maps an image to the logits of `n_latents` categorical variables with `n_categories` categories
//! each. A mirrored decoder maps their one-hot samples, relaxed or exact, to the logits of the pixels. The
//! prior over every latent is uniform (Jang et al. 2017; Maddison et al. 2017). Other [codes](Code) are a chain of categories and subsets.
//!
//! Three things can be chosen, each from a list with one file an entry: the kind of [network](NetworkConfig), the
//! [likelihood](Likelihood), and the [layers](layer) that networks are made of. A model of one's own
//! implements [`Model`].
//!
//! | letter | axis |
//! |---|---|
//! | `batch` | images |
//! | `n_pixels` | pixels of an image, row by row |
//! | `n_latents` | categorical variables of a code (30 by default) |
//! | `n_categories` | categories of each variable (10 by default) |
//!
//! **This crate never** reads files, draws from a generator it was not handed, or optimises.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use catvae_model::{CategoricalVae, Model, ModelConfig};
//! use gumbel_core::{Generator, gumbel_softmax};
//!
//! let mut generator = Generator::new(0);
//! let config = ModelConfig::mlp([4, 4], &[8], [3, 4]);
//! let model = CategoricalVae::initialise(&config, &Device::Cpu, &mut generator)?;
//! let images = Tensor::zeros((2, 16), DType::F32, &Device::Cpu)?;
//! let logits = model.encode(&images)?;
//! let z = gumbel_softmax(&logits, 1.0, false, 2, &mut generator)?;
//! let neg_elbo = (model.neg_log_likelihood(&z, &images)? + model.kl(&logits)?)?; // (2,), nats
//! let gradients = neg_elbo.mean(0)?.backward()?;
//! assert!(model.parameters().iter().all(|p| gradients.get(p.var.as_tensor()).is_some()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod code;
mod config;
mod error;
mod init;
pub mod layer;
mod likelihood;
mod model;
mod network;
mod parameters;
mod prior;
mod vae;

pub use code::Code;
pub use config::{LogitsActivation, ModelConfig};
pub use error::{Error, Result};
pub use init::uniform_within;
pub use likelihood::{Likelihood, NllKernel, PixelLaw};
pub use model::{Model, ModelSettings, from_state_dict, load_state_dict};
pub use network::{
    Architecture, Conv, Initialisation, Mlp, Network, NetworkConfig, ParameterSpec, Sizes, Tape,
    Vgg,
};
pub use parameters::Parameter;
pub use prior::{kl_to_uniform_prior, log_uniform_prior};
pub use vae::{CategoricalVae, Layered};
