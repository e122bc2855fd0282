//! The model, the losses and the optimisers against PyTorch.
//!
//! The files in `goldens/` hold fixed weights, images and Gumbel noise, and what PyTorch computes
//! from them. If a test fails after a wanted change of the set-up, write them again:
//! `cargo xtask golden` (it says how to install PyTorch).

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{D, Device, Tensor};
use catvae_model::{
    CategoricalVae, Conv, Likelihood, LogitsActivation, Model, ModelConfig, from_state_dict,
    kl_to_uniform_prior,
};
use catvae_train::{Optimizer, OptimizerKind};
use gumbel_core::{Temperature, gumbel_softmax_with_noise};

/// PyTorch's own float32 agrees with the goldens, which were computed in float64, to 2e-5.
const TOLERANCE: f64 = 1e-4;

const CASES: [&str; 8] = [
    "linear_relaxed",
    "linear_straight_through",
    "relu_relaxed",
    "relu_straight_through",
    "linear_relaxed_tau_half",
    "linear_straight_through_tau_half",
    "conv_relaxed",
    "conv_continuous",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn index() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder().join("goldens.json")).unwrap()).unwrap()
}

struct Case {
    tensors: HashMap<String, Tensor>,
    config: ModelConfig,
    hard: bool,
    temperature: Temperature,
}

impl Case {
    fn load(name: &str) -> Self {
        let index = index();
        let cases = index["cases"].as_array().unwrap();
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
        let numbers = |value: &serde_json::Value| -> Vec<usize> {
            value.as_array().unwrap().iter().map(number).collect()
        };
        let code = [number(&index["latents"]), number(&index["categories"])];
        let hidden = numbers(&index["hidden"]);
        let mut config = ModelConfig::mlp([1, number(&index["pixels"])], &hidden, code);
        if case["network"] == "conv" {
            let conv = &index["conv"];
            let (channels, hidden) = (numbers(&conv["channels"]), vec![number(&conv["hidden"])]);
            config.network = Conv { channels, hidden }.into();
            config.image_shape = [number(&conv["side"]); 2];
        }
        config.likelihood = Likelihood::named(case["likelihood"].as_str().unwrap()).unwrap();
        if case["logits"] == "relu" {
            config.logits = LogitsActivation::Relu;
        }
        let file = folder().join(case["file"].as_str().unwrap());
        Self {
            tensors: candle_core::safetensors::load(file, &Device::Cpu).unwrap(),
            config,
            hard: case["estimator"] == "straight_through",
            temperature: Temperature::new(case["temperature"].as_f64().unwrap()).unwrap(),
        }
    }

    fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("the golden file has no {name}"))
    }

    fn model(&self) -> CategoricalVae {
        let parameters = self.tensors.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix("params.")?.to_owned(), tensor.clone()))
        });
        from_state_dict(&self.config, parameters.collect(), &Device::Cpu).unwrap()
    }

    fn batch(&self, step: usize) -> (Tensor, Tensor) {
        let at = |name: &str| self.tensor(name).get(step).unwrap();
        (at("inputs.images"), at("inputs.gumbel"))
    }
}

struct Forward {
    encoder_logits: Tensor,
    z: Tensor,
    decoder_logits: Tensor,
    bce: Tensor,
    kl: Tensor,
    neg_elbo: Tensor,
}

fn forward(case: &Case, model: &CategoricalVae, step: usize) -> Forward {
    let (images, gumbel) = case.batch(step);
    let encoder_logits = model.encode(&images).unwrap();
    let temperature = case.temperature.clone();
    let z = gumbel_softmax_with_noise(&encoder_logits, &gumbel, temperature, case.hard, D::Minus1)
        .unwrap();
    let decoder_logits = model.decode(&z).unwrap();
    let bce = model.neg_log_likelihood(&z, &images).unwrap().mean(0).unwrap();
    let kl = model.kl(&encoder_logits).unwrap().mean(0).unwrap();
    let neg_elbo = (&bce + &kl).unwrap();
    Forward { encoder_logits, z, decoder_logits, bce, kl, neg_elbo }
}

