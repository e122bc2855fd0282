//! Log-densities, entropies, moments and divergences against figures computed by PyTorch and in 60 digits.
//!
//! Regenerate `distributions.json` with the script beside it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod structures;

use candle_core::{DType, Device, Tensor};
use gumbel_core::distributions::{
    Bernoulli, Categorical, ExpRelaxedOneHotCategorical, Gumbel, LogitRelaxedBernoulli,
    OneHotCategorical, RelaxedBernoulli, RelaxedOneHotCategorical,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    torch: String,
    cases: Vec<Case>,
}

/// One distribution at one set of parameters; a value of `None` is `-inf`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    distribution: String,
    source: String,
    n_classes: usize,
    logits: Vec<Option<f64>>,
    value: Vec<Option<f64>>,
    log_prob: Vec<f64>,
    temperature: Option<f64>,
    scale: Option<Vec<f64>>,
    other: Option<Vec<f64>>,
    other_scale: Option<Vec<f64>>,
    entropy: Option<Vec<f64>>,
    mean: Option<Vec<f64>>,
    variance: Option<Vec<f64>>,
    kl: Option<Vec<f64>>,
}

impl Case {
    /// Rows of classes for the vector distributions, a list for the others.
    fn tensor(&self, values: &[f64], dtype: DType) -> Tensor {
        let t = Tensor::new(values, &Device::Cpu).unwrap();
        let t = if self.n_classes > 1 { t.reshape(((), self.n_classes)).unwrap() } else { t };
        t.to_dtype(dtype).unwrap()
    }

    fn with_masks(&self, values: &[Option<f64>], dtype: DType) -> Tensor {
        let values: Vec<f64> = values.iter().map(|v| v.unwrap_or(f64::NEG_INFINITY)).collect();
        self.tensor(&values, dtype)
    }

    fn check(&self, what: &str, got: Tensor, expected: &[f64], tolerance: f64) {
        let got =
            got.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(got.len(), expected.len());
        for (i, (g, e)) in got.iter().zip(expected).enumerate() {
            let name = format!(
                "{} ({}) {what} {i}, temperature {:?}",
                self.distribution, self.source, self.temperature
            );
            assert!((g - e).abs() <= tolerance * (1.0 + e.abs()), "{name}: {g}, expected {e}");
        }
    }

    fn run(&self, dtype: DType, tolerance: f64) {
        let logits = self.with_masks(&self.logits, dtype);
        let value = self.with_masks(&self.value, dtype);
        let tau = self.temperature.unwrap_or(1.0);
        let log_prob = match self.distribution.as_str() {
            "OneHotCategorical" => {
                let d = OneHotCategorical::from_logits(&logits).unwrap();
                let other = self.tensor(self.other.as_ref().unwrap(), dtype);
                let other = OneHotCategorical::from_logits(&other).unwrap();
                self.moments(
                    [d.entropy(), d.mean(), d.variance(), d.kl_divergence(&other)],
                    tolerance,
                );
                // The indices' distribution is the same one.
                let indices = value.argmax(1).unwrap();
                let c = Categorical::from_logits(&logits).unwrap();
                self.check(
                    "index log_prob",
                    c.log_prob(&indices).unwrap(),
                    &self.log_prob,
                    tolerance,
                );
                d.log_prob(&value)
            }
            "Bernoulli" => {
                let d = Bernoulli::from_logits(&logits).unwrap();
                let other = self.tensor(self.other.as_ref().unwrap(), dtype);
                let other = Bernoulli::from_logits(&other).unwrap();
                self.moments(
                    [d.entropy(), d.mean(), d.variance(), d.kl_divergence(&other)],
                    tolerance,
                );
                d.log_prob(&value)
            }
            "Gumbel" => {
                let of = |v: &Option<Vec<f64>>| self.tensor(v.as_ref().unwrap(), dtype);
                let d = Gumbel::new(&logits, &of(&self.scale)).unwrap();
                let other = Gumbel::new(&of(&self.other), &of(&self.other_scale)).unwrap();
                self.moments(
                    [d.entropy(), d.mean(), d.variance(), d.kl_divergence(&other)],
                    tolerance,
                );
                d.log_prob(&value)
            }
            "ExpRelaxedOneHotCategorical" => {
                ExpRelaxedOneHotCategorical::from_logits(tau, &logits).unwrap().log_prob(&value)
            }
            "RelaxedOneHotCategorical" => {
                RelaxedOneHotCategorical::from_logits(tau, &logits).unwrap().log_prob(&value)
            }
            "LogitRelaxedBernoulli" => {
                LogitRelaxedBernoulli::from_logits(tau, &logits).unwrap().log_prob(&value)
            }
            "RelaxedBernoulli" => {
                RelaxedBernoulli::from_logits(tau, &logits).unwrap().log_prob(&value)
            }
            other => panic!("distribution {other} is not tested"),
        };
        self.check("log_prob", log_prob.unwrap(), &self.log_prob, tolerance);
    }

