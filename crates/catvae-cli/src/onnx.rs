//! Encoder and decoder as ONNX graphs with a batch of any size.
//!
//! The encoder gives logits, probabilities and the most probable codes; the decoder takes codes. Sampling stays outside.

use anyhow::{Context, Result, ensure};
use catvae_model::layer::{Activation, LayerKind};
use catvae_model::{CategoricalVae, Code, Likelihood, Model, Network, Parameter};

use crate::protobuf::Message;

/// Versions that runtimes of 2022 and later read.
const IR_VERSION: u64 = 8;
const OPSET: u64 = 17;

/// The scale of the discretised logistic law, as in `gumbel-kernels`.
const LOGISTIC_SCALE: f64 = 0.2;

const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// A graph in the making. Values are known by names.
#[derive(Default)]
struct Graph {
    message: Message,
    n_values: usize,
}

/// An attribute of a node.
enum Attribute<'a> {
    Int(&'a str, i64),
    Ints(&'a str, [usize; 4], usize),
}
use Attribute::{Int, Ints};

impl Graph {
    /// Adds a node and returns the name of its output.
    fn node(&mut self, op: &str, inputs: &[&str], attributes: &[Attribute]) -> String {
        self.n_values += 1;
        let output = format!("{}_{}", op.to_lowercase(), self.n_values);
        self.named(op, inputs, attributes, &output);
        output
    }

    fn named(&mut self, op: &str, inputs: &[&str], attributes: &[Attribute], output: &str) {
        let node = inputs.iter().fold(Message::new(), |node, input| node.bytes(1, input));
        let mut node = node.bytes(2, output).bytes(4, op);
        for attribute in attributes {
            node = node.message(
                5,
                &match attribute {
                    Int(name, value) => {
                        Message::new().bytes(1, name).int(20, 2).int(3, *value as u64)
                    }
                    Ints(name, values, n) => {
                        let values = values.iter().copied().take(*n);
                        Message::new().bytes(1, name).int(20, 7).ints(8, values)
                    }
                },
            );
        }
        self.message = std::mem::take(&mut self.message).message(1, &node);
    }

    /// Adds a tensor that the graph carries.
    fn tensor(&mut self, name: &str, shape: &[usize], kind: u64, raw: &[u8]) {
        let tensor =
            Message::new().ints(1, shape.iter().copied()).int(2, kind).bytes(8, name).bytes(9, raw);
        self.message = std::mem::take(&mut self.message).message(5, &tensor);
    }

    fn constant(&mut self, value: f64) -> String {
        self.n_values += 1;
        let name = format!("constant_{}", self.n_values);
        self.tensor(&name, &[], FLOAT, &(value as f32).to_le_bytes());
        name
    }

    /// One operation with a constant.
    fn with(&mut self, op: &str, x: &str, value: f64) -> String {
        let value = self.constant(value);
        self.node(op, &[x, &value], &[])
    }

    fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        self.n_values += 1;
        let name = format!("shape_{}", self.n_values);
        let raw: Vec<u8> = shape.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.tensor(&name, &[shape.len()], INT64, &raw);
        self.node("Reshape", &[x, &name], &[])
    }

    /// Declares an input (field 11) or an output (field 12); its first axis is the batch.
    fn declare(&mut self, field: u32, name: &str, kind: u64, shape: &[usize]) {
        let batch = Message::new().message(1, &Message::new().bytes(2, "batch"));
        let dims =
            shape.iter().fold(batch, |dims, &n| dims.message(1, &Message::new().int(1, n as u64)));
        let tensor = Message::new().int(1, kind).message(2, &dims);
        let info = Message::new().bytes(1, name).message(2, &Message::new().message(1, &tensor));
        self.message = std::mem::take(&mut self.message).message(field, &info);
    }

    /// The layers of a network, with their weights.
    fn layers(
        &mut self,
        network: &Network,
        parameters: &[Parameter],
        input: &str,
    ) -> Result<String> {
        let mut x = input.to_owned();
        let mut is_image = false;
        for (layer, parameters) in network.layers().zip(parameters.chunks_exact(2)) {
            for Parameter { name, var } in parameters {
                let raw: Vec<u8> = var
                    .flatten_all()?
                    .to_vec1::<f32>()?
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect();
                self.tensor(name, var.dims(), FLOAT, &raw);
            }
            let [weight, bias] = [&parameters[0].name, &parameters[1].name].map(String::as_str);
            let kind = layer.kind();
            let wants_image = kind != LayerKind::Linear;
            if wants_image != is_image {
                let shape = match kind {
                    LayerKind::Linear => vec![layer.inputs()],
                    LayerKind::Conv2d(size) => size.large.to_vec(),
                    LayerKind::ConvTranspose2d(size) => size.small.to_vec(),
                };
                let shape: Vec<i64> =
                    std::iter::once(-1).chain(shape.into_iter().map(|n| n as i64)).collect();
                x = self.reshape(&x, &shape);
                is_image = wants_image;
            }
            x = match kind {
                LayerKind::Linear => self.node("Gemm", &[&x, weight, bias], &[Int("transB", 1)]),
                LayerKind::Conv2d(size) | LayerKind::ConvTranspose2d(size) => {
                    let (k, s, p) = (size.kernel, size.stride, size.padding);
                    let mut attributes = vec![
                        Ints("kernel_shape", [k; 4], 2),
                        Ints("strides", [s; 4], 2),
                        Ints("pads", [p; 4], 4),
                    ];
                    let op =
                        if matches!(kind, LayerKind::Conv2d(_)) { "Conv" } else { "ConvTranspose" };
                    if op == "ConvTranspose" {
                        // Rows and columns that the smaller image does not say, where the stride does not divide.
                        let left = |axis: usize| {
                            (size.large[axis] + 2 * p - k) - (size.small[axis] - 1) * s
                        };
                        attributes.push(Ints("output_padding", [left(1), left(2), 0, 0], 2));
                    }
                    self.node(op, &[&x, weight, bias], &attributes)
                }
            };
            if layer.activation() == Activation::Relu {
                x = self.node("Relu", &[&x], &[]);
            }
        }
        Ok(if is_image {
            self.reshape(&x, &[-1, network.layers().last().map_or(0, |l| l.outputs()) as i64])
        } else {
            x
        })
    }

    /// Means of the pixels from their logits.
    fn means(&mut self, likelihood: Likelihood, l: &str) {
        match likelihood {
            Likelihood::Bernoulli => self.named("Sigmoid", &[l], &[], "means"),
            Likelihood::ContinuousBernoulli => {
                // ½ coth(l/2) + ½ − 1/l, by its series where that is 0/0.
                let magnitude = self.node("Abs", &[l], &[]);
                let small = self.with("Less", &magnitude, 0.25);
                let one = self.constant(1.0);
                let far = self.node("Where", &[&small, &one, l], &[]);
                let half = self.with("Mul", &far, 0.5);
                let tanh = self.node("Tanh", &[&half], &[]);
                let two = self.with("Mul", &tanh, 2.0);
                let coth = self.node("Reciprocal", &[&two], &[]);
                let inverse = self.node("Reciprocal", &[&far], &[]);
                let difference = self.node("Sub", &[&coth, &inverse], &[]);
                let square = self.node("Mul", &[l, l], &[]);
                let mut series = self.with("Mul", &square, 1.0 / 30_240.0);
                series = self.with("Add", &series, -1.0 / 720.0);
                series = self.node("Mul", &[&series, &square], &[]);
                series = self.with("Add", &series, 1.0 / 12.0);
                series = self.node("Mul", &[&series, l], &[]);
                let odd = self.node("Where", &[&small, &series, &difference], &[]);
                let half = self.constant(0.5);
                self.named("Add", &[&odd, &half], &[], "means");
            }
            Likelihood::DiscretisedLogistic => {
                let reach = 0.5 / LOGISTIC_SCALE;
                let (least, most) = (self.constant(-100.0), self.constant(100.0));
                let at = self.node("Clip", &[l, &least, &most], &[]);
                let at = self.node("Neg", &[&at], &[]);
                let below = self.with("Add", &at, reach);
                let below = self.node("Softplus", &[&below], &[]);
                let above = self.with("Add", &at, -reach);
                let above = self.node("Softplus", &[&above], &[]);
                let difference = self.node("Sub", &[&below, &above], &[]);
                let scaled = self.with("Mul", &difference, -LOGISTIC_SCALE);
                let mean = self.with("Add", &scaled, 1.0);
                let (zero, one) = (self.constant(0.0), self.constant(1.0));
                self.named("Clip", &[&mean, &zero, &one], &[], "means");
            }
        }
    }

    /// The bytes of a file.
    fn file(self, name: &str) -> Vec<u8> {
        let graph = self.message.bytes(2, name);
        let opset = Message::new().bytes(1, "").int(2, OPSET);
        let model = Message::new()
            .int(1, IR_VERSION)
            .bytes(2, "catvae")
            .bytes(3, env!("CARGO_PKG_VERSION"));
        model.message(8, &opset).message(7, &graph).as_bytes().to_owned()
    }
}

