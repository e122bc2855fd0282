//! A model as the page takes it: what its layers are, and their weights in half precision.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use candle_core::DType;
use catvae_model::layer::{Activation, Layer, LayerKind};
use catvae_model::{CategoricalVae, Model};
use catvae_train::TrainConfig;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

/// Weights that a page holds: 40 MB in half precision.
const MOST_WEIGHTS: usize = 20_000_000;
/// The largest number in half precision.
const LARGEST: f32 = 65_504.0;

/// Sizes, likelihood and layers.
pub(super) fn layers(config: &TrainConfig, model: &CategoricalVae) -> Result<Value> {
    let layered = model.layered().context("the model is not made of layers")?;
    // Runs of format 1 have the shape of their images there only.
    let image_shape =
        config.provenance.as_ref().map_or(config.model.image_shape, |p| p.image_shape);
    let config = &config.model;
    let of = |network: &catvae_model::Network| network.layers().map(layer).collect::<Vec<_>>();
    Ok(json!({
        "imageShape": image_shape,
        "nLatents": config.n_latents,
        "nCategories": config.n_categories,
        "likelihood": config.likelihood.name(),
        "encoder": of(&layered.encoder),
        "decoder": of(&layered.decoder),
    }))
}

fn layer(layer: &dyn Layer) -> Value {
    let relu = layer.activation() == Activation::Relu;
    let (kind, size) = match layer.kind() {
        LayerKind::Linear => {
            let (inputs, outputs) = (layer.inputs(), layer.outputs());
            return json!({ "kind": "linear", "inputs": inputs, "outputs": outputs, "relu": relu });
        }
        LayerKind::Conv2d(size) => ("conv2d", size),
        LayerKind::ConvTranspose2d(size) => ("conv-transpose2d", size),
    };
    json!({
        "kind": kind, "large": size.large, "small": size.small, "kernel": size.kernel, "stride": size.stride,
        "padding": size.padding, "relu": relu,
    })
}

/// All parameters in their order, in half precision.
pub(super) fn weights(model: &CategoricalVae) -> Result<String> {
    let parameters = model.parameters();
    let n_weights: usize = parameters.iter().map(|parameter| parameter.var.elem_count()).sum();
    ensure!(
        n_weights <= MOST_WEIGHTS,
        "the model has {n_weights} weights, and a page holds at most {MOST_WEIGHTS}"
    );
    let mut bytes = Vec::with_capacity(2 * n_weights);
    for parameter in parameters {
        let values = parameter.var.flatten_all()?;
        let largest = values.abs()?.max(0)?.to_scalar::<f32>()?;
        ensure!(
            largest <= LARGEST,
            "{} holds {largest}, and a page holds numbers up to {LARGEST}",
            parameter.name
        );
        values.to_dtype(DType::F16)?.write_bytes(&mut bytes)?;
    }
    packed(&bytes)
}

/// Deflated, in base64.
pub(super) fn packed(bytes: &[u8]) -> Result<String> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(STANDARD.encode(encoder.finish()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use candle_core::Device;
    use catvae_model::{Likelihood, ModelConfig};
    use gumbel_core::Generator;

    use super::*;

    fn model(config: &ModelConfig) -> CategoricalVae {
        CategoricalVae::initialise(config, &Device::Cpu, &mut Generator::new(1)).unwrap()
    }

    #[test]
    fn weights_come_back_in_half_precision() {
        let model = model(&ModelConfig::mlp([2, 2], &[3], [2, 2]));
        let packed = STANDARD.decode(weights(&model).unwrap()).unwrap();
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
        let n_weights = 4 * 3 + 3 + 3 * 4 + 4 + 4 * 3 + 3 + 3 * 4 + 4;
        assert_eq!(bytes.len(), 2 * n_weights);
        // 1.0 is 0x3c00.
        let first = &model.parameters()[0].var;
        first.set(&first.ones_like().unwrap()).unwrap();
        let packed = STANDARD.decode(weights(&model).unwrap()).unwrap();
        let mut bytes = [0; 2];
        flate2::read::ZlibDecoder::new(&packed[..]).read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [0x00, 0x3c]);
    }

    #[test]
    fn the_page_knows_every_likelihood() {
        let network = include_str!("network.js");
        for law in Likelihood::ALL {
            let name = law.name();
            let entry = [format!("  {name}: {{"), format!("  \"{name}\": {{")];
            assert!(entry.iter().any(|entry| network.contains(entry)), "{name}");
        }
    }

    #[test]
    fn what_a_page_cannot_hold_is_said_with_the_limit() {
        let wide = model(&ModelConfig::mlp([1, 1], &[4000, 2500], [1, 2]));
        let error = weights(&wide).unwrap_err().to_string();
        assert!(error.contains("at most 20000000"), "{error}");
        let small = model(&ModelConfig::mlp([1, 1], &[], [1, 2]));
        let first = &small.parameters()[0].var;
        first.set(&(first.ones_like().unwrap() * 1e5).unwrap()).unwrap();
        let error = weights(&small).unwrap_err().to_string();
        assert!(error.contains("encoder.0.weight") && error.contains("65504"), "{error}");
    }
}
