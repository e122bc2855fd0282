//! What every estimator promises: gradients for all inputs, masks, errors, dtypes, exact resumption.

use std::cell::RefCell;

use super::*;
use crate::estimators::*;
use crate::{Error, Temperature, sample_one_hot};

fn usable() -> impl Iterator<Item = (Estimator, usize)> {
    // Each with a number of categories that it takes.
    Estimator::ALL.into_iter().map(|e| (e, if e == Estimator::DisArm { 2 } else { 3 }))
}

pub(super) fn some_logits(dims: (usize, usize, usize), dtype: DType) -> Var {
    let n = dims.0 * dims.1 * dims.2;
    let x: Vec<f64> = (0..n).map(|i| (0.7 * i as f64).sin()).collect();
    let x = Tensor::from_vec(x, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    Var::from_tensor(&x).unwrap()
}

fn weights(n_categories: usize, dtype: DType) -> Var {
    let w: Vec<f64> = (0..n_categories).map(|i| 0.5 + i as f64).collect();
    Var::from_tensor(&Tensor::new(w, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()).unwrap()
}

/// A decoder with one parameter: `(Σ w z)²`.
fn decode(z: &Tensor, w: &Tensor) -> Result<Tensor> {
    Ok(z.broadcast_mul(w)?.sum(D::Minus1)?.sum(D::Minus1)?.sqr()?)
}

#[test]
fn logits_and_decoder_get_gradients_in_every_dtype() {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for (estimator, n_categories) in usable() {
            let logits = some_logits((4, 2, n_categories), dtype);
            let w = weights(n_categories, dtype);
            let mut f = |z: &Tensor| {
                assert_eq!((z.dims(), z.dtype()), (logits.dims(), dtype), "{estimator}");
                decode(z, &w)
            };
            let mut state = EstimatorState::default();
            let mut g = Generator::new(1);
            let objective = estimator.objective(&mut state, &logits, 1.0, &mut g, &mut f).unwrap();
            assert_eq!(objective.loss.dims(), [4], "{estimator}");
            assert_eq!(values(&objective.loss), values(&objective.surrogate), "{estimator}");
            let grads = objective.surrogate.mean_all().unwrap().backward().unwrap();
            for var in [&logits, &w] {
                let grad = grads.get(var).unwrap_or_else(|| panic!("{estimator}: no gradient"));
                assert_eq!((grad.dims(), grad.dtype()), (var.dims(), dtype), "{estimator}");
                let grad = values(grad);
                assert!(grad.iter().all(|g| g.is_finite()), "{estimator} {dtype:?}");
                assert!(grad.iter().any(|g| *g != 0.0), "{estimator} {dtype:?}");
            }
        }
    }
}

#[test]
fn the_decoder_gets_the_ordinary_gradient_of_the_reported_loss() {
    for (estimator, n_categories) in usable() {
        let logits = some_logits((4, 2, n_categories), DType::F64);
        let w = weights(n_categories, DType::F64);
        let seen = RefCell::new(Vec::new());
        let mut f = |z: &Tensor| {
            seen.borrow_mut().push(z.detach());
            decode(z, &w)
        };
        let mut state = EstimatorState::default();
        let mut g = Generator::new(1);
        let objective = estimator.objective(&mut state, &logits, 1.0, &mut g, &mut f).unwrap();
        let grads = objective.surrogate.sum_all().unwrap().backward().unwrap();
        // The samples the reported loss is the mean over; REBAR's relaxed one is not among them.
        let samples = match estimator {
            Estimator::Rebar => seen.borrow().first().cloned().into_iter().collect(),
            // Their points count unequally.
            Estimator::Enumeration | Estimator::UnorderedSet { .. } => continue,
            _ => seen.take(),
        };
        let losses: Vec<_> = samples.iter().map(|z| decode(z, &w).unwrap()).collect();
        let mean = Tensor::stack(&losses, 0).unwrap().mean(0).unwrap();
        assert_close(estimator.name(), &values(&objective.loss), &values(&mean), 1e-13);
        let ordinary = mean.sum_all().unwrap().backward().unwrap();
        let (a, b) = (grads.get(&w).unwrap(), ordinary.get(&w).unwrap());
        assert_close(estimator.name(), &values(a), &values(b), 1e-12);
    }
}

#[test]
fn the_gradient_of_a_mean_over_rows_is_that_of_the_sum_divided_by_their_number() {
    for (estimator, n_categories) in usable() {
        let logits = some_logits((40, 2, n_categories), DType::F64);
        let w = weights(n_categories, DType::F64);
        let gradient = |scale: f64| {
            let mut f = |z: &Tensor| decode(z, &w);
            let (mut state, mut g) = (EstimatorState::default(), Generator::new(1));
            let objective = estimator.objective(&mut state, &logits, 1.0, &mut g, &mut f).unwrap();
            let grads =
                (objective.surrogate * scale).unwrap().sum_all().unwrap().backward().unwrap();
            values(grads.get(&logits).unwrap())
        };
        let of_mean: Vec<f64> = gradient(1.0 / 40.0).iter().map(|x| x * 40.0).collect();
        assert_close(estimator.name(), &of_mean, &gradient(1.0), 1e-12);
    }
}

#[test]
fn masked_classes_are_never_drawn_and_get_gradient_zero() {
    let m = f64::NEG_INFINITY;
    for (estimator, n_categories) in usable() {
        let rows: &[f64] = match n_categories {
            2 => &[m, 0.3, 0.1, 0.2],
            _ => &[0.3, m, 0.1, m, m, 0.2],
        };
        let tiled = Tensor::from_vec(rows.repeat(200), (200, 2, n_categories), &Device::Cpu);
        let logits = Var::from_tensor(&tiled.unwrap()).unwrap();
        let w = weights(n_categories, DType::F64);
        let mut f = |z: &Tensor| {
            if estimator != Estimator::Enumeration {
                let masked =
                    values(z).into_iter().zip(rows.iter().cycle()).filter(|(_, l)| **l == m);
                assert!(masked.into_iter().all(|(z, _)| z == 0.0), "{estimator}");
            }
            decode(z, &w)
        };
        let mut state = EstimatorState::default();
        for tau in [0.5, 1.0] {
            let mut g = Generator::new(3);
            let objective = estimator.objective(&mut state, &logits, tau, &mut g, &mut f).unwrap();
            let grads = objective.surrogate.sum_all().unwrap().backward().unwrap();
            let grads = values(grads.get(&logits).unwrap());
            for (grad, logit) in grads.iter().zip(rows.iter().cycle()) {
                assert!(
                    if *logit == m { *grad == 0.0 } else { grad.is_finite() },
                    "{estimator}: {grad}"
                );
            }
        }
    }
}

pub(super) fn error_of(estimator: Estimator, logits: &Tensor, tau: f64) -> Error {
    let mut f = |z: &Tensor| Ok::<_, Error>(z.sum((1, 2))?);
    let mut state = EstimatorState::default();
    let mut g = Generator::new(0);
    estimator.objective(&mut state, logits, tau, &mut g, &mut f).unwrap_err()
}

#[test]
fn bad_logits_temperatures_and_losses_are_errors() {
    for (estimator, n_categories) in usable() {
        let good = some_logits((2, 2, n_categories), DType::F32);
        let spoilt = |value: f32, n: usize| {
            let mut v = values(&good).iter().map(|&x| x as f32).collect::<Vec<_>>();
            v[..n].fill(value);
            Tensor::from_vec(v, good.shape(), &Device::Cpu).unwrap()
        };
        let error = error_of(estimator, &spoilt(f32::NAN, 1), 1.0);
        assert!(matches!(error, Error::InvalidLogit { .. }), "{estimator}: {error}");
        let error = error_of(estimator, &spoilt(f32::NEG_INFINITY, n_categories), 1.0);
        assert!(matches!(error, Error::AllMasked { .. }), "{estimator}: {error}");
        let flat = good.flatten_from(1).unwrap();
        assert!(matches!(error_of(estimator, &flat, 1.0), Error::UnexpectedShape { .. }));
        for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            if estimator.has_temperature() {
                let error = error_of(estimator, &good, tau);
                assert!(matches!(error, Error::InvalidTemperature { .. }), "{estimator}: {error}");
            }
        }
        let mut f = |z: &Tensor| Ok::<_, Error>(z.sum(2)?);
        let mut state = EstimatorState::default();
        let mut g = Generator::new(0);
        let error = estimator.objective(&mut state, &good, 1.0, &mut g, &mut f).unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { what: "the loss", .. }), "{estimator}");
    }
}

