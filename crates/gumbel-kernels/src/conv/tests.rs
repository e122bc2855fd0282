//! Every convolution against loops in double precision, on every instruction set of this machine.

use super::weight_gradient::{channel_sums_on, conv2d_weight_gradient_on};
use super::*;
use crate::test_support::{Guarded, values};

/// A sum and the sum of magnitudes, which bounds its rounding error.
type Sum = (f64, f64);

/// The three operands of a convolution, and two tensors of the sizes of its inputs.
struct Operands {
    shape: ConvShape,
    x: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
}

impl Operands {
    fn new(shape: ConvShape) -> Self {
        let positions = shape.out_rows().unwrap() * shape.out_cols().unwrap();
        let taps = shape.kernel * shape.kernel;
        Operands {
            shape,
            x: values(shape.batch * shape.in_channels * shape.in_rows * shape.in_cols, 1),
            weight: values(shape.out_channels * shape.in_channels * taps, 2),
            dy: values(shape.batch * shape.out_channels * positions, 3),
        }
    }

    /// Calls `f` with the indices in `x`, `weight` and `y` of every product of the convolution.
    fn each_product(&self, mut f: impl FnMut(usize, usize, usize)) {
        let ConvShape { in_channels, in_rows, in_cols, out_channels, kernel, .. } = self.shape;
        let (out_rows, out_cols) = (self.shape.out_rows().unwrap(), self.shape.out_cols().unwrap());
        for image in 0..self.shape.batch {
            for out in 0..out_channels {
                for (row, col) in pairs(out_rows, out_cols) {
                    let y = ((image * out_channels + out) * out_rows + row) * out_cols + col;
                    for channel in 0..in_channels {
                        for (i, j) in pairs(kernel, kernel) {
                            let weight = ((out * in_channels + channel) * kernel + i) * kernel + j;
                            let pixel = |at: usize, tap: usize, len: usize| {
                                let padded = at * self.shape.stride + tap;
                                padded.checked_sub(self.shape.padding).filter(|&at| at < len)
                            };
                            let row = pixel(row, i, in_rows);
                            if let (Some(row), Some(col)) = (row, pixel(col, j, in_cols)) {
                                let image = image * in_channels + channel;
                                f((image * in_rows + row) * in_cols + col, weight, y);
                            }
                        }
                    }
                }
            }
        }
    }

    fn naive_forward(&self) -> Vec<Sum> {
        let mut sums = vec![(0.0, 0.0); self.dy.len()];
        self.each_product(|x, weight, y| add(&mut sums[y], self.x[x], self.weight[weight]));
        sums
    }

    fn naive_adjoint(&self) -> Vec<Sum> {
        let mut sums = vec![(0.0, 0.0); self.x.len()];
        self.each_product(|x, weight, y| add(&mut sums[x], self.dy[y], self.weight[weight]));
        sums
    }

    fn naive_weight_gradient(&self) -> Vec<Sum> {
        let mut sums = vec![(0.0, 0.0); self.weight.len()];
        self.each_product(|x, weight, y| add(&mut sums[weight], self.dy[y], self.x[x]));
        sums
    }
}

fn pairs(rows: usize, cols: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..cols).map(move |col| (row, col)))
}

fn add(sum: &mut Sum, a: f32, b: f32) {
    let product = f64::from(a) * f64::from(b);
    sum.0 += product;
    sum.1 += product.abs();
}

/// Bias, ReLU and mask, for sums of `channels` channels.
fn finish(
    sums: &[Sum],
    channels: usize,
    bias: &[f32],
    relu_output: &[f32],
    batch: usize,
) -> Vec<Sum> {
    let positions = sums.len() / (batch * channels).max(1);
    let finish = |(idx, &(sum, magnitude)): (usize, &Sum)| {
        let bias = f64::from(bias[idx / positions % channels]);
        let kept = if relu_output[idx] > 0.0 { (sum + bias).max(0.0) } else { 0.0 };
        (kept, magnitude + bias.abs())
    };
    sums.iter().enumerate().map(finish).collect()
}

