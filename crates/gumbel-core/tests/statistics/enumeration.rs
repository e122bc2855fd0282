//! Entropies, divergences and moments against sums over every outcome; parameters that are refused.

use candle_core::{DType, Device, Tensor};
use gumbel_core::distributions::{
    Bernoulli, Categorical, ExpRelaxedOneHotCategorical, Gumbel, OneHotCategorical,
    RelaxedBernoulli,
};
use gumbel_core::{Error, kl_to_uniform};

use crate::law::values;

const MASK: f64 = f64::NEG_INFINITY;

fn tensor<const R: usize, const C: usize>(rows: [[f64; C]; R]) -> Tensor {
    Tensor::new(&rows, &Device::Cpu).unwrap()
}

fn parameters() -> (Tensor, Tensor) {
    let p = tensor([[0.2, -1.0, 0.7, 1.9], [60.0, 0.0, -70.0, 3.0], [MASK, 0.0, 1.0, MASK]]);
    let q = tensor([[0.0, 0.5, -2.0, 1.0], [1.0, 1.0, 1.0, 1.0], [3.0, 0.0, 0.4, MASK]]);
    (p, q)
}

/// `(outcome, batch)` tables of log-probabilities, as lists per batch entry.
fn table(log_prob: &Tensor) -> Vec<Vec<f64>> {
    log_prob.t().unwrap().contiguous().unwrap().to_vec2::<f64>().unwrap()
}

/// `Σ p f`, where outcomes of probability zero do not count.
fn expectation(log_p: &[f64], f: impl Fn(usize) -> f64) -> f64 {
    let terms = log_p.iter().enumerate().filter(|&(_, &l)| l > MASK);
    terms.map(|(i, l)| l.exp() * f(i)).sum()
}

fn near(name: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= 1e-13 * (1.0 + e.abs()), "{name}: {g}, by enumeration {e}");
    }
}

#[test]
fn categorical_quantities_equal_sums_over_the_classes() {
    let (p, q) = parameters();
    let (c, c2) = (Categorical::from_logits(&p).unwrap(), Categorical::from_logits(&q).unwrap());
    let (o, o2) =
        (OneHotCategorical::from_logits(&p).unwrap(), OneHotCategorical::from_logits(&q).unwrap());
    let support = c.enumerate_support().unwrap();
    assert_eq!(support.dims(), &[4, 3]);
    let log_p = table(&c.log_prob(&support).unwrap());
    let log_q = table(&c2.log_prob(&support).unwrap());
    let units = o.enumerate_support().unwrap();
    assert_eq!(units.dims(), &[4, 3, 4]);
    assert_eq!(table(&o.log_prob(&units).unwrap()), log_p);
    for (i, (p, q)) in log_p.iter().zip(&log_q).enumerate() {
        let total = expectation(p, |_| 1.0);
        assert!((total - 1.0).abs() < 1e-14);
        let entropy = -expectation(p, |k| p[k]);
        let kl = expectation(p, |k| p[k] - q[k]);
        let uniform = expectation(p, |k| p[k] + 4f64.ln());
        for (name, got, expected) in [
            ("entropy", c.entropy(), entropy),
            ("entropy", o.entropy(), entropy),
            ("kl", c.kl_divergence(&c2), kl),
            ("kl", o.kl_divergence(&o2), kl),
            ("kl_to_uniform", c.kl_to_uniform(), uniform),
            ("kl_to_uniform", o.kl_to_uniform(), uniform),
            ("function kl_to_uniform", kl_to_uniform(&parameters().0), uniform),
        ] {
            near(name, &values(&got.unwrap())[i..=i], &[expected]);
        }
        let of = |t: gumbel_core::Result<Tensor>| values(&t.unwrap())[4 * i..4 * i + 4].to_vec();
        let mean: Vec<f64> = p.iter().map(|l| l.exp()).collect();
        let variance: Vec<f64> = mean.iter().map(|m| m * (1.0 - m)).collect();
        near("mean", &of(o.mean()), &mean);
        near("probs", &of(c.probs()), &mean);
        near("variance", &of(o.variance()), &variance);
        let best = (0..4).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap();
        assert_eq!(c.mode().unwrap().to_vec1::<u32>().unwrap()[i] as usize, best);
        assert_eq!(of(o.mode())[best], 1.0);
    }
}

#[test]
fn a_divergence_from_what_masks_more_is_infinite() {
    let (p, q) = (tensor([[0.0, 0.0, MASK]]), tensor([[0.0, MASK, 0.0]]));
    let of = |t: &Tensor| OneHotCategorical::from_logits(t).unwrap();
    assert_eq!(values(&of(&p).kl_divergence(&of(&q)).unwrap()), [f64::INFINITY]);
    assert_eq!(values(&of(&p).kl_divergence(&of(&p)).unwrap()), [0.0]);
    let bit = |p: f64| Bernoulli::from_probs(&tensor([[p]])).unwrap();
    assert_eq!(values(&bit(0.5).kl_divergence(&bit(1.0)).unwrap()), [f64::INFINITY]);
    assert_eq!(values(&bit(1.0).kl_divergence(&bit(0.5)).unwrap()), [std::f64::consts::LN_2]);
    assert_eq!(values(&bit(1.0).kl_divergence(&bit(1.0)).unwrap()), [0.0]);
}

