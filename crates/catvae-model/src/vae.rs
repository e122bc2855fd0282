//! The model: an encoder to categorical logits and a mirrored decoder.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use gumbel_core::Generator;

use crate::{Activation, Error, Mlp, ModelConfig, Parameter, Result};

/// A categorical VAE with MLP encoder and decoder.
#[derive(Clone, Debug)]
pub struct CategoricalVae {
    config: ModelConfig,
    encoder: Mlp,
    decoder: Mlp,
}

impl CategoricalVae {
    /// Draws initial parameters, encoder first, from PyTorch's law for `nn.Linear`.
    ///
    /// # Errors
    /// Those of [`ModelConfig::check`].
    pub fn initialise(
        config: &ModelConfig,
        device: &Device,
        generator: &mut Generator,
    ) -> Result<Self> {
        config.check()?;
        let last = config.logits.activation();
        let encoder = Mlp::initialise(&config.encoder_widths(), last, device, generator)?;
        let decoder =
            Mlp::initialise(&config.decoder_widths(), Activation::Identity, device, generator)?;
        Ok(Self { config: config.clone(), encoder, decoder })
    }

    /// Takes the parameters from a state dict with PyTorch's names and layouts.
    ///
    /// # Errors
    /// Those of [`ModelConfig::check`]; a tensor that is missing, unexpected, or has another shape
    /// or element type than the configuration says.
    pub fn from_state_dict(
        config: &ModelConfig,
        mut tensors: HashMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let last = config.logits.activation();
        let encoder =
            Mlp::from_state_dict("encoder", &config.encoder_widths(), last, &mut tensors, device)?;
        let decoder = Mlp::from_state_dict(
            "decoder",
            &config.decoder_widths(),
            Activation::Identity,
            &mut tensors,
            device,
        )?;
        if !tensors.is_empty() {
            let mut names: Vec<_> = tensors.into_keys().collect();
            names.sort();
            return Err(Error::UnexpectedTensors { names });
        }
        Ok(Self { config: config.clone(), encoder, decoder })
    }

    /// The configuration that this model was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The network from pixels to the logits of the code.
    pub fn encoder(&self) -> &Mlp {
        &self.encoder
    }

    /// The network from the code to the logits of the pixels.
    pub fn decoder(&self) -> &Mlp {
        &self.decoder
    }

