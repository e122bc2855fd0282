//! Noise, relaxed samples, losses, elementary functions and gathering; throughput in values.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gumbel_kernels::{
    GumbelStream, Noise, Pixels, WordStream, bernoulli_nll, exp, hard_sample, kl_to_uniform, ln,
    pixels_to_f32, relaxed_sample, relaxed_sample_vjp, sigmoid, softplus,
};

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1000) as f32 * 1e-2 - 5.0).collect()
}

fn noise() -> (WordStream, GumbelStream) {
    let words = WordStream::new(1, 0);
    (words, GumbelStream::new(words, words.with_masked_key([0x5a; 32])))
}

fn elementwise(c: &mut Criterion) {
    let (words, gumbel) = noise();
    let len = 1 << 16;
    let x: Vec<f32> = values(len).iter().map(|x| x.abs()).collect();
    let mut out = vec![0.0; len];
    let mut bits = vec![0; len];
    let mut group = c.benchmark_group("elementwise");
    group.throughput(Throughput::Elements(len as u64));
    group.bench_function("chacha8", |b| b.iter(|| words.fill(0, black_box(&mut bits))));
    group.bench_function("gumbel", |b| b.iter(|| gumbel.fill(0, black_box(&mut out))));
    group.bench_function("exp", |b| b.iter(|| exp(&x, black_box(&mut out))));
    group.bench_function("ln", |b| b.iter(|| ln(&x, black_box(&mut out))));
    group.bench_function("softplus", |b| b.iter(|| softplus(&x, black_box(&mut out))));
    group.bench_function("sigmoid", |b| b.iter(|| sigmoid(&x, black_box(&mut out))));
    group.finish();
}

fn samples(c: &mut Criterion) {
    let (_, gumbel) = noise();
    // (100, 30, 10), (4096, 16, 64), (64, 32000) and (8, 512, 8192) as rows of classes.
    for (rows, n_classes) in [(3000, 10), (65_536, 64), (64, 32_000), (4096, 8192)] {
        let len = rows * n_classes;
        let (logits, d_relaxed) = (values(len), values(len));
        let (mut relaxed, mut out) = (vec![0.0; len], vec![0.0; len]);
        let mut kl = vec![0.0; rows];
        let mut group = c.benchmark_group(format!("rows {rows}x{n_classes}"));
        group.throughput(Throughput::Elements(len as u64)).sample_size(20);
        for (name, noise) in [("softmax", Noise::None), ("relaxed", Noise::Stream(gumbel, 0))] {
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| relaxed_sample(n_classes, 0.5, &logits, noise, black_box(&mut relaxed)))
            });
        }
        group.bench_function("hard", |b| {
            let noise = Noise::Stream(gumbel, 0);
            b.iter(|| {
                hard_sample(n_classes, 0.5, &logits, noise, &mut relaxed, black_box(&mut out))
            })
        });
        group.bench_function("gradient", |b| {
            b.iter(|| relaxed_sample_vjp(n_classes, 0.5, &relaxed, &d_relaxed, black_box(&mut out)))
        });
        group.bench_function("kl with gradient", |b| {
            b.iter(|| kl_to_uniform(n_classes, 1.0, &logits, &mut kl, black_box(&mut out)))
        });
        group.finish();
    }
}

fn images(c: &mut Criterion) {
    let (batch, n_pixels) = (100, 784);
    let logits = values(batch * n_pixels);
    let pixels: Vec<u8> = (0..batch * n_pixels).map(|i| (i % 251) as u8).collect();
    let mut targets = vec![0.0; batch * n_pixels];
    let (mut nll, mut d_logits) = (vec![0.0; batch], vec![0.0; batch * n_pixels]);
    let mut group = c.benchmark_group("images 100x784");
    group.throughput(Throughput::Elements((batch * n_pixels) as u64));
    group.bench_function("from bytes", |b| {
        b.iter(|| pixels_to_f32(&pixels, Pixels::Grey, black_box(&mut targets)))
    });
    group.bench_function("bernoulli with gradient", |b| {
        b.iter(|| {
            bernoulli_nll(n_pixels, 0.01, &logits, &targets, &mut nll, black_box(&mut d_logits))
        })
    });
    group.finish();
}

criterion_group!(benches, elementwise, samples, images);
criterion_main!(benches);