/// A sum of `terms` rounded products, in any order, errs by at most `(terms + 1) · 2⁻²⁴` of the sum of magnitudes (Higham
/// 2002, eq. 3.5); the bias adds one rounding.
#[track_caller]
fn assert_close(actual: &[f32], expected: &[Sum], terms: usize, context: &str) {
    assert_eq!(actual.len(), expected.len());
    for (idx, (&actual, &(sum, magnitude))) in actual.iter().zip(expected).enumerate() {
        let bound = (terms + 3) as f64 * 2f64.powi(-24) * magnitude;
        assert!(
            (f64::from(actual) - sum).abs() <= bound,
            "{context}: element {idx} is {actual}, expected {sum} within {bound}"
        );
    }
}

fn check_shape(isa: Isa, shape: ConvShape) {
    let context = format!("{} {shape:?}", isa.name());
    let operands = Operands::new(shape);
    let Operands { x, weight, dy, .. } = &operands;
    let taps = shape.kernel * shape.kernel;
    let positions = shape.out_rows().unwrap() * shape.out_cols().unwrap();
    let plain = Epilogue { bias: None, activation: Activation::Identity, relu_output: None };

    let expected = operands.naive_forward();
    let mut y = Guarded::new(dy.len());
    conv2d_forward_on(isa, shape, x, weight, plain, y.get()).unwrap();
    let terms = shape.in_channels * taps;
    assert_close(&y.finish(), &expected, terms, &format!("{context} forward"));

    let (bias, relu_output) = (values(shape.out_channels, 4), values(dy.len(), 5));
    let expected = finish(&expected, shape.out_channels, &bias, &relu_output, shape.batch);
    let mut y = Guarded::new(dy.len());
    let full = Epilogue {
        bias: Some(&bias),
        activation: Activation::Relu,
        relu_output: Some(&relu_output),
    };
    conv2d_forward_on(isa, shape, x, weight, full, y.get()).unwrap();
    assert_close(&y.finish(), &expected, terms, &format!("{context} forward with epilogue"));

    let expected = operands.naive_adjoint();
    let mut dx = Guarded::new(x.len());
    conv2d_adjoint_on(isa, shape, dy, weight, plain, dx.get()).unwrap();
    let terms = shape.out_channels * taps;
    assert_close(&dx.finish(), &expected, terms, &format!("{context} adjoint"));

    let (bias, relu_output) = (values(shape.in_channels, 4), values(x.len(), 5));
    let expected = finish(&expected, shape.in_channels, &bias, &relu_output, shape.batch);
    let mut dx = Guarded::new(x.len());
    let full = Epilogue {
        bias: Some(&bias),
        activation: Activation::Relu,
        relu_output: Some(&relu_output),
    };
    conv2d_adjoint_on(isa, shape, dy, weight, full, dx.get()).unwrap();
    assert_close(&dx.finish(), &expected, terms, &format!("{context} adjoint with epilogue"));

    let mut expected = operands.naive_weight_gradient();
    let mut d_weight = Guarded::new(weight.len());
    conv2d_weight_gradient_on(isa, shape, x, dy, false, d_weight.get()).unwrap();
    let d_weight = d_weight.finish();
    let terms = shape.batch * positions;
    assert_close(&d_weight, &expected, terms, &format!("{context} weight gradient"));

    let mut twice = Guarded::new(weight.len());
    twice.get().copy_from_slice(&d_weight);
    conv2d_weight_gradient_on(isa, shape, x, dy, true, twice.get()).unwrap();
    for (sum, magnitude) in &mut expected {
        (*sum, *magnitude) = (2.0 * *sum, 2.0 * *magnitude);
    }
    assert_close(&twice.finish(), &expected, terms, &format!("{context} added weight gradient"));

    let mut expected = vec![(0.0, 0.0); shape.out_channels];
    for (idx, &dy) in dy.iter().enumerate() {
        add(&mut expected[idx / positions % shape.out_channels], dy, 1.0);
    }
    let mut sums = Guarded::new(shape.out_channels);
    let sizes = (shape.batch, shape.out_channels, positions);
    channel_sums_on(isa, sizes, dy, false, sums.get()).unwrap();
    assert_close(&sums.finish(), &expected, terms, &format!("{context} channel sums"));
}

const BASE: ConvShape = ConvShape {
    batch: 2,
    in_channels: 3,
    in_rows: 7,
    in_cols: 5,
    out_channels: 4,
    kernel: 3,
    stride: 2,
    padding: 1,
};

