//! The objectives: relaxed, which is trained on, and unrelaxed, which is the true one.

use candle_core::{D, Tensor};
use catvae_model::{CategoricalVae, NegElbo, bernoulli_nll, kl_to_uniform_prior};
use gumbel_core::estimators::{Estimator, EstimatorState};
use gumbel_core::{Generator, sample_one_hot};

use crate::{Error, Result};

/// A value of the negative ELBO with the logits it was computed from.
#[derive(Clone, Debug)]
pub struct Objective {
    /// The two terms.
    pub neg_elbo: NegElbo,
    /// Logits of the posterior, `(batch, n_latents, n_categories)`.
    pub latent_logits: Tensor,
}

impl Objective {
    /// The objective that is trained on. It is relaxed for the estimators that relax the sample, and
    /// has exact samples for the others; which, [`Estimator::samples_are_exact`] tells.
    ///
    /// # Shapes
    /// - images: `(batch, n_pixels)`.
    ///
    /// # Gradient
    /// The estimator's with respect to the encoder, the ordinary one with respect to the decoder.
    ///
    /// # Errors
    /// Images of another width; logits that are NaN; what the estimator does not do, such as
    /// `disarm` for more than two categories.
    pub fn trained(
        model: &CategoricalVae,
        images: &Tensor,
        estimator: Estimator,
        state: &mut EstimatorState,
        temperature: f64,
        generator: &mut Generator,
    ) -> Result<Self> {
        let latent_logits = model.encode(images)?;
        let mut reconstruction =
            |z: &Tensor| -> Result<Tensor> { Ok(bernoulli_nll(&model.decode(z)?, images)?) };
        let objective = estimator.objective::<Error>(
            state,
            &latent_logits,
            temperature,
            generator,
            &mut reconstruction,
        )?;
        let kl = kl_to_uniform_prior(&latent_logits)?.mean(0)?;
        let neg_elbo = NegElbo { bce: objective.surrogate.mean(0)?, kl };
        Ok(Self { neg_elbo, latent_logits })
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
        let neg_elbo = NegElbo::new(&model.decode(&z)?, images, &latent_logits)?;
        Ok(Self { neg_elbo, latent_logits })
    }
}
