//! Undirected trees that connect all vertices of a graph.

use candle_core::{D, DType, Device, Tensor};
use gumbel_kernels::{
    TreeShape, best_spanning_tree, tree_log_partition, tree_marginals, tree_marginals_vjp,
    tree_samples,
};

use super::host::{has_masks, on_host, values};
use super::{Arborescence, MAX_CODES, Roots, Structure, divide};
use crate::checks::check_values;
use crate::{Error, Generator, Result, Temperature, uniform};

/// Spanning trees of a graph of `n` vertices. The event is one entry for each of the `n (n - 1) / 2` edges, in lexicographic order:
/// `01, 02, …, 12, …`. So each edge has one logit, one marginal, and one value of noise.
/// [`SpanningTree::edges`] and [`SpanningTree::adjacency`] turn symmetric matrices into it and back.
///
/// All is computed in f64 by elimination without subtraction (see [`Arborescence`]), right at any scale of scores: O(n³) for
/// partition, marginals and samples, O(n² ln n) for the best tree (Kruskal 1956). Samples are exact. A
/// [perturbed](Structure::perturb) solution has another law: with four vertices and equal logits a star has probability 1/15, not 1/16.
/// A temperature may differ between edges.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::structure::{SpanningTree, Structure};
///
/// let logits = Tensor::zeros((2, 6), DType::F64, &Device::Cpu)?; // two graphs of four vertices
/// let log_counts = SpanningTree.log_partition(&logits)?.to_vec1::<f64>()?;
/// assert!((log_counts[0] - 16f64.ln()).abs() < 1e-14);
/// let trees = SpanningTree.sample(&logits, &mut Generator::new(0))?;
/// assert_eq!(trees.sum(1)?.to_vec1::<f64>()?, [3.0, 3.0]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanningTree;

impl SpanningTree {
    /// The edges of symmetric matrices, such as adjacencies or logits.
    ///
    /// # Shapes
    /// - matrix: `(…, n, n)`. Output: `(…, n (n - 1) / 2)`. The diagonal is not looked at.
    /// # Gradient
    /// To the upper triangle.
    /// # Errors
    /// [`Error::UnexpectedShape`]; [`Error::InvalidParameter`] for a matrix that is not symmetric.
    pub fn edges(matrix: &Tensor) -> Result<Tensor> {
        let [batch @ .., n, width] = matrix.dims() else { return Err(not_square(matrix)) };
        let n = if n == width && *n > 0 { *n } else { return Err(not_square(matrix)) };
        let ends = ends(n);
        for values in values(matrix)?.chunks_exact(n * n) {
            for &(u, v) in &ends {
                let (a, b) = (values[u * n + v], values[v * n + u]);
                if a != b {
                    let must = "the same in both directions (symmetric), entry by entry";
                    return Err(Error::InvalidParameter {
                        name: "the matrix of an undirected graph",
                        value: b,
                        must,
                    });
                }
            }
        }
        let at: Vec<u32> = ends.iter().map(|(u, v)| (u * n + v) as u32).collect();
        let at = Tensor::new(at, matrix.device())?;
        let flat = matrix.reshape([batch, &[n * n]].concat())?;
        Ok(flat.contiguous()?.index_select(&at, D::Minus1)?)
    }

    /// Symmetric matrices with the values of the edges, and zeros on the diagonal.
    ///
    /// # Shapes
    /// - edges: `(…, n (n - 1) / 2)`. Output: `(…, n, n)`.
    /// # Gradient
    /// For the edges.
    /// # Errors
    /// [`Error::UnexpectedShape`] when this is no number of edges of a full graph.
    pub fn adjacency(edges: &Tensor) -> Result<Tensor> {
        let (n, batch) = graph(edges)?;
        let n_edges = edges.dim(D::Minus1)?;
        let mut at = vec![n_edges as u32; n * n];
        for (edge, (u, v)) in ends(n).into_iter().enumerate() {
            (at[u * n + v], at[v * n + u]) = (edge as u32, edge as u32);
        }
        let zero = Tensor::zeros([batch.as_slice(), &[1]].concat(), edges.dtype(), edges.device())?;
        let padded = Tensor::cat(&[edges, &zero], D::Minus1)?;
        let all = padded.index_select(&Tensor::new(at, edges.device())?, D::Minus1)?;
        Ok(all.reshape([batch.as_slice(), &[n, n]].concat())?)
    }
}

