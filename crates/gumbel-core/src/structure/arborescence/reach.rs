//! Whether there is a tree at all.

use gumbel_kernels::TreeShape;

/// A node that the root does not lead to in any tree, if there is one: then there is no tree. Nodes count from 0.
pub(super) fn first_unreached(shape: TreeShape, scores: &[f64]) -> Option<usize> {
    let n = shape.n_nodes;
    let edge = |u: usize, parent: usize| {
        u + 1 != parent && scores[u * (n + 1) + parent] > f64::NEG_INFINITY
    };
    if !shape.single_root {
        let mut reached: Vec<bool> = (0..n).map(|u| edge(u, 0)).collect();
        spread(&mut reached, |from, to| edge(to, from + 1));
        return reached.iter().position(|reached| !reached);
    }
    // If some node leads to all others, so does the last of those from which a search had to begin anew.
    let (mut seen, mut last) = (vec![false; n], 0);
    for start in 0..n {
        if !seen[start] {
            (seen[start], last) = (true, start);
            spread(&mut seen, |from, to| edge(to, from + 1));
        }
    }
    let only = |start: usize| (0..n).map(|u| u == start).collect::<Vec<_>>();
    let mut reached = only(last);
    spread(&mut reached, |from, to| edge(to, from + 1));
    if let Some(node) = reached.iter().position(|reached| !reached) {
        return Some(node);
    }
    // The others that lead to all are those that lead to it. One of them must be a child of the root.
    let mut mothers = only(last);
    spread(&mut mothers, |child, parent| edge(child, parent + 1));
    let has_root = (0..n).any(|u| mothers[u] && edge(u, 0));
    (!has_root).then_some(last)
}

/// Adds what can be reached from the set.
fn spread(set: &mut [bool], leads: impl Fn(usize, usize) -> bool) {
    let mut border: Vec<usize> = (0..set.len()).filter(|&u| set[u]).collect();
    while let Some(from) = border.pop() {
        for (to, reached) in set.iter_mut().enumerate() {
            if !*reached && leads(from, to) {
                *reached = true;
                border.push(to);
            }
        }
    }
}
