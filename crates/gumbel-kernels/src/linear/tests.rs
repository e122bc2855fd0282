//! Every product against a naive one in double precision, on every instruction set of this machine.

use super::*;
use crate::bf16::Precision::F32;
use crate::test_support::{Guarded, values};

/// `C[i, j] = Σ_d a(i, d) · b(j, d)` and the sum of magnitudes, which bounds the rounding error.
fn naive(
    rows: usize,
    columns: usize,
    depth: usize,
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<(f64, f64)> {
    let mut out = Vec::with_capacity(rows * columns);
    for i in 0..rows {
        for j in 0..columns {
            let mut sum = (0.0, 0.0);
            for d in 0..depth {
                let product = f64::from(a(i, d)) * f64::from(b(j, d));
                sum.0 += product;
                sum.1 += product.abs();
            }
            out.push(sum);
        }
    }
    out
}

/// A recursive sum of `depth` rounded products errs by at most `(depth + 1) · 2⁻²⁴` of the sum of
/// magnitudes (Higham 2002, eq. 3.5); the bias adds one rounding.
#[track_caller]
fn assert_close(actual: &[f32], expected: &[(f64, f64)], depth: usize, context: &str) {
    assert_eq!(actual.len(), expected.len());
    for (idx, (&actual, &(sum, magnitude))) in actual.iter().zip(expected).enumerate() {
        let bound = (depth + 3) as f64 * 2f64.powi(-24) * magnitude;
        assert!(
            (f64::from(actual) - sum).abs() <= bound,
            "{context}: element {idx} is {actual}, expected {sum} within {bound}"
        );
    }
}

fn check_products(isa: Isa, shape: LinearShape) {
    let LinearShape { batch, inputs, outputs } = shape;
    let context = format!("{} {shape:?}", isa.name());
    let x = values(batch * inputs, 1);
    let weight = values(outputs * inputs, 2);
    let bias = values(outputs, 3);
    let dy = values(batch * outputs, 4);

    let mut expected =
        naive(batch, outputs, inputs, |i, d| x[i * inputs + d], |j, d| weight[j * inputs + d]);
    let mut y = Guarded::new(batch * outputs);
    linear_forward_on((isa, F32), shape, &x, &weight, None, Activation::Identity, y.get()).unwrap();
    assert_close(&y.finish(), &expected, inputs, &format!("{context} forward"));

    for (idx, (sum, magnitude)) in expected.iter_mut().enumerate() {
        let bias = f64::from(bias[idx % outputs]);
        *sum = (*sum + bias).max(0.0);
        *magnitude += bias.abs();
    }
    let mut y = Guarded::new(batch * outputs);
    linear_forward_on((isa, F32), shape, &x, &weight, Some(&bias), Activation::Relu, y.get())
        .unwrap();
    assert_close(&y.finish(), &expected, inputs, &format!("{context} forward with bias and ReLU"));

    let mut expected =
        naive(batch, inputs, outputs, |i, d| dy[i * outputs + d], |j, d| weight[d * inputs + j]);
    let mut dx = Guarded::new(batch * inputs);
    linear_input_gradient_on((isa, F32), shape, &dy, &weight, None, dx.get()).unwrap();
    assert_close(&dx.finish(), &expected, outputs, &format!("{context} input gradient"));

    for (sum, x) in expected.iter_mut().zip(&x) {
        if *x <= 0.0 {
            *sum = (0.0, 0.0);
        }
    }
    let mut dx = Guarded::new(batch * inputs);
    linear_input_gradient_on((isa, F32), shape, &dy, &weight, Some(&x), dx.get()).unwrap();
    assert_close(&dx.finish(), &expected, outputs, &format!("{context} masked input gradient"));

    let expected =
        naive(outputs, inputs, batch, |i, d| dy[d * outputs + i], |j, d| x[d * inputs + j]);
    let expected_bias = naive(outputs, 1, batch, |i, d| dy[d * outputs + i], |_, _| 1.0);
    let (mut d_weight, mut d_bias) = (Guarded::new(outputs * inputs), Guarded::new(outputs));
    let bias_gradient = Some(d_bias.get());
    linear_weight_gradient_on((isa, F32), shape, &dy, &x, false, d_weight.get(), bias_gradient)
        .unwrap();
    assert_close(&d_weight.finish(), &expected, batch, &format!("{context} weight gradient"));
    assert_close(&d_bias.finish(), &expected_bias, batch, &format!("{context} bias gradient"));
}

#[test]
fn products_agree_with_a_naive_sum_on_odd_sizes() {
    let sizes: &[usize] =
        if cfg!(miri) { &[0, 1, 17] } else { &[0, 1, 2, 5, 13, 16, 17, 31, 33, 40] };
    for isa in Isa::available() {
        for &batch in sizes {
            for &inputs in sizes {
                for &outputs in sizes {
                    check_products(isa, LinearShape { batch, inputs, outputs });
                }
            }
        }
    }
}

#[test]
#[cfg(not(miri))]
fn products_agree_with_a_naive_sum_at_every_tile_height_and_width() {
    for isa in Isa::available() {
        for size in 1..=64 {
            check_products(isa, LinearShape { batch: size, inputs: 7, outputs: 65 - size });
            check_products(isa, LinearShape { batch: 15, inputs: size, outputs: size });
        }
    }
}

#[test]
#[cfg(not(miri))]
fn products_agree_with_a_naive_sum_on_the_sizes_of_training() {
    let sizes = [
        (100, 784, 512),
        (100, 512, 256),
        (100, 256, 300),
        (100, 300, 256),
        (37, 512, 784),
        (700, 300, 20),
    ];
    for isa in Isa::available() {
        for (batch, inputs, outputs) in sizes {
            check_products(isa, LinearShape { batch, inputs, outputs });
        }
    }
}

#[test]
#[cfg(not(miri))]
fn products_do_not_depend_on_the_number_of_threads() {
    // Large enough to be cut in parts, and with sizes that the parts do not divide.
    let (batch, inputs, outputs) = (101, 333, 222);
    let shape = LinearShape { batch, inputs, outputs };
    let (x, weight) = (values(batch * inputs, 1), values(outputs * inputs, 2));
    let (dy, bias) = (values(batch * outputs, 3), values(outputs, 4));
    let with_threads = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| {
            let mut y = vec![0.0; batch * outputs];
            let mut dx = vec![0.0; batch * inputs];
            let mut d_weight = vec![0.0; outputs * inputs];
            linear_forward(F32, shape, &x, &weight, Some(&bias), Activation::Relu, &mut y).unwrap();
            linear_input_gradient(F32, shape, &dy, &weight, Some(&x), &mut dx).unwrap();
            linear_weight_gradient(F32, shape, &dy, &x, false, &mut d_weight, None).unwrap();
            (y, dx, d_weight)
        })
    };
    let one = with_threads(1);
    for n_threads in [2, 3, 7] {
        assert!(with_threads(n_threads) == one, "{n_threads} threads differ from one");
    }
}