fn not_square(matrix: &Tensor) -> Error {
    let expected = "(batch, n, n)";
    Error::UnexpectedShape { what: "the matrix of a graph", got: matrix.dims().to_vec(), expected }
}

/// The number of vertices, and the shape of the batch.
fn graph(edges: &Tensor) -> Result<(usize, Vec<usize>)> {
    let wrong = || Error::UnexpectedShape {
        what: "logits",
        got: edges.dims().to_vec(),
        expected: "(batch, n (n - 1) / 2): one logit for each edge of a graph of n vertices",
    };
    let (n_edges, batch) = edges.dims().split_last().ok_or_else(wrong)?;
    let n = (1..).find(|n| n * (n - 1) / 2 >= *n_edges).filter(|n| n * (n - 1) / 2 == *n_edges);
    Ok((n.ok_or_else(wrong)?, batch.to_vec()))
}

/// The ends of every edge.
fn ends(n: usize) -> Vec<(usize, usize)> {
    (0..n).flat_map(|u| (u + 1..n).map(move |v| (u, v))).collect()
}

/// Spanning trees as arborescences: the last vertex is the root, vertex `u` is node `u + 1`.
struct Rooted {
    shape: TreeShape,
    /// For each edge its two directions, as entries of `(n - 1, n)`; the edges of the root have one.
    entries: Vec<(usize, Option<usize>)>,
}

impl Rooted {
    fn new(n: usize) -> Self {
        let entry = |(u, v): (usize, usize)| match v + 1 == n {
            true => (u * n, None),
            false => (u * n + v + 1, Some(v * n + u + 1)),
        };
        let entries = ends(n).into_iter().map(entry).collect();
        Self { shape: TreeShape { n_nodes: n - 1, single_root: false }, entries }
    }

    fn expand(&self, edges: &[f64]) -> Vec<f64> {
        let n = self.shape.n_scores();
        let mut out = vec![0.0; edges.len() / self.entries.len().max(1) * n];
        for (edges, out) in
            edges.chunks_exact(self.entries.len().max(1)).zip(out.chunks_exact_mut(n.max(1)))
        {
            for (&(one, other), &value) in self.entries.iter().zip(edges) {
                out[one] = value;
                other.into_iter().for_each(|other| out[other] = value);
            }
        }
        out
    }

    /// The sum over both directions.
    fn collapse(&self, directed: &[f64], edges: &mut [f64]) {
        let rows = directed.chunks_exact(self.shape.n_scores().max(1));
        for (directed, edges) in rows.zip(edges.chunks_exact_mut(self.entries.len().max(1))) {
            for (&(one, other), edge) in self.entries.iter().zip(edges) {
                *edge = directed[one] + other.map_or(0.0, |other| directed[other]);
            }
        }
    }
}