    fn moments(&self, got: [gumbel_core::Result<Tensor>; 4], tolerance: f64) {
        let [entropy, mean, variance, kl] = got;
        self.check("entropy", entropy.unwrap(), self.entropy.as_ref().unwrap(), tolerance);
        self.check("mean", mean.unwrap(), self.mean.as_ref().unwrap(), tolerance);
        self.check("variance", variance.unwrap(), self.variance.as_ref().unwrap(), tolerance);
        self.check("kl", kl.unwrap(), self.kl.as_ref().unwrap(), tolerance);
    }
}

fn goldens() -> Goldens {
    let goldens: Goldens = serde_json::from_str(include_str!("distributions.json")).unwrap();
    assert!(goldens.torch.starts_with("2.") && goldens.cases.len() > 20);
    goldens
}

#[test]
fn double_precision_agrees_with_pytorch_and_with_sixty_digits() {
    for case in &goldens().cases {
        // Sums of up to 1,000 terms that cancel: some hundred units of 1.1e-16.
        case.run(DType::F64, 1e-12);
    }
}

#[test]
fn single_precision_agrees_to_its_own_digits() {
    for case in &goldens().cases {
        let representable = |v: &Option<f64>| v.is_none_or(|v| v == 0.0 || v.abs() > 1e-37);
        // What f32 cannot hold is clamped to what it can, and then the figures differ by design.
        if !case.value.iter().all(representable) || case.distribution == "RelaxedBernoulli" {
            continue;
        }
        // Inputs are rounded to 6e-8 relative; logits of 80 and values of 1e4 / τ multiply that.
        case.run(DType::F32, 5e-5);
    }
}

#[test]
fn half_precision_goes_in_and_out_and_is_computed_in_single() {
    for dtype in [DType::F16, DType::BF16] {
        let logits =
            Tensor::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let wide = logits.to_dtype(DType::F32).unwrap();
        // Half of the last place of f16 (11 bits) and bf16 (8 bits).
        let tolerance = if dtype == DType::F16 { 2f64.powi(-11) } else { 2f64.powi(-8) };
        let x =
            Tensor::new(&[[-1.0f32, -2.0, -0.7]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let narrow =
            ExpRelaxedOneHotCategorical::from_logits(0.5, &logits).unwrap().log_prob(&x).unwrap();
        let x = x.to_dtype(DType::F32).unwrap();
        let exact =
            ExpRelaxedOneHotCategorical::from_logits(0.5, &wide).unwrap().log_prob(&x).unwrap();
        assert_eq!(narrow.dtype(), dtype);
        let number = |t: Tensor| t.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()[0];
        let (narrow, exact) = (number(narrow), number(exact));
        assert!((narrow - exact).abs() <= tolerance * exact.abs(), "{dtype:?}: {narrow} {exact}");
    }
}
