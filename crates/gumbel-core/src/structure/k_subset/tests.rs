//! What is particular to subsets.

use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::gumbel_noise;
use crate::structure::Categories;
use crate::{gumbel_softmax_with_noise, structure::host::values};

fn golden() -> Gibbs<KSubset> {
    let logits = Tensor::new(&[1f64, 2.0, 3.0, 4.0], &Device::Cpu).unwrap().log().unwrap();
    KSubset::from_logits(&logits, 2).unwrap()
}

#[track_caller]
fn near(x: &Tensor, expected: &[f64], bound: f64) {
    let x = values(x).unwrap();
    assert!(x.iter().zip(expected).all(|(a, b)| (a - b).abs() < bound), "{x:?} {expected:?}");
}

#[test]
fn weights_one_to_four_give_the_published_fractions() {
    let d = golden();
    let p = d.log_prob(&d.enumerate_support().unwrap()).unwrap().exp().unwrap();
    near(&p, &[2.0, 3.0, 4.0, 6.0, 8.0, 12.0].map(|w| w / 35.0), 1e-15);
    near(&d.marginals().unwrap(), &[9.0, 16.0, 21.0, 24.0].map(|w| w / 35.0), 1e-15);
    near(&d.entropy().unwrap(), &[1.6287115581217908], 1e-14);
    near(&d.kl_to_uniform().unwrap(), &[0.16304791110626426], 1e-14);
    near(&d.log_partition().unwrap(), &[35f64.ln()], 1e-14);
}

#[test]
fn the_largest_perturbed_logits_have_another_law_than_the_samples() {
    // {2, 3} has 12/35 = .34286 among samples, .371429 among perturbed ones. 400,000 draws: four standard errors are .0031.
    let d = golden();
    const N: usize = 400_000;
    let share = |z: Tensor| {
        let z = values(&z).unwrap();
        z.chunks(4).filter(|z| z[2] == 1.0 && z[3] == 1.0).count() as f64 / N as f64
    };
    let exact = share(d.sample(N, &mut Generator::new(1)).unwrap());
    let perturbed = share(d.rsample(N, 1.0, true, &mut Generator::new(2)).unwrap());
    assert!((exact - 12.0 / 35.0).abs() < 0.0031, "{exact}");
    assert!((perturbed - 0.371429).abs() < 0.0031, "{perturbed}");
}

#[test]
fn one_item_is_a_category_and_its_relaxation_is_gumbel_softmax() {
    let logits = Tensor::new(&[[0.3f64, -1.0, 2.0, 0.1]], &Device::Cpu).unwrap();
    let d = KSubset::from_logits(&logits, 1).unwrap();
    let softmax = Categories::default().marginals(&logits, &Temperature::Fixed(1.0)).unwrap();
    near(&d.marginals().unwrap(), &values(&softmax).unwrap(), 1e-15);
    let noise = gumbel_noise((1, 4), DType::F64, &Device::Cpu, &mut Generator::new(1)).unwrap();
    for tau in [0.1, 1.0, 5.0] {
        let relaxed = d.rsample_with_noise(&noise, tau, false).unwrap();
        let softmax = gumbel_softmax_with_noise(&logits, &noise, tau, false, 1).unwrap();
        near(&relaxed, &values(&softmax).unwrap(), 1e-13);
        let successive = successive_softmax_with_noise(&logits, &noise, 1, tau).unwrap();
        near(&successive, &values(&softmax).unwrap(), 1e-13);
    }
}

#[test]
fn masked_items_are_as_if_they_were_not_there() {
    let m = f64::NEG_INFINITY;
    let logits = Tensor::new(&[[0.3, m, 2.0, m, 0.1, -0.4]], &Device::Cpu).unwrap();
    let fewer = Tensor::new(&[[0.3, 2.0, 0.1, -0.4]], &Device::Cpu).unwrap();
    for k in 0..=4 {
        let of = |x: &Tensor| KSubset::from_logits(x, k).unwrap();
        let (a, b) = (of(&logits), of(&fewer));
        let value = |d: &Gibbs<KSubset>| values(&d.log_partition().unwrap()).unwrap();
        assert_eq!(value(&a), value(&b));
        let mu = values(&a.marginals().unwrap()).unwrap();
        let kept: Vec<f64> = [0, 2, 4, 5].map(|i| mu[i]).to_vec();
        assert_eq!(kept, values(&b.marginals().unwrap()).unwrap());
    }
}