#[test]
fn parameters_out_of_range_are_errors() {
    let logits = some_logits((1, 2, 3), DType::F32);
    let cases = [
        Estimator::GumbelRao { draws: 0 },
        Estimator::ReinMaxRao { draws: 0 },
        Estimator::Rloo { samples: 1 },
        Estimator::GappedStraightThrough { gap: -1.0 },
        Estimator::GappedStraightThrough { gap: f64::NAN },
    ];
    for estimator in cases {
        let error = error_of(estimator, &logits, 1.0);
        assert!(matches!(error, Error::InvalidParameter { .. }), "{estimator}: {error}");
    }
    let error = error_of(Estimator::DecoupledStraightThrough { backward_tau: 0.0 }, &logits, 1.0);
    assert!(matches!(error, Error::InvalidTemperature { .. }));
    assert!(matches!(error_of(Estimator::DisArm, &logits, 1.0), Error::ShapeMismatch { .. }));
    // 3^9 = 19,683 codes.
    let many = some_logits((1, 9, 3), DType::F32);
    let error = error_of(Estimator::Enumeration, &many, 1.0);
    assert!(matches!(error, Error::InvalidParameter { value: 19683.0, .. }), "{error}");
    assert_eq!(all_codes(7, 4, DType::U8, &Device::Cpu).unwrap().dims()[0], MAX_CODES);
}

