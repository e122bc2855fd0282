//! What the distributions promise at the edges of their types.

use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::{Error, Generator};

fn list(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn densities_are_finite_for_values_with_more_digits_than_the_parameters() {
    let d = RelaxedBernoulli::from_logits(0.5, &Tensor::new(&[0.3f32], &Device::Cpu).unwrap());
    let d = d.unwrap();
    for value in [1.0 - 1e-12, 0.0, 1.0, 1e-300] {
        let value = Var::new(&[value], &Device::Cpu).unwrap();
        let density = d.log_prob(&value).unwrap();
        assert!(list(&density)[0].is_finite());
        let grads = density.sum_all().unwrap().backward().unwrap();
        assert!(list(grads.get(&value).unwrap())[0].is_finite());
    }
    let logits = Tensor::new(&[0.1f32, 0.2, 0.3], &Device::Cpu).unwrap();
    let d = RelaxedOneHotCategorical::from_logits(0.5, &logits).unwrap();
    let value = Tensor::new(&[1e-50f64, 0.5, 0.5], &Device::Cpu).unwrap();
    assert!(list(&d.log_prob(&value).unwrap())[0].is_finite());
}

#[test]
fn empty_batches_have_densities_and_divergences() {
    for dtype in [DType::F32, DType::F64] {
        let none = Tensor::zeros((0, 3), dtype, &Device::Cpu).unwrap();
        let c = OneHotCategorical::from_logits(&none).unwrap();
        assert_eq!(c.kl_divergence(&c).unwrap().dims(), [0]);
        assert_eq!(c.entropy().unwrap().dims(), [0]);
        assert_eq!(c.variance().unwrap().dims(), [0, 3]);
        let d = RelaxedOneHotCategorical::from_logits(1, &none).unwrap();
        let y = d.rsample((), &mut Generator::new(0)).unwrap();
        assert_eq!(d.log_prob(&y).unwrap().dims(), [0]);
        assert_eq!(d.log_space().log_prob(&y).unwrap().dims(), [0]);
    }
}

#[test]
fn many_classes_lose_no_digits() {
    // Equal logits against equal logits that are shifted, and a point in the middle of the simplex.
    let n = 131_072;
    let logits = Tensor::zeros((1, n), DType::F32, &Device::Cpu).unwrap();
    let (p, q) = (logits.clone(), logits.affine(1.0, 0.3).unwrap());
    let p = Categorical::from_logits(&p).unwrap();
    let kl = p.kl_divergence(&Categorical::from_logits(&q).unwrap()).unwrap();
    let kl = list(&kl)[0];
    assert!((0.0..1e-6).contains(&kl), "{kl}");
    let point = Tensor::full(1.0 / n as f32, (1, n), &Device::Cpu).unwrap();
    let density = |dtype: DType| {
        let tau = Var::new(0.7f64, &Device::Cpu).unwrap();
        let l = logits.to_dtype(dtype).unwrap();
        let d = RelaxedOneHotCategorical::from_logits(tau.as_tensor(), &l).unwrap();
        let y = d.log_prob(&point).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        (list(&y)[0], list(grads.get(&tau).unwrap())[0])
    };
    let (single, double) = (density(DType::F32), density(DType::F64));
    assert!((single.0 / double.0 - 1.0).abs() < 1e-7, "{single:?} {double:?}");
    assert!((single.1 / double.1 - 1.0).abs() < 1e-6, "{single:?} {double:?}");
}

#[test]
fn the_variance_of_a_likely_class_keeps_its_digits() {
    let logits = Tensor::new(&[20f32, 0.0], &Device::Cpu).unwrap();
    let variance = OneHotCategorical::from_logits(&logits).unwrap().variance().unwrap();
    for v in list(&variance) {
        assert!((v / 2.061_153_6e-9 - 1.0).abs() < 1e-6, "{v}");
    }
}

#[test]
fn divergences_are_not_below_zero() {
    let mut g = Generator::new(1);
    for dtype in [DType::F32, DType::F64] {
        let x = crate::gumbel_noise((500, 7), dtype, &Device::Cpu, &mut g).unwrap();
        let near = x.affine(1.0, 1e-5).unwrap();
        let kl = |a: &Tensor, b: &Tensor| {
            let of = |x: &Tensor| Categorical::from_logits(x).unwrap();
            let bits = |x: &Tensor| Bernoulli::from_logits(x).unwrap();
            let classes = of(a).kl_divergence(&of(b)).unwrap();
            [list(&classes), list(&bits(a).kl_divergence(&bits(b)).unwrap())].concat()
        };
        assert!(kl(&x, &near).into_iter().all(|kl| kl >= 0.0));
    }
}

#[test]
fn errors_speak_of_what_was_given() {
    let zero = Tensor::new(&[0f32, 0.0], &Device::Cpu).unwrap();
    assert!(matches!(
        Categorical::from_probs(&zero),
        Err(Error::InvalidProbability { ref index, .. }) if index == &[0]
    ));
    let scalar = Tensor::new(0.5f32, &Device::Cpu).unwrap();
    assert!(matches!(
        Categorical::from_probs(&scalar),
        Err(Error::TooFewClasses { what: "probs", .. })
    ));
    let of = |n: usize| {
        Categorical::from_logits(&Tensor::zeros((2, n), DType::F32, &Device::Cpu).unwrap()).unwrap()
    };
    assert!(matches!(
        of(3).kl_divergence(&of(4)),
        Err(Error::ShapeMismatch { what: "the other distribution", .. })
    ));
    let classes = Tensor::new(&[0i64, -1], &Device::Cpu).unwrap();
    assert!(matches!(of(3).log_prob(&classes), Err(Error::IndexOutOfRange { index: -1, .. })));
}
