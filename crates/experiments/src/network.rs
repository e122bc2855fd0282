//! Layers whose weights a seed decides, and the draws that data are made of.

use std::f64::consts::TAU;

use anyhow::Result;
use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use gumbel_core::{Generator, uniform};

/// Standard normal values, by Box and Muller.
pub(crate) fn normal(shape: impl Into<Shape>, dtype: DType, g: &mut Generator) -> Result<Tensor> {
    let shape = shape.into();
    let mut draw = || uniform(shape.clone(), dtype, &Device::Cpu, g);
    let radius = (draw()?.log()? * -2.0)?.sqrt()?;
    Ok((radius * (draw()? * TAU)?.cos()?)?)
}

/// Adam without weight decay.
pub(crate) fn adam(parameters: Vec<Var>, lr: f64) -> Result<AdamW> {
    Ok(AdamW::new(parameters, ParamsAdamW { lr, weight_decay: 0.0, ..Default::default() })?)
}

/// Dense layers, with weights and biases of f32 from `U(-1/√inputs, 1/√inputs)`.
#[derive(Clone)]
pub(crate) struct Mlp {
    layers: Vec<(Var, Var)>,
    activation: fn(&Tensor) -> candle_core::Result<Tensor>,
}

impl Mlp {
    /// Layers from each size to the next, with the activation between them.
    pub(crate) fn new(
        sizes: &[usize],
        activation: fn(&Tensor) -> candle_core::Result<Tensor>,
        g: &mut Generator,
    ) -> Result<Self> {
        let mut layers = Vec::new();
        for pair in sizes.windows(2) {
            let bound = (pair[0] as f64).powf(-0.5);
            let mut draw = |shape: &[usize]| -> Result<Var> {
                let x = uniform(shape, DType::F32, &Device::Cpu, g)?;
                Ok(Var::from_tensor(&x.affine(2.0 * bound, -bound)?)?)
            };
            layers.push((draw(pair)?, draw(&pair[1..])?));
        }
        Ok(Self { layers, activation })
    }

    /// `(rows, inputs)` to `(rows, outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (at, (weight, bias)) in self.layers.iter().enumerate() {
            if at > 0 {
                x = (self.activation)(&x)?;
            }
            x = x.matmul(weight)?.broadcast_add(bias)?;
        }
        Ok(x)
    }

    pub(crate) fn parameters(&self) -> Vec<Var> {
        self.layers.iter().flat_map(|(weight, bias)| [weight.clone(), bias.clone()]).collect()
    }
}
