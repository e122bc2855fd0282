//! Every operation over rows: kernel against composition, edges, and what was once wrong.

use super::*;
use candle_core::{Device, Var};

/// `x₀ + 2 x₁ + 3 x₂`, with gradients 1, 10 and 100 so that they cannot be confused.
fn weighted<const N: usize>(inputs: [&Tensor; N]) -> Result<Tensor> {
    let mut value = inputs[0].zeros_like()?;
    for (i, x) in inputs.iter().enumerate() {
        value = (value + (*x * (i + 1) as f64)?)?;
    }
    with_gradient("weighted", value, inputs, |inputs, _, grad| {
        let mut gradients = inputs.map(|_| None);
        for (i, gradient) in gradients.iter_mut().enumerate() {
            *gradient = Some((grad * 10f64.powi(i as i32))?);
        }
        Ok(gradients)
    })
}

#[test]
fn one_to_three_inputs_get_their_gradients() {
    let x = [1f64, 2.0, 3.0].map(|x| Var::new(&[x, -x], &Device::Cpu).unwrap());
    let run = |y: Tensor| {
        let grads = y.sum_all().unwrap().backward().unwrap();
        let of = |x: &Var| grads.get(x).map(|g| g.to_vec1::<f64>().unwrap()[0]);
        (y.to_vec1::<f64>().unwrap(), [of(&x[0]), of(&x[1]), of(&x[2])])
    };
    let one = run(weighted([&x[0]]).unwrap());
    assert_eq!(one, (vec![1.0, -1.0], [Some(1.0), None, None]));
    let two = run(weighted([&x[0], &x[1]]).unwrap());
    assert_eq!(two, (vec![5.0, -5.0], [Some(1.0), Some(10.0), None]));
    let constant = x[1].as_tensor().detach();
    let three = run(weighted([&x[0], &constant, &x[2]]).unwrap());
    assert_eq!(three, (vec![14.0, -14.0], [Some(1.0), None, Some(100.0)]));
}

#[test]
fn a_value_of_constants_is_a_constant() {
    let x = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
    assert!(!weighted([&x]).unwrap().track_op());
}

#[test]
fn kernels_take_views_of_f32_and_compositions_the_rest() {
    let all = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
    let value = |x: &Tensor| {
        let kernel = |[x]: [&[f32]; 1], y: &mut [f32]| {
            y.copy_from_slice(x);
            Ok(())
        };
        let y = on_slices([x], x.shape(), kernel, |[x]| Ok(x.neg()?)).unwrap().into_tensor();
        y.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap()
    };
    let view = all.narrow(1, 1, 2).unwrap().t().unwrap();
    assert_eq!(value(&view), [[1.0, 4.0], [2.0, 5.0]]);
    assert_eq!(value(&view.to_dtype(DType::F64).unwrap()), [[-1.0, -4.0], [-2.0, -5.0]]);
}

#[test]
fn views_given_as_values_keep_their_elements() {
    let all = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((3, 4)).unwrap();
    for view in [all.narrow(0, 1, 2).unwrap(), all.narrow(1, 1, 2).unwrap().t().unwrap()] {
        let x = Var::zeros(view.shape(), DType::F32, &Device::Cpu).unwrap();
        let y = with_gradient("view", &view, [&x], |_, _, g| Ok([Some(g.clone())])).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), view.to_vec2::<f32>().unwrap());
    }
}

