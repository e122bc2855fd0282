//! Exact samples of trees by undoing the elimination, node by node.
//!
//! A tree over the nodes below `k` comes first. Node `k` is then put in: each edge from `u` to its parent went through `k` with
//! the share that `k` has in its weight. The nodes whose edge did become children of `k`, and the parent of `k` is
//! drawn among the nodes that still lead to the root without it. (Colbourn, Myrvold and Neufeld 1996 and Durfee et al. 2017
//! sample from reductions of the Laplacian, too.)

use super::TreeShape;
use super::history::{History, Log, Weight};

/// How a sampler decides. Probabilities are given both ways, since `1 - p` would lose the digits of a small one.
pub(super) trait Decide {
    /// True with probability `yes` of `yes + no = 1`.
    fn coin(&mut self, yes: f64, no: f64) -> bool;
    /// An index with probability in proportion to its weight; one weight at least is above zero.
    fn choose(&mut self, weights: &[f64]) -> usize;
}

/// Decisions from uniform values.
struct Uniforms<'a>(std::slice::Iter<'a, f64>);

impl Uniforms<'_> {
    fn next(&mut self) -> f64 {
        self.0.next().copied().unwrap_or(0.5)
    }
}

impl Decide for Uniforms<'_> {
    fn coin(&mut self, yes: f64, no: f64) -> bool {
        // From the side of the smaller share, near which uniform values lie densest. A share of zero is never taken.
        let u = self.next();
        if yes <= no { u < yes } else { u >= no }
    }

    fn choose(&mut self, weights: &[f64]) -> usize {
        let target = self.next() * weights.iter().sum::<f64>();
        let (mut sum, mut last) = (0.0, 0);
        for (i, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            (sum, last) = (sum + weight, i);
            if target < sum {
                break;
            }
        }
        last
    }
}

/// All samples of one row of scores.
pub(super) fn sample_row(shape: TreeShape, scores: &[f64], uniforms: &[f64], parents: &mut [u32]) {
    parents.fill(0);
    match History::<f64>::eliminate(shape, scores).filter(History::in_range) {
        Some(history) => samples(&history, uniforms, parents),
        None => {
            if let Some(history) = History::<Log<f64>>::eliminate(shape, scores) {
                samples(&history, uniforms, parents);
            }
        }
    }
}

fn samples<W: Weight<Scalar = f64>>(history: &History<W>, uniforms: &[f64], parents: &mut [u32]) {
    let shape = history.shape;
    let each =
        uniforms.chunks_exact(shape.n_uniforms()).zip(parents.chunks_exact_mut(shape.n_nodes));
    each.for_each(|(uniforms, parents)| sample(history, &mut Uniforms(uniforms.iter()), parents));
}

/// Draws one tree: the parent of every node, 0 for the root.
pub(super) fn sample<W: Weight<Scalar = f64>>(
    history: &History<W>,
    decide: &mut impl Decide,
    parents: &mut [u32],
) {
    let n = history.shape.n_nodes;
    // By position in the order of elimination; 0 is the root.
    let mut parent = vec![0usize; n + 1];
    let (mut leads, mut weights) = (vec![false; n + 1], vec![0.0; n + 1]);
    for k in 1..=n {
        if history.shape.single_root && k == 1 {
            // The first node is the root's child. Its uniform value is left unused: each sample takes as many.
            decide.coin(1.0, 0.0);
            continue;
        }
        let mut root_child_flipped = false;
        for (u, parent) in parent.iter_mut().enumerate().take(k).skip(1) {
            let (via, direct) = history.via_and_direct(k, u, *parent);
            let sum = via.plus(direct);
            if decide.coin(via.share(sum), direct.share(sum)) {
                root_child_flipped |= *parent == 0;
                *parent = k;
            }
        }
        if history.shape.single_root && root_child_flipped {
            decide.coin(1.0, 0.0);
            parent[k] = 0;
            continue;
        }
        // Nodes that reach the root, or with one root the root's child, without passing `k`.
        leads[..=k].fill(false);
        leads[0] = true;
        for u in 1..k {
            mark(&parent, k, u, &mut leads);
        }
        let first = usize::from(history.shape.single_root);
        // Relative to the largest that is left: all of them may be far below those that are not.
        for v in 0..k {
            let open = v >= first && leads[v];
            weights[v] = if open { history.branch(k, v).ln() } else { f64::NEG_INFINITY };
        }
        let top = weights[..k].iter().copied().fold(f64::NEG_INFINITY, f64::max);
        weights[..k].iter_mut().for_each(|weight| *weight = (*weight - top).exp());
        parent[k] = decide.choose(&weights[..k]);
    }
    for u in 1..=n {
        parents[history.nodes[u] - 1] = history.nodes[parent[u]] as u32;
    }
}

/// Marks the chain of parents from `u` up, if it meets what is marked before it meets `k`.
fn mark(parent: &[usize], k: usize, u: usize, leads: &mut [bool]) {
    let mut top = u;
    while top != k && !leads[top] {
        top = parent[top];
    }
    let (good, mut node) = (top != k, u);
    while good && !leads[node] {
        leads[node] = true;
        node = parent[node];
    }
}