#[test]
fn padding_by_minus_three_hundred_is_not_a_mask_and_a_mask_is_exact() {
    // Where the allowed items have scores of -600, a padding of -300 would be drawn.
    let logits = Tensor::new(&[[-600f64, -601.0, f64::NEG_INFINITY]], &Device::Cpu).unwrap();
    let d = KSubset::from_logits(&logits, 1).unwrap();
    let z = values(&d.sample(1000, &mut Generator::new(0)).unwrap()).unwrap();
    assert!(z.chunks(3).all(|z| z[2] == 0.0));
    near(&d.log_partition().unwrap(), &[-600.0 + (1.0 + (-1f64).exp()).ln()], 1e-12);
}

#[test]
fn relaxed_subsets_have_no_entry_above_one_where_successive_softmax_has() {
    let logits = Tensor::new(&[0f64, 0.2, 0.4, 0.6, 0.8], &Device::Cpu).unwrap();
    let logits = logits.broadcast_as((200, 5)).unwrap().contiguous().unwrap();
    let noise = gumbel_noise((200, 5), DType::F64, &Device::Cpu, &mut Generator::new(3)).unwrap();
    let most = |y: Tensor| values(&y).unwrap().into_iter().fold(0.0, f64::max);
    let d = KSubset::from_logits(&logits, 3).unwrap();
    assert!(most(d.rsample_with_noise(&noise, 1.0, false).unwrap()) <= 1.0);
    assert!(most(successive_softmax_with_noise(&logits, &noise, 3, 1.0).unwrap()) > 1.01);
}

#[test]
fn successive_softmax_has_its_gradient_and_its_limit() {
    let row = [0.3, -1.0, f64::NEG_INFINITY, 2.0, 0.1];
    let noise = Tensor::new(&[0.5f64, 1.1, 0.2, -0.3, 0.4], &Device::Cpu).unwrap();
    let weights = Tensor::new(&[1f64, -2.0, 5.0, 0.5, 3.0], &Device::Cpu).unwrap();
    for (k, tau) in [(1, 0.7), (2, 0.3), (3, 1.0), (4, 0.5)] {
        let f = |x: &Tensor| {
            let y = successive_softmax_with_noise(x, &noise, k, tau).unwrap();
            (y * &weights).unwrap().sum_all().unwrap()
        };
        let x = Var::new(&row, &Device::Cpu).unwrap();
        let d = values(f(&x).backward().unwrap().get(&x).unwrap()).unwrap();
        assert_eq!(d[2], 0.0);
        for (i, d) in d.iter().enumerate() {
            let at = |h: f64| {
                let mut row = row;
                row[i] += h;
                values(&f(&Tensor::new(&row, &Device::Cpu).unwrap())).unwrap()[0]
            };
            let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!(
                (d - expected).abs() < 1e-7 * expected.abs().max(1.0),
                "{k} {i}: {d} {expected}"
            );
        }
        let y = successive_softmax_with_noise(&x, &noise, k, 1e-3).unwrap();
        let hard = KSubset::new(k).solve(&(x.as_tensor() + &noise).unwrap()).unwrap();
        near(&y, &values(&hard).unwrap(), 1e-6);
        near(&y.sum_all().unwrap(), &[k as f64], 1e-12);
    }
}

#[test]
fn the_first_of_equals_are_the_mode() {
    let m = f64::NEG_INFINITY;
    let logits = Tensor::new(&[[1f64, m, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let mode = KSubset::from_logits(&logits, 2).unwrap().mode().unwrap();
    assert_eq!(values(&mode).unwrap(), [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn indices_are_those_of_the_ones() {
    let d = golden();
    let z = d.sample(20, &mut Generator::new(4)).unwrap();
    let items = d.indices(&z).unwrap().to_vec2::<u32>().unwrap();
    for (z, items) in values(&z).unwrap().chunks(4).zip(items) {
        let expected: Vec<u32> = (0..4).filter(|&i| z[i as usize] == 1.0).collect();
        assert_eq!(items, expected);
    }
    let three = Tensor::new(&[1f64, 1.0, 1.0, 0.0], &Device::Cpu).unwrap();
    let error = d.indices(&three).unwrap_err();
    assert!(matches!(error, Error::OutsideSupport { ref index, .. } if index == &[2]), "{error}");
}

#[test]
fn too_many_items_and_too_many_codes_are_refused_by_name() {
    let m = f32::NEG_INFINITY;
    let logits = Tensor::new(&[[0f32, 1.0, 2.0], [0.0, m, m]], &Device::Cpu).unwrap();
    let error = KSubset::from_logits(&logits, 2).unwrap_err();
    assert!(matches!(error, Error::SubsetSize { k: 2, allowed: 1, row: 1 }), "{error}");
    let wide = Tensor::zeros((1, 40), DType::F32, &Device::Cpu).unwrap();
    let error = KSubset::from_logits(&wide, 20).unwrap().enumerate_support().unwrap_err();
    assert!(matches!(error, Error::TooLarge { size, .. } if size > 1e11), "{error}");
}