/// The layers of the digits' network, whose decoder has the adjoints of its encoder.
const LAYERS: [ConvShape; 2] = [
    ConvShape {
        batch: 100,
        in_channels: 1,
        in_rows: 28,
        in_cols: 28,
        out_channels: 32,
        kernel: 4,
        stride: 2,
        padding: 1,
    },
    ConvShape {
        batch: 100,
        in_channels: 32,
        in_rows: 14,
        in_cols: 14,
        out_channels: 32,
        kernel: 4,
        stride: 2,
        padding: 1,
    },
];

#[test]
fn convolutions_agree_with_loops_for_every_kernel_stride_and_padding() {
    let (kernels, strides, paddings): (&[usize], &[usize], &[usize]) = if cfg!(miri) {
        (&[1, 4], &[1, 2, 3], &[0, 2])
    } else {
        (&[1, 2, 3, 4, 5], &[1, 2, 3, 6], &[0, 1, 2, 4])
    };
    for isa in Isa::available() {
        for &kernel in kernels {
            for (&stride, &padding) in
                strides.iter().flat_map(|s| paddings.iter().map(move |p| (s, p)))
            {
                check_shape(isa, ConvShape { kernel, stride, padding, ..BASE });
            }
        }
    }
}

#[test]
fn convolutions_agree_with_loops_for_all_sizes_of_images_and_channels() {
    let sizes: &[(usize, usize)] =
        if cfg!(miri) { &[(1, 9)] } else { &[(1, 1), (1, 17), (4, 16), (9, 8), (16, 33), (20, 2)] };
    let channels: &[(usize, usize)] =
        if cfg!(miri) { &[(1, 2)] } else { &[(0, 2), (2, 0), (1, 1), (1, 17), (17, 1), (16, 33)] };
    for isa in Isa::available() {
        for batch in [0, 1, 3] {
            for &(in_rows, in_cols) in sizes {
                for &(in_channels, out_channels) in channels {
                    let shape =
                        ConvShape { batch, in_rows, in_cols, in_channels, out_channels, ..BASE };
                    check_shape(isa, shape);
                }
            }
        }
        // An image without pixels still has its padding.
        check_shape(isa, ConvShape { in_rows: 0, padding: 2, ..BASE });
        check_shape(isa, ConvShape { in_cols: 0, padding: 2, ..BASE });
    }
}

#[test]
#[cfg(not(miri))]
fn convolutions_agree_with_loops_on_the_sizes_of_training() {
    for isa in Isa::available() {
        for layer in LAYERS {
            check_shape(isa, ConvShape { batch: 23, ..layer });
        }
        // Deep enough to be blocked along the sum, wide enough for one image to be a group.
        check_shape(isa, ConvShape { batch: 3, in_channels: 70, out_channels: 15, ..LAYERS[1] });
        check_shape(isa, ConvShape { in_rows: 61, in_cols: 63, in_channels: 8, ..BASE });
    }
}

fn inner(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// ⟨conv(x), dy⟩ = ⟨x, convᵀ(dy)⟩ and, the convolution being linear in its weight, = ⟨weight, d_weight⟩.
#[test]
#[cfg(not(miri))]
fn gradients_are_the_adjoints_of_the_forward_product() {
    for shape in [BASE, LAYERS[0], LAYERS[1]] {
        let Operands { x, weight, dy, .. } = Operands::new(shape);
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        let mut d_weight = vec![0.0; weight.len()];
        let id = Activation::Identity;
        conv2d_forward(shape, &x, &weight, None, id, None, &mut y).unwrap();
        conv2d_adjoint(shape, &dy, &weight, None, id, None, &mut dx).unwrap();
        conv2d_weight_gradient(shape, &x, &dy, false, &mut d_weight).unwrap();
        let (forward, adjoint, by_weight) =
            (inner(&y, &dy), inner(&x, &dx), inner(&weight, &d_weight));
        // The size that the sum would have if its terms did not cancel: a scale for the rounding errors.
        let scale = inner(&y, &y).sqrt() * inner(&dy, &dy).sqrt();
        assert!((forward - adjoint).abs() < 1e-6 * scale, "{shape:?}: {forward} {adjoint}");
        assert!((forward - by_weight).abs() < 1e-6 * scale, "{shape:?}: {forward} {by_weight}");
    }
}

/// All results of a shape, in one vector.
fn results(shape: ConvShape) -> Vec<f32> {
    let Operands { x, weight, dy, .. } = Operands::new(shape);
    let positions = dy.len() / (shape.batch * shape.out_channels);
    let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    let (mut d_weight, mut d_bias) = (vec![0.5; weight.len()], vec![0.5; shape.out_channels]);
    let (out_bias, in_bias) = (values(shape.out_channels, 4), values(shape.in_channels, 5));
    let relu = Activation::Relu;
    conv2d_forward(shape, &x, &weight, Some(&out_bias), relu, None, &mut y).unwrap();
    conv2d_adjoint(shape, &dy, &weight, Some(&in_bias), relu, Some(&x), &mut dx).unwrap();
    conv2d_weight_gradient(shape, &x, &dy, true, &mut d_weight).unwrap();
    let sizes = (shape.batch, shape.out_channels, positions);
    channel_sums(sizes, &dy, true, &mut d_bias).unwrap();
    [y, dx, d_weight, d_bias].concat()
}

#[test]
#[cfg(not(miri))]
fn convolutions_do_not_depend_on_the_number_of_threads() {
    for shape in [LAYERS[0], LAYERS[1], ConvShape { batch: 57, in_rows: 30, ..BASE }] {
        let with_threads = |n_threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| results(shape))
        };
        let one = with_threads(1);
        for n_threads in [2, 3, 7] {
            assert!(with_threads(n_threads) == one, "{n_threads} threads differ: {shape:?}");
        }
    }
}

