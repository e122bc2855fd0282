//! The categorical VAE: an encoder to logits, a decoder to pixels, each a chain of layers.

use candle_core::{Device, Tensor, Var};
use gumbel_core::Generator;

use crate::{Error, Likelihood, Model, ModelConfig, Network, Parameter, Result, uniform_within};

/// A categorical VAE of two networks, which train on the fast step of the CPU.
#[derive(Clone, Debug)]
pub struct CategoricalVae {
    config: ModelConfig,
    layered: Layered,
    /// The encoder's, then the decoder's.
    parameters: Vec<Var>,
}

/// The model without its parameters: what each of them is used for.
#[derive(Clone, Debug)]
pub struct Layered {
    /// From pixels to the logits of the code.
    pub encoder: Network,
    /// From the code to the logits of the pixels.
    pub decoder: Network,
    /// The law of the pixels.
    pub likelihood: Likelihood,
}

impl Layered {
    /// The same in bf16 on slices; `None` where a layer has no products in bf16.
    pub fn in_bf16(&self) -> Option<Self> {
        let (encoder, decoder) = (self.encoder.in_bf16()?, self.decoder.in_bf16()?);
        Some(Self { encoder, decoder, ..*self })
    }
}

impl Model for CategoricalVae {
    type Settings = ModelConfig;

    /// Draws every parameter, the encoder's first, from the law of its kind of network.
    fn initialise(
        config: &ModelConfig,
        device: &Device,
        generator: &mut Generator,
    ) -> Result<Self> {
        let layered = config.build()?;
        let specs = layered.encoder.parameters().chain(layered.decoder.parameters());
        let parameters = specs.map(|spec| {
            let values = uniform_within(spec.bound, &spec.shape, device, generator)?;
            Ok(Var::from_tensor(&values)?)
        });
        let parameters = parameters.collect::<Result<_>>()?;
        Ok(Self { config: config.clone(), layered, parameters })
    }

    fn settings(&self) -> &ModelConfig {
        &self.config
    }

    /// Encoder, then decoder, layer by layer, weight before bias.
    fn parameters(&self) -> Vec<Parameter> {
        let specs = self.layered.encoder.parameters().chain(self.layered.decoder.parameters());
        let parameters = specs.zip(&self.parameters);
        parameters.map(|(spec, var)| Parameter { name: spec.name, var: var.clone() }).collect()
    }

    fn encode(&self, images: &Tensor) -> Result<Tensor> {
        let n_pixels = self.config.n_pixels();
        match *images.dims() {
            [batch, n] if n == n_pixels => {
                let parameters = self.encoder_parameters();
                let logits = self.layered.encoder.forward(parameters, images)?;
                Ok(logits.reshape([&[batch], self.config.code_dims().as_slice()].concat())?)
            }
            _ => Err(Error::ShapeMismatch {
                what: "images",
                expected: format!("(batch, n_pixels = {n_pixels})"),
                actual: images.dims().to_vec(),
            }),
        }
    }

    fn neg_log_likelihood(&self, z: &Tensor, images: &Tensor) -> Result<Tensor> {
        self.config.likelihood.nll(&self.decode(z)?, images)
    }

    /// Decodes every code once: each law here has the likelihood of a black image, and a product of logits and image.
    fn neg_log_likelihoods(&self, codes: &Tensor, images: &Tensor) -> Result<Tensor> {
        let logits = self.decode(codes)?.detach();
        let black = self.config.likelihood.nll(&logits, &logits.zeros_like()?)?;
        let linear = images.matmul(&logits.t()?)?;
        Ok(linear.neg()?.broadcast_add(&black.unsqueeze(0)?)?)
    }

    fn mean_images(&self, z: &Tensor) -> Result<Tensor> {
        Ok(self.config.likelihood.law().mean(&self.decode(z)?)?)
    }

    fn layered(&self) -> Option<&Layered> {
        Some(&self.layered)
    }
}

impl CategoricalVae {
    /// Logits of the pixels of p(x|z).
    ///
    /// # Shapes
    /// - z: `(batch, n_latents, n_categories)`, or the [dimensions](crate::Code::dims) of another code; output: `(batch, n_pixels)`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when z has others.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        let code = self.config.code_dims();
        match z.dims() {
            [batch, event @ ..] if *event == code => {
                let parameters = &self.parameters[self.encoder_parameters().len()..];
                let width = code.iter().product::<usize>();
                self.layered.decoder.forward(parameters, &z.reshape((*batch, width))?)
            }
            actual => Err(Error::ShapeMismatch {
                what: "z",
                expected: format!("(batch, {})", self.config.names_of_dims()),
                actual: actual.to_vec(),
            }),
        }
    }

    fn encoder_parameters(&self) -> &[Var] {
        &self.parameters[..2 * self.layered.encoder.layers().len()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::DType;

    use super::*;
    use crate::{Conv, from_state_dict};

    fn small() -> ModelConfig {
        ModelConfig::mlp([3, 3], &[7, 5], [2, 3])
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
    fn a_convolutional_model_has_pytorch_names_where_flatten_takes_a_place() {
        let network = Conv { channels: vec![2, 3], hidden: vec![5] }.into();
        let config = ModelConfig { network, ..ModelConfig::mlp([8, 4], &[], [2, 3]) };
        let model =
            CategoricalVae::initialise(&config, &Device::Cpu, &mut Generator::new(1)).unwrap();
        let named: Vec<_> =
            model.parameters().into_iter().map(|p| (p.name, p.var.dims().to_vec())).collect();
        let weights = named.iter().filter(|(name, _)| name.ends_with("weight"));
        let expected = [
            ("encoder.0.weight", vec![2, 1, 4, 4]),
            ("encoder.2.weight", vec![3, 2, 4, 4]),
            ("encoder.5.weight", vec![5, 6]),
            ("encoder.7.weight", vec![6, 5]),
            ("decoder.0.weight", vec![5, 6]),
            ("decoder.2.weight", vec![6, 5]),
            ("decoder.5.weight", vec![3, 2, 4, 4]),
            ("decoder.7.weight", vec![2, 1, 4, 4]),
        ];
        let expected = expected.map(|(n, s)| (n.to_owned(), s));
        assert_eq!(weights.cloned().collect::<Vec<_>>(), expected);
        let images = Tensor::zeros((3, 32), DType::F32, &Device::Cpu).unwrap();
        let logits = model.encode(&images).unwrap();
        assert_eq!(logits.dims(), [3, 2, 3]);
        assert_eq!(model.decode(&logits).unwrap().dims(), [3, 32]);
    }

    #[test]
    fn a_model_from_its_own_state_dict_computes_the_same() {
        let model = model();
        let images = Tensor::rand(0_f32, 1.0, (4, 9), &Device::Cpu).unwrap();
        let again = from_state_dict(&small(), state_dict(&model), &Device::Cpu).unwrap();
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
            let error = from_state_dict(&small(), tensors, &Device::Cpu);
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
