//! Against the sum over all trees, at ordinary and at extreme scores, with masks.

use super::history::{History, Log, Weight};
use super::sample::{Decide, sample};
use super::*;
use crate::test_support::values;

fn shapes(n_nodes: usize) -> [TreeShape; 2] {
    [false, true].map(|single_root| TreeShape { n_nodes, single_root })
}

/// Every tree as the parents of its nodes.
fn all_trees(shape: TreeShape) -> Vec<Vec<u32>> {
    let n = shape.n_nodes;
    let choices = (n + 1).pow(n as u32);
    let parents = (0..choices).map(|code| {
        (0..n).map(|u| (code / (n + 1).pow(u as u32) % (n + 1)) as u32).collect::<Vec<u32>>()
    });
    parents.filter(|parents| is_tree(shape, parents)).collect()
}

fn is_tree(shape: TreeShape, parents: &[u32]) -> bool {
    let leads = |mut u: usize| {
        for _ in 0..parents.len() {
            u = parents[u - 1] as usize;
            if u == 0 {
                return true;
            }
        }
        false
    };
    (1..=parents.len()).all(leads)
        && (!shape.single_root || parents.iter().filter(|&&p| p == 0).count() == 1)
}

fn score(shape: TreeShape, scores: &[f64], tree: &[u32]) -> f64 {
    tree.iter().enumerate().map(|(u, &p)| scores[u * (shape.n_nodes + 1) + p as usize]).sum()
}

/// The log-partition and the marginals, and the trees with their probabilities.
struct Exact {
    log_partition: f64,
    marginals: Vec<f64>,
    trees: Vec<(Vec<u32>, f64)>,
}

fn enumerate(shape: TreeShape, scores: &[f64]) -> Exact {
    let all = all_trees(shape);
    let logs: Vec<f64> = all.iter().map(|tree| score(shape, scores, tree)).collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logs.iter().map(|l| (l - top).exp()).sum();
    let probs = logs.iter().map(|l| (l - top).exp() / total);
    let trees: Vec<_> = all.iter().cloned().zip(probs).collect();
    let mut marginals = vec![0.0; shape.n_scores()];
    for (tree, p) in &trees {
        for (u, &parent) in tree.iter().enumerate() {
            marginals[u * (shape.n_nodes + 1) + parent as usize] += p;
        }
    }
    Exact { log_partition: top + total.ln(), marginals, trees }
}

/// Scores of a scale, with some edges forbidden in such a way that there still is a tree of either kind.
fn scores(n: usize, scale: f64, seed: u32, masks: bool) -> Vec<f64> {
    let draws = values(n * (n + 1), seed);
    let mut scores: Vec<f64> = draws.iter().map(|&x| scale * f64::from(x)).collect();
    for u in 0..n {
        for v in 0..=n {
            // Node 1 under the root, and every other node under the one before it, stay.
            if masks && v != u && (u * 7 + v * 3 + seed as usize).is_multiple_of(3) {
                scores[u * (n + 1) + v] = f64::NEG_INFINITY;
            }
        }
        if masks {
            scores[u * (n + 1) + u] = scale;
        }
        scores[u * (n + 1) + u + 1] = f64::NAN;
    }
    scores
}

const SCALES: [f64; 5] = [0.1, 1.0, 30.0, 400.0, 1e5];

/// Calls `f` for sizes, kinds of roots, scales, and masks.
fn everywhere(max: usize, mut f: impl FnMut(TreeShape, &[f64])) {
    for n in 1..=max {
        for shape in shapes(n) {
            for scale in SCALES {
                for (seed, masks) in [(1, false), (2, true), (3, true), (4, true)] {
                    f(shape, &scores(n, scale, seed, masks));
                }
            }
        }
    }
}

fn partition(shape: TreeShape, scores: &[f64]) -> f64 {
    let mut out = [0.0];
    tree_log_partition(shape, scores, &mut out).unwrap();
    out[0]
}

fn marginals(shape: TreeShape, scores: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; scores.len()];
    tree_marginals(shape, scores, &mut out).unwrap();
    out
}

fn vjp(shape: TreeShape, scores: &[f64], grad: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; scores.len()];
    tree_marginals_vjp(shape, scores, grad, &mut out).unwrap();
    out
}