#[test]
fn empty_batches_have_empty_gradients() {
    for dtype in [DType::BF16, DType::F32, DType::F64] {
        for (estimator, n_categories) in usable() {
            let logits = Var::zeros((0, 2, n_categories), dtype, &Device::Cpu).unwrap();
            let w = weights(n_categories, dtype);
            let mut f = |z: &Tensor| decode(z, &w);
            let (mut state, mut g) = (EstimatorState::default(), Generator::new(1));
            let objective = estimator.objective(&mut state, &logits, 1.0, &mut g, &mut f).unwrap();
            assert_eq!(objective.loss.dims(), [0], "{estimator}");
            let grads = objective.surrogate.sum_all().unwrap().backward().unwrap();
            assert_eq!(grads.get(&logits).unwrap().dims(), logits.dims(), "{estimator}");
            assert_eq!(state, EstimatorState::default(), "{estimator}");
        }
    }
}

/// Calls the loss on plain tensors, with its gradient from a graph of its own.
fn evaluations(proposal: &Proposal, w: &Var) -> Vec<Evaluation> {
    let mut all = Vec::new();
    for point in proposal.points() {
        assert!(!point.z.track_op());
        let z = Var::from_tensor(&point.z).unwrap();
        let loss = decode(z.as_tensor(), w).unwrap();
        let grads = loss.sum_all().unwrap().backward().unwrap();
        let gradient = point.wants_gradient.then(|| grads.get(&z).unwrap().clone());
        all.push(Evaluation { loss: loss.detach(), gradient });
    }
    all
}

#[test]
fn a_proposal_without_a_graph_has_the_gradient_of_the_objective() {
    for dtype in [DType::BF16, DType::F32, DType::F64] {
        for (estimator, n_categories) in usable() {
            let logits = some_logits((4, 2, n_categories), dtype);
            let w = weights(n_categories, dtype);
            let (mut learnt, mut state) = (EstimatorState::default(), EstimatorState::default());
            // The second step uses what the first has learnt.
            for seed in [1, 2] {
                let mut f = |z: &Tensor| decode(z, &w);
                let (mut g, mut again) = (Generator::new(seed), Generator::new(seed));
                let objective =
                    estimator.objective(&mut learnt, &logits, 0.8, &mut g, &mut f).unwrap();
                let grads = objective.surrogate.sum_all().unwrap().backward().unwrap();
                let proposal = estimator.propose(&logits, 0.8, &state, &mut again).unwrap();
                let stacked = proposal.stacked().unwrap();
                assert_eq!(stacked.dims()[0], 4 * proposal.points().len(), "{estimator}");
                let parts = stacked.chunk(proposal.points().len(), 0).unwrap();
                for (point, part) in proposal.points().iter().zip(&parts) {
                    assert_eq!(values(&point.z), values(part), "{estimator}");
                }
                let evaluations = evaluations(&proposal, &w);
                let d_logits = proposal.combine(&evaluations, &mut state).unwrap();
                assert_eq!((d_logits.dims(), d_logits.dtype()), (logits.dims(), dtype));
                assert_eq!(values(&d_logits), values(grads.get(&logits).unwrap()), "{estimator}");
                assert_eq!((state, g.state()), (learnt, again.state()), "{estimator}");
            }
        }
    }
}

