//! The section `[model]` of a configuration: sizes, network and likelihood, checked once.

use serde::{Deserialize, Serialize};

use crate::layer::{Activation, Layer};
use crate::{
    CategoricalVae, Code, Error, Layered, Likelihood, Mlp, ModelSettings, Network, NetworkConfig,
    Result, Sizes,
};

/// What follows the encoder's last layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogitsActivation {
    /// Logits as the last layer gives them: any real number.
    #[default]
    Linear,
    /// A ReLU on the logits: no logit is below zero.
    Relu,
}

/// What a [`crate::CategoricalVae`] is built from.
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `image_shape` | `[28, 28]` | rows and columns of an image | each ≥ 1 |
/// | `code` | `categories` | what a code is | [`Code`] |
/// | `n_latents` | 30 | categorical variables of a code, or how many subsets | ≥ 1 |
/// | `n_categories` | 10 | categories of each variable; of no meaning for subsets | ≥ 2 |
/// | `logits` | `linear` | what follows the encoder's last layer | `linear`, `relu` |
/// | `likelihood` | `bernoulli` | the law of the pixels | [`Likelihood::NAMES`] |
/// | `network` | `mlp` | the layers of encoder and decoder | [`NetworkConfig::NAMES`], or a table with its fields |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Table")]
pub struct ModelConfig {
    /// Rows and columns of an image.
    pub image_shape: [usize; 2],
    /// What a code is.
    pub code: Code,
    /// Categorical variables of a code, or how many subsets.
    pub n_latents: usize,
    /// Categories of each variable; of no meaning for subsets.
    pub n_categories: usize,
    /// What follows the encoder's last layer.
    pub logits: LogitsActivation,
    /// The law of the pixels.
    pub likelihood: Likelihood,
    /// The layers of encoder and decoder.
    pub network: NetworkConfig,
}

/// The table in a file. The fields of runs of format 1 are read too: they had one kind of network.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    image_shape: Option<[usize; 2]>,
    code: Code,
    n_latents: usize,
    n_categories: usize,
    logits: LogitsActivation,
    likelihood: Likelihood,
    network: NetworkConfig,
    /// Format 1.
    n_pixels: Option<usize>,
    /// Format 1.
    hidden: Option<Vec<usize>>,
}

impl Default for Table {
    fn default() -> Self {
        let ModelConfig { code, n_latents, n_categories, logits, likelihood, network, .. } =
            ModelConfig::default();
        Self {
            image_shape: None,
            code,
            n_latents,
            n_categories,
            logits,
            likelihood,
            network,
            n_pixels: None,
            hidden: None,
        }
    }
}

impl From<Table> for ModelConfig {
    fn from(table: Table) -> Self {
        let one_row = table.n_pixels.map(|n_pixels| [1, n_pixels]);
        Self {
            image_shape: table.image_shape.or(one_row).unwrap_or([28, 28]),
            code: table.code,
            n_latents: table.n_latents,
            n_categories: table.n_categories,
            logits: table.logits,
            likelihood: table.likelihood,
            network: match table.hidden {
                Some(hidden) => Mlp { hidden }.into(),
                None => table.network,
            },
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            image_shape: [28, 28],
            code: Code::Categories,
            n_latents: 30,
            n_categories: 10,
            logits: LogitsActivation::Linear,
            likelihood: Likelihood::Bernoulli,
            network: NetworkConfig::default(),
        }
    }
}

/// Weights that a network may have: their bytes can then be counted everywhere.
const MOST_WEIGHTS: usize = 1 << 31;

impl ModelConfig {
    /// A multilayer perceptron for images of a shape, with a code of `[n_latents, n_categories]`.
    pub fn mlp(
        image_shape: [usize; 2],
        hidden: &[usize],
        [n_latents, n_categories]: [usize; 2],
    ) -> Self {
        let network = Mlp { hidden: hidden.to_vec() }.into();
        Self { image_shape, n_latents, n_categories, network, ..Self::default() }
    }

    /// Pixels of an image.
    pub fn n_pixels(&self) -> usize {
        self.image_shape[0] * self.image_shape[1]
    }

    /// The event of logits and codes.
    pub(crate) fn code_dims(&self) -> Vec<usize> {
        self.code.dims(self.code_shape())
    }

    /// What a code is, in words.
    pub fn describe_code(&self) -> String {
        let [n_latents, n] = self.code_shape();
        match self.code {
            Code::Categories => format!("{n_latents} latents of {n} categories"),
            Code::Chain => format!("a chain of {n_latents} latents of {n} categories"),
            Code::Subset { k, .. } => format!("{n_latents} subsets of {k} of {n} items"),
        }
    }

    /// The same with names, for messages.
    pub(crate) fn names_of_dims(&self) -> String {
        let [n_latents, n] = self.code_shape();
        match self.code {
            Code::Categories => format!("n_latents = {n_latents}, n_categories = {n}"),
            Code::Chain => format!("n_latents = {n_latents}, n_categories = {n}, {n}"),
            Code::Subset { .. } => format!("n_latents = {n_latents}, n = {n}"),
        }
    }

    /// Values of an image after each layer of the encoder, from its pixels to its logits.
    ///
    /// # Errors
    /// Those of [`ModelSettings::check`].
    pub fn encoder_widths(&self) -> Result<Vec<usize>> {
        let outputs = self.build()?.encoder;
        let outputs = outputs.layers().map(|layer| layer.outputs());
        Ok([self.n_pixels()].into_iter().chain(outputs).collect())
    }