#[test]
fn binary_quantities_equal_sums_over_both_bits() {
    let p = [0.0, 1e-12, 0.3, 0.5, 0.99, 1.0];
    let d = Bernoulli::from_probs(&Tensor::new(&p, &Device::Cpu).unwrap()).unwrap();
    let q = Bernoulli::from_logits(
        &Tensor::new(&[0.5, -1.0, 30.0, 0.0, 2.0, -3.0], &Device::Cpu).unwrap(),
    )
    .unwrap();
    let support = d.enumerate_support().unwrap();
    assert_eq!(support.dims(), &[2, 6]);
    let log_p = table(&d.log_prob(&support).unwrap());
    let log_q = table(&q.log_prob(&support).unwrap());
    let rows = |f: &dyn Fn(&[f64], &[f64]) -> f64| -> Vec<f64> {
        log_p.iter().zip(&log_q).map(|(p, q)| f(p, q)).collect()
    };
    let all = |t: gumbel_core::Result<Tensor>| values(&t.unwrap());
    near("total", &rows(&|p, _| expectation(p, |_| 1.0)), &[1.0; 6]);
    near("entropy", &all(d.entropy()), &rows(&|p, _| -expectation(p, |k| p[k])));
    near("kl", &all(d.kl_divergence(&q)), &rows(&|p, q| expectation(p, |k| p[k] - q[k])));
    near(
        "kl_to_uniform",
        &all(d.kl_to_uniform()),
        &rows(&|p, _| expectation(p, |k| p[k] + 2f64.ln())),
    );
    near("mean", &all(d.mean()), &p);
    near("variance", &all(d.variance()), &p.map(|p| p * (1.0 - p)));
    assert_eq!(all(d.mode()), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn bad_parameters_are_refused_where_they_enter() {
    let cpu = &Device::Cpu;
    let t = |v: &[f64]| Tensor::new(v, cpu).unwrap();
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(matches!(
            Categorical::from_logits(&t(&[0.0, bad])),
            Err(Error::InvalidLogit { .. })
        ));
        assert!(matches!(Bernoulli::from_logits(&t(&[0.0, bad])), Err(Error::InvalidLogit { .. })));
    }
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            Categorical::from_probs(&t(&[0.5, bad])),
            Err(Error::InvalidProbability { .. })
        ));
    }
    assert!(matches!(
        Categorical::from_probs(&t(&[0.0, 0.0])),
        Err(Error::InvalidProbability { .. })
    ));
    assert!(matches!(Bernoulli::from_probs(&t(&[1.5])), Err(Error::InvalidProbability { .. })));
    for tau in [0.0, -1.0, f64::NAN] {
        let error = RelaxedBernoulli::from_logits(tau, &t(&[0.0])).unwrap_err();
        assert!(matches!(error, Error::InvalidTemperature { .. }));
        let error = ExpRelaxedOneHotCategorical::from_logits(tau, &t(&[0.0, 1.0])).unwrap_err();
        assert!(matches!(error, Error::InvalidTemperature { .. }));
    }
    // A temperature that varies along the classes of one row is none.
    let error =
        ExpRelaxedOneHotCategorical::from_logits(t(&[0.5, 0.6]), &t(&[0.0, 1.0])).unwrap_err();
    assert!(matches!(error, Error::ShapeMismatch { what: "temperature", .. }));
    assert!(matches!(
        Gumbel::new(&t(&[0.0]), &t(&[0.0])),
        Err(Error::InvalidParameter { name: "scale", .. })
    ));
    let d = OneHotCategorical::from_logits(&t(&[0.0, 1.0])).unwrap();
    assert!(matches!(d.log_prob(&t(&[0.0, 0.0, 1.0])), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(d.sample_with_noise(&t(&[0.0, 0.0, 1.0])), Err(Error::ShapeMismatch { .. })));
    let c = Categorical::from_logits(&t(&[0.0, 1.0])).unwrap();
    let two = Tensor::new(2u32, cpu).unwrap();
    assert!(matches!(c.log_prob(&two), Err(Error::IndexOutOfRange { index: 2, .. })));
    let b = Bernoulli::from_logits(&t(&[0.0])).unwrap();
    assert!(matches!(b.log_prob(&t(&[2.0])), Err(Error::OutsideSupport { .. })));
}

#[test]
fn values_and_parameters_broadcast_and_keep_their_dtype() {
    let (p, _) = parameters();
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let d = Categorical::from_logits(&p.to_dtype(dtype).unwrap()).unwrap();
        let value = Tensor::new(&[[0u32], [1]], &Device::Cpu).unwrap();
        let lp = d.log_prob(&value).unwrap();
        assert_eq!((lp.dims(), lp.dtype()), ([2, 3].as_slice(), dtype));
        assert_eq!(d.entropy().unwrap().dtype(), dtype);
        let o = OneHotCategorical::from_logits(&p.to_dtype(dtype).unwrap()).unwrap();
        let z = o.sample((5, 2), &mut gumbel_core::Generator::new(0)).unwrap();
        assert_eq!((z.dims(), z.dtype()), ([5, 2, 3, 4].as_slice(), dtype));
        assert_eq!(o.log_prob(&z).unwrap().dims(), &[5, 2, 3]);
    }
}