#[test]
fn the_weights_of_the_points_sum_to_one() {
    for (estimator, n_categories) in usable() {
        let logits = some_logits((4, 2, n_categories), DType::F64);
        let (state, mut g) = (EstimatorState::default(), Generator::new(1));
        let proposal = estimator.propose(&logits, 0.8, &state, &mut g).unwrap();
        let mut total = vec![0.0; 4];
        for point in proposal.points() {
            let weights = match &point.weight {
                Weight::Uniform(weight) => vec![*weight; 4],
                Weight::PerRow(weights) => values(weights),
            };
            total.iter_mut().zip(weights).for_each(|(total, weight)| *total += weight);
        }
        assert_close(estimator.name(), &total, &[1.0; 4], 1e-13);
    }
}

#[test]
fn evaluations_that_do_not_fit_are_refused() {
    for (estimator, n_categories) in usable() {
        let logits = some_logits((4, 2, n_categories), DType::F64);
        let w = weights(n_categories, DType::F64);
        let combine = |spoil: fn(&mut Vec<Evaluation>)| {
            let (mut state, mut g) = (EstimatorState::default(), Generator::new(1));
            let proposal = estimator.propose(&logits, 0.8, &state, &mut g).unwrap();
            let mut all = evaluations(&proposal, &w);
            spoil(&mut all);
            let wanted = proposal.points().iter().any(|p| p.wants_gradient);
            (proposal.combine(&all, &mut state), wanted)
        };
        let (result, _) = combine(|all| drop(all.pop()));
        assert!(matches!(result, Err(Error::ShapeMismatch { what: "evaluations", .. })));
        let (result, _) = combine(|all| all[0].loss = all[0].loss.narrow(0, 0, 3).unwrap());
        assert!(matches!(result, Err(Error::ShapeMismatch { what: "the loss", .. })));
        let (result, wanted) = combine(|all| all.iter_mut().for_each(|e| e.gradient = None));
        assert_eq!(wanted, matches!(result, Err(Error::MissingGradient { .. })), "{estimator}");
    }
}

