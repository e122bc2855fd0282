//! Tests of all estimators side by side.
//!
//! Statistical tests compare the mean of many draws with a value computed otherwise, coordinate by
//! coordinate, in units of the sample's standard error. The bound of 4.5 is passed by chance with
//! probability α = 7e-6 a comparison; some 300 comparisons make 2e-3 in all. Seeds are fixed.

mod contracts;
mod fused;
mod means;
mod unbiased;
mod variances;

use candle_core::{D, DType, Device, Tensor, Var};

use super::{Estimator, EstimatorState};
use crate::{Generator, Result};

/// Bound on the distance of a mean from its expectation, in standard errors.
const STANDARD_ERRORS: f64 = 4.5;

/// A loss over `z` of any number of latents and categories, flattened: smooth, and far from linear.
#[derive(Clone)]
struct TestLoss {
    /// `e^(w·z)`.
    w: Vec<f64>,
    /// `(v·z)²`.
    v: Vec<f64>,
    /// How much of the exponential there is; without it the loss is quadratic.
    exponential: f64,
}

impl TestLoss {
    fn smooth(n: usize) -> Self {
        Self { exponential: 1.0, ..Self::quadratic(n) }
    }

    /// Quadratic, with products between latents.
    fn quadratic(n: usize) -> Self {
        let w = (0..n).map(|i| 1.6 * (1.3 * i as f64).sin()).collect();
        let v = (0..n).map(|i| 1.5 * (0.9 * i as f64 + 0.4).cos() + 0.3).collect();
        Self { w, v, exponential: 0.0 }
    }

    fn value(&self, z: &[f64]) -> f64 {
        self.exponential * dot(&self.w, z).exp() + dot(&self.v, z).powi(2)
    }

    fn gradient(&self, z: &[f64]) -> Vec<f64> {
        let (e, d) = (self.exponential * dot(&self.w, z).exp(), 2.0 * dot(&self.v, z));
        self.w.iter().zip(&self.v).map(|(w, v)| e * w + d * v).collect()
    }

    /// The same on tensors `(batch, n_latents, n_categories)`.
    fn on(&self, z: &Tensor) -> Result<Tensor> {
        let along = |weights: &[f64]| -> Result<Tensor> {
            let weights = Tensor::new(weights, z.device())?.to_dtype(z.dtype())?;
            Ok(z.flatten_from(1)?.broadcast_mul(&weights)?.sum(D::Minus1)?)
        };
        Ok(((along(&self.w)?.exp()? * self.exponential)? + along(&self.v)?.sqr()?)?)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn softmax(logits: &[f64], tau: f64) -> Vec<f64> {
    let e: Vec<f64> = logits.iter().map(|l| (l / tau).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|e| e / sum).collect()
}

/// `(diag p - p pᵀ) g`.
fn jacobian(p: &[f64], g: &[f64]) -> Vec<f64> {
    let mean = dot(p, g);
    p.iter().zip(g).map(|(p, g)| p * (g - mean)).collect()
}

fn unit(n: usize, i: usize) -> Vec<f64> {
    (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect()
}

/// `Σ_i weights_i x_i`.
fn combine(terms: impl IntoIterator<Item = (f64, Vec<f64>)>) -> Vec<f64> {
    let mut sum = Vec::new();
    for (weight, x) in terms {
        sum.resize(x.len(), 0.0);
        sum.iter_mut().zip(x).for_each(|(s, x)| *s += weight * x);
    }
    sum
}

/// The gradient of the expected loss, summed over all codes in plain f64: `Σ_c p(c) f(c) (c - p)`.
fn exact_gradient(logits: &[f64], n_categories: usize, loss: &TestLoss) -> Vec<f64> {
    let p: Vec<f64> = logits.chunks(n_categories).flat_map(|row| softmax(row, 1.0)).collect();
    let n_latents = logits.len() / n_categories;
    let codes = (0..n_categories.pow(n_latents as u32)).map(|mut code| {
        let mut z = vec![0.0; logits.len()];
        for latent in 0..n_latents {
            z[latent * n_categories + code % n_categories] = 1.0;
            code /= n_categories;
        }
        let probability: f64 =
            z.iter().zip(&p).filter(|(z, _)| **z > 0.0).map(|(_, p)| p).product();
        let score: Vec<f64> = z.iter().zip(&p).map(|(z, p)| z - p).collect();
        (probability * loss.value(&z), score)
    });
    combine(codes)
}

/// Gradients of single draws, one per row.
struct Draws {
    gradients: Vec<Vec<f64>>,
}

impl Draws {
    /// Draws `n_draws` times at the same logits, all in one batch.
    fn of(
        estimator: Estimator,
        state: &mut EstimatorState,
        logits: &[f64],
        n_categories: usize,
        tau: f64,
        loss: &TestLoss,
        (n_draws, seed): (usize, u64),
    ) -> Self {
        let n_latents = logits.len() / n_categories;
        let tiled = logits.repeat(n_draws);
        let tiled = Tensor::from_vec(tiled, (n_draws, n_latents, n_categories), &Device::Cpu);
        let var = Var::from_tensor(&tiled.unwrap()).unwrap();
        let mut f = |z: &Tensor| loss.on(z);
        let mut g = Generator::new(seed);
        let objective = estimator.objective(state, &var, tau, &mut g, &mut f).unwrap();
        let grads = objective.surrogate.sum_all().unwrap().backward().unwrap();
        let gradients = grads.get(&var).unwrap().flatten_from(1).unwrap().to_vec2().unwrap();
        Self { gradients }
    }

    fn mean(&self) -> Vec<f64> {
        let n = self.gradients.len() as f64;
        combine(self.gradients.iter().map(|g| (1.0 / n, g.clone())))
    }

    /// The variance of each coordinate.
    fn variance(&self) -> Vec<f64> {
        let (n, mean) = (self.gradients.len() as f64, self.mean());
        combine(self.gradients.iter().map(|g| {
            (1.0 / (n - 1.0), g.iter().zip(&mean).map(|(g, m)| (g - m).powi(2)).collect())
        }))
    }

    fn total_variance(&self) -> f64 {
        self.variance().iter().sum()
    }

    /// The distance of the mean from a vector: the largest over the coordinates, in standard errors.
    fn distance(&self, expected: &[f64]) -> f64 {
        let n = self.gradients.len() as f64;
        let (mean, variance) = (self.mean(), self.variance());
        assert_eq!(mean.len(), expected.len());
        // Rounding matters where the variance vanishes: 1e-12 is far above it and below every effect.
        let off = |i: usize| (mean[i] - expected[i]).abs() / ((variance[i] / n).sqrt() + 1e-12);
        (0..mean.len()).map(off).fold(0.0, f64::max)
    }
}

pub(super) fn assert_close(name: &str, a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "{name}[{i}]: {a} against {b}");
    }
}

/// A tensor as f64 values.
pub(super) fn values(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}
