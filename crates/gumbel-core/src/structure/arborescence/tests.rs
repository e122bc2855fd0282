//! What the tests of all structures and of the kernel leave: errors, masks, dtypes and the helpers.

use super::*;
use crate::estimators::{Estimator, EstimatorState, Evaluation};
use crate::structure::Temperature;
use std::sync::Arc;

const NONE: f64 = f64::NEG_INFINITY;
const ONE: Temperature = Temperature::Fixed(1.0);

fn both() -> [Arborescence; 2] {
    [Roots::Multiple, Roots::Single].map(|roots| Arborescence { roots })
}

fn list(x: &Tensor) -> Vec<f64> {
    values(x).unwrap()
}

fn tensor(rows: &[f64], n: usize) -> Tensor {
    Tensor::from_slice(rows, (rows.len() / (n * (n + 1)), n, n + 1), &Device::Cpu).unwrap()
}

#[test]
fn a_row_without_a_tree_is_an_error_that_names_the_row_and_the_node() {
    // Row 1: nodes 1 and 2 have only each other.
    let rows = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, NONE, 0.0, 0.0, NONE, 0.0, 0.0];
    for structure in both() {
        for error in [
            structure.check(&tensor(&rows, 2)).unwrap_err(),
            structure.sample(&tensor(&rows, 2), &mut Generator::new(0)).unwrap_err(),
        ] {
            assert!(
                matches!(error, Error::NoStructure { what: "arborescence", row: 1, index: 0 }),
                "{error}"
            );
        }
    }
    // Two nodes that only the root leads to: no tree of one root, and node 0 is the one that the other does not lead to.
    let apart = tensor(&[1.0, 0.0, NONE, 2.0, NONE, 0.0], 2);
    assert!(both()[0].check(&apart).is_ok());
    let error = both()[1].check(&apart).unwrap_err();
    assert!(matches!(error, Error::NoStructure { row: 0, index: 0, .. }), "{error}");
    // Node 1 leads to node 0, but the root leads to node 0 alone.
    let behind = tensor(&[1.0, 0.0, 1.0, NONE, NONE, 0.0], 2);
    assert!(both().iter().all(|structure| structure.check(&behind).is_err()));
    // Each leads to the other, and the root to one of them: fine.
    let chain = tensor(&[NONE, 0.0, 1.0, 0.0, 1.0, 0.0], 2);
    assert!(both().iter().all(|structure| structure.check(&chain).is_ok()));
}

#[test]
fn bad_values_and_shapes_are_refused() {
    for structure in both() {
        for value in [f64::NAN, f64::INFINITY] {
            let error = structure.check(&tensor(&[0.0, 0.0, 0.0, 0.0, value, 0.0], 2)).unwrap_err();
            assert!(matches!(error, Error::InvalidLogit { ref index, .. } if index == &[0, 1, 1]));
        }
        for shape in [&[2, 3, 3][..], &[1, 0, 1], &[4]] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            assert!(matches!(structure.check(&x), Err(Error::UnexpectedShape { .. })));
        }
    }
}

#[test]
fn what_is_no_tree_is_found_at_its_first_wrong_entry() {
    let [multiple, single] = both();
    let good = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    assert_eq!(multiple.misfit(0, &[2, 3], &good), None);
    assert_eq!(single.misfit(0, &[2, 3], &good), Some(3));
    for (z, at) in [
        ([0.0, 0.0, 1.0, 0.0, 1.0, 0.0], 2),
        ([0.0, 0.0, 0.0, 1.0, 0.0, 0.0], 0),
        ([1.0, 0.0, 1.0, 1.0, 0.0, 0.0], 2),
        ([1.0, 0.0, 0.0, 0.0, 0.0, 1.0], 5),
    ] {
        assert!(
            both().iter().all(|structure| structure.misfit(0, &[2, 3], &z) == Some(at)),
            "{z:?}"
        );
    }
    for structure in both() {
        let codes = structure.codes(&tensor(&[0.0; 12], 3)).unwrap();
        assert!(list(&codes).chunks(12).all(|z| structure.misfit(0, &[3, 4], z).is_none()));
    }
}

