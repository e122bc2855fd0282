//! The sizes of the network, checked once.

use serde::{Deserialize, Serialize};

use crate::{Activation, Error, Result};

/// What follows the encoder's last layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogitsActivation {
    /// Logits as the last layer gives them: any real number.
    #[default]
    Linear,
    /// A ReLU on the logits, as the article's own network has it: no logit is below zero.
    Relu,
}

impl LogitsActivation {
    /// The activation of the encoder's last layer.
    pub fn activation(self) -> Activation {
        match self {
            Self::Linear => Activation::Identity,
            Self::Relu => Activation::Relu,
        }
    }
}

/// Sizes of a [`crate::CategoricalVae`].
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `n_pixels` | 784 | pixels of an image | ≥ 1 |
/// | `hidden` | `[512, 256]` | hidden widths of the encoder; the decoder mirrors them | each ≥ 1; may be empty |
/// | `n_latents` | 30 | categorical variables of a code | ≥ 1 |
/// | `n_categories` | 10 | categories of each variable | ≥ 2 |
/// | `logits` | `linear` | what follows the encoder's last layer | `linear`, `relu` |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Pixels of an image.
    pub n_pixels: usize,
    /// Hidden widths of the encoder, from the image inwards; the decoder mirrors them.
    pub hidden: Vec<usize>,
    /// Categorical variables of a code.
    pub n_latents: usize,
    /// Categories of each variable.
    pub n_categories: usize,
    /// What follows the encoder's last layer.
    pub logits: LogitsActivation,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            n_pixels: 784,
            hidden: vec![512, 256],
            n_latents: 30,
            n_categories: 10,
            logits: LogitsActivation::Linear,
        }
    }
}

impl ModelConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::TooSmall`] naming the field; [`Error::TooLarge`] when the weights could not be
    /// addressed.
    pub fn check(&self) -> Result<()> {
        let at_least = |field, minimum, value| {
            if value < minimum { Err(Error::TooSmall { field, minimum, value }) } else { Ok(()) }
        };
        at_least("n_pixels", 1, self.n_pixels)?;
        for &width in &self.hidden {
            at_least("hidden", 1, width)?;
        }
        at_least("n_latents", 1, self.n_latents)?;
        // One category has nothing to choose: its logits get no gradient and its KL is zero.
        at_least("n_categories", 2, self.n_categories)?;
        let layers = [self.n_pixels].into_iter().chain(self.hidden.iter().copied());
        let code = self.n_latents.checked_mul(self.n_categories);
        let too_large = || Error::TooLarge {
            layers: layers
                .clone()
                .chain([self.n_latents.saturating_mul(self.n_categories)])
                .collect(),
        };
        let widths: Vec<usize> = layers.clone().chain([code.ok_or_else(too_large)?]).collect();
        let mut n_weights = 0_usize;
        for pair in widths.windows(2) {
            n_weights = pair[0]
                .checked_mul(pair[1])
                .and_then(|n| n.checked_add(n_weights))
                .filter(|&n| n <= 1 << 31)
                .ok_or_else(too_large)?;
        }
        Ok(())
    }

    /// Width of the code as the decoder sees it: `n_latents · n_categories`.
    pub fn code_width(&self) -> usize {
        self.n_latents * self.n_categories
    }

    /// Widths of the encoder's layers, from pixels to logits.
    pub fn encoder_widths(&self) -> Vec<usize> {
        let mut widths = vec![self.n_pixels];
        widths.extend(&self.hidden);
        widths.push(self.code_width());
        widths
    }

    /// Widths of the decoder's layers, from code to pixel logits.
    pub fn decoder_widths(&self) -> Vec<usize> {
        let mut widths = self.encoder_widths();
        widths.reverse();
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(change: impl FnOnce(&mut ModelConfig)) -> String {
        let mut config = ModelConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn default_is_the_article() {
        let config = ModelConfig::default();
        config.check().unwrap();
        assert_eq!(config.encoder_widths(), [784, 512, 256, 300]);
        assert_eq!(config.decoder_widths(), [300, 256, 512, 784]);
    }

    #[test]
    fn senseless_sizes_are_named() {
        assert_eq!(error_of(|c| c.n_latents = 0), "n_latents must be at least 1, but is 0");
        assert_eq!(error_of(|c| c.n_categories = 1), "n_categories must be at least 2, but is 1");
        assert_eq!(error_of(|c| c.n_pixels = 0), "n_pixels must be at least 1, but is 0");
        assert_eq!(error_of(|c| c.hidden = vec![512, 0]), "hidden must be at least 1, but is 0");
    }

    #[test]
    fn sizes_beyond_memory_are_refused_without_overflow() {
        assert!(error_of(|c| c.n_latents = usize::MAX).contains("2^31"));
        assert!(error_of(|c| c.hidden = vec![1 << 20, 1 << 20]).contains("2^31"));
    }
}