#[test]
fn a_temperature_for_each_row_is_that_row_s_number() {
    let taus = [0.6, 1.0, 1.7];
    for dtype in [DType::F32, DType::F64] {
        let tensor = Tensor::new(&taus, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let tensor = Var::from_tensor(&tensor.reshape((3, 1, 1)).unwrap()).unwrap();
        for (estimator, n_categories) in usable().filter(|(e, _)| e.has_temperature()) {
            let logits = some_logits((3, 2, n_categories), dtype);
            let w = weights(n_categories, dtype);
            let gradient = |tau: Temperature| {
                let (mut state, mut g) = (EstimatorState::default(), Generator::new(1));
                let mut f = |z: &Tensor| decode(z, &w);
                let objective =
                    estimator.objective(&mut state, &logits, tau, &mut g, &mut f).unwrap();
                let grads = objective.surrogate.sum_all().unwrap().backward().unwrap();
                (values(grads.get(&logits).unwrap()), grads.get(&tensor).map(values))
            };
            let (rows, of_tau) = gradient(Temperature::from(tensor.as_tensor()));
            let len = 2 * n_categories;
            for (row, tau) in taus.iter().enumerate() {
                let (number, _) = gradient(Temperature::Fixed(*tau));
                let range = row * len..(row + 1) * len;
                assert_close(estimator.name(), &rows[range.clone()], &number[range], 1e-5);
            }
            use Estimator::*;
            let documented = matches!(
                estimator,
                GumbelSoftmax | StGumbelSoftmax | StraightThrough | GappedStraightThrough { .. }
            );
            assert_eq!(of_tau.is_some(), documented, "{estimator}");
        }
    }
}

#[test]
fn the_loss_s_own_errors_come_through() {
    #[derive(Debug)]
    struct Mine;
    impl From<Error> for Mine {
        fn from(_: Error) -> Self {
            panic!("another error than the loss's")
        }
    }
    for (estimator, n_categories) in usable() {
        let logits = some_logits((1, 2, n_categories), DType::F32);
        let mut f = |_: &Tensor| Err::<Tensor, _>(Mine);
        let mut state = EstimatorState::default();
        let mut g = Generator::new(0);
        let Mine = estimator.objective(&mut state, &logits, 1.0, &mut g, &mut f).unwrap_err();
    }
}

#[test]
fn hard_samples_are_those_of_sample_one_hot_along_any_dimension() {
    type Sampler = fn(&Tensor, usize, &mut Generator) -> Result<Tensor>;
    let samplers: [Sampler; 6] = [
        |l, d, g| categorical_straight_through(l, 0.7, d, g),
        |l, d, g| gapped_straight_through(l, 0.7, 1.0, d, g),
        |l, d, g| gumbel_rao(l, 0.7, 3, d, g),
        |l, d, g| reinmax(l, 1.0, d, g),
        |l, d, g| reinmax_rao(l, 1.0, 3, d, g),
        |l, d, g| fini(l, d, g),
    ];
    let logits = some_logits((2, 3, 4), DType::F32);
    for (i, sampler) in samplers.iter().enumerate() {
        for dim in 0..3 {
            let z = sampler(&logits, dim, &mut Generator::new(6)).unwrap();
            let expected = sample_one_hot(&logits, dim, &mut Generator::new(6)).unwrap();
            assert_eq!(values(&z), values(&expected), "sampler {i}, dimension {dim}");
            let weights = logits.cos().unwrap().detach();
            let grads = (z * weights).unwrap().sum_all().unwrap().backward().unwrap();
            let grad = grads.get(&logits).unwrap();
            // Adding a constant to all logits of a row changes nothing.
            let sums = values(&grad.sum(dim).unwrap());
            assert!(sums.iter().all(|s| s.abs() < 1e-6), "sampler {i}, dimension {dim}");
            assert!(values(grad).iter().any(|g| g.abs() > 1e-3));
        }
    }
}

#[test]
fn a_restored_state_continues_bit_for_bit() {
    for estimator in [Estimator::Reinforce, Estimator::Rebar] {
        let logits = some_logits((5, 2, 3), DType::F32);
        let w = weights(3, DType::F32);
        let step = |state: &mut EstimatorState, g: &mut Generator| {
            let mut f = |z: &Tensor| decode(z, &w);
            let objective = estimator.objective(state, &logits, 0.5, g, &mut f).unwrap();
            let grads = objective.surrogate.mean_all().unwrap().backward().unwrap();
            values(grads.get(&logits).unwrap())
        };
        let (mut state, mut g) = (EstimatorState::default(), Generator::new(2));
        for _ in 0..3 {
            step(&mut state, &mut g);
        }
        let json = serde_json::to_string(&(state, g.state())).unwrap();
        let uninterrupted = [step(&mut state, &mut g), step(&mut state, &mut g)];
        let (mut state, at): (EstimatorState, crate::GeneratorState) =
            serde_json::from_str(&json).unwrap();
        let mut g = Generator::from_state(&at);
        let resumed = [step(&mut state, &mut g), step(&mut state, &mut g)];
        assert_eq!(uninterrupted, resumed, "{estimator}");
        assert_ne!(state, EstimatorState::default());
    }
}

#[test]
fn noise_of_the_backward_pass_is_set_aside_and_the_same_each_time() {
    for (dtype, words_each) in [(DType::F32, 1), (DType::F64, 2), (DType::BF16, 1)] {
        let logits = some_logits((5, 2, 3), dtype);
        let mut g = Generator::new(2);
        let z = gumbel_rao(&logits, 0.5, 7, 2, &mut g).unwrap();
        // In streams of their own: the sample alone moves the generator.
        assert_eq!(g.state().position, 30 * words_each);
        let weights = logits.cos().unwrap().detach();
        let total = (z * weights).unwrap().sum_all().unwrap();
        let gradient = || values(total.backward().unwrap().get(&logits).unwrap());
        assert_eq!(gradient(), gradient());
    }
}