fn check(code: Code) -> Result<()> {
    ensure!(code == Code::Categories, "the ONNX files hold codes of categories, not `{code}`");
    Ok(())
}

/// `pixels (batch, n_pixels)` to `logits`, `probabilities (batch, n_latents, n_categories)` and `codes (batch, n_latents)`.
pub(crate) fn encoder(model: &CategoricalVae) -> Result<Vec<u8>> {
    let config = model.settings();
    check(config.code)?;
    let [l, k] = [config.n_latents, config.n_categories];
    let layered = model.layered().context("the model is not made of layers")?;
    let mut graph = Graph::default();
    let logits = graph.layers(&layered.encoder, &model.parameters(), "pixels")?;
    let logits = graph.reshape(&logits, &[-1, l as i64, k as i64]);
    graph.named("Identity", &[&logits], &[], "logits");
    graph.named("Softmax", &[&logits], &[Int("axis", 2)], "probabilities");
    graph.named("ArgMax", &[&logits], &[Int("axis", 2), Int("keepdims", 0)], "codes");
    graph.declare(11, "pixels", FLOAT, &[config.n_pixels()]);
    graph.declare(12, "logits", FLOAT, &[l, k]);
    graph.declare(12, "probabilities", FLOAT, &[l, k]);
    graph.declare(12, "codes", INT64, &[l]);
    Ok(graph.file("encoder"))
}

