//! Every structure against the sum over its codes, and the general estimators on it.
//!
//! Means are held to exact values in units of their standard error. The bound of 4.5 is passed by chance with
//! probability α = 7e-6 a comparison; some 150 comparisons make 1e-3 in all. Seeds are fixed.

use std::sync::Arc;

use candle_core::{Device, Shape};

use super::*;
use crate::estimators::{Estimator, EstimatorState, Evaluation, Weight};

const STANDARD_ERRORS: f64 = 4.5;
const N_DRAWS: usize = 40_000;

/// The structures, with the event of the logits that they are tried at.
fn structures() -> [(Arc<dyn Structure>, Vec<usize>); 7] {
    [
        (Arc::new(Categories::default()), vec![2, 3]),
        (Arc::new(Categories::along(1, &Shape::from((1, 3, 2))).unwrap()), vec![3, 2]),
        (Arc::new(Bits), vec![3, 2]),
        (Arc::new(SpanningTree), vec![6]),
        (Arc::new(Arborescence { roots: Roots::Multiple }), vec![2, 3]),
        (Arc::new(Arborescence { roots: Roots::Single }), vec![2, 3]),
        (Arc::new(Copies::new(Arc::new(KSubset::new(2)))), vec![2, 3]),
    ]
}

fn logits(event: &[usize], batch: usize) -> Tensor {
    let row = [0.3, -1.1, 0.9, 0.1, 1.2, -0.4];
    let dims = [&[batch], event].concat();
    Tensor::from_vec(row.repeat(batch), dims, &Device::Cpu).unwrap()
}

