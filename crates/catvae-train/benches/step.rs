//! The training step of the default network, batch 100, with the estimators that a run can choose.

use candle_core::Device;
use catvae_data::{Batch, digits_with};
use catvae_train::{TrainConfig, Trainer};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gumbel_core::estimators::Estimator;

fn step(c: &mut Criterion) {
    let data = digits_with(0, 100, 0).train;
    let images = data.images().iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let batch = Batch { images, len: data.len(), ..Batch::default() };

    let mut group = c.benchmark_group("step");
    group.throughput(Throughput::Elements(batch.len as u64)).sample_size(50);
    for (name, estimator, unrelaxed) in [
        ("relaxed", Estimator::GumbelSoftmax, false),
        ("relaxed, with the unrelaxed pass", Estimator::GumbelSoftmax, true),
        ("straight-through", Estimator::StGumbelSoftmax, false),
        ("reinmax", Estimator::ReinMax, false),
        ("rloo", Estimator::Rloo { samples: 4 }, false),
        ("rebar", Estimator::Rebar, false),
        ("reinforce", Estimator::Reinforce, false),
    ] {
        let mut config = TrainConfig { estimator, ..TrainConfig::default() };
        config.training.unrelaxed = unrelaxed;
        let mut trainer = Trainer::new(config, Device::Cpu)
            .unwrap_or_else(|error| panic!("the default settings are good: {error}"));
        group.bench_function(name, |b| b.iter(|| trainer.take_step(&batch)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = step
}
criterion_main!(benches);
