//! The objectives: relaxed, which is trained on, and unrelaxed, which is the true one.

use candle_core::{D, Tensor};
use catvae_model::{CategoricalVae, NegElbo};
use gumbel_core::{Generator, Temperature, gumbel_softmax, sample_one_hot};
use serde::{Deserialize, Serialize};

use crate::Result;

/// How a gradient gets through the discrete sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainEstimator {
    /// The relaxed sample `softmax((logits + g) / τ)` goes into the decoder. Jang et al. 2017, eq. 2.
    #[default]
    GumbelSoftmax,
    /// Its argmax goes into the decoder, with the gradient of the relaxed sample (straight-through).
    StGumbelSoftmax,
}

/// A value of the negative ELBO with the logits it was computed from.
#[derive(Clone, Debug)]
pub struct Objective {
    /// The two terms.
    pub neg_elbo: NegElbo,
    /// Logits of the posterior, `(batch, n_latents, n_categories)`.
    pub latent_logits: Tensor,
}

impl Objective {
    /// The relaxed objective: what is trained on.
    ///
    /// # Shapes
    /// - images: `(batch, n_pixels)`.
    ///
    /// # Gradient
    /// With respect to every parameter of the model.
    ///
    /// # Errors
    /// Images of another width; logits that are NaN.
    pub fn relaxed(
        model: &CategoricalVae,
        images: &Tensor,
        estimator: TrainEstimator,
        temperature: Temperature,
        generator: &mut Generator,
    ) -> Result<Self> {
        let latent_logits = model.encode(images)?;
        let hard = estimator == TrainEstimator::StGumbelSoftmax;
        let z = gumbel_softmax(&latent_logits, temperature, hard, D::Minus1, generator)?;
        Self::decoded(model, images, latent_logits, &z)
    }

    /// The unrelaxed objective at given logits: an exact one-hot sample into the decoder.
    ///
    /// # Errors
    /// Logits that are NaN.
    pub fn unrelaxed(
        model: &CategoricalVae,
        images: &Tensor,
        latent_logits: Tensor,
        generator: &mut Generator,
    ) -> Result<Self> {
        let z = sample_one_hot(&latent_logits, D::Minus1, generator)?;
        Self::decoded(model, images, latent_logits, &z)
    }

    fn decoded(
        model: &CategoricalVae,
        images: &Tensor,
        latent_logits: Tensor,
        z: &Tensor,
    ) -> Result<Self> {
        let pixel_logits = model.decode(z)?;
        let neg_elbo = NegElbo::new(&pixel_logits, images, &latent_logits)?;
        Ok(Self { neg_elbo, latent_logits })
    }
}