    /// The networks of the model.
    ///
    /// # Errors
    /// [`Error::TooSmall`] naming the field; [`Error::TooLarge`] when the weights could not be addressed; a network
    /// that cannot be built for the images.
    pub(crate) fn build(&self) -> Result<Layered> {
        let at_least = |field, minimum, value| {
            if value < minimum { Err(Error::TooSmall { field, minimum, value }) } else { Ok(()) }
        };
        at_least("model.image_shape", 1, self.image_shape[0].min(self.image_shape[1]))?;
        at_least("model.n_latents", 1, self.n_latents)?;
        // One category has nothing to choose: its logits get no gradient and its KL is zero.
        at_least("model.n_categories", 2, self.n_categories)?;
        let counted = |a: usize, b: usize| a.checked_mul(b).filter(|&n| n <= MOST_WEIGHTS);
        self.code.check()?;
        let mut dims = self.code_dims().into_iter();
        let code_width = dims.try_fold(1, counted).ok_or(Error::TooLarge { of: "the code" })?;
        counted(self.image_shape[0], self.image_shape[1])
            .ok_or(Error::TooLarge { of: "an image" })?;
        let sizes = Sizes { image_shape: self.image_shape, code_width };
        let last = match self.logits {
            LogitsActivation::Linear => Activation::Identity,
            LogitsActivation::Relu => Activation::Relu,
        };
        Ok(Layered {
            encoder: self.chain("encoder", self.network.encoder(&sizes, last)?)?,
            decoder: self.chain("decoder", self.network.decoder(&sizes)?)?,
            likelihood: self.likelihood,
        })
    }

    /// Chains layers whose sizes make sense and whose weights can be counted.
    fn chain(&self, prefix: &str, layers: Vec<Box<dyn Layer>>) -> Result<Network> {
        let mut n_weights = 0_usize;
        for layer in &layers {
            let shape = layer.weight_shape();
            if shape.contains(&0) {
                let field = "model.network: every width";
                return Err(Error::TooSmall { field, minimum: 1, value: 0 });
            }
            let len = shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size));
            n_weights = len
                .and_then(|len| len.checked_add(n_weights))
                .filter(|&n| n <= MOST_WEIGHTS)
                .ok_or(Error::TooLarge { of: "a network" })?;
        }
        Ok(Network::chain(prefix, layers, self.network.initialisation()))
    }
}

impl ModelSettings for ModelConfig {
    type Model = CategoricalVae;

    fn check(&self) -> Result<()> {
        self.build().map(drop)
    }

    fn code_shape(&self) -> [usize; 2] {
        match self.code {
            Code::Subset { n, .. } => [self.n_latents, n],
            _ => [self.n_latents, self.n_categories],
        }
    }

    fn code(&self) -> Code {
        self.code
    }

    fn image_shape(&self) -> [usize; 2] {
        self.image_shape
    }

    fn n_parameters(&self) -> Option<usize> {
        let built = self.build().ok()?;
        Some(built.encoder.n_parameters() + built.decoder.n_parameters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conv;

    fn error_of(change: impl FnOnce(&mut ModelConfig)) -> String {
        let mut config = ModelConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    fn widths(network: &Network) -> Vec<usize> {
        let first = network.layers().next().map(|layer| layer.inputs());
        first.into_iter().chain(network.layers().map(|layer| layer.outputs())).collect()
    }

    #[test]
    fn default_is_784_512_256_300_and_back() {
        let built = ModelConfig::default().build().unwrap();
        assert_eq!(widths(&built.encoder), [784, 512, 256, 300]);
        assert_eq!(widths(&built.decoder), [300, 256, 512, 784]);
    }

    #[test]
    fn the_convolutional_default_has_as_many_parameters_and_ends_at_seven_by_seven() {
        let network = Conv::default().into();
        let conv = ModelConfig { network, ..ModelConfig::default() }.build().unwrap();
        assert_eq!(widths(&conv.encoder), [784, 32 * 14 * 14, 32 * 7 * 7, 320, 300]);
        assert_eq!(widths(&conv.decoder), [300, 320, 32 * 7 * 7, 32 * 14 * 14, 784]);
        let mlp = ModelConfig::default().build().unwrap();
        let count = |built: &Layered| built.encoder.n_parameters() + built.decoder.n_parameters();
        assert_eq!(ModelConfig::default().n_parameters(), Some(count(&mlp)));
        let ratio = count(&conv) as f64 / count(&mlp) as f64;
        assert!((ratio - 1.0).abs() < 0.02, "{} and {}", count(&conv), count(&mlp));
    }

    #[test]
    fn senseless_sizes_are_named() {
        let error = error_of(|c| c.n_latents = 0);
        assert_eq!(error, "model.n_latents must be at least 1, but is 0");
        let error = error_of(|c| c.n_categories = 1);
        assert_eq!(error, "model.n_categories must be at least 2, but is 1");
        let error = error_of(|c| c.image_shape = [28, 0]);
        assert_eq!(error, "model.image_shape must be at least 1, but is 0");
        let error = error_of(|c| c.network = Mlp { hidden: vec![512, 0] }.into());
        assert_eq!(error, "model.network: every width must be at least 1, but is 0");
        let error = error_of(|c| c.network = Conv { channels: vec![8; 3], hidden: vec![] }.into());
        assert!(error.contains("28 x 28 pixels cannot be halved 3 times"), "{error}");
    }

    #[test]
    fn sizes_beyond_memory_are_refused_without_overflow() {
        let huge = usize::MAX;
        assert!(error_of(|c| c.n_latents = huge).contains("2^31"));
        assert!(error_of(|c| c.image_shape = [huge, huge]).contains("2^31"));
        for hidden in [vec![1 << 20, 1 << 20], vec![huge, huge]] {
            assert!(error_of(|c| c.network = Mlp { hidden }.into()).contains("2^31"));
        }
        let channels = vec![huge, huge];
        assert!(
            error_of(|c| c.network = Conv { channels, hidden: vec![] }.into()).contains("2^31")
        );
    }
}
