//! Gradients of the table against central differences, and of straight-through values against their soft ones.

use candle_core::{DType, Device, Tensor};
use gumbel_core::distributions::{
    OneHotCategorical, RelaxedBernoulli, RelaxedOneHotCategorical, StraightThrough,
};
use gumbel_core::{Generator, gumbel_sigmoid, gumbel_softmax};

use crate::table::{Entry, table};

/// A fixed, uneven weighting, so that no symmetry hides an error.
fn weighted_sum(y: &Tensor) -> Tensor {
    let weights: Vec<f64> = (0..y.elem_count()).map(|i| (1.0 + 1.3 * i as f64).sin()).collect();
    let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu).unwrap();
    (y.to_dtype(DType::F64).unwrap() * weights).unwrap().sum_all().unwrap()
}

fn loss(entry: &Entry, inputs: &[Tensor]) -> f64 {
    weighted_sum(&(entry.run)(inputs).unwrap()).to_scalar().unwrap()
}

fn list(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_input_of_every_function_is_in_the_gradient_store() {
    for entry in table() {
        let inputs: Vec<Tensor> = entry.inputs.iter().map(|(_, v)| v.as_tensor().clone()).collect();
        let grads = weighted_sum(&(entry.run)(&inputs).unwrap()).backward().unwrap();
        for (input, var) in &entry.inputs {
            let grad =
                grads.get(var).unwrap_or_else(|| panic!("{}: no gradient for {input}", entry.name));
            let grad = list(grad);
            assert!(grad.iter().all(|g| g.is_finite()), "{} {input}: {grad:?}", entry.name);
            assert!(grad.iter().any(|&g| g != 0.0), "{} {input}: all zero", entry.name);
        }
    }
}

#[test]
fn gradients_equal_central_differences() {
    for entry in table().into_iter().filter(|e| e.differentiable) {
        let inputs: Vec<Tensor> = entry.inputs.iter().map(|(_, v)| v.as_tensor().clone()).collect();
        let grads = weighted_sum(&(entry.run)(&inputs).unwrap()).backward().unwrap();
        for (i, (input, var)) in entry.inputs.iter().enumerate() {
            let grad = list(grads.get(var).unwrap());
            let at = list(var.as_tensor());
            for (k, &g) in grad.iter().enumerate() {
                let h = 1e-5;
                let shifted = |by: f64| {
                    let mut moved = at.clone();
                    moved[k] += by;
                    let mut inputs: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
                    inputs[i] = Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap();
                    loss(&entry, &inputs)
                };
                let difference = (shifted(h) - shifted(-h)) / (2.0 * h);
                // Truncation is h² times a third derivative (to some hundreds near the simplex' edge),
                // rounding 1e-16 of the loss over h.
                let tolerance = 1e-7 * (1.0 + g.abs());
                assert!(
                    (g - difference).abs() < tolerance,
                    "{} {input} {k}: {g}, difference {difference}",
                    entry.name
                );
            }
        }
    }
}

#[test]
fn straight_through_samples_have_the_gradient_of_their_soft_form() {
    let make =
        || candle_core::Var::new(&[[0.3f64, -1.2, 0.8], [2.0, 0.1, -0.4]], &Device::Cpu).unwrap();
    let grad = |f: &dyn Fn(&Tensor, &mut Generator) -> gumbel_core::Result<Tensor>| {
        let x = make();
        let y = f(x.as_tensor(), &mut Generator::new(3)).unwrap();
        list(weighted_sum(&y).backward().unwrap().get(&x).unwrap())
    };
    for (hard, soft) in [
        (
            grad(&|x, g| gumbel_softmax(x, 0.6, true, 1, g)),
            grad(&|x, g| gumbel_softmax(x, 0.6, false, 1, g)),
        ),
        (
            grad(&|x, g| gumbel_sigmoid(x, 0.6, true, g)),
            grad(&|x, g| gumbel_sigmoid(x, 0.6, false, g)),
        ),
        (
            grad(&|x, g| {
                StraightThrough::new(RelaxedOneHotCategorical::from_logits(0.6, x)?).rsample(3, g)
            }),
            grad(&|x, g| RelaxedOneHotCategorical::from_logits(0.6, x)?.rsample(3, g)),
        ),
        (
            grad(&|x, g| {
                StraightThrough::new(RelaxedBernoulli::from_logits(0.6, x)?).rsample(3, g)
            }),
            grad(&|x, g| RelaxedBernoulli::from_logits(0.6, x)?.rsample(3, g)),
        ),
        (
            grad(&|x, g| StraightThrough::new(OneHotCategorical::from_logits(x)?).rsample((), g)),
            grad(&|x, _| StraightThrough::new(OneHotCategorical::from_logits(x)?).base().mean()),
        ),
    ] {
        assert_eq!(hard, soft);
    }
}

#[test]
fn half_precision_variables_get_their_gradient_in_half_precision() {
    for dtype in [DType::F16, DType::BF16] {
        let x = Tensor::new(&[[0.3f32, -1.2, 0.8]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let x = candle_core::Var::from_tensor(&x).unwrap();
        for hard in [false, true] {
            let y = gumbel_softmax(&x, 0.5, hard, 1, &mut Generator::new(1)).unwrap();
            assert_eq!(y.dtype(), dtype);
            let grads = y.narrow(1, 0, 1).unwrap().sum_all().unwrap().backward().unwrap();
            assert_eq!(grads.get(&x).unwrap().dtype(), dtype);
        }
    }
}
