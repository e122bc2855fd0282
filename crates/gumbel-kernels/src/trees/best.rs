//! The tree of the largest score: Kruskal's algorithm, and that of Chu, Liu and Edmonds.

use rayon::prelude::*;

use super::TreeShape;
use crate::error::{LengthError, check_len};

/// Ones at the edges of the spanning tree of the largest score, the first edge of equals. A row without a spanning tree
/// has ones at the edges of a largest forest.
///
/// # Shapes
/// - scores, tree: `(rows, n (n - 1) / 2)` for `n` vertices, edges in lexicographic order; `-inf` forbids an edge.
/// # Errors
/// [`LengthError`].
pub fn best_spanning_tree(
    n_vertices: usize,
    scores: &[f64],
    tree: &mut [f64],
) -> Result<(), LengthError> {
    let n_edges = n_vertices * n_vertices.saturating_sub(1) / 2;
    check_len("scores", scores.len(), scores.len().checked_div(n_edges).unwrap_or(0) * n_edges)?;
    check_len("tree", tree.len(), scores.len())?;
    let ends: Vec<(usize, usize)> =
        (0..n_vertices).flat_map(|u| (u + 1..n_vertices).map(move |v| (u, v))).collect();
    let rows = scores.par_chunks(n_edges.max(1)).zip(tree.par_chunks_mut(n_edges.max(1)));
    rows.for_each(|(scores, tree)| kruskal(n_vertices, &ends, scores, tree));
    Ok(())
}

fn kruskal(n_vertices: usize, ends: &[(usize, usize)], scores: &[f64], tree: &mut [f64]) {
    tree.fill(0.0);
    let mut edges: Vec<usize> =
        (0..scores.len()).filter(|&e| scores[e] > f64::NEG_INFINITY).collect();
    edges.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut component: Vec<usize> = (0..n_vertices).collect();
    for edge in edges {
        let (u, v) = (find(&mut component, ends[edge].0), find(&mut component, ends[edge].1));
        if u != v {
            component[u] = v;
            tree[edge] = 1.0;
        }
    }
}

/// The representative of a set, with the path to it halved.
fn find(sets: &mut [usize], mut x: usize) -> usize {
    while sets[x] != x {
        sets[x] = sets[sets[x]];
        x = sets[x];
    }
    x
}

/// The parents in the arborescence of the largest score: of equals the first parent. Zeros where there is no tree.
///
/// # Shapes
/// - scores: `(rows, n, n + 1)` as in [`tree_samples`](super::tree_samples); parents: `(rows, n)`, 0 for the root.
/// # Errors
/// [`LengthError`].
pub fn best_arborescence(
    shape: TreeShape,
    scores: &[f64],
    parents: &mut [u32],
) -> Result<(), LengthError> {
    let rows = shape.rows("scores", scores.len())?;
    check_len("parents", parents.len(), rows * shape.n_nodes)?;
    let rows = scores
        .par_chunks(shape.n_scores().max(1))
        .zip(parents.par_chunks_mut(shape.n_nodes.max(1)));
    rows.for_each(|(scores, parents)| match edmonds(shape, scores) {
        Some(best) => parents.iter_mut().zip(&best[1..]).for_each(|(p, &best)| *p = best as u32),
        None => parents.fill(0),
    });
    Ok(())
}

/// A score with the number of edges that leave the root before it: the fewer there are, the better, where only one may be.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Score {
    minus_root_edges: i32,
    value: f64,
}

impl Score {
    const NONE: Self = Self { minus_root_edges: i32::MIN / 2, value: f64::NEG_INFINITY };

    fn minus(self, other: Self) -> Self {
        if self.value == f64::NEG_INFINITY {
            return Self::NONE;
        }
        let minus_root_edges = self.minus_root_edges - other.minus_root_edges;
        Self { minus_root_edges, value: self.value - other.value }
    }
}

/// An edge from a (contracted) node to a parent, as the edge of the input that it stands for.
#[derive(Clone, Copy)]
struct Edge {
    score: Score,
    node: usize,
    parent: usize,
}

/// The algorithm of Chu, Liu and Edmonds along growing paths (Gabow et al. 1986, on dense matrices): O(n²).
struct Edmonds {
    /// Best edge from a node to each outer parent, by the node's index.
    edges: Vec<Vec<Edge>>,
    /// The outermost contracted node that a node is in.
    outer: Vec<usize>,
    /// The contracted node that a node is directly in.
    inside: Vec<Option<usize>>,
    /// The edge that a node has chosen.
    chosen: Vec<Option<Edge>>,
}

