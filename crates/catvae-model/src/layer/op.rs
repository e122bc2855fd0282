//! A layer as one operation on tensors.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use gumbel_core::op::{Value, read_slices, with_gradient};

use super::{Activation, Layer};
use crate::Result;

/// `layer(x)`: its slices for f32 on the CPU, candle's operations for everything else.
///
/// # Shapes
/// - x: `(batch, inputs)`; output: `(batch, outputs)`.
///
/// # Gradient
/// For x, weight and bias; none is computed for an `x` that needs none.
///
/// # Errors
/// A shape error when the sizes do not fit.
pub(crate) fn apply(
    layer: &Arc<dyn Layer>,
    weight: &Tensor,
    bias: &Tensor,
    x: &Tensor,
) -> Result<Tensor> {
    if !(x.device().is_cpu() && [x, weight, bias].iter().all(|t| t.dtype() == DType::F32)) {
        return plain(layer.as_ref(), weight, bias, x);
    }
    let (batch, _) = x.dims2()?;
    let mut y = vec![0.0; batch * layer.outputs()];
    read_slices([x, weight, bias], |[x, weight, bias]| {
        Ok(layer.forward(weight, bias, batch, x, &mut y)?)
    })?;
    let y = Value::Slice(y, (batch, layer.outputs()).into());
    let layer = layer.clone();
    let inputs = [x, weight, bias];
    Ok(with_gradient("layer", y, inputs, move |inputs, y, dy| backward(&layer, inputs, y, dy))?)
}

fn backward(
    layer: &Arc<dyn Layer>,
    [x, weight, bias]: [&Tensor; 3],
    y: &Tensor,
    dy: &Tensor,
) -> gumbel_core::Result<[Option<Tensor>; 3]> {
    let batch = x.dim(0)?;
    let dy = match layer.activation() {
        Activation::Identity => dy.clone(),
        Activation::Relu => y.gt(0_f64)?.where_cond(dy, &dy.zeros_like()?)?,
    };
    let wanted = x.track_op();
    let mut d_x = vec![0.0; if wanted { x.elem_count() } else { 0 }];
    let mut d_weight = vec![0.0; weight.elem_count()];
    let mut d_bias = vec![0.0; bias.elem_count()];
    read_slices([x, weight, &dy], |[x, weight, dy]| {
        if wanted {
            layer.input_gradient(weight, batch, dy, None, &mut d_x)?;
        }
        Ok(layer.parameter_gradient(batch, x, dy, false, &mut d_weight, &mut d_bias)?)
    })?;
    let like = |values, input: &Tensor| Tensor::from_vec(values, input.shape(), input.device());
    let d_x = if wanted { Some(like(d_x, x)?) } else { None };
    Ok([d_x, Some(like(d_weight, weight)?), Some(like(d_bias, bias)?)])
}

