//! What holds for any logits at all: saturated, equal, masked, of any number of classes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use candle_core::{DType, Device, Tensor, Var};
use gumbel_core::distributions::ExpRelaxedOneHotCategorical;
use gumbel_core::{
    Generator, entropy, gumbel_max, gumbel_max_with_noise, gumbel_noise, gumbel_softmax,
    gumbel_softmax_with_noise, kl_to_uniform, one_hot, sample_one_hot, straight_through,
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

/// Rows of one width, some of their classes masked but never all.
fn rows() -> impl Strategy<Value = (usize, usize, Vec<f32>)> {
    (0usize..40, 1usize..70).prop_flat_map(|(n_rows, n_classes)| {
        let logit = prop_oneof![1 => Just(f32::NEG_INFINITY), 4 => -5f32..5.0, 1 => -50f32..50.0];
        prop::collection::vec(logit, n_rows * n_classes).prop_map(move |mut logits| {
            for (i, row) in logits.chunks_mut(n_classes).enumerate() {
                let allowed = i % row.len();
                row[allowed] = row[allowed].max(-1.0);
            }
            (n_rows, n_classes, logits)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..fixed_cases() })]

    /// The general path, with the noise as a tensor, is the oracle of the single pass.
    #[test]
    fn one_pass_over_the_logits_is_the_general_path(
        (n_rows, n_classes, logits) in rows(), log_tau in -2f64..2.0, seed: u64, skipped in 0usize..40,
        hard: bool, turned: bool,
    ) {
        let shape = (n_rows, n_classes);
        let logits = Var::from_vec(logits, shape, &Device::Cpu).unwrap();
        let mut g = Generator::new(seed);
        gumbel_noise(skipped, DType::F32, &Device::Cpu, &mut g).unwrap();
        let mut general = g.clone();
        // A strided view of the same values.
        let x = match turned {
            true => logits.t().unwrap().force_contiguous().unwrap().t().unwrap(),
            false => logits.as_tensor().clone(),
        };
        let weights = gumbel_noise(shape, DType::F32, &Device::Cpu, &mut Generator::new(1)).unwrap();
        let run = |y: &Tensor| {
            let grads = (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            (list(y), list(grads.get(&logits).unwrap()))
        };

        let y = gumbel_softmax(&x, log_tau.exp(), hard, 1, &mut g).unwrap();
        let noise = gumbel_noise(shape, DType::F32, &Device::Cpu, &mut general).unwrap();
        prop_assert_eq!(g.state(), general.state());
        let expected = gumbel_softmax_with_noise(&x, &noise, log_tau.exp(), hard, 1).unwrap();
        let ((values, grad), (general_values, general_grad)) = (run(&y), run(&expected));
        // Exponents up to 88 / τ are rounded by both; gradients are sums of up to 70 weights below 20, over τ.
        let slack = 1.0 + (-log_tau).exp() as f32;
        for (a, b) in values.iter().zip(&general_values) {
            prop_assert!((a - b).abs() <= 2e-5 * slack * b, "{} {}", a, b);
        }
        for (a, b) in grad.iter().zip(&general_grad) {
            prop_assert!((a - b).abs() <= 2e-4 * slack * slack, "{} {}", a, b);
        }

        let state = g.state();
        let classes = gumbel_max(&x, 1, &mut g).unwrap();
        let noise = gumbel_noise(shape, DType::F32, &Device::Cpu, &mut general).unwrap();
        let expected = gumbel_max_with_noise(&x, &noise, 1).unwrap();
        prop_assert_eq!(list(&classes), list(&expected));
        let hot = sample_one_hot(&x, 1, &mut Generator::from_state(&state)).unwrap();
        let expected = one_hot(&expected, n_classes, DType::F32).unwrap();
        prop_assert_eq!(list(&hot), list(&expected));
    }
}