#[test]
#[cfg(not(miri))]
fn an_image_does_not_depend_on_the_batch_around_it() {
    for layer in LAYERS {
        let Operands { x, weight, dy, .. } = Operands::new(layer);
        let run = |batch: usize, x: &[f32], dy: &[f32]| {
            let shape = ConvShape { batch, ..layer };
            let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
            let id = Activation::Identity;
            conv2d_forward(shape, x, &weight, None, id, None, &mut y).unwrap();
            conv2d_adjoint(shape, dy, &weight, None, id, None, &mut dx).unwrap();
            (y, dx)
        };
        let (y, dx) = run(100, &x, &dy);
        let (x_len, y_len) = (x.len() / 100, y.len() / 100);
        for (first, batch) in [(0, 1), (13, 1), (99, 1), (40, 7), (95, 5)] {
            let (x_at, y_at) =
                (first * x_len..(first + batch) * x_len, first * y_len..(first + batch) * y_len);
            let alone = run(batch, &x[x_at.clone()], &dy[y_at.clone()]);
            assert!(alone.0 == y[y_at] && alone.1 == dx[x_at], "{batch} from {first}");
        }
    }
}

/// One pixel, one channel, one weight: `y = x · weight`.
const ONE: ConvShape = ConvShape {
    batch: 1,
    in_channels: 1,
    in_rows: 1,
    in_cols: 1,
    out_channels: 1,
    kernel: 1,
    stride: 1,
    padding: 0,
};

#[test]
fn a_nan_passes_through_the_relu_and_a_mask_hides_it() {
    let mut out = [0.0];
    let relu = Activation::Relu;
    conv2d_forward(ONE, &[f32::NAN], &[1.0], None, relu, None, &mut out).unwrap();
    assert!(out[0].is_nan());
    conv2d_adjoint(ONE, &[f32::NAN], &[1.0], None, relu, None, &mut out).unwrap();
    assert!(out[0].is_nan());
    conv2d_adjoint(ONE, &[f32::NAN], &[1.0], None, relu, Some(&[0.0]), &mut out).unwrap();
    assert_eq!(out[0], 0.0);
}

#[test]
fn the_derivative_of_the_relu_is_zero_at_zero() {
    let id = Activation::Identity;
    let smallest = f32::from_bits(1);
    for (output, expected) in [(0.0, 0.0), (-0.0, 0.0), (-1.0, 0.0), (smallest, 6.0), (2.0, 6.0)] {
        let mut out = [9.0];
        conv2d_forward(ONE, &[2.0], &[3.0], None, id, Some(&[output]), &mut out).unwrap();
        assert_eq!(out[0], expected, "forward at {output}");
        conv2d_adjoint(ONE, &[2.0], &[3.0], None, id, Some(&[output]), &mut out).unwrap();
        assert_eq!(out[0], expected, "adjoint at {output}");
    }
}