/// |a − b| relative to |b|, where b is not less than a hundredth of its tensor's largest value: a
/// sum that cancels to nearly nothing has no relative accuracy in any f32 program.
fn assert_close(what: &str, actual: &Tensor, expected: &Tensor) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (actual, expected) = (values(actual), values(expected));
    let largest = expected.iter().fold(0_f64, |m, e| m.max(f64::from(e.abs())));
    for (i, (&a, &e)) in actual.iter().zip(&expected).enumerate() {
        let deviation = f64::from((a - e).abs());
        let allowed = TOLERANCE * (f64::from(e.abs()) + 1e-2 * largest);
        assert!(deviation <= allowed, "{what}[{i}] is {a:e}, PyTorch has {e:e}");
    }
}

#[test]
fn forward_values_and_both_losses_are_pytorchs() {
    for name in CASES {
        let case = Case::load(name);
        let forward = forward(&case, &case.model(), 0);
        let check = |what: &str, actual: &Tensor| {
            assert_close(
                &format!("{name}: {what}"),
                actual,
                case.tensor(&format!("forward.{what}")),
            );
        };
        check("encoder_logits", &forward.encoder_logits);
        check("z", &forward.z);
        check("decoder_logits", &forward.decoder_logits);
        check("bce_nats", &forward.bce);
        check("kl_nats", &forward.kl);
        check("neg_elbo_nats", &forward.neg_elbo);
    }
}

#[test]
fn the_gradient_of_every_parameter_is_pytorchs() {
    for name in CASES {
        let case = Case::load(name);
        let model = case.model();
        let gradients = forward(&case, &model, 0).neg_elbo.backward().unwrap();
        for parameter in model.parameters() {
            let gradient = gradients.get(parameter.var.as_tensor()).unwrap();
            let expected = case.tensor(&format!("grads.{}", parameter.name));
            assert_close(&format!("{name}: gradient of {}", parameter.name), gradient, expected);
        }
    }
}

#[test]
fn twenty_steps_of_each_optimizer_are_pytorchs() {
    for name in CASES {
        for (prefix, kind) in [("adam", OptimizerKind::Adam), ("radam", OptimizerKind::RAdam)] {
            let case = Case::load(name);
            let index = index();
            let learning_rate = index["optimizers"][prefix]["lr"].as_f64().unwrap();
            let model = case.model();
            let parameters = model.parameters();
            let mut optimizer = Optimizer::new(kind, learning_rate, &parameters).unwrap();
            let n_steps = index["steps"].as_u64().unwrap() as usize;
            for step in 0..n_steps {
                let total = forward(&case, &model, step).neg_elbo;
                let losses = case.tensor(&format!("{prefix}.neg_elbo_nats")).get(step).unwrap();
                assert_close(&format!("{name}: loss of {prefix} step {step}"), &total, &losses);
                let store = total.backward().unwrap();
                let gradients: Vec<_> = parameters
                    .iter()
                    .map(|p| store.get(p.var.as_tensor()).unwrap().clone())
                    .collect();
                optimizer.step(&parameters, &gradients).unwrap();
            }
            for parameter in &parameters {
                let expected = case.tensor(&format!("{prefix}.params.{}", parameter.name));
                let what = format!("{name}: {} after {n_steps} {prefix} steps", parameter.name);
                assert_close(&what, parameter.var.as_tensor(), expected);
            }
        }
    }
}

#[test]
fn losses_and_gradients_at_extreme_logits_are_pytorchs() {
    let goldens =
        candle_core::safetensors::load(folder().join("losses.safetensors"), &Device::Cpu).unwrap();
    for (name, loss) in [
        (
            "bce",
            Box::new(|l: &Tensor| Likelihood::Bernoulli.nll(l, &goldens["bce.images"]))
                as Box<dyn Fn(&Tensor) -> _>,
        ),
        (
            "continuous_bernoulli",
            Box::new(|l: &Tensor| {
                Likelihood::ContinuousBernoulli.nll(l, &goldens["continuous_bernoulli.images"])
            }),
        ),
        ("kl", Box::new(kl_to_uniform_prior)),
    ] {
        let logits = candle_core::Var::from_tensor(&goldens[&format!("{name}.logits")]).unwrap();
        let value = loss(logits.as_tensor()).unwrap().mean(0).unwrap();
        assert_close(name, &value, &goldens[&format!("{name}.nats")]);
        let gradients = value.backward().unwrap();
        let gradient = gradients.get(&logits).unwrap();
        assert_close(&format!("gradient of {name}"), gradient, &goldens[&format!("{name}.grad")]);
    }
}