#[test]
fn codes_are_as_many_as_the_formulas_say_and_too_many_are_refused() {
    for n in 1..=4usize {
        let x = Tensor::zeros((1, n, n + 1), DType::F32, &Device::Cpu).unwrap();
        for (structure, base) in both().into_iter().zip([n + 1, n]) {
            let count = base.pow(n as u32 - 1);
            assert_eq!(structure.codes(&x).unwrap().dims(), [count, n, n + 1]);
            let log_count = list(&structure.log_partition(&x).unwrap())[0];
            assert!((log_count - (count as f64).ln()).abs() < 1e-6);
        }
    }
    let large = Tensor::zeros((1, 7, 8), DType::F32, &Device::Cpu).unwrap();
    for structure in both() {
        assert!(matches!(structure.codes(&large), Err(Error::TooLarge { .. })));
    }
}

#[test]
fn forbidden_edges_are_never_drawn_and_equal_the_smaller_problem() {
    // Node 3 may only follow node 2; node 1 never follows node 2.
    let row = [0.3, 0.0, NONE, 0.7, 0.1, -0.4, 0.0, 0.9, NONE, NONE, 0.2, 0.0];
    for structure in both() {
        let logits = tensor(&row.repeat(20_000), 3);
        let z = list(&structure.sample(&logits, &mut Generator::new(1)).unwrap());
        let y = list(&structure.relax(&logits, &ONE, &mut Generator::new(2)).unwrap());
        for (z, y) in z.chunks(12).zip(y.chunks(12)) {
            assert!(row.iter().zip(z).all(|(l, z)| *l > NONE || *z == 0.0));
            assert!(row.iter().zip(y).all(|(l, y)| *l > NONE || *y == 0.0));
        }
    }
}

#[test]
fn single_precision_holds_at_every_scale() {
    for scale in [0.1, 1.0, 30.0, 400.0] {
        let row: Vec<f64> =
            (0..12).map(|i| scale * f64::from((1.7 * i as f32 + 0.3).sin() * 2.0)).collect();
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x as f32)).collect();
        for structure in both() {
            let wide = tensor(&row, 3);
            let narrow = wide.to_dtype(DType::F32).unwrap();
            let (a, b) = (
                structure.log_partition(&wide).unwrap(),
                structure.log_partition(&narrow).unwrap(),
            );
            let (a, b) = (list(&a)[0], list(&b)[0]);
            assert!((a - b).abs() <= 2e-6 * a.abs().max(1.0), "{scale}: {a} {b}");
            let marginals = |x: &Tensor| list(&structure.marginals(x, &ONE).unwrap());
            let pairs = marginals(&wide).into_iter().zip(marginals(&narrow));
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-7));
        }
    }
}

