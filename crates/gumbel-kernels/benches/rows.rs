//! Noise, relaxed samples, losses, elementary functions and gathering; throughput in values.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gumbel_kernels::{
    GumbelStream, Pixels, WordStream, bernoulli_nll, conditional_softmax_vjp, exp, gumbel_one_hot,
    gumbel_softmax, kl_to_uniform, ln, pixels_to_f32, sigmoid, softmax, softmax_vjp, softplus,
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
        group.bench_function("softmax", |b| {
            b.iter(|| softmax(n_classes, 0.5, &logits, black_box(&mut relaxed)))
        });
        group.bench_function("relaxed", |b| {
            b.iter(|| gumbel_softmax(n_classes, 0.5, &logits, gumbel, 0, black_box(&mut relaxed)))
        });
        group.bench_function("gradient", |b| {
            b.iter(|| softmax_vjp(n_classes, 0.5, &relaxed, &d_relaxed, black_box(&mut out)))
        });
        group.bench_function("one-hot", |b| {
            b.iter(|| gumbel_one_hot(n_classes, &logits, gumbel, 0, black_box(&mut relaxed)))
        });
        group.bench_function("kl with gradient", |b| {
            b.iter(|| kl_to_uniform(n_classes, 1.0, &logits, &mut kl, black_box(&mut out)))
        });
        group.finish();
    }
}

fn conditional(c: &mut Criterion) {
    let (_, noise) = noise();
    let (rows, n_classes) = (3000, 10);
    let len = rows * n_classes;
    let (mut log_probs, d_hard) = (values(len), values(len));
    let (mut hard, mut out) = (vec![0.0; len], vec![0.0; len]);
    gumbel_one_hot(n_classes, &log_probs, noise, 0, &mut hard).expect("the lengths fit");
    log_probs.iter_mut().for_each(|l| *l -= 6.0);
    let mut group = c.benchmark_group(format!("conditional noise {rows}x{n_classes}"));
    group.throughput(Throughput::Elements(len as u64)).sample_size(20);
    group.bench_function("10 draws", |b| {
        b.iter(|| {
            let out = black_box(&mut out);
            let draws = [noise; 10];
            conditional_softmax_vjp(n_classes, 0.5, &draws, 0, &log_probs, &hard, &d_hard, out)
        })
    });
    group.finish();
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

criterion_group!(benches, elementwise, samples, conditional, images);
criterion_main!(benches);