/// `codes (batch, n_latents)` to `logits` and `means (batch, n_pixels)`.
pub(crate) fn decoder(model: &CategoricalVae) -> Result<Vec<u8>> {
    let config = model.settings();
    check(config.code)?;
    let [l, k] = [config.n_latents, config.n_categories];
    let layered = model.layered().context("the model is not made of layers")?;
    let parameters = model.parameters();
    let of_decoder = &parameters[2 * layered.encoder.layers().len()..];
    let mut graph = Graph::default();
    graph.tensor("depth", &[], INT64, &(k as i64).to_le_bytes());
    graph.tensor("off_on", &[2], FLOAT, &[0_f32.to_le_bytes(), 1_f32.to_le_bytes()].concat());
    let z = graph.node("OneHot", &["codes", "depth", "off_on"], &[Int("axis", -1)]);
    let z = graph.reshape(&z, &[-1, (l * k) as i64]);
    let logits = graph.layers(&layered.decoder, of_decoder, &z)?;
    graph.named("Identity", &[&logits], &[], "logits");
    graph.means(layered.likelihood, &logits);
    graph.declare(11, "codes", INT64, &[l]);
    graph.declare(12, "logits", FLOAT, &[config.n_pixels()]);
    graph.declare(12, "means", FLOAT, &[config.n_pixels()]);
    Ok(graph.file("decoder"))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use catvae_model::{Conv, ModelConfig};
    use gumbel_core::Generator;

    use super::*;

    #[test]
    fn a_graph_names_every_parameter_and_what_goes_in_and_out() {
        for &likelihood in Likelihood::ALL {
            let network = Conv { channels: vec![2], hidden: vec![3] }.into();
            let config =
                ModelConfig { network, likelihood, ..ModelConfig::mlp([4, 6], &[], [2, 3]) };
            let model =
                CategoricalVae::initialise(&config, &Device::Cpu, &mut Generator::new(0)).unwrap();
            let files = [encoder(&model).unwrap(), decoder(&model).unwrap()];
            let has = |file: &[u8], name: &str| {
                file.windows(name.len()).any(|part| part == name.as_bytes())
            };
            for parameter in model.parameters() {
                let is_encoders = parameter.name.starts_with("encoder.");
                assert_eq!(has(&files[0], &parameter.name), is_encoders, "{}", parameter.name);
                assert_eq!(has(&files[1], &parameter.name), !is_encoders, "{}", parameter.name);
            }
            for name in ["pixels", "probabilities", "codes", "ArgMax", "Conv", "Reshape", "batch"] {
                assert!(has(&files[0], name), "{name}");
            }
            for name in ["codes", "OneHot", "ConvTranspose", "means", "batch"] {
                assert!(has(&files[1], name), "{name}");
            }
        }
    }
}
