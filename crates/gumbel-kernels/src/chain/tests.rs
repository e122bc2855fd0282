//! Chains against sums over all paths.

use super::*;
use crate::test_support::values;

const STEPS: usize = 4;
const LABELS: usize = 3;
const CELLS: usize = STEPS * LABELS * LABELS;

/// Scores of two rows with some masks.
fn scores(spread: f64) -> Vec<f64> {
    let mut scores: Vec<f64> =
        values(2 * CELLS, 3).iter().map(|&x| 2.0 * spread * f64::from(x)).collect();
    for masked in [1, 14, 20, 23, 26, CELLS + 9, CELLS + 10, CELLS + 11] {
        scores[masked] = f64::NEG_INFINITY;
    }
    scores
}

fn log_sum(values: &[f64]) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + values.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
}

/// The cells that the path of a number goes through.
fn cells(path: usize, length: usize) -> Vec<usize> {
    let label = |t: usize| path / LABELS.pow(t as u32) % LABELS;
    let before = |t: usize| if t == 0 { 0 } else { label(t - 1) };
    (0..length).map(|t| (t * LABELS + before(t)) * LABELS + label(t)).collect()
}

/// Log-probabilities of all paths of a row, and the log-partition.
fn paths(scores: &[f64], length: usize) -> (Vec<f64>, f64) {
    let score = |path| cells(path, length).into_iter().map(|cell| scores[cell]).sum::<f64>();
    let all: Vec<f64> = (0..LABELS.pow(length as u32)).map(score).collect();
    let total = log_sum(&all);
    (all.iter().map(|s| s - total).collect(), total)
}

fn shape(lengths: &[usize]) -> ChainShape<'_> {
    ChainShape { steps: STEPS, labels: LABELS, lengths: Some(lengths) }
}

#[test]
fn the_partition_the_marginals_and_the_mode_are_those_of_all_paths_at_every_scale() {
    for spread in [0.1, 1.0, 30.0, 400.0] {
        for lengths in [[4, 4], [1, 3], [2, 1]] {
            let scores = scores(spread);
            let (mut a, mut mu) = ([0.0; 2], [7.0; 2 * CELLS]);
            chain_log_partition(shape(&lengths), &scores, &mut a).unwrap();
            chain_marginals(shape(&lengths), &scores, &mut mu).unwrap();
            let mut labels = [9; 2 * STEPS];
            chain_mode(shape(&lengths), &scores, &mut labels).unwrap();
            let single: Vec<f32> = scores.iter().map(|&x| x as f32).collect();
            let (mut a_single, mut mu_single) = ([0.0; 2], [7.0; 2 * CELLS]);
            chain_log_partition(shape(&lengths), &single, &mut a_single).unwrap();
            chain_marginals(shape(&lengths), &single, &mut mu_single).unwrap();
            for row in 0..2 {
                let length = lengths[row];
                let scores = &scores[row * CELLS..(row + 1) * CELLS];
                let (law, total) = paths(scores, length);
                assert!((a[row] - total).abs() <= 1e-13 * total.abs().max(1.0), "{spread}");
                assert!((a_single[row] - total).abs() <= 2e-6 * total.abs().max(1.0), "{spread}");
                for cell in 0..CELLS {
                    let through = (0..law.len()).filter(|&p| cells(p, length).contains(&cell));
                    let exact = log_sum(&through.map(|p| law[p]).collect::<Vec<_>>()).exp();
                    let mu = mu[row * CELLS + cell];
                    assert!((mu - exact).abs() < 1e-13, "{spread} {cell}: {mu} {exact}");
                    assert!((f64::from(mu_single[row * CELLS + cell]) - exact).abs() < 1e-4);
                    assert!(scores[cell] > f64::NEG_INFINITY || mu == 0.0);
                }
                let best = (0..law.len()).max_by(|&a, &b| law[a].total_cmp(&law[b])).unwrap();
                for (t, &label) in labels[row * STEPS..(row + 1) * STEPS].iter().enumerate() {
                    let expected =
                        if t < length { best / LABELS.pow(t as u32) % LABELS } else { 0 };
                    assert_eq!(label as usize, expected, "{spread}");
                }
            }
        }
    }
}

#[test]
fn of_equal_paths_the_first_labels_win() {
    let mut labels = [9; STEPS];
    chain_mode(ChainShape { lengths: None, ..shape(&[]) }, &[0f32; CELLS], &mut labels).unwrap();
    assert_eq!(labels, [0; STEPS]);
}

#[test]
fn the_vector_product_is_the_derivative_of_the_marginals() {
    for lengths in [[4, 3], [1, 2]] {
        let scores = scores(1.0);
        let grad: Vec<f64> = values(2 * CELLS, 8).iter().map(|&x| f64::from(x)).collect();
        let mut wild = grad.clone();
        for (g, &score) in wild.iter_mut().zip(&scores) {
            *g = if score == f64::NEG_INFINITY { f64::NAN } else { *g };
        }
        let mut product = vec![7.0; 2 * CELLS];
        chain_vjp(shape(&lengths), &scores, &wild, &mut product).unwrap();
        let along = |h: f64| {
            let moved: Vec<f64> = scores.iter().zip(&grad).map(|(s, g)| s + h * g).collect();
            let mut mu = vec![0.0; 2 * CELLS];
            chain_marginals(shape(&lengths), &moved, &mut mu).unwrap();
            mu
        };
        let (above, below) = (along(1e-5), along(-1e-5));
        for i in 0..2 * CELLS {
            let difference = (above[i] - below[i]) / 2e-5;
            assert!((product[i] - difference).abs() < 1e-9, "{lengths:?} {i}");
            assert!(scores[i] > f64::NEG_INFINITY || product[i] == 0.0);
        }
    }
}

