//! The products of the 784-512-256-300 network at batch 100, the optimiser beside them, and convolutions.
//!
//! The throughput that criterion prints in Gelem/s is multiply-adds; twice that is GFLOP/s. The peak
//! of one core is printed first. `RAYON_NUM_THREADS` sets the threads.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gumbel_kernels::{
    Activation, AdamOptions, AdamParameter, AdamStep, ConvShape, LinearShape, Precision,
    adam_update, bf16_gain, channel_sums, conv2d_adjoint, conv2d_forward, conv2d_weight_gradient,
    instruction_set, linear_forward, linear_input_gradient, linear_weight_gradient, peak_gflops,
};

const BATCH: usize = 100;
const LAYERS: [(usize, usize); 6] =
    [(784, 512), (512, 256), (256, 300), (300, 256), (256, 512), (512, 784)];

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1000) as f32 * 1e-3 - 0.5).collect()
}

fn products(c: &mut Criterion) {
    let peak = peak_gflops(Duration::from_millis(200));
    eprintln!("{}: {peak:.0} GFLOP/s in registers on one core", instruction_set());
    let options = AdamOptions { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    let step = AdamStep::adam(options, 10);
    let both = [("", Precision::F32), (" in bf16", Precision::Bf16)];
    for ((inputs, outputs), (name, precision)) in
        LAYERS.into_iter().flat_map(|l| both.map(|p| (l, p)))
    {
        if precision == Precision::Bf16 && bf16_gain() == 0.0 {
            continue;
        }
        let shape = LinearShape { batch: BATCH, inputs, outputs };
        let n_weights = inputs * outputs;
        let (x, dy, bias) = (values(BATCH * inputs), values(BATCH * outputs), values(outputs));
        let weight = values(n_weights);
        let (mut y, mut dx) = (vec![0.0; BATCH * outputs], vec![0.0; BATCH * inputs]);
        let (mut d_weight, mut d_bias) = (vec![0.0; n_weights], vec![0.0; outputs]);

        let mut group = c.benchmark_group(format!("linear {BATCH}x{inputs}x{outputs}{name}"));
        group.throughput(Throughput::Elements((BATCH * n_weights) as u64));
        group.bench_function("forward", |b| {
            b.iter(|| {
                linear_forward(
                    precision,
                    shape,
                    &x,
                    &weight,
                    Some(&bias),
                    Activation::Relu,
                    black_box(&mut y),
                )
            })
        });
        group.bench_function("input gradient", |b| {
            b.iter(|| {
                linear_input_gradient(precision, shape, &dy, &weight, Some(&x), black_box(&mut dx))
            })
        });
        group.bench_function("weight gradient", |b| {
            b.iter(|| {
                let d_bias = Some(&mut d_bias[..]);
                linear_weight_gradient(
                    precision,
                    shape,
                    &dy,
                    &x,
                    false,
                    black_box(&mut d_weight),
                    d_bias,
                )
            })
        });
        group.finish();
    }

    let mut group = c.benchmark_group("adam");
    for len in [1 << 14, 1_217_000] {
        let gradient = values(len);
        let (mut value, mut exp_avg, mut exp_avg_sq) =
            (values(len), vec![0.0; len], vec![0.0; len]);
        group.throughput(Throughput::Elements(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                let parameter = AdamParameter {
                    value: &mut value,
                    exp_avg: &mut exp_avg,
                    exp_avg_sq: &mut exp_avg_sq,
                };
                adam_update(&step, parameter, &gradient)
            })
        });
    }
    group.finish();
}

/// Two layers of an encoder on 28 x 28 pixels; the decoder has their adjoints.
fn convolutions(c: &mut Criterion) {
    for (in_channels, side) in [(1, 28), (32, 14)] {
        let shape = ConvShape {
            batch: BATCH,
            in_channels,
            in_rows: side,
            in_cols: side,
            out_channels: 32,
            kernel: 4,
            stride: 2,
            padding: 1,
        };
        let positions = side * side / 4;
        let (x, dy) = (values(BATCH * in_channels * side * side), values(BATCH * 32 * positions));
        let (weight, bias) = (values(32 * in_channels * 16), values(32));
        let (mut y, mut dx) = (dy.clone(), x.clone());
        let (mut d_weight, mut d_bias) = (weight.clone(), bias.clone());
        let identity = Activation::Identity;

        let mut group = c.benchmark_group(format!("conv {BATCH}x{in_channels}x{side}x{side}"));
        group.throughput(Throughput::Elements((BATCH * positions * weight.len()) as u64));
        group.bench_function("forward", |b| {
            b.iter(|| {
                let (bias, relu) = (Some(&bias[..]), Activation::Relu);
                conv2d_forward(shape, &x, &weight, bias, relu, None, black_box(&mut y))
            })
        });
        group.bench_function("forward, masked", |b| {
            let relu_output = Some(&dy[..]);
            b.iter(|| {
                conv2d_forward(shape, &x, &weight, None, identity, relu_output, black_box(&mut y))
            })
        });
        group.bench_function("adjoint, masked", |b| {
            let relu_output = Some(&x[..]);
            b.iter(|| {
                conv2d_adjoint(shape, &dy, &weight, None, identity, relu_output, black_box(&mut dx))
            })
        });
        group.bench_function("weight gradient", |b| {
            b.iter(|| conv2d_weight_gradient(shape, &x, &dy, false, black_box(&mut d_weight)))
        });
        group.bench_function("bias gradient", |b| {
            b.iter(|| channel_sums((BATCH, 32, positions), &dy, false, black_box(&mut d_bias)))
        });
        group.finish();
    }
}

criterion_group!(benches, products, convolutions);
criterion_main!(benches);