#[test]
fn relaxed_trees_tend_to_the_perturbed_solution_and_to_the_uniform_law() {
    let logits = tensor(&(0..20 * 4).map(|i| (1.3 * i as f64).sin()).collect::<Vec<_>>(), 4);
    for structure in both() {
        let perturbed = structure.perturb(&logits, &mut Generator::new(3)).unwrap();
        let relax = |tau| {
            list(
                &structure
                    .relax(&logits, &Temperature::Fixed(tau), &mut Generator::new(3))
                    .unwrap(),
            )
        };
        let solution = list(&structure.perturb_and_solve(&logits, &mut Generator::new(3)).unwrap());
        let codes = list(&structure.codes(&logits).unwrap());
        // The limit is reached where the best tree is ahead of the second.
        let mut compared = 0;
        for ((relaxed, best), scores) in
            relax(1e-3).chunks(20).zip(solution.chunks(20)).zip(list(&perturbed).chunks(20))
        {
            let score = |z: &[f64]| z.iter().zip(scores).map(|(z, x)| z * x).sum::<f64>();
            let close = codes.chunks(20).filter(|z| score(z) > score(best) - 0.05).count();
            if close == 1 {
                assert!(
                    relaxed.iter().zip(best).all(|(a, b)| (a - b).abs() < 1e-6),
                    "{relaxed:?} {best:?}"
                );
                compared += 1;
            }
        }
        assert!(compared >= 2);
        let zeros = logits.zeros_like().unwrap();
        let uniform = list(&structure.marginals(&zeros, &ONE).unwrap());
        assert!(relax(1e6).iter().zip(&uniform).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn empty_batches_pass_through_every_operation() {
    let empty = Tensor::zeros((0, 3, 4), DType::F32, &Device::Cpu).unwrap();
    for structure in both() {
        assert_eq!(structure.log_partition(&empty).unwrap().dims(), [0]);
        assert_eq!(structure.sample(&empty, &mut Generator::new(0)).unwrap().dims(), [0, 3, 4]);
        assert_eq!(structure.solve(&empty).unwrap().dims(), [0, 3, 4]);
        assert_eq!(structure.marginals_vjp(&empty, &ONE, &empty).unwrap().dims(), [0, 3, 4]);
    }
}

#[test]
fn head_scores_and_parents_name_the_same_edges() {
    let heads = Tensor::new(&[[0.0, 12.0], [21.0, 0.0]], &Device::Cpu).unwrap();
    let root = Tensor::new(&[1.0, 2.0], &Device::Cpu).unwrap();
    let logits = Arborescence::from_head_scores(&heads, &root).unwrap();
    assert_eq!(logits.to_vec2::<f64>().unwrap(), [[1.0, 0.0, 21.0], [2.0, 12.0, 0.0]]);
    let z = Arborescence::default().solve(&logits.unsqueeze(0).unwrap()).unwrap();
    assert_eq!(Arborescence::parents(&z).unwrap().to_vec2::<u32>().unwrap(), [[2, 0]]);
}

#[test]
fn exact_score_estimates_sum_to_the_gradient() {
    // Every code with its probability: the mean of f(z) (z - μ) is the enumerated gradient, to the last digits.
    let logits = tensor(&[0.3, 0.0, 0.5, -0.2, 0.1, -0.4, 0.0, 0.9, 0.6, -0.7, 0.2, 0.0], 3);
    let structure: Arc<dyn Structure> = Arc::new(Arborescence { roots: Roots::Single });
    let (mut state, mut g) = (EstimatorState::default(), Generator::new(0));
    let proposal =
        Estimator::Enumeration.propose_on(&structure, &logits, &ONE, &state, &mut g).unwrap();
    let loss = |z: &Tensor| (0..12).map(|i| list(z)[i] * (i as f64).cos()).sum::<f64>().exp();
    let evaluations: Vec<_> = proposal
        .points()
        .iter()
        .map(|p| Evaluation {
            loss: Tensor::new(&[loss(&p.z)], &Device::Cpu).unwrap(),
            gradient: None,
        })
        .collect();
    let gradient = list(&proposal.combine(&evaluations, &mut state).unwrap());
    let expected = |logits: &Tensor| -> f64 {
        let codes = structure.codes(logits).unwrap();
        let a = list(&structure.log_partition(logits).unwrap())[0];
        (0..codes.dim(0).unwrap())
            .map(|i| {
                let z = codes.narrow(0, i, 1).unwrap();
                let score = list(&(&z * logits).unwrap().sum_all().unwrap())[0];
                (score - a).exp() * loss(&z)
            })
            .sum()
    };
    for i in 0..12 {
        let moved = |by: f64| {
            let mut row = list(&logits);
            row[i] += by;
            expected(&tensor(&row, 3))
        };
        let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((gradient[i] - difference).abs() < 1e-8 * difference.abs().max(1.0), "{i}");
    }
}