#[test]
fn the_law_of_the_sampler_is_exact() {
    for spread in [0.1, 1.0, 30.0, 400.0] {
        let scores = scores(spread);
        let mut row = Row::default();
        row.forward(LABELS, &scores[..CELLS]);
        let (law, _) = paths(&scores[..CELLS], STEPS);
        for (path, log_p) in law.iter().enumerate() {
            let label = |t: usize| path / LABELS.pow(t as u32) % LABELS;
            let mut p = row.last[label(STEPS - 1)];
            for t in 1..STEPS {
                p *= row.before[(t * LABELS + label(t - 1)) * LABELS + label(t)];
            }
            assert!((p - log_p.exp()).abs() < 1e-13, "{spread} {path}");
        }
    }
}

#[test]
fn samples_take_the_label_whose_part_of_the_unit_interval_holds_the_uniform() {
    // One step: the inverse of the cumulative distribution; 0 and 1 never reach a masked label.
    let scores = [f64::NEG_INFINITY, 2f64.ln(), 0.0, f64::NEG_INFINITY];
    let scores = [&scores[..], &[0.0; 12]].concat();
    let shape = ChainShape { steps: 1, labels: 4, lengths: None };
    for (u, label) in [(0.0, 1), (0.66, 1), (0.67, 2), (1.0, 2)] {
        let mut y = [9];
        chain_sample(shape, &scores, &[u], &mut y).unwrap();
        assert_eq!(y, [label], "{u}");
    }
}

#[test]
fn long_chains_keep_their_digits_in_single_precision() {
    let (steps, k) = if cfg!(miri) { (20, 3) } else { (10_000, 5) };
    let shape = ChainShape { steps, labels: k, lengths: None };
    for spread in [1.0, 400.0] {
        let single: Vec<f32> = values(steps * k * k, 6).iter().map(|x| x * spread).collect();
        let double: Vec<f64> = single.iter().map(|&x| f64::from(x)).collect();
        let (mut a, mut exact) = ([0.0], [0.0]);
        chain_log_partition(shape, &single, &mut a).unwrap();
        chain_log_partition(shape, &double, &mut exact).unwrap();
        assert!((a[0] / exact[0] - 1.0).abs() < 1e-8, "{spread}: {} {}", a[0], exact[0]);
        let (mut mu, mut exact) = (vec![0.0; single.len()], vec![0.0; single.len()]);
        chain_marginals(shape, &single, &mut mu).unwrap();
        chain_marginals(shape, &double, &mut exact).unwrap();
        let off = mu.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs());
        let off = off.fold(0.0, f64::max);
        assert!(off < 1e-4, "{spread}: {off}");
        let grad: Vec<f32> = values(steps * k * k, 7);
        let wide: Vec<f64> = grad.iter().map(|&x| f64::from(x)).collect();
        let (mut d, mut exact) = (vec![0.0; single.len()], vec![0.0; single.len()]);
        chain_vjp(shape, &single, &grad, &mut d).unwrap();
        chain_vjp(shape, &double, &wide, &mut exact).unwrap();
        let off = d.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs());
        let off = off.fold(0.0, f64::max);
        assert!(off < 2e-3, "{spread}: {off}");
    }
}

#[test]
fn relaxed_labels_have_their_gradient() {
    let lengths = [4, 2];
    let scores = scores(1.0);
    let noise: Vec<f64> = values(2 * STEPS * LABELS, 12).iter().map(|&x| f64::from(x)).collect();
    let grad: Vec<f64> = values(2 * STEPS * LABELS, 13).iter().map(|&x| f64::from(x)).collect();
    let relax = |scores: &[f64]| {
        let (mut y, mut labels) = (vec![0.0; noise.len()], [0; 2 * STEPS]);
        chain_gumbel_crf(shape(&lengths), 0.7, scores, &noise, &mut y, &mut labels).unwrap();
        (y, labels)
    };
    let (y, labels) = relax(&scores);
    for (y, t) in y.chunks(LABELS).zip(0..) {
        let inside = t % STEPS < lengths[t / STEPS];
        assert!((y.iter().sum::<f64>() - f64::from(u8::from(inside))).abs() < 1e-14);
    }
    let mut d = vec![0.0; scores.len()];
    chain_gumbel_crf_vjp(shape(&lengths), 0.7, &scores, (&y, &labels), &grad, &mut d).unwrap();
    let dot = |y: &[f64]| y.iter().zip(&grad).map(|(y, g)| y * g).sum::<f64>();
    for i in 0..scores.len() {
        let at = |h: f64| {
            let mut moved = scores.clone();
            moved[i] += h;
            dot(&relax(&moved).0)
        };
        assert!((d[i] - (at(1e-6) - at(-1e-6)) / 2e-6).abs() < 1e-8, "{i}");
    }
}

#[test]
fn dead_ends_are_found_and_rows_without_a_path_have_no_weight() {
    let mut scores = scores(1.0);
    scores[2 * 9..3 * 9].fill(f64::NEG_INFINITY);
    let (mut first, mut a, mut mu) = ([9; 2], [0.0; 2], [7.0; 2 * CELLS]);
    chain_dead_ends(shape(&[4, 4]), &scores, &mut first).unwrap();
    assert_eq!(first, [2, STEPS]);
    chain_log_partition(shape(&[4, 4]), &scores, &mut a).unwrap();
    assert!(a[0] == f64::NEG_INFINITY && a[1].is_finite());
    chain_marginals(shape(&[4, 4]), &scores, &mut mu).unwrap();
    assert!(mu.iter().all(|mu| !mu.is_nan()) && mu[..9].iter().all(|&mu| mu == 0.0));
}