/// Rows with ordinary, saturated, equal and masked logits.
fn logits(dtype: DType) -> Var {
    const M: f64 = f64::NEG_INFINITY;
    let x = [
        [0.3, -1.2, 2.0, 0.7],
        [80.0, -80.0, 79.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
        [M, 0.5, M, -0.25],
        [M, M, 3.0, M],
    ];
    Var::from_tensor(&Tensor::new(&x, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()).unwrap()
}

fn list(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

type RowOperation = (&'static str, fn(&Tensor) -> Result<Tensor>);

const ROW_OPERATIONS: [RowOperation; 6] = [
    ("softmax", |x| softmax(x, 1.0)),
    ("softmax at 0.1", |x| softmax(x, 0.1)),
    ("log_softmax", log_softmax),
    ("neg_entropy", neg_entropy),
    ("kl_to_uniform", kl_to_uniform),
    ("perturb", |x| softmax(&perturb(x, &x.zeros_like()?.affine(1.0, 0.3)?)?, 1.0)),
];

#[test]
fn kernels_equal_compositions_in_value_and_gradient() {
    for (name, f) in ROW_OPERATIONS {
        let run = |dtype: DType| {
            let x = logits(dtype);
            let y = f(x.as_tensor()).unwrap();
            let weights: Vec<f64> = (0..y.elem_count()).map(|i| 0.3 + 0.17 * i as f64).collect();
            let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu).unwrap();
            let weights = weights.to_dtype(dtype).unwrap();
            let total = (zero_where_masked(&y).unwrap() * weights).unwrap().sum_all().unwrap();
            [list(&y), list(total.backward().unwrap().get(&x).unwrap())]
        };
        let (kernel, composition) = (run(DType::F32), run(DType::F64));
        for (a, b) in kernel.iter().flatten().zip(composition.iter().flatten()) {
            assert!(a == b || (a - b).abs() <= 3e-6 * (1.0 + b.abs()), "{name}: {a} {b}");
        }
    }
}

#[test]
fn masked_classes_get_gradient_zero_whatever_comes_from_above() {
    for (name, f) in ROW_OPERATIONS {
        for dtype in [DType::F32, DType::F64] {
            for upstream in [1.0, f64::NAN, f64::INFINITY] {
                let x = logits(dtype);
                let y = f(x.as_tensor()).unwrap();
                let above = y.zeros_like().unwrap().affine(1.0, upstream).unwrap();
                let loss = with_gradient("loss", &above, [&y], {
                    let above = above.clone();
                    move |_, _, _| Ok([Some(above.clone())])
                });
                let grads = loss.unwrap().sum_all().unwrap().backward().unwrap();
                for (x, g) in list(&x).into_iter().zip(list(grads.get(&x).unwrap())) {
                    assert!(x > f64::NEG_INFINITY || g == 0.0, "{name} {dtype:?} {upstream}: {g}");
                }
            }
        }
    }
}

#[test]
fn empty_batches_give_empty_results() {
    for (name, f) in ROW_OPERATIONS {
        for dtype in [DType::F32, DType::F64] {
            let x = Var::zeros((0, 3), dtype, &Device::Cpu).unwrap();
            let y = f(x.as_tensor()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(y.elem_count(), 0);
            let grads = y.sum_all().unwrap().backward().unwrap();
            assert_eq!(grads.get(&x).unwrap().dims(), [0, 3]);
            assert_eq!(argmax(&x).unwrap().dims(), [0]);
            assert_eq!(one_hot_argmax(&x).unwrap().dims(), [0, 3]);
        }
    }
}

#[test]
fn long_rows_keep_their_digits() {
    // Equal logits are the worst case: every addition rounds to the same side.
    for n in [1000, 50_257, 1 << 20] {
        let x = Tensor::zeros((1, n), DType::F32, &Device::Cpu).unwrap();
        let ln_n = (n as f64).ln();
        let near = |value: f64, exact: f64| (value / exact - 1.0).abs() < 1e-6;
        assert!(near(list(&neg_entropy(&x).unwrap())[0], -ln_n));
        assert!(near(list(&log_softmax(&x).unwrap())[n / 2], -ln_n));
        assert!(list(&kl_to_uniform(&x).unwrap())[0] < 2e-6);
        let y = (log_softmax(&Var::from_tensor(&x.affine(1.0, 0.1).unwrap()).unwrap()).unwrap()
            * 0.1)
            .unwrap();
        assert!(near(list(&y)[0], -0.1 * ln_n));
        // The gradient of Σ c log p is c - n c / n = 0; an error of the sum over n would show in it.
        let x = Var::from_tensor(&x).unwrap();
        let y = (log_softmax(&x).unwrap() * 0.1).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        assert!(list(grads.get(&x).unwrap()).iter().all(|g| g.abs() < 1e-7));
    }
}

#[test]
fn logits_at_both_ends_of_their_type_have_an_entropy() {
    let x = Tensor::new(&[[3e38f32, -3e38]], &Device::Cpu).unwrap();
    assert_eq!(list(&neg_entropy(&x).unwrap()), [0.0]);
    let x = Tensor::new(&[[1.7e308f64, -1.7e308]], &Device::Cpu).unwrap();
    assert_eq!(list(&neg_entropy(&x).unwrap()), [0.0]);
}

#[test]
fn the_first_of_the_largest_classes_is_taken() {
    for dtype in [DType::F32, DType::F64] {
        let x = logits(dtype);
        let classes = argmax(&x).unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(classes, [2, 0, 0, 1, 2]);
        let hot = list(&one_hot_argmax(&x).unwrap());
        assert_eq!(hot.iter().sum::<f64>(), 5.0);
        assert!(hot.chunks(4).zip(classes).all(|(row, k)| row[k as usize] == 1.0));
    }
}

#[test]
fn large_logits_do_not_swallow_the_noise() {
    let x = Tensor::new(&[[1e8f32, 1e8]], &Device::Cpu).unwrap();
    let noise = Tensor::new(&[[0.125f32, 0.25]], &Device::Cpu).unwrap();
    let perturbed = perturb(&x, &noise).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(perturbed, [[0.125, 0.25]]);
}