    /// Every parameter in order: encoder, then decoder, layer by layer, weight before bias.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.encoder.parameters("encoder");
        parameters.extend(self.decoder.parameters("decoder"));
        parameters
    }

    /// Logits of the posterior q(z|x).
    ///
    /// # Shapes
    /// - images: `(batch, n_pixels)`, values in [0, 1]; output: `(batch, n_latents, n_categories)`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the images are not `n_pixels` wide.
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        let &[batch, n_pixels] = images.dims() else {
            return Err(self.images_mismatch(images));
        };
        if n_pixels != self.config.n_pixels {
            return Err(self.images_mismatch(images));
        }
        let logits = self.encoder.forward(images)?;
        Ok(logits.reshape((batch, self.config.n_latents, self.config.n_categories))?)
    }

    /// Logits of the Bernoulli pixels of p(x|z).
    ///
    /// # Shapes
    /// - z: `(batch, n_latents, n_categories)`, rows on the simplex; output: `(batch, n_pixels)`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when z has another number of latents or categories.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        let (n_latents, n_categories) = (self.config.n_latents, self.config.n_categories);
        match *z.dims() {
            [batch, l, k] if l == n_latents && k == n_categories => {
                self.decoder.forward(&z.reshape((batch, l * k))?)
            }
            _ => Err(Error::ShapeMismatch {
                what: "z",
                expected: format!(
                    "(batch, n_latents = {n_latents}, n_categories = {n_categories})"
                ),
                actual: z.dims().to_vec(),
            }),
        }
    }

    fn images_mismatch(&self, images: &Tensor) -> Error {
        Error::ShapeMismatch {
            what: "images",
            expected: format!("(batch, n_pixels = {})", self.config.n_pixels),
            actual: images.dims().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    fn small() -> ModelConfig {
        ModelConfig {
            n_pixels: 9,
            hidden: vec![7, 5],
            n_latents: 2,
            n_categories: 3,
            ..Default::default()
        }
    }

    fn model() -> CategoricalVae {
        CategoricalVae::initialise(&small(), &Device::Cpu, &mut Generator::new(1)).unwrap()
    }

    fn state_dict(model: &CategoricalVae) -> HashMap<String, Tensor> {
        let parameters = model.parameters().into_iter();
        parameters.map(|p| (p.name, p.var.as_detached_tensor())).collect()
    }

    #[test]
    fn parameters_have_pytorch_names_and_layouts_in_layer_order() {
        let named: Vec<_> =
            model().parameters().into_iter().map(|p| (p.name, p.var.dims().to_vec())).collect();
        let expected = [
            ("encoder.0.weight", vec![7, 9]),
            ("encoder.0.bias", vec![7]),
            ("encoder.2.weight", vec![5, 7]),
            ("encoder.2.bias", vec![5]),
            ("encoder.4.weight", vec![6, 5]),
            ("encoder.4.bias", vec![6]),
            ("decoder.0.weight", vec![5, 6]),
            ("decoder.0.bias", vec![5]),
            ("decoder.2.weight", vec![7, 5]),
            ("decoder.2.bias", vec![7]),
            ("decoder.4.weight", vec![9, 7]),
            ("decoder.4.bias", vec![9]),
        ];
        let expected: Vec<_> = expected.map(|(n, s)| (n.to_owned(), s)).into();
        assert_eq!(named, expected);
    }

    #[test]
    fn a_model_from_its_own_state_dict_computes_the_same() {
        let model = model();
        let images = Tensor::rand(0_f32, 1.0, (4, 9), &Device::Cpu).unwrap();
        let again =
            CategoricalVae::from_state_dict(&small(), state_dict(&model), &Device::Cpu).unwrap();
        let values = |m: &CategoricalVae| {
            let logits = m.encode(&images).unwrap();
            let pixels = m.decode(&logits).unwrap();
            (logits.to_vec3::<f32>().unwrap(), pixels.to_vec2::<f32>().unwrap())
        };
        assert_eq!(values(&model), values(&again));
    }

    #[test]
    fn a_state_dict_that_does_not_fit_is_refused_by_name() {
        let load = |change: fn(&mut HashMap<String, Tensor>)| {
            let mut tensors = state_dict(&model());
            change(&mut tensors);
            let error = CategoricalVae::from_state_dict(&small(), tensors, &Device::Cpu);
            error.unwrap_err().to_string()
        };
        assert!(load(|t| drop(t.remove("decoder.2.bias"))).contains("no tensor decoder.2.bias"));
        let error = load(|t| {
            let wrong = Tensor::zeros((7, 8), DType::F32, &Device::Cpu).unwrap();
            t.insert("encoder.0.weight".into(), wrong);
        });
        assert!(error.contains("encoder.0.weight has the shape [7, 8]"), "{error}");
        assert!(error.contains("[7, 9]"), "{error}");
        let error = load(|t| {
            let wrong = Tensor::zeros((7, 9), DType::F64, &Device::Cpu).unwrap();
            t.insert("encoder.0.weight".into(), wrong);
        });
        assert!(error.contains("encoder.0.weight holds F64"), "{error}");
        let error = load(|t| {
            let extra = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
            t.insert("prior".into(), extra);
        });
        assert!(error.ends_with("does not have: prior"), "{error}");
    }

    #[test]
    fn inputs_of_another_width_are_refused() {
        let wrong = Tensor::zeros((2, 8), DType::F32, &Device::Cpu).unwrap();
        let error = model().encode(&wrong).unwrap_err().to_string();
        assert_eq!(error, "images must have the shape (batch, n_pixels = 9), but has [2, 8]");
        let wrong = Tensor::zeros((2, 3, 2), DType::F32, &Device::Cpu).unwrap();
        let error = model().decode(&wrong).unwrap_err().to_string();
        assert!(error.contains("n_latents = 2, n_categories = 3"), "{error}");
    }
}
