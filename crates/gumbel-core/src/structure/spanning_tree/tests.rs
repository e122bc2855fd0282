//! What the tests of all structures leave: golden values, the choice of the root, errors and matrices.

use super::*;
use candle_core::Var;

const NONE: f64 = f64::NEG_INFINITY;
const ONE: Temperature = Temperature::Fixed(1.0);

fn list(x: &Tensor) -> Vec<f64> {
    values(x).unwrap()
}

fn row(edges: &[f64]) -> Tensor {
    Tensor::new(edges, &Device::Cpu).unwrap().unsqueeze(0).unwrap()
}

#[test]
fn golden_rational_marginals_and_counts() {
    let logits = row(&[1f64, 2.0, 3.0, 4.0, 5.0, 6.0].map(f64::ln));
    assert!((list(&SpanningTree.log_partition(&logits).unwrap())[0] - 556f64.ln()).abs() < 1e-14);
    let expected =
        [33.0 / 139.0, 115.0 / 278.0, 78.0 / 139.0, 75.0 / 139.0, 85.0 / 139.0, 177.0 / 278.0];
    let marginals = list(&SpanningTree.marginals(&logits, &ONE).unwrap());
    assert!(marginals.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15));
    for (n, count) in [(1, 1), (2, 1), (3, 3), (4, 16), (5, 125), (6, 1296)] {
        let zeros = Tensor::zeros((1, n * (n - 1) / 2), DType::F64, &Device::Cpu).unwrap();
        let a = list(&SpanningTree.log_partition(&zeros).unwrap())[0];
        assert!((a - f64::from(count).ln()).abs() < 1e-14);
        assert_eq!(SpanningTree.codes(&zeros).unwrap().dims(), [count as usize, n * (n - 1) / 2]);
        let marginals = list(&SpanningTree.marginals(&zeros, &ONE).unwrap());
        assert!(marginals.iter().all(|p| (p - 2.0 / n as f64).abs() < 1e-15));
    }
    let large = Tensor::zeros((1, 28), DType::F64, &Device::Cpu).unwrap();
    assert!(matches!(SpanningTree.codes(&large), Err(Error::TooLarge { .. })));
}

#[test]
fn partition_and_marginals_are_the_sums_over_all_trees_at_every_scale() {
    for (scale, masked) in [0.1, 1.0, 30.0, 400.0].into_iter().flat_map(|s| [(s, false), (s, true)])
    {
        let mut edges: Vec<f64> =
            (0..10).map(|i| scale * 2.0 * (1.7 * i as f64 + 0.4).sin()).collect();
        if masked {
            (edges[1], edges[5], edges[8]) = (NONE, NONE, NONE);
        }
        let logits = row(&edges);
        let codes = list(&SpanningTree.codes(&logits).unwrap());
        let score = |z: &[f64]| {
            z.iter().zip(&edges).filter(|(z, _)| **z == 1.0).map(|(_, x)| x).sum::<f64>()
        };
        let scores: Vec<f64> = codes.chunks(10).map(score).collect();
        let top = scores.iter().copied().fold(NONE, f64::max);
        let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        let a = list(&SpanningTree.log_partition(&logits).unwrap())[0];
        let expected = top + total.ln();
        assert!((a - expected).abs() < 1e-13 * expected.abs().max(1.0), "{scale}: {a} {expected}");
        let marginals = list(&SpanningTree.marginals(&logits, &ONE).unwrap());
        for (i, marginal) in marginals.iter().enumerate() {
            let terms = codes.chunks(10).zip(&scores).map(|(z, s)| z[i] * (s - top).exp() / total);
            assert!((marginal - terms.sum::<f64>()).abs() < 1e-13, "{scale} {i}");
            assert!(edges[i] > NONE || *marginal == 0.0);
        }
        assert!((marginals.iter().sum::<f64>() - 4.0).abs() < 1e-12);
        // The best tree, and samples of trees only.
        let best = list(&SpanningTree.solve(&logits).unwrap());
        assert!((score(&best) - top).abs() <= 1e-12 * top.abs());
        let many = logits.repeat((200, 1)).unwrap();
        let drawn = list(&SpanningTree.sample(&many, &mut Generator::new(4)).unwrap());
        assert!(
            drawn.chunks(10).all(|z| SpanningTree.misfit(0, &[10], z).is_none() && score(z) > NONE)
        );
    }
}

#[test]
fn the_choice_of_the_root_changes_nothing() {
    // The same graph with its vertices in reversed order: another root.
    let matrix =
        SpanningTree::adjacency(&row(&[0.3, -1.1, 0.9, 2.1, 1.2, -0.4, 0.7, 0.2, -0.9, 1.5]))
            .unwrap();
    let order = Tensor::new(&[4u32, 3, 2, 1, 0], &Device::Cpu).unwrap();
    let turn = |x: &Tensor| x.index_select(&order, 1).unwrap().index_select(&order, 2).unwrap();
    let (one, other) =
        (SpanningTree::edges(&matrix).unwrap(), SpanningTree::edges(&turn(&matrix)).unwrap());
    let a = |x: &Tensor| list(&SpanningTree.log_partition(x).unwrap())[0];
    assert!((a(&one) - a(&other)).abs() < 1e-14);
    let p =
        |x: &Tensor| SpanningTree::adjacency(&SpanningTree.marginals(x, &ONE).unwrap()).unwrap();
    let (p, turned) = (list(&p(&one)), list(&turn(&p(&other))));
    assert!(p.iter().zip(turned).all(|(a, b)| (a - b).abs() < 1e-15));
}