#[test]
fn log_partition_and_marginals_are_the_sums_over_all_trees() {
    everywhere(5, |shape, scores| {
        let exact = enumerate(shape, scores);
        let log_partition = partition(shape, scores);
        let off = (log_partition - exact.log_partition).abs() / exact.log_partition.abs().max(1.0);
        assert!(off < 1e-13, "{shape:?} {scores:?}: {log_partition} {}", exact.log_partition);
        let p = marginals(shape, scores);
        for (at, (p, exact)) in p.iter().zip(&exact.marginals).enumerate() {
            assert!((p - exact).abs() < 2e-13, "{shape:?} {at}: {p} {exact}");
            assert!((0.0..=1.0).contains(p) && (*p > 0.0 || *exact < 1e-13));
        }
        for row in p.chunks(shape.n_nodes + 1) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    });
}

#[test]
fn forbidden_edges_have_marginals_and_gradients_of_exactly_zero() {
    everywhere(5, |shape, scores| {
        let grad: Vec<f64> = (0..scores.len()).map(|i| (i as f64).cos()).collect();
        let (p, d) = (marginals(shape, scores), vjp(shape, scores, &grad));
        for (at, score) in scores.iter().enumerate() {
            if *score == f64::NEG_INFINITY || score.is_nan() {
                assert_eq!((p[at], d[at]), (0.0, 0.0));
            }
            assert!(d[at].is_finite());
        }
    });
}

