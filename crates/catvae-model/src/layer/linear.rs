//! One layer: product, bias and activation as a single operation.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};
use gumbel_kernels::{LinearShape, linear_forward, linear_input_gradient, linear_weight_gradient};

use crate::Result;
use crate::cpu::{f32_slice, kernel_error};

/// What follows a layer's product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`, with gradient 0 at 0 as in PyTorch.
    Relu,
}

/// `activation(x · weightᵀ + bias)`.
///
/// f32 on the CPU runs through our own kernels, everything else through candle's operations.
///
/// # Shapes
/// - x: `(batch, in_features)`; weight: `(out_features, in_features)`, PyTorch's layout;
///   bias: `(out_features,)`; output: `(batch, out_features)`.
///
/// # Gradient
/// With respect to x, weight and bias; none is computed for an `x` that needs none.
///
/// # Errors
/// A shape error of candle when the sizes do not fit.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    if x.device().is_cpu() && [x, weight, bias].iter().all(|t| t.dtype() == DType::F32) {
        let x = x.contiguous()?;
        return Ok(x.apply_op3(
            &weight.contiguous()?,
            &bias.contiguous()?,
            Linear { activation },
        )?);
    }
    plain(x, weight, bias, activation)
}

/// The same in candle's operations: for other devices and types, and the oracle of the tests.
fn plain(x: &Tensor, weight: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let output = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
    Ok(match activation {
        Activation::Identity => output,
        // Not candle's relu, whose gradient at 0 is 1.
        Activation::Relu => output.gt(0_f64)?.where_cond(&output, &output.zeros_like()?)?,
    })
}

impl From<Activation> for gumbel_kernels::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Identity => Self::Identity,
            Activation::Relu => Self::Relu,
        }
    }
}

struct Linear {
    activation: Activation,
}

impl Linear {
    fn shape(x: &Shape, weight: &Shape, bias: &Shape) -> candle_core::Result<LinearShape> {
        let (batch, inputs) = x.dims2()?;
        let (outputs, weight_inputs) = weight.dims2()?;
        if weight_inputs != inputs || bias.dims() != [outputs] {
            return Err(candle_core::Error::ShapeMismatchBinaryOp {
                lhs: x.clone(),
                rhs: weight.clone(),
                op: "linear",
            });
        }
        Ok(LinearShape { batch, inputs, outputs })
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = Self::shape(x_layout.shape(), weight_layout.shape(), bias_layout.shape())?;
        let mut y = vec![0.0; shape.batch * shape.outputs];
        linear_forward(
            shape,
            f32_slice(x, x_layout)?,
            f32_slice(weight, weight_layout)?,
            Some(f32_slice(bias, bias_layout)?),
            self.activation.into(),
            &mut y,
        )
        .map_err(kernel_error)?;
        Ok((CpuStorage::F32(y), (shape.batch, shape.outputs).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = Self::shape(x.shape(), weight.shape(), bias.shape())?;
        let dy = match self.activation {
            Activation::Identity => dy.contiguous()?,
            Activation::Relu => y.gt(0_f64)?.where_cond(dy, &dy.zeros_like()?)?,
        };
        let (dy_storage, dy_layout) = dy.storage_and_layout();
        let dy = crate::cpu::tensor_slice(&dy_storage, dy_layout)?;

        let d_x = if x.track_op() {
            let (storage, layout) = weight.storage_and_layout();
            let weight = crate::cpu::tensor_slice(&storage, layout)?;
            let mut d_x = vec![0.0; shape.batch * shape.inputs];
            linear_input_gradient(shape, dy, weight, None, &mut d_x).map_err(kernel_error)?;
            Some(Tensor::from_vec(d_x, x.shape(), x.device())?)
        } else {
            None
        };
        let (storage, layout) = x.storage_and_layout();
        let x_values = crate::cpu::tensor_slice(&storage, layout)?;
        let mut d_weight = vec![0.0; shape.outputs * shape.inputs];
        let mut d_bias = vec![0.0; shape.outputs];
        linear_weight_gradient(shape, dy, x_values, &mut d_weight, Some(&mut d_bias))
            .map_err(kernel_error)?;
        let d_weight = Tensor::from_vec(d_weight, weight.shape(), weight.device())?;
        let d_bias = Tensor::from_vec(d_bias, bias.shape(), bias.device())?;
        Ok((d_x, Some(d_weight), Some(d_bias)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use gumbel_core::Generator;
    use proptest::prelude::*;

    use super::*;

    /// Signs on a coarse lattice, so that products are exact and even a ReLU's zero is hit.
    fn lattice(shape: &[usize], generator: &mut Generator) -> Var {
        let unit = gumbel_core::uniform(shape, DType::F32, &Device::Cpu, generator).unwrap();
        Var::from_tensor(&unit.affine(8.0, -4.0).unwrap().round().unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn kernels_and_candle_agree_on_values_and_gradients(
            batch in 1_usize..40,
            inputs in 1_usize..50,
            outputs in 1_usize..50,
            relu: bool,
            seed: u64,
        ) {
            let mut generator = Generator::new(seed);
            let x = lattice(&[batch, inputs], &mut generator);
            let weight = lattice(&[outputs, inputs], &mut generator);
            let bias = lattice(&[outputs], &mut generator);
            let upstream = lattice(&[batch, outputs], &mut generator);
            let activation = if relu { Activation::Relu } else { Activation::Identity };
            let run = |f: fn(&Tensor, &Tensor, &Tensor, Activation) -> Result<Tensor>| {
                let y = f(x.as_tensor(), weight.as_tensor(), bias.as_tensor(), activation).unwrap();
                let gradients = (&y * upstream.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
                let of = |v: &Var| gradients.get(v).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                (y.to_vec2::<f32>().unwrap(), of(&x), of(&weight), of(&bias))
            };
            prop_assert_eq!(run(linear), run(plain));
        }
    }

    #[test]
    fn an_input_that_is_not_contiguous_is_taken_as_it_looks() {
        let x =
            Tensor::new(&[[1_f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap().t().unwrap();
        let weight = Tensor::new(&[[1_f32, -1.0]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.5_f32], &Device::Cpu).unwrap();
        let y = linear(&x, &weight, &bias, Activation::Identity).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[-2.5], [-2.5], [-2.5]]);
    }

    #[test]
    fn relu_has_gradient_zero_at_zero() {
        let x = Var::new(&[[1.0_f32], [0.0], [-1.0]], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[[2.0_f32]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.0_f32], &Device::Cpu).unwrap();
        let y = linear(&x, &weight, &bias, Activation::Relu).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[2.0], [0.0], [0.0]]);
        let gradients = y.backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gradient, [[2.0], [0.0], [0.0]]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        for (x, weight, bias) in [([2, 3], [4, 5], 4), ([2, 3], [4, 3], 5)] {
            assert!(
                linear(&zeros(&x), &zeros(&weight), &zeros(&[bias]), Activation::Relu).is_err()
            );
        }
    }
}