#[test]
fn perturbed_solutions_have_the_law_that_the_documentation_states() {
    // A star of four vertices has probability 1/15, not 1/16. 4.5 standard errors: α = 7e-6.
    let n = 200_000;
    let zeros = Tensor::zeros((n, 6), DType::F32, &Device::Cpu).unwrap();
    let z = list(&SpanningTree.perturb_and_solve(&zeros, &mut Generator::new(5)).unwrap());
    let stars = z.chunks(6).filter(|z| z[..3] == [1.0, 1.0, 1.0]).count() as f64 / n as f64;
    assert!((stars - 1.0 / 15.0).abs() < 4.5 * (14.0 / 225.0 / n as f64).sqrt(), "{stars}");
    assert!((stars - 1.0 / 16.0).abs() > 0.003);
}

#[test]
fn rows_get_their_own_noise_and_the_stream_moves_by_the_shape() {
    let logits = row(&[0.0; 15]).repeat((64, 1)).unwrap();
    let mut g = Generator::new(6);
    let drawn = list(&SpanningTree.sample(&logits, &mut g).unwrap());
    let rows: std::collections::HashSet<String> =
        drawn.chunks(15).map(|z| format!("{z:?}")).collect();
    assert!(rows.len() > 50);
    let masked = logits.affine(3.0, 0.0).unwrap();
    let mut other = Generator::new(6);
    SpanningTree.sample(&masked, &mut other).unwrap();
    assert_eq!(g.state().position, other.state().position);
    assert_eq!(drawn, list(&SpanningTree.sample(&logits, &mut Generator::new(6)).unwrap()));
}

#[test]
fn graphs_in_parts_and_bad_input_are_refused() {
    // Vertices 0 and 1 are apart from 2 and 3.
    let rows = Tensor::new(&[[0.0; 6], [1.0, NONE, NONE, NONE, NONE, 1.0]], &Device::Cpu).unwrap();
    let error = SpanningTree.check(&rows).unwrap_err();
    assert!(
        matches!(error, Error::NoStructure { what: "spanning tree", row: 1, index: 2 }),
        "{error}"
    );
    let bad = row(&[0.0, f64::NAN, 0.0]);
    assert!(
        matches!(SpanningTree.check(&bad), Err(Error::InvalidLogit { index, .. }) if index == [0, 1])
    );
    assert!(matches!(SpanningTree.check(&row(&[0.0; 4])), Err(Error::UnexpectedShape { .. })));
    let uneven = Tensor::new(&[[0.0, 1.0], [2.0, 0.0]], &Device::Cpu).unwrap();
    let error = SpanningTree::edges(&uneven).unwrap_err();
    assert!(matches!(error, Error::InvalidParameter { value: 2.0, .. }), "{error}");
    assert_eq!(SpanningTree.misfit(0, &[3], &[1.0, 1.0, 1.0]), Some(2));
    assert_eq!(SpanningTree.misfit(0, &[3], &[0.0, 1.0, 0.0]), Some(0));
}

#[test]
fn one_vertex_two_vertices_and_empty_batches_work() {
    let one = Tensor::zeros((3, 0), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(SpanningTree.sample(&one, &mut Generator::new(0)).unwrap().dims(), [3, 0]);
    assert_eq!(list(&SpanningTree.log_partition(&one).unwrap()), [0.0; 3]);
    let two = row(&[7.5]);
    assert_eq!(list(&SpanningTree.log_partition(&two).unwrap()), [7.5]);
    assert_eq!(list(&SpanningTree.marginals_vjp(&two, &ONE, &two).unwrap()), [0.0]);
    let none = Tensor::zeros((0, 6), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(SpanningTree.sample(&none, &mut Generator::new(0)).unwrap().dims(), [0, 6]);
    assert_eq!(SpanningTree.marginals(&none, &ONE).unwrap().dims(), [0, 6]);
}

#[test]
fn matrices_and_edges_turn_into_each_other_with_their_gradients() {
    let edges = Var::new(&[[1f64, 2.0, 3.0]], &Device::Cpu).unwrap();
    let matrix = SpanningTree::adjacency(&edges).unwrap();
    let expected = [[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]];
    assert_eq!(matrix.get(0).unwrap().to_vec2::<f64>().unwrap(), expected);
    let again = SpanningTree::edges(&matrix).unwrap();
    assert_eq!(list(&again), [1.0, 2.0, 3.0]);
    let grads = (matrix.sqr().unwrap().sum_all().unwrap() + again.sum_all().unwrap())
        .unwrap()
        .backward()
        .unwrap();
    assert_eq!(list(grads.get(&edges).unwrap()), [5.0, 9.0, 13.0]);
}