#[test]
fn gradients_that_accumulate_are_added_to_what_is_there() {
    let (batch, inputs, outputs) = if cfg!(miri) { (3, 5, 17) } else { (20, 130, 90) };
    let shape = LinearShape { batch, inputs, outputs };
    let (x, dy) = (values(batch * inputs, 1), values(batch * outputs, 2));
    for isa in Isa::available() {
        let mut sums = [vec![0.0; outputs * inputs], vec![0.0; outputs]];
        let [d_weight, d_bias] = &mut sums;
        linear_weight_gradient_on((isa, F32), shape, &dy, &x, false, d_weight, Some(d_bias))
            .unwrap();
        let mut twice = sums.clone();
        let [d_weight, d_bias] = &mut twice;
        linear_weight_gradient_on((isa, F32), shape, &dy, &x, true, d_weight, Some(d_bias))
            .unwrap();
        for (sum, twice) in sums[0].iter().zip(&twice[0]) {
            // One and the same product, added to itself.
            assert_eq!(*twice, 2.0 * sum, "{}", isa.name());
        }
        let (once, again) = (naive_column_sums(&dy, outputs), &twice[1]);
        for (sum, again) in once.iter().zip(again) {
            assert!((2.0 * sum - f64::from(*again)).abs() < 1e-5, "{}", isa.name());
        }
    }
}

fn naive_column_sums(dy: &[f32], outputs: usize) -> Vec<f64> {
    let column = |j| dy.iter().skip(j).step_by(outputs).map(|&d| f64::from(d)).sum();
    (0..outputs).map(column).collect()
}

#[test]
fn shapes_beyond_any_memory_are_refused() {
    let huge = 1 << 62;
    for (batch, inputs, outputs) in [(huge, 4, 4), (4, huge, 4), (4, 4, huge), (huge, huge, huge)] {
        let shape = LinearShape { batch, inputs, outputs };
        let y = linear_forward(F32, shape, &[], &[], None, Activation::Identity, &mut []);
        assert!(y.is_err(), "{shape:?}");
        assert!(linear_input_gradient(F32, shape, &[], &[], None, &mut []).is_err(), "{shape:?}");
        assert!(linear_weight_gradient(F32, shape, &[], &[], false, &mut [], None).is_err());
    }
    // Nothing to compute, whatever the other sizes are.
    let shape = LinearShape { batch: 1 << 33, inputs: 1 << 31, outputs: 0 };
    assert!(linear_forward(F32, shape, &[], &[], None, Activation::Identity, &mut []).is_err());
}

#[test]
fn a_nan_passes_through_the_relu() {
    let shape = LinearShape { batch: 1, inputs: 1, outputs: 1 };
    let mut y = [0.0];
    linear_forward(F32, shape, &[f32::NAN], &[1.0], None, Activation::Relu, &mut y).unwrap();
    assert!(y[0].is_nan());
}

#[test]
fn a_slice_of_the_wrong_length_is_named() {
    let shape = LinearShape { batch: 2, inputs: 3, outputs: 4 };
    let error = linear_forward(
        F32,
        shape,
        &[0.0; 5],
        &[0.0; 12],
        None,
        Activation::Identity,
        &mut [0.0; 8],
    );
    assert_eq!(error, Err(LengthError { operand: "x", expected: 6, actual: 5 }));
    let error =
        linear_weight_gradient(F32, shape, &[0.0; 8], &[0.0; 6], false, &mut [0.0; 11], None);
    assert_eq!(error, Err(LengthError { operand: "d_weight", expected: 12, actual: 11 }));
}