#[test]
fn the_vector_product_is_that_of_the_enumerated_covariance_and_symmetric() {
    everywhere(4, |shape, scores| {
        let grads = [0.3, 1.7]
            .map(|by| (0..scores.len()).map(|i| (i as f64 + by).cos()).collect::<Vec<f64>>());
        let exact = enumerate(shape, scores);
        let of_tree = |grad: &[f64], tree: &[u32]| score(shape, grad, tree);
        let mean: f64 = exact.trees.iter().map(|(tree, p)| p * of_tree(&grads[0], tree)).sum();
        let mut expected = vec![0.0; scores.len()];
        for (tree, p) in &exact.trees {
            for (u, &parent) in tree.iter().enumerate() {
                expected[u * (shape.n_nodes + 1) + parent as usize] +=
                    p * (of_tree(&grads[0], tree) - mean);
            }
        }
        let products = [vjp(shape, scores, &grads[0]), vjp(shape, scores, &grads[1])];
        for (d, expected) in products[0].iter().zip(&expected) {
            assert!((d - expected).abs() < 1e-12, "{shape:?} {scores:?}: {d} {expected}");
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert!((dot(&products[0], &grads[1]) - dot(&products[1], &grads[0])).abs() < 1e-13);
    });
}

#[test]
fn weights_and_logarithms_agree_in_every_row_that_both_can_do() {
    everywhere(5, |shape, scores| {
        let Some(history) = History::<Log<f64>>::eliminate(shape, scores) else {
            panic!("a tree exists")
        };
        let log_partition = partition(shape, scores);
        assert!(
            (history.log_partition() - log_partition).abs() < 1e-12 * log_partition.abs().max(1.0)
        );
        let p = marginals(shape, scores);
        history.marginals(|at, logs| assert!((p[at] - logs).abs() < 1e-12));
    });
}

#[test]
fn golden_rational_marginals() {
    let weights = [1.0, 0.0, 2.0, 3.0, 4.0, 5.0, 0.0, 6.0, 7.0, 8.0, 9.0, 0.0];
    let scores = weights.map(f64::ln);
    let [multiple, single] = shapes(3);
    let multiple_p = [
        102.0 / 335.0,
        0.0,
        92.0 / 335.0,
        141.0 / 335.0,
        32.0 / 67.0,
        15.0 / 67.0,
        0.0,
        20.0 / 67.0,
        112.0 / 201.0,
        184.0 / 1005.0,
        87.0 / 335.0,
        0.0,
    ];
    let single_p = [
        133.0 / 692.0,
        0.0,
        55.0 / 173.0,
        339.0 / 692.0,
        61.0 / 173.0,
        95.0 / 346.0,
        0.0,
        129.0 / 346.0,
        315.0 / 692.0,
        38.0 / 173.0,
        225.0 / 692.0,
        0.0,
    ];
    for (shape, total, expected) in [(multiple, 1005f64, multiple_p), (single, 692.0, single_p)] {
        assert!((partition(shape, &scores) - total.ln()).abs() < 1e-15 * 8.0);
        for (p, expected) in marginals(shape, &scores).into_iter().zip(expected) {
            assert!((p - expected).abs() < 1e-15);
        }
    }
}

#[test]
fn a_strong_cycle_of_two_is_right_at_any_gap_where_determinants_fail() {
    // Nodes 1 and 2 prefer each other by `gap` nats: the marginals do not depend on it for long gaps.
    for gap in [30.0, 36.0, 40.0, 300.0, 700.0, 5000.0] {
        let scores = [0.0, 0.0, gap, 0.5, gap, 0.0];
        for shape in shapes(2) {
            let exact = enumerate(shape, &scores);
            let p = marginals(shape, &scores);
            assert!(
                p.iter().zip(&exact.marginals).all(|(a, b)| (a - b).abs() < 1e-14),
                "{gap}: {p:?}"
            );
            assert!((partition(shape, &scores) - exact.log_partition).abs() < 1e-13 * gap);
        }
    }
}

#[test]
fn trees_are_as_many_as_the_formulas_say() {
    for n in 1..=5usize {
        for (shape, count) in
            shapes(n).into_iter().zip([(n + 1).pow(n as u32 - 1), n.pow(n as u32 - 1)])
        {
            assert_eq!(all_trees(shape).len(), count);
            assert!(
                (partition(shape, &vec![0.0; shape.n_scores()]) - (count as f64).ln()).abs()
                    < 1e-14
            );
        }
    }
}

#[test]
fn parents_that_come_earlier_make_independent_categories() {
    let n = 200;
    let shape = TreeShape { n_nodes: n, single_root: false };
    let draws = values(n * (n + 1), 9);
    let later = |u: usize, v: usize| v > u;
    let scores: Vec<f64> = (0..n * (n + 1))
        .map(|at| {
            if later(at / (n + 1), at % (n + 1)) {
                f64::NEG_INFINITY
            } else {
                5.0 * f64::from(draws[at])
            }
        })
        .collect();
    let p = marginals(shape, &scores);
    let mut total = 0.0;
    for (scores, p) in scores.chunks(n + 1).zip(p.chunks(n + 1)) {
        let sum: f64 = scores.iter().map(|s| s.exp()).sum();
        total += sum.ln();
        assert!(scores.iter().zip(p).all(|(s, p)| (s.exp() / sum - p).abs() < 1e-13));
    }
    assert!((partition(shape, &scores) - total).abs() < 1e-11);
}

#[test]
fn rows_do_not_depend_on_their_neighbours() {
    for shape in shapes(4) {
        let rows: Vec<Vec<f64>> =
            (0..20).map(|i| scores(4, SCALES[i % 5], 1 + (i as u32 % 4), i % 4 > 0)).collect();
        let grad = vec![0.5; 20 * shape.n_scores()];
        let all = rows.concat();
        let (p, d) = (marginals(shape, &all), vjp(shape, &all, &grad));
        for (i, row) in rows.iter().enumerate() {
            let at = i * shape.n_scores()..(i + 1) * shape.n_scores();
            assert_eq!(p[at.clone()], marginals(shape, row));
            assert_eq!(d[at.clone()], vjp(shape, row, &grad[at]));
        }
    }
}

#[test]
fn rows_without_a_tree_have_log_partition_minus_infinity_and_zeros() {
    let none = f64::NEG_INFINITY;
    // Nodes 1 and 2 have only each other.
    let scores = [none, 0.0, 1.0, none, 1.0, 0.0];
    for shape in shapes(2) {
        assert_eq!(partition(shape, &scores), none);
        assert_eq!(marginals(shape, &scores), [0.0; 6]);
        let mut parents = [7; 2];
        tree_samples(shape, &scores, &[0.5; 3], &mut parents).unwrap();
        assert_eq!(parents, [0, 0]);
    }
    // Two nodes that only the root leads to: a tree with several roots alone.
    let apart = [1.0, 0.0, none, 2.0, none, 0.0];
    assert_eq!(shapes(2).map(|shape| partition(shape, &apart)), [3.0, none]);
    // One such node, in any place, must be the root of the single-rooted ones.
    for first in 1..=3usize {
        let mut scores = scores_of_three();
        for v in 1..=3 {
            scores[(first - 1) * 4 + v] = none;
        }
        let exact = enumerate(shapes(3)[1], &scores);
        assert!((partition(shapes(3)[1], &scores) - exact.log_partition).abs() < 1e-14);
        let p = marginals(shapes(3)[1], &scores);
        assert!(p.iter().zip(&exact.marginals).all(|(a, b)| (a - b).abs() < 1e-14));
    }
}

fn scores_of_three() -> Vec<f64> {
    (0..12).map(|i| (i as f64 * 1.3).sin()).collect()
}

/// Takes every decision both ways, one path after the other, and keeps the probability of the path.
struct Paths {
    taken: Vec<usize>,
    ways: Vec<usize>,
    at: usize,
    probability: f64,
}

impl Paths {
    fn decide(&mut self, probs: &[f64]) -> usize {
        if self.at == self.taken.len() {
            self.taken.push(probs.iter().position(|p| *p > 0.0).unwrap());
            self.ways.push(probs.len());
        }
        let way = self.taken[self.at];
        // The next way of probability above zero.
        self.ways[self.at] = (way + 1..probs.len()).find(|&w| probs[w] > 0.0).unwrap_or(usize::MAX);
        self.at += 1;
        self.probability *= probs[way];
        way
    }

    fn advance(&mut self) -> bool {
        (self.at, self.probability) = (0, 1.0);
        while let (Some(_), Some(next)) = (self.taken.pop(), self.ways.pop()) {
            if next != usize::MAX {
                self.taken.push(next);
                self.ways.push(0);
                return true;
            }
        }
        false
    }
}

impl Decide for Paths {
    fn coin(&mut self, yes: f64, no: f64) -> bool {
        self.decide(&[yes, no]) == 0
    }

    fn choose(&mut self, weights: &[f64]) -> usize {
        let total: f64 = weights.iter().sum();
        self.decide(&weights.iter().map(|w| w / total).collect::<Vec<_>>())
    }
}

fn exact_law<W: Weight<Scalar = f64>>(
    history: &History<W>,
) -> std::collections::HashMap<Vec<u32>, f64> {
    let mut law = std::collections::HashMap::new();
    let mut paths = Paths { taken: vec![], ways: vec![], at: 0, probability: 1.0 };
    loop {
        let mut parents = vec![0; history.shape.n_nodes];
        sample(history, &mut paths, &mut parents);
        *law.entry(parents).or_insert(0.0) += paths.probability;
        if !paths.advance() {
            return law;
        }
    }
}

#[test]
fn exact_law_of_the_sampler() {
    everywhere(4, |shape, scores| {
        let exact = enumerate(shape, scores);
        let logs = exact_law(&History::<Log<f64>>::eliminate(shape, scores).unwrap());
        let weights = History::<f64>::eliminate(shape, scores).filter(History::in_range);
        for law in [Some(logs), weights.map(|history| exact_law(&history))].into_iter().flatten() {
            assert!(law.keys().all(|tree| is_tree(shape, tree)));
            for (tree, p) in &exact.trees {
                let got = law.get(tree).copied().unwrap_or(0.0);
                assert!(
                    // Below that a weight on the way may have been subnormal.
                    (got - p).abs() <= 1e-12 * p + 1e-200,
                    "{shape:?} {scores:?} {tree:?}: {got} {p}"
                );
            }
        }
    });
}

/// Wilson's loop-erased walk: another sampler of the same law, for several roots.
fn wilson(shape: TreeShape, scores: &[f64], mut uniform: impl FnMut() -> f64) -> Vec<u32> {
    let n = shape.n_nodes;
    let (mut parent, mut in_tree) = (vec![0; n + 1], vec![false; n + 1]);
    in_tree[0] = true;
    for start in 1..=n {
        let mut u = start;
        while !in_tree[u] {
            let weights: Vec<f64> = (0..=n)
                .map(|v| if v == u { 0.0 } else { scores[(u - 1) * (n + 1) + v].exp() })
                .collect();
            let mut target = uniform() * weights.iter().sum::<f64>();
            let next = weights.iter().position(|w| {
                target -= w;
                target < 0.0
            });
            parent[u] = next.unwrap_or(0);
            u = parent[u];
        }
        let mut u = start;
        while !in_tree[u] {
            in_tree[u] = true;
            u = parent[u];
        }
    }
    parent[1..].iter().map(|&p| p as u32).collect()
}

/// χ² over all trees, for 15 degrees of freedom at α = 1e-4: 44.3.
#[test]
fn samples_of_two_independent_samplers_follow_the_law() {
    let shape = shapes(3)[0];
    let scores = scores_of_three();
    let exact = enumerate(shape, &scores);
    assert_eq!(exact.trees.len(), 16);
    let n = 100_000;
    let statistic = |samples: &[u32]| -> f64 {
        let cells = exact.trees.iter().map(|(tree, p)| {
            let hits = samples.chunks(3).filter(|sample| sample == tree).count() as f64;
            (hits - n as f64 * p).powi(2) / (n as f64 * p)
        });
        cells.sum()
    };
    for seed in [5u64, 6] {
        let mut state = seed;
        let mut uniform = move || {
            // splitmix64.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        };
        let uniforms: Vec<f64> = (0..n * shape.n_uniforms()).map(|_| uniform()).collect();
        let mut parents = vec![0; 3 * n];
        tree_samples(shape, &scores, &uniforms, &mut parents).unwrap();
        assert!(statistic(&parents) < 44.3, "{}", statistic(&parents));
        let walks: Vec<u32> = (0..n).flat_map(|_| wilson(shape, &scores, &mut uniform)).collect();
        assert!(statistic(&walks) < 44.3, "{}", statistic(&walks));
    }
}

#[test]
fn the_best_tree_is_the_best_of_all() {
    everywhere(5, |shape, scores| {
        let mut parents = vec![0; shape.n_nodes];
        best_arborescence(shape, scores, &mut parents).unwrap();
        assert!(is_tree(shape, &parents));
        let best = all_trees(shape)
            .iter()
            .map(|t| score(shape, scores, t))
            .fold(f64::NEG_INFINITY, f64::max);
        assert!((score(shape, scores, &parents) - best).abs() <= 1e-12 * best.abs());
    });
}

#[test]
fn edmonds_golden_of_both_kinds_of_roots() {
    // Scores from the documentation of rycolab/spanningtrees.
    let none = f64::NEG_INFINITY;
    let rows = [[71.0, none, 2.0, 65.0], [52.0, 32.0, none, 16.0], [67.0, 46.0, 79.0, none]];
    for (shape, parents, best) in shapes(3)
        .into_iter()
        .zip([[0, 0, 2], [3, 0, 2]])
        .zip([202.0, 196.0])
        .map(|((a, b), c)| (a, b, c))
    {
        let mut found = [9; 3];
        best_arborescence(shape, &rows.concat(), &mut found).unwrap();
        assert_eq!(found, parents);
        assert_eq!(score(shape, &rows.concat(), &found), best);
    }
}

#[test]
fn ties_go_to_the_first_parent_and_the_first_edge() {
    for shape in shapes(3) {
        let mut parents = [9; 3];
        best_arborescence(shape, &[0.0; 12], &mut parents).unwrap();
        assert_eq!(parents, if shape.single_root { [0, 1, 1] } else { [0, 0, 0] });
    }
    let mut tree = [9.0; 6];
    best_spanning_tree(4, &[0.0; 6], &mut tree).unwrap();
    assert_eq!(tree, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn empty_batches_and_wrong_lengths() {
    let shape = shapes(3)[0];
    tree_log_partition(shape, &[], &mut []).unwrap();
    tree_marginals(shape, &[], &mut []).unwrap();
    tree_samples(shape, &[], &[], &mut []).unwrap();
    best_arborescence(shape, &[], &mut []).unwrap();
    assert!(tree_marginals(shape, &[0.0; 11], &mut [0.0; 11]).is_err());
    assert!(tree_samples(shape, &[0.0; 12], &[0.5; 5], &mut [0; 3]).is_err());
}