/// The same in candle's operations, and the oracle of the tests.
fn plain(layer: &dyn Layer, weight: &Tensor, bias: &Tensor, x: &Tensor) -> Result<Tensor> {
    let y = layer.product(weight, bias, x)?;
    Ok(match layer.activation() {
        Activation::Identity => y,
        // Not candle's relu, whose gradient at 0 is 1.
        Activation::Relu => y.gt(0_f64)?.where_cond(&y, &y.zeros_like()?)?,
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use gumbel_core::Generator;
    use proptest::prelude::*;

    use super::super::{Conv2d, ConvSize, ConvTranspose2d, Linear, Precision};
    use super::*;

    /// Whole numbers, so that products are exact and even a ReLU's zero is hit.
    fn lattice(shape: &[usize], generator: &mut Generator) -> Var {
        let unit = gumbel_core::uniform(shape, DType::F32, &Device::Cpu, generator).unwrap();
        Var::from_tensor(&unit.affine(8.0, -4.0).unwrap().round().unwrap()).unwrap()
    }

    type Values = Vec<Vec<f32>>;

    /// Output and gradients for x, weight and bias, by slices and in candle's operations.
    fn both(layer: Arc<dyn Layer>, batch: usize, seed: u64) -> (Values, Values) {
        let mut g = Generator::new(seed);
        let x = lattice(&[batch, layer.inputs()], &mut g);
        let weight = lattice(&layer.weight_shape(), &mut g);
        let bias = lattice(&[layer.bias_len()], &mut g);
        let upstream = lattice(&[batch, layer.outputs()], &mut g);
        let run = |y: Tensor| {
            let loss = (&y * upstream.as_tensor()).unwrap().sum_all().unwrap();
            let gradients = loss.backward().unwrap();
            let of = |v: &Var| gradients.get(v).unwrap().clone();
            let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            [y, of(&x), of(&weight), of(&bias)].map(flat).to_vec()
        };
        let fast = run(apply(&layer, &weight, &bias, &x).unwrap());
        (fast, run(plain(layer.as_ref(), &weight, &bias, &x).unwrap()))
    }

    fn activation(relu: bool) -> Activation {
        if relu { Activation::Relu } else { Activation::Identity }
    }

    proptest! {
        #[test]
        fn a_linear_layer_is_candles(
            batch in 1_usize..40, inputs in 1_usize..50, outputs in 1_usize..50, relu: bool, seed: u64,
        ) {
            let layer = Linear { inputs, outputs, activation: activation(relu), precision: Precision::F32 };
            let (fast, plain) = both(Arc::new(layer), batch, seed);
            prop_assert_eq!(fast, plain);
        }

        #[test]
        fn convolutions_both_ways_are_candles(
            batch in 1_usize..5, large in 1_usize..4, small in 1_usize..4, half in 2_usize..6,
            relu: bool, transposed: bool, seed: u64,
        ) {
            let size = ConvSize {
                large: [large, 2 * half, 2 * half], small: [small, half, half], kernel: 4, stride: 2, padding: 1,
            };
            let activation = activation(relu);
            let layer: Arc<dyn Layer> = match transposed {
                true => Arc::new(ConvTranspose2d { size, activation }),
                false => Arc::new(Conv2d { size, activation }),
            };
            let (fast, plain) = both(layer, batch, seed);
            prop_assert_eq!(fast, plain);
        }
    }

    #[test]
    fn an_input_that_is_not_contiguous_is_taken_as_it_looks() {
        let x = Tensor::new(&[[1_f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[[1_f32, -1.0]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.5_f32], &Device::Cpu).unwrap();
        let layer = Linear {
            inputs: 2,
            outputs: 1,
            activation: Activation::Identity,
            precision: Precision::F32,
        };
        let y = apply(&(Arc::new(layer) as _), &weight, &bias, &x.t().unwrap()).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[-2.5], [-2.5], [-2.5]]);
    }

    #[test]
    fn relu_has_gradient_zero_at_zero() {
        let x = Var::new(&[[1.0_f32], [0.0], [-1.0]], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[[2.0_f32]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.0_f32], &Device::Cpu).unwrap();
        let layer = Linear {
            inputs: 1,
            outputs: 1,
            activation: Activation::Relu,
            precision: Precision::F32,
        };
        let y = apply(&(Arc::new(layer) as _), &weight, &bias, &x).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[2.0], [0.0], [0.0]]);
        let gradients = y.backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gradient, [[2.0], [0.0], [0.0]]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let layer: Arc<dyn Layer> = Arc::new(Linear {
            inputs: 3,
            outputs: 4,
            activation: Activation::Relu,
            precision: Precision::F32,
        });
        for (x, weight, bias) in [([2, 5], [4, 3], 4), ([2, 3], [4, 5], 4), ([2, 3], [4, 3], 5)] {
            let y = apply(&layer, &zeros(&weight), &zeros(&[bias]), &zeros(&x));
            assert!(y.is_err());
        }
    }
}
