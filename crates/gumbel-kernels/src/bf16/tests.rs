//! The instruction against its oracle, bit by bit, and the oracle against plain rules of rounding.

use super::*;
use crate::linear::{
    Activation, LinearShape, linear_forward_on, linear_input_gradient_on, linear_weight_gradient_on,
};
use crate::test_support::values;

/// Numbers of every magnitude, both signs, with what is special among them.
fn wild(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    const SPECIAL: [f32; 8] = [0.0, -0.0, 1e-40, -1e-40, f32::INFINITY, f32::NAN, f32::MAX, 1e-38];
    (0..len)
        .map(|_| match next() % 64 {
            0 => SPECIAL[(next() % 8) as usize],
            // Any bits at all: sums lose and gain subnormal numbers.
            1..20 => f32::from_bits(next()),
            // Close to the smallest normal number when multiplied.
            20..40 => f32::from_bits((next() & 0x83ff_ffff) | 0x1e00_0000),
            _ => f32::from_bits((next() & 0x83ff_ffff) | 0x3c00_0000),
        })
        .collect()
}

#[track_caller]
fn assert_same_bits(actual: &[f32], expected: &[f32], context: &str) {
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let same = a.to_bits() == e.to_bits() || a.is_nan() && e.is_nan();
        assert!(
            same,
            "{context}: value {i} is {a:e} ({:x}), not {e:e} ({:x})",
            a.to_bits(),
            e.to_bits()
        );
    }
}

/// Output, gradient of the input and gradient of the weight.
fn products(isa: Isa, shape: LinearShape, numbers: fn(usize, u64) -> Vec<f32>) -> [Vec<f32>; 3] {
    let LinearShape { batch, inputs, outputs } = shape;
    let seed = (batch * 31 + inputs * 7 + outputs) as u64;
    let (x, dy) = (numbers(batch * inputs, seed + 1), numbers(batch * outputs, seed + 2));
    let (weight, bias) = (numbers(outputs * inputs, seed + 3), numbers(outputs, seed + 4));
    let on = (isa, Precision::Bf16);
    let [mut y, mut dx, mut dw] =
        [batch * outputs, batch * inputs, outputs * inputs].map(|n| vec![0.0; n]);
    linear_forward_on(on, shape, &x, &weight, Some(&bias), Activation::Relu, &mut y).unwrap();
    linear_input_gradient_on(on, shape, &dy, &weight, Some(&x), &mut dx).unwrap();
    linear_weight_gradient_on(on, shape, &dy, &x, false, &mut dw, None).unwrap();
    [y, dx, dw]
}

#[test]
fn every_instruction_set_has_the_oracles_bits() {
    let shapes: &[[usize; 3]] = if cfg!(miri) {
        &[[3, 5, 17]]
    } else {
        &[
            [1, 1, 1],
            [2, 3, 4],
            [15, 33, 31],
            [14, 64, 32],
            [13, 130, 70],
            [100, 29, 40],
            [29, 700, 18],
        ]
    };
    for isa in Isa::available() {
        for &[batch, inputs, outputs] in shapes {
            let shape = LinearShape { batch, inputs, outputs };
            for numbers in [wild, |len, seed| values(len, seed as u32)] {
                let oracle = products(Isa::available()[0], shape, numbers);
                for (actual, expected) in products(isa, shape, numbers).iter().zip(&oracle) {
                    assert_same_bits(actual, expected, &format!("{} {shape:?}", isa.name()));
                }
            }
        }
    }
}

#[test]
fn a_product_is_that_of_rounded_factors() {
    // Few significant bits, so that the only rounding is that to bf16.
    let shape = LinearShape { batch: 7, inputs: 12, outputs: 5 };
    let x: Vec<_> = (0..84).map(|i| (i % 13) as f32 + 1.0 / 512.0).collect();
    let weight: Vec<_> = (0..60).map(|i| (i % 7) as f32 - 3.0).collect();
    let mut y = vec![0.0; 35];
    let on = (Isa::best(), Precision::Bf16);
    linear_forward_on(on, shape, &x, &weight, None, Activation::Identity, &mut y).unwrap();
    for (i, y) in y.iter().enumerate() {
        let (row, column) = (i / 5, i % 5);
        let term = |k: usize| {
            let x = x[row * 12 + k];
            // 1/512 is below half a unit in the last place of every number from 1 on, and a number itself.
            (if x < 1.0 { x } else { x.floor() }) * weight[column * 12 + k]
        };
        assert_eq!(*y, (0..12).map(term).sum::<f32>(), "value {i}");
    }
}

#[test]
fn rounding_is_to_nearest_and_ties_go_to_even() {
    let bits = |x: f32| f32::from_bits(round(x) << 16);
    for (x, expected) in [
        (1.0, 1.0),
        (1.0 + 1.0 / 256.0, 1.0),
        (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
        (1.0 + 1.1 / 256.0, 1.0 + 2.0 / 256.0),
        (-1.0 - 1.1 / 256.0, -1.0 - 2.0 / 256.0),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (1e-40, 0.0),
    ] {
        assert_eq!(bits(x), expected, "{x:e}");
    }
    assert!(bits(f32::NAN).is_nan() && bits(f32::from_bits(0x7f80_0001)).is_nan());
    assert_eq!(bits(-1e-40).to_bits(), (-0.0_f32).to_bits());
}

#[test]
fn the_gain_is_measured_where_there_is_an_instruction() {
    let gain = bf16_gain();
    assert!(gain.is_finite() && (gain == 0.0) == (rate(true) == 0.0), "{gain}");
}
