//! The objectives: relaxed, which is trained on, and unrelaxed, which is the true one.

use candle_core::Tensor;
use catvae_model::{Model, ModelSettings};
use gumbel_core::Generator;
use gumbel_core::estimators::{Estimator, EstimatorState};

use crate::{Error, Result};

/// The two terms of the negative evidence lower bound (ELBO), each the mean over the images of a batch, in nats,
/// with the logits that they were computed from.
///
/// Whether it is the *relaxed* or the *unrelaxed* objective depends on the sample that was decoded: a relaxed
/// one, or an exact one. The KL term is the exact one of the posterior in both.
#[derive(Clone, Debug)]
pub struct Objective {
    /// Negative log-likelihood of the pixels, scalar.
    pub bce: Tensor,
    /// KL from the posterior to the prior, scalar.
    pub kl: Tensor,
    /// Logits of the posterior, `(batch, n_latents, n_categories)` for categories.
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
    pub fn trained<M: Model>(
        model: &M,
        images: &Tensor,
        estimator: Estimator,
        state: &mut EstimatorState,
        temperature: f64,
        generator: &mut Generator,
    ) -> Result<Self> {
        let latent_logits = model.encode(images)?;
        let mut nll = |z: &Tensor| -> Result<Tensor> { Ok(model.neg_log_likelihood(z, images)?) };
        let objective = estimator.objective_on::<Error>(
            &model.settings().code().structure(),
            state,
            (&latent_logits, temperature.into()),
            generator,
            &mut nll,
        )?;
        let kl = model.kl(&latent_logits)?.mean(0)?;
        Ok(Self { bce: objective.surrogate.mean(0)?, kl, latent_logits })
    }

    /// The unrelaxed objective at given logits: an exact sample into the decoder.
    ///
    /// # Errors
    /// Logits that are NaN.
    pub fn unrelaxed<M: Model>(
        model: &M,
        images: &Tensor,
        latent_logits: Tensor,
        generator: &mut Generator,
    ) -> Result<Self> {
        let z = model.settings().code().structure().sample(&latent_logits, generator)?;
        let bce = model.neg_log_likelihood(&z, images)?.mean(0)?;
        let kl = model.kl(&latent_logits)?.mean(0)?;
        Ok(Self { bce, kl, latent_logits })
    }

    /// `bce + kl`, the loss.
    ///
    /// # Errors
    /// None but the device's own.
    pub fn total(&self) -> Result<Tensor> {
        Ok((&self.bce + &self.kl)?)
    }
}