fn list(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Codes with their probabilities, and the logarithm of the sum, in plain f64.
fn enumerate(structure: &dyn Structure, theta: &Tensor) -> (Vec<Vec<f64>>, Vec<f64>, f64) {
    let codes: Vec<Vec<f64>> =
        list(&structure.codes(theta).unwrap()).chunks(6).map(<[f64]>::to_vec).collect();
    let weights: Vec<f64> = codes.iter().map(|z| dot(z, &list(theta)).exp()).collect();
    let total: f64 = weights.iter().sum();
    (codes, weights.iter().map(|w| w / total).collect(), total.ln())
}

/// Smooth, far from linear, with products of all coordinates.
fn loss_of(z: &[f64]) -> f64 {
    let w: f64 = z.iter().enumerate().map(|(i, z)| 0.8 * (1.3 * i as f64).sin() * z).sum();
    let v: f64 = z.iter().enumerate().map(|(i, z)| (0.9 * i as f64 + 0.4).cos() * z).sum();
    w.exp() + v * v
}

fn loss_gradient(z: &[f64]) -> Vec<f64> {
    let h = 1e-6;
    let at = |i: usize, by: f64| {
        let mut z = z.to_vec();
        z[i] += by;
        loss_of(&z)
    };
    (0..z.len()).map(|i| (at(i, h) - at(i, -h)) / (2.0 * h)).collect()
}

#[test]
fn partition_marginals_and_modes_are_those_of_the_enumerated_codes() {
    for (structure, event) in structures() {
        let (theta, name) = (logits(&event, 1), structure.name());
        let (codes, probs, log_total) = enumerate(&*structure, &theta);
        let log_partition = list(&structure.log_partition(&theta).unwrap());
        assert!((log_partition[0] - log_total).abs() < 1e-13, "{name}");
        for tau in [0.6, 1.0, 2.5] {
            let scaled = (&theta / tau).unwrap();
            let (_, probs, _) = enumerate(&*structure, &scaled);
            let exact: Vec<f64> =
                (0..6).map(|i| codes.iter().zip(&probs).map(|(z, p)| z[i] * p).sum()).collect();
            let each = Tensor::full(tau, (1, 1, 1), &Device::Cpu).unwrap();
            for tau in [Temperature::Fixed(tau), Temperature::Tensor(each)] {
                let marginals = list(&structure.marginals(&theta, &tau).unwrap());
                assert!(marginals.iter().zip(&exact).all(|(a, b)| (a - b).abs() < 1e-14), "{name}");
            }
        }
        let best = (0..codes.len()).max_by(|&a, &b| probs[a].total_cmp(&probs[b])).unwrap();
        assert_eq!(list(&structure.solve(&theta).unwrap()), codes[best], "{name}");
    }
}

#[test]
fn the_vector_product_is_the_derivative_of_the_marginals() {
    for (structure, event) in structures() {
        let theta = logits(&event, 1);
        let grad = theta.cos().unwrap();
        for tau in [0.6, 1.0] {
            let tau = Temperature::Fixed(tau);
            let product = list(&structure.marginals_vjp(&theta, &tau, &grad).unwrap());
            for (i, product) in product.iter().enumerate() {
                let at = |by: f64| {
                    let mut moved = list(&theta);
                    moved[i] += by;
                    let moved = Tensor::from_vec(moved, theta.shape(), &Device::Cpu).unwrap();
                    dot(&list(&structure.marginals(&moved, &tau).unwrap()), &list(&grad))
                };
                let h = 1e-5;
                let difference = (at(h) - at(-h)) / (2.0 * h);
                assert!((product - difference).abs() < 1e-9, "{} {i}", structure.name());
            }
        }
    }
}

#[test]
fn samples_have_the_frequencies_of_their_probabilities() {
    for (structure, event) in structures() {
        let theta = logits(&event, N_DRAWS);
        let (codes, probs, _) = enumerate(&*structure, &logits(&event, 1));
        let samples = list(&structure.sample(&theta, &mut Generator::new(1)).unwrap());
        for (code, p) in codes.iter().zip(probs) {
            let hits = samples.chunks(6).filter(|z| z == code).count() as f64;
            let n = N_DRAWS as f64;
            let off = (hits - n * p).abs() / (n * p * (1.0 - p)).sqrt();
            assert!(off < STANDARD_ERRORS, "{} {code:?}: {off}", structure.name());
        }
    }
}

#[test]
fn conditional_scores_lead_to_their_code_and_have_the_law_of_perturbed_ones() {
    for (structure, event) in structures() {
        let theta = logits(&event, N_DRAWS);
        let z = structure.sample(&theta, &mut Generator::new(2)).unwrap();
        let scores = match structure.condition(&theta, &z, &mut Generator::new(3)) {
            Err(Error::UnsupportedStructure { .. }) => continue,
            scores => scores.unwrap(),
        };
        assert_eq!(list(&structure.solve(&scores).unwrap()), list(&z), "{}", structure.name());
        // The means of relaxed codes, and of their squares: scores are known up to a shift.
        let perturbed = structure.perturb(&theta, &mut Generator::new(4)).unwrap();
        let moments = |scores: &Tensor| {
            let y = structure.marginals(scores, &Temperature::Fixed(0.7)).unwrap();
            let y = Tensor::cat(&[&y, &y.sqr().unwrap()], 1).unwrap().flatten_from(1).unwrap();
            let mean = list(&y.mean(0).unwrap());
            let variance = list(&y.var(0).unwrap());
            mean.into_iter().zip(variance).collect::<Vec<_>>()
        };
        for ((a, va), (b, vb)) in moments(&scores).into_iter().zip(moments(&perturbed)) {
            let off = (a - b).abs() / ((va + vb) / N_DRAWS as f64).sqrt();
            assert!(off < STANDARD_ERRORS, "{}: {off}", structure.name());
        }
    }
}

/// Gradients of single draws, evaluated without a graph. One row a draw.
fn gradients(
    estimator: Estimator,
    structure: &Arc<dyn Structure>,
    event: &[usize],
    seed: u64,
) -> Vec<Vec<f64>> {
    let theta = logits(event, N_DRAWS);
    let (mut state, mut g) = (EstimatorState::default(), Generator::new(seed));
    let tau = Temperature::Fixed(0.7);
    let proposal = estimator.propose_on(structure, &theta, &tau, &state, &mut g).unwrap();
    let evaluate = |z: &Tensor| {
        let z = list(z);
        let losses: Vec<f64> = z.chunks(6).map(loss_of).collect();
        let slopes: Vec<f64> = z.chunks(6).flat_map(loss_gradient).collect();
        let gradient = Tensor::from_vec(slopes, theta.shape(), &Device::Cpu).unwrap();
        Evaluation { loss: Tensor::new(losses, &Device::Cpu).unwrap(), gradient: Some(gradient) }
    };
    let evaluations: Vec<_> = proposal.points().iter().map(|p| evaluate(&p.z)).collect();
    let d = list(&proposal.combine(&evaluations, &mut state).unwrap());
    d.chunks(6).map(<[f64]>::to_vec).collect()
}

/// The distance of two means, the second known or of draws, in standard errors: the largest over the coordinates.
fn distance(draws: &[Vec<f64>], others: &[Vec<f64>]) -> f64 {
    let moments = |draws: &[Vec<f64>], i: usize| {
        let n = draws.len() as f64;
        let mean = draws.iter().map(|d| d[i]).sum::<f64>() / n;
        let square = draws.iter().map(|d| (d[i] - mean).powi(2)).sum::<f64>() / n;
        (mean, square / n)
    };
    let off = |i: usize| {
        let ((a, va), (b, vb)) = (moments(draws, i), moments(others, i));
        (a - b).abs() / ((va + vb).sqrt() + 1e-11)
    };
    (0..6).map(off).fold(0.0, f64::max)
}

#[test]
fn general_estimators_have_the_mean_that_they_claim_on_every_structure() {
    for (structure, event) in structures() {
        let theta = logits(&event, 1);
        let (codes, probs, _) = enumerate(&*structure, &theta);
        let marginals = list(&structure.marginals(&theta, &Temperature::Fixed(1.0)).unwrap());
        let mut exact = vec![0.0; 6];
        for (z, p) in codes.iter().zip(&probs) {
            for i in 0..6 {
                exact[i] += p * loss_of(z) * (z[i] - marginals[i]);
            }
        }
        let of = |estimator, seed| gradients(estimator, &structure, &event, seed);
        for estimator in [Estimator::Reinforce, Estimator::Rloo { samples: 3 }] {
            let distance = distance(&of(estimator, 10), std::slice::from_ref(&exact));
            assert!(distance < STANDARD_ERRORS, "{estimator}, {}: {distance}", structure.name());
        }
        if structure.condition(&theta, &theta, &mut Generator::new(0)).is_err() {
            // Without conditional noise there is no Gumbel-Rao.
            continue;
        }
        let relaxed = of(Estimator::StGumbelSoftmax, 11);
        let distance_of_means = distance(&of(Estimator::GumbelRao { draws: 3 }, 12), &relaxed);
        assert!(distance_of_means < STANDARD_ERRORS, "{}: {distance_of_means}", structure.name());
        // And straight-through's mean is another, which the comparison can tell.
        assert!(distance(&of(Estimator::StraightThrough, 13), &[exact]) > 10.0);
    }
}

#[test]
fn enumeration_is_exact_and_its_weights_are_the_probabilities() {
    for (structure, event) in structures() {
        let theta = logits(&event, 2);
        let (codes, probs, _) = enumerate(&*structure, &logits(&event, 1));
        let (mut state, mut g) = (EstimatorState::default(), Generator::new(0));
        let tau = Temperature::Fixed(1.0);
        let proposal =
            Estimator::Enumeration.propose_on(&structure, &theta, &tau, &state, &mut g).unwrap();
        assert_eq!(proposal.points().len(), codes.len());
        let mut evaluations = Vec::new();
        for ((point, code), p) in proposal.points().iter().zip(&codes).zip(&probs) {
            assert_eq!(list(&point.z), code.repeat(2));
            let Weight::PerRow(weights) = &point.weight else { panic!("{:?}", point.weight) };
            assert!(list(weights).iter().all(|w| (w - p).abs() < 1e-14));
            let loss = Tensor::full(loss_of(code), 2, &Device::Cpu).unwrap();
            evaluations.push(Evaluation { loss, gradient: None });
        }
        let d = list(&proposal.combine(&evaluations, &mut state).unwrap());
        let marginals = list(&structure.marginals(&theta, &tau).unwrap());
        for (i, (d, marginal)) in d.iter().zip(marginals).enumerate() {
            let terms =
                codes.iter().zip(&probs).map(|(z, p)| p * loss_of(z) * (z[i % 6] - marginal));
            assert!((d - terms.sum::<f64>()).abs() < 1e-13, "{}", structure.name());
        }
    }
}

#[test]
fn disarm_takes_bits_and_the_estimators_of_categories_refuse_them_by_name() {
    let bits: Arc<dyn Structure> = Arc::new(Bits);
    let theta = logits(&[3, 2], 1);
    let (codes, probs, _) = enumerate(&*bits, &theta);
    let marginals = list(&bits.marginals(&theta, &Temperature::Fixed(1.0)).unwrap());
    let exact: Vec<f64> = (0..6)
        .map(|i| {
            codes.iter().zip(&probs).map(|(z, p)| p * loss_of(z) * (z[i] - marginals[i])).sum()
        })
        .collect();
    let distance = distance(&gradients(Estimator::DisArm, &bits, &[3, 2], 14), &[exact]);
    assert!(distance < STANDARD_ERRORS, "{distance}");
    let mut refused = Vec::new();
    for estimator in Estimator::ALL {
        let tau = Temperature::Fixed(1.0);
        let state = EstimatorState::default();
        match estimator.propose_on(&bits, &theta, &tau, &state, &mut Generator::new(0)) {
            Ok(_) => {}
            Err(Error::UnsupportedStructure { estimator, structure: "bits", .. }) => {
                refused.push(estimator);
            }
            Err(error) => panic!("{estimator}: {error}"),
        }
    }
    let expected = [
        "decoupled-straight-through",
        "gapped-straight-through",
        "reinmax",
        "reinmax-rao",
        "fini",
        "unordered-set",
        "rebar",
    ];
    assert_eq!(refused, expected);
}

#[test]
fn bad_logits_and_temperatures_that_vary_along_the_classes_are_refused() {
    for value in [f64::NAN, f64::INFINITY] {
        let bad = Tensor::new(&[[0.0, value]], &Device::Cpu).unwrap();
        for structure in [&Categories::default() as &dyn Structure, &Bits] {
            let error = structure.sample(&bad, &mut Generator::new(0)).unwrap_err();
            assert!(matches!(error, Error::InvalidLogit { index, .. } if index == [0, 1]));
        }
    }
    let theta = logits(&[2, 3], 1);
    let tau = Temperature::Tensor(Tensor::new(&[1.0, 2.0, 1.0], &Device::Cpu).unwrap());
    let error = Categories::default().marginals(&theta, &tau).unwrap_err();
    assert!(matches!(error, Error::ShapeMismatch { what: "temperature", .. }), "{error}");
    let forbidden = Tensor::new(&[[f64::NEG_INFINITY, 0.5]], &Device::Cpu).unwrap();
    let z = Bits.sample(&forbidden.repeat((100, 1)).unwrap(), &mut Generator::new(0)).unwrap();
    assert!(list(&z).chunks(2).all(|z| z[0] == 0.0));
    let grad = Tensor::new(&[[f64::NAN, 1.0]], &Device::Cpu).unwrap();
    let d = Bits.marginals_vjp(&forbidden, &Temperature::Fixed(0.5), &grad).unwrap();
    assert!(list(&d)[0] == 0.0 && list(&d)[1] > 0.0);
}
