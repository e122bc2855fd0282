//! Matchings against all permutations.

use super::*;
use crate::test_support::values;

fn permutations(n: usize) -> Vec<Vec<u32>> {
    let mut all = vec![vec![]];
    for _ in 0..n {
        let longer = all.iter().flat_map(|p: &Vec<u32>| {
            (0..n as u32).filter(|i| !p.contains(i)).map(|i| [p.as_slice(), &[i]].concat())
        });
        all = longer.collect();
    }
    all
}

fn total(n: usize, scores: &[f64], columns: &[u32]) -> f64 {
    columns.iter().enumerate().map(|(i, &j)| scores[i * n + j as usize]).sum()
}

#[test]
fn the_matching_is_the_best_of_all_permutations() {
    for n in 1..=5 {
        for (seed, scale) in [(1, 0.1), (2, 1.0), (3, 30.0), (4, 400.0), (5, 1.0), (6, 1.0)] {
            let mut scores: Vec<f64> =
                values(n * n, seed).iter().map(|&x| scale * f64::from(x)).collect();
            if seed > 4 {
                (0..n * n).filter(|i| i * 7 % 3 == 1).for_each(|i| scores[i] = f64::NEG_INFINITY);
            }
            let best = permutations(n)
                .iter()
                .map(|p| total(n, &scores, p))
                .fold(f64::NEG_INFINITY, f64::max);
            match hungarian(n, &scores) {
                Some(columns) => {
                    assert!((total(n, &scores, &columns) - best).abs() < 1e-12 * scale * n as f64);
                    assert_eq!(unmatched_row(n, &scores), None);
                }
                None => {
                    assert_eq!(best, f64::NEG_INFINITY);
                    assert!(unmatched_row(n, &scores).is_some());
                }
            }
        }
    }
    assert_eq!(hungarian(3, &[0.0; 9]), Some(vec![0, 1, 2]));
    assert_eq!(hungarian(0, &[]), Some(vec![]));
}
