//! Noise, samples and divergences as library calls on candle tensors; throughput in logits.

use std::hint::black_box;

use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Shape, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gumbel_core::{Generator, Result, gumbel_max, gumbel_noise, gumbel_softmax, kl_to_uniform};

const SHAPES: [&[usize]; 4] = [&[100, 30, 10], &[4096, 16, 64], &[64, 32_000], &[8, 512, 8192]];

fn sampling(c: &mut Criterion) {
    for shape in SHAPES {
        shape_of_logits(c, shape).unwrap_or_else(|error| panic!("{shape:?}: {error}"));
    }
}

fn shape_of_logits(c: &mut Criterion, shape: &[usize]) -> Result<()> {
    let mut g = Generator::new(0);
    let logits = gumbel_noise(shape, DType::F32, &Device::Cpu, &mut g)?;
    let logits = Var::from_tensor(&logits)?;
    let constant = logits.as_tensor().detach();
    let upstream = gumbel_noise(shape, DType::F32, &Device::Cpu, &mut g)?;

    let n_logits = shape.iter().product::<usize>();
    let mut group = c.benchmark_group(format!("{shape:?}"));
    group.throughput(Throughput::Elements(n_logits as u64)).sample_size(10);
    group.bench_function("gumbel_noise", |b| {
        b.iter(|| gumbel_noise(shape, DType::F32, &Device::Cpu, &mut g))
    });
    group.bench_function("gumbel_max", |b| {
        b.iter(|| gumbel_max(black_box(&constant), D::Minus1, &mut g))
    });
    group.bench_function("kl_to_uniform", |b| b.iter(|| kl_to_uniform(black_box(&constant))));
    for (name, hard) in [("gumbel_softmax", false), ("gumbel_softmax hard", true)] {
        group.bench_function(name, |b| {
            b.iter(|| gumbel_softmax(black_box(&constant), 1.0, hard, D::Minus1, &mut g))
        });
        group.bench_function(format!("{name}, forward and back"), |b| {
            b.iter(|| -> Result<_> {
                let z = gumbel_softmax(logits.as_tensor(), 1.0, hard, D::Minus1, &mut g)?;
                Ok(z.apply_op1(Upstream(upstream.clone()))?.backward()?)
            })
        });
    }
    group.finish();
    Ok(())
}

/// A scalar whose gradient is the given one: candle has no `backward` that starts from a gradient. Its value is
/// never looked at.
struct Upstream(Tensor);

impl CustomOp1 for Upstream {
    fn name(&self) -> &'static str {
        "upstream"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = sampling
}
criterion_main!(benches);
