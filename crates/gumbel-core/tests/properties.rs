//! What holds for any logits at all: saturated, equal, masked, of any number of classes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use candle_core::{DType, Device, Tensor, Var};
use gumbel_core::distributions::ExpRelaxedOneHotCategorical;
use gumbel_core::{
    Generator, entropy, gumbel_max, gumbel_softmax, kl_to_uniform, straight_through,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same 500 cases on every run.
fn fixed_cases() -> ProptestConfig {
    ProptestConfig {
        cases: 500,
        rng_seed: RngSeed::Fixed(20_260_707),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Rows of 1 to 12 logits, each masked with probability one quarter, but never all of them.
fn row() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        1 => Just(f32::NEG_INFINITY),
        2 => -5f32..5.0,
        1 => -1e4f32..1e4,
    ];
    prop::collection::vec(logit, 1..13)
        .prop_filter("a class must be allowed", |row| row.iter().any(|l| l.is_finite()))
}

fn list(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #![proptest_config(fixed_cases())]

    #[test]
    fn relaxed_samples_lie_on_the_simplex_with_finite_gradients(
        row in row(), log_tau in -4f64..4.0, seed: u64, hard: bool,
    ) {
        let logits = Var::new(row.as_slice(), &Device::Cpu).unwrap();
        let tau = Var::new(log_tau.exp() as f32, &Device::Cpu).unwrap();
        let y = gumbel_softmax(&logits, tau.as_tensor(), hard, 0, &mut Generator::new(seed)).unwrap();
        let values = list(&y);
        prop_assert!((values.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let weights = Tensor::arange(0f32, row.len() as f32, &Device::Cpu).unwrap();
        let grads = (y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let grad = list(grads.get(&logits).unwrap());
        prop_assert!(grads.get(&tau).unwrap().to_scalar::<f32>().unwrap().is_finite());
        for ((&l, y), g) in row.iter().zip(values).zip(grad) {
            prop_assert!((0.0..=1.0).contains(&y) && g.is_finite());
            prop_assert!(l.is_finite() || (y == 0.0 && g == 0.0));
        }
    }

    #[test]
    fn masked_classes_are_never_drawn(row in row(), seed: u64) {
        let logits = Tensor::new(row.as_slice(), &Device::Cpu).unwrap();
        let class = gumbel_max(&logits, 0, &mut Generator::new(seed)).unwrap();
        prop_assert!(row[class.to_scalar::<u32>().unwrap() as usize].is_finite());
    }

    #[test]
    fn entropy_and_divergence_keep_their_bounds_and_add_up(row in row()) {
        let logits = Tensor::new(row.as_slice(), &Device::Cpu).unwrap();
        let (h, kl) = (list(&entropy(&logits).unwrap())[0], list(&kl_to_uniform(&logits).unwrap())[0]);
        let most = (row.len() as f32).ln();
        // Sums of up to twelve terms below 2.5, each rounded to 6e-8 of itself.
        prop_assert!(h >= -1e-6 && kl >= -1e-6 && (h + kl - most).abs() < 3e-6, "{} {}", h, kl);
    }

    #[test]
    fn log_densities_of_own_samples_are_finite(row in row(), log_tau in -2f64..2.0, seed: u64) {
        let logits = Tensor::new(row.as_slice(), &Device::Cpu).unwrap();
        let d = ExpRelaxedOneHotCategorical::from_logits(log_tau.exp(), &logits).unwrap();
        let x = d.sample(4, &mut Generator::new(seed)).unwrap();
        prop_assert!(list(&d.log_prob(&x).unwrap()).iter().all(|l| l.is_finite()));
    }

    #[test]
    fn straight_through_returns_the_bits_it_was_given(
        pairs in prop::collection::vec((any::<f32>(), any::<f32>()), 1..20),
    ) {
        let (hard, soft): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let t = |v: &[f32]| Tensor::new(v, &Device::Cpu).unwrap();
        let y = list(&straight_through(&t(&hard), &t(&soft)).unwrap());
        prop_assert!(y.iter().zip(&hard).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}