#[test]
fn a_slice_of_the_wrong_length_is_named() {
    let Operands { x, weight, dy, .. } = Operands::new(BASE);
    let (mut y, mut dx) = (dy.clone(), x.clone());
    let id = Activation::Identity;
    let name = |result: Result<(), LengthError>| result.unwrap_err().operand;
    assert_eq!(name(conv2d_forward(BASE, &x[1..], &weight, None, id, None, &mut y)), "x");
    assert_eq!(name(conv2d_forward(BASE, &x, &weight[1..], None, id, None, &mut y)), "weight");
    assert_eq!(name(conv2d_forward(BASE, &x, &weight, None, id, None, &mut y[1..])), "y");
    assert_eq!(name(conv2d_forward(BASE, &x, &weight, Some(&x), id, None, &mut y)), "bias");
    let output = Some(&dy[1..]);
    assert_eq!(name(conv2d_forward(BASE, &x, &weight, None, id, output, &mut y)), "relu_output");
    assert_eq!(name(conv2d_adjoint(BASE, &dy[1..], &weight, None, id, None, &mut dx)), "dy");
    assert_eq!(name(conv2d_adjoint(BASE, &dy, &weight, None, id, None, &mut dx[1..])), "dx");
    assert_eq!(name(conv2d_adjoint(BASE, &dy, &weight, Some(&x), id, None, &mut dx)), "bias");
    let mut d_weight = weight[1..].to_vec();
    assert_eq!(name(conv2d_weight_gradient(BASE, &x, &dy, false, &mut d_weight)), "d_weight");
    assert_eq!(name(channel_sums((2, 4, 9), &dy, false, &mut [0.0; 4])), "values");
    assert_eq!(name(channel_sums((2, 4, 12), &dy, false, &mut [0.0; 5])), "sums");
}

/// Sizes from zero to the largest number, in every field: an error or a result, never a panic.
#[test]
#[cfg(not(miri))]
fn absurd_shapes_are_errors() {
    const SIZES: [usize; 6] = [0, 1, 2, 1 << 31, 1 << 63, usize::MAX];
    let fields: [fn(&mut ConvShape) -> &mut usize; 8] = [
        |shape| &mut shape.batch,
        |shape| &mut shape.in_channels,
        |shape| &mut shape.in_rows,
        |shape| &mut shape.in_cols,
        |shape| &mut shape.out_channels,
        |shape| &mut shape.kernel,
        |shape| &mut shape.stride,
        |shape| &mut shape.padding,
    ];
    let (x, weight) = (vec![1.0; 4], vec![1.0; 4]);
    for code in 0..SIZES.len().pow(8) {
        let mut shape = ONE;
        let mut rest = code;
        for field in fields {
            *field(&mut shape) = SIZES[rest % SIZES.len()];
            rest /= SIZES.len();
        }
        // With slices of the right lengths where there are few values, so that the sizes reach the loops.
        let lens = [
            [shape.batch, shape.in_channels, shape.in_rows, shape.in_cols],
            [shape.out_channels, shape.in_channels, shape.kernel, shape.kernel],
        ]
        .map(|sizes| product(&sizes));
        let y_len = match (shape.out_rows(), shape.out_cols()) {
            (Ok(rows), Ok(cols)) => product(&[shape.batch, shape.out_channels, rows, cols]),
            _ => usize::MAX,
        };
        let fits = lens[0] <= 4 && lens[1] <= 4 && y_len <= 4;
        let (x, weight) = (&x[..lens[0].min(4)], &weight[..lens[1].min(4)]);
        let (mut y, mut dx) = ([0.0; 4], [0.0; 4]);
        let (y, dx) = (&mut y[..y_len.min(4)], &mut dx[..lens[0].min(4)]);
        let mut d_weight = weight.to_vec();
        let id = Activation::Identity;
        let forward = conv2d_forward(shape, x, weight, None, id, None, y);
        assert_eq!(forward.is_ok(), fits, "{shape:?}");
        let adjoint = conv2d_adjoint(shape, y, weight, None, id, None, dx);
        assert_eq!(adjoint.is_ok(), fits, "{shape:?}");
        let gradient = conv2d_weight_gradient(shape, x, y, false, &mut d_weight);
        assert_eq!(gradient.is_ok(), fits, "{shape:?}");
    }
}

#[test]
fn a_kernel_larger_than_the_padded_image_is_named() {
    let shape = ConvShape { kernel: 8, ..BASE };
    let error = shape.out_cols().unwrap_err();
    assert_eq!(error, LengthError { operand: "in_cols + 2 * padding", expected: 8, actual: 7 });
    assert!(ConvShape { stride: 0, ..BASE }.out_rows().is_err());
    assert!(ConvShape { kernel: 0, ..BASE }.out_rows().is_err());
}