impl Structure for SpanningTree {
    fn name(&self) -> &'static str {
        "spanning trees"
    }

    fn event_rank(&self, _: &Tensor) -> usize {
        1
    }

    fn support(&self) -> &'static str {
        "edges that connect all vertices without a cycle"
    }

    fn misfit(&self, _: usize, event: &[usize], z: &[f64]) -> Option<usize> {
        let n = (1..).find(|n| n * (n - 1) / 2 >= event[0])?;
        let ends = ends(n);
        let mut component: Vec<usize> = (0..n).collect();
        for (edge, &(u, v)) in ends.iter().enumerate().filter(|(edge, _)| z[*edge] == 1.0) {
            let (from, to) = (component[u], component[v]);
            if from == to {
                return Some(edge);
            }
            component.iter_mut().filter(|c| **c == from).for_each(|c| *c = to);
        }
        ends.iter().position(|&(u, v)| component[u] != component[v])
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        let (n, _) = graph(logits)?;
        let bad = |value, index| Error::InvalidLogit { value, index };
        check_values(logits, "logits", |logit| logit < f64::INFINITY, bad)?;
        // Without a mask there is a tree.
        if !has_masks(logits)? {
            return Ok(());
        }
        let ends = ends(n);
        for (row, edges) in values(logits)?.chunks_exact(ends.len().max(1)).enumerate() {
            let mut reached = vec![false; n];
            reached[0] = true;
            let open = |edge: usize| edges[edge] > f64::NEG_INFINITY;
            // Each sweep reaches one vertex more, or is the last.
            while let Some((_, &(u, v))) = ends
                .iter()
                .enumerate()
                .find(|(edge, (u, v))| open(*edge) && reached[*u] != reached[*v])
            {
                (reached[u], reached[v]) = (true, true);
            }
            if let Some(index) = reached.iter().position(|reached| !reached) {
                return Err(Error::NoStructure { what: "spanning tree", row, index });
            }
        }
        Ok(())
    }

    fn sample(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.check(logits)?;
        let (n, batch) = graph(logits)?;
        let (rooted, rows) = (Rooted::new(n), batch.iter().product::<usize>());
        let uniforms = uniform((rows, rooted.shape.n_uniforms()), DType::F64, &Device::Cpu, g)?;
        on_host([logits, &uniforms], logits.shape(), |[edges, uniforms], codes| {
            let mut parents = vec![0; rows * rooted.shape.n_nodes];
            tree_samples(rooted.shape, &rooted.expand(edges), uniforms, &mut parents)?;
            let mut directed = vec![0.0; rows * rooted.shape.n_scores()];
            for (row, &parent) in directed.chunks_exact_mut(n).zip(&parents) {
                row[parent as usize] = 1.0;
            }
            rooted.collapse(&directed, codes);
            Ok(())
        })
    }

    fn solve(&self, scores: &Tensor) -> Result<Tensor> {
        let (n, _) = graph(scores)?;
        on_host([scores], scores.shape(), |[scores], out| Ok(best_spanning_tree(n, scores, out)?))
    }

    fn log_partition(&self, scores: &Tensor) -> Result<Tensor> {
        let (n, batch) = graph(scores)?;
        let rooted = Rooted::new(n);
        on_host([scores], batch, |[scores], out| match n {
            // One vertex has one tree, without an edge.
            1 => Ok(()),
            _ => Ok(tree_log_partition(rooted.shape, &rooted.expand(scores), out)?),
        })
    }

    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor> {
        let (n, _) = graph(scores)?;
        let (rooted, scores) = (Rooted::new(n), divide(&scores.detach(), tau)?);
        on_host([&scores], scores.shape(), |[scores], out| {
            let directed = rooted.expand(scores);
            let mut marginals = vec![0.0; directed.len()];
            tree_marginals(rooted.shape, &directed, &mut marginals)?;
            rooted.collapse(&marginals, out);
            out.iter_mut().for_each(|p| *p = p.min(1.0));
            Ok(())
        })
    }

    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
        let (n, _) = graph(scores)?;
        let (rooted, scores) = (Rooted::new(n), divide(&scores.detach(), tau)?);
        let product = on_host([&scores, grad], scores.shape(), |[scores, grad], out| {
            let (directed, grad) = (rooted.expand(scores), rooted.expand(grad));
            let mut product = vec![0.0; directed.len()];
            tree_marginals_vjp(rooted.shape, &directed, &grad, &mut product)?;
            rooted.collapse(&product, out);
            Ok(())
        })?;
        divide(&product, tau)
    }

    fn codes(&self, logits: &Tensor) -> Result<Tensor> {
        let (n, _) = graph(logits)?;
        let rooted = Rooted::new(n);
        if n == 1 {
            return Ok(Tensor::zeros((1, 0), logits.dtype(), logits.device())?);
        }
        let rows = Tensor::zeros((1, n - 1, n), DType::F64, &Device::Cpu)?;
        let directed = Arborescence { roots: Roots::Multiple }.codes(&rows)?;
        let n_codes = directed.dim(0)?;
        debug_assert!(n_codes <= MAX_CODES);
        let codes = on_host([&directed], (n_codes, rooted.entries.len()), |[directed], codes| {
            rooted.collapse(directed, codes);
            Ok(())
        })?;
        Ok(codes.to_dtype(logits.dtype())?.to_device(logits.device())?)
    }
}

#[cfg(test)]
mod tests;