impl Edmonds {
    fn find(&mut self, x: usize) -> usize {
        find(&mut self.outer, x)
    }

    /// The best edge of `x` that leaves it, the first of equals.
    fn choose(&mut self, x: usize) -> Option<Edge> {
        let mut best: Option<Edge> = None;
        for at in 0..self.edges[x].len() {
            let edge = self.edges[x][at];
            if edge.score.value > f64::NEG_INFINITY
                && best.is_none_or(|best| edge.score > best.score)
                && self.find(edge.parent) != x
            {
                best = Some(edge);
            }
        }
        self.chosen[x] = best;
        best
    }

    /// Contracts the cycle of the last nodes of the path, and puts the new node in their place.
    fn contract(&mut self, path: &mut Vec<usize>, from: usize) {
        let (new, cycle) = (self.edges.len(), path.split_off(from));
        let mut merged: Option<Vec<Edge>> = None;
        for &x in &cycle {
            let Some(chosen) = self.chosen[x] else { continue };
            let mut own = std::mem::take(&mut self.edges[x]);
            own.iter_mut().for_each(|edge| edge.score = edge.score.minus(chosen.score));
            match &mut merged {
                None => merged = Some(own),
                Some(merged) => merged.iter_mut().zip(own).for_each(|(best, edge)| {
                    if edge.score > best.score
                        || (edge.score == best.score && edge.node < best.node)
                    {
                        *best = edge;
                    }
                }),
            }
        }
        self.edges.push(merged.unwrap_or_default());
        self.outer.push(new);
        self.inside.push(None);
        self.chosen.push(None);
        for x in cycle {
            let root = self.find(x);
            self.outer[root] = new;
            self.inside[x] = Some(new);
        }
        path.push(new);
    }
}

/// The parent of every node; `None` where there is no tree.
fn edmonds(shape: TreeShape, scores: &[f64]) -> Option<Vec<usize>> {
    let n = shape.n_nodes;
    let edge = |u: usize, v: usize| {
        let value =
            if u == v || u == 0 { f64::NEG_INFINITY } else { scores[(u - 1) * (n + 1) + v] };
        let minus_root_edges = if shape.single_root && v == 0 { -1 } else { 0 };
        let score = if value == f64::NEG_INFINITY {
            Score::NONE
        } else {
            Score { minus_root_edges, value }
        };
        Edge { score, node: u, parent: v }
    };
    let mut state = Edmonds {
        edges: (0..=n).map(|u| (0..=n).map(|v| edge(u, v)).collect()).collect(),
        outer: (0..=n).collect(),
        inside: vec![None; n + 1],
        chosen: vec![None; n + 1],
    };
    let mut reached = vec![false; 2 * n + 2];
    reached[0] = true;
    for start in 1..=n {
        let mut path = vec![state.find(start)];
        while let Some(&x) = path.last() {
            if reached[x] {
                break;
            }
            let parent = state.choose(x)?.parent;
            let parent = state.find(parent);
            match path.iter().position(|&y| y == parent) {
                Some(at) => state.contract(&mut path, at),
                None => path.push(parent),
            }
        }
        path.iter().for_each(|&x| reached[x] = true);
    }
    expand(shape, &state)
}

/// From the outermost nodes inwards: the node at which a chosen edge arrives keeps that edge, on all levels.
fn expand(shape: TreeShape, state: &Edmonds) -> Option<Vec<usize>> {
    let (n, mut parents) = (shape.n_nodes, vec![0; shape.n_nodes + 1]);
    let mut fixed = vec![false; state.edges.len()];
    for x in (1..state.edges.len()).rev() {
        if fixed[x] {
            continue;
        }
        let edge = state.chosen[x]?;
        parents[edge.node] = edge.parent;
        let mut level = Some(edge.node);
        while let Some(node) = level.filter(|&node| !fixed[node]) {
            fixed[node] = true;
            level = state.inside[node];
        }
    }
    let roots = parents[1..].iter().filter(|&&p| p == 0).count();
    (n == 0 || !shape.single_root || roots == 1).then_some(parents)
}
