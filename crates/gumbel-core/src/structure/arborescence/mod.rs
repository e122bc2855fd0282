//! Directed trees: a parent for every node, without cycles.

mod reach;

use candle_core::{D, DType, Device, Tensor};
use gumbel_kernels::{
    TreeShape, best_arborescence, tree_log_partition, tree_marginals, tree_marginals_vjp,
    tree_samples,
};

use super::host::{has_masks, on_host, values};
use super::{MAX_CODES, Structure, divide};
use crate::checks::check_values;
use crate::op::argmax;
use crate::{Error, Generator, Result, Temperature, uniform};

/// How many children the root of an [`Arborescence`] has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Roots {
    /// One or more.
    #[default]
    Multiple,
    /// Exactly one.
    Single,
}

/// Trees that lead from a root to every node: `n` categories (the parents of `n` nodes) that make no cycle.
///
/// Entry `(u, v)` of the event `(n, n + 1)` is `v` as the parent of node `u + 1`: **column 0 is the root, column `v` is node `v`**.
/// A node as its own parent is not looked at. Rows of codes and of marginals sum to one. [`Arborescence::from_head_scores`]
/// turns scores `[head, modifier]` into this form.
///
/// All is computed in f64 by elimination without subtraction (Grassmann, Taksar and Heyman 1985), right at any scale of scores:
/// O(n³) for partition, marginals and samples (O(n²) for each sample after the first), O(n²) for the best tree (Chu and Liu
/// 1965, Edmonds 1967). Samples are exact. A [perturbed](Structure::perturb) solution has another law than they have.
/// A temperature may differ between edges.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::structure::{Arborescence, Roots, Structure};
///
/// // Scores of the root and of three nodes as the parent of each.
/// let scores = [[71f64, 0.0, 2.0, 65.0], [52.0, 32.0, 0.0, 16.0], [67.0, 46.0, 79.0, 0.0]];
/// let scores = Tensor::new(&[scores], &Device::Cpu)?;
/// for (roots, parents) in [(Roots::Multiple, [0, 0, 2]), (Roots::Single, [3, 0, 2])] {
///     let best = Arborescence { roots }.solve(&scores)?;
///     assert_eq!(Arborescence::parents(&best)?.to_vec2::<u32>()?, [parents]);
/// }
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arborescence {
    /// How many children the root has.
    pub roots: Roots,
}

impl Arborescence {
    /// Logits from scores of `(head, modifier)` pairs and of nodes as children of the root.
    ///
    /// # Shapes
    /// - heads: `(…, n, n)`; root: `(…, n)`. Output: `(…, n, n + 1)`.
    /// # Gradient
    /// For both.
    /// # Errors
    /// Those of candle, when the shapes do not fit.
    pub fn from_head_scores(heads: &Tensor, root: &Tensor) -> Result<Tensor> {
        let parents = heads.transpose(D::Minus1, D::Minus2)?;
        Ok(Tensor::cat(&[&root.unsqueeze(D::Minus1)?, &parents], D::Minus1)?)
    }

    /// The parents in codes: u32, 0 for the root.
    ///
    /// # Shapes
    /// - codes: `(…, n, n + 1)`. Output: `(…, n)`.
    /// # Errors
    /// Those of candle.
    pub fn parents(codes: &Tensor) -> Result<Tensor> {
        argmax(&codes.contiguous()?)
    }

    fn shape(self, n_nodes: usize) -> TreeShape {
        TreeShape { n_nodes, single_root: self.roots == Roots::Single }
    }

    /// The shape of one tree, and that of the batch.
    fn shapes(self, x: &Tensor) -> Result<(TreeShape, Vec<usize>)> {
        match x.dims() {
            [batch @ .., n, columns] if *n > 0 && *columns == n + 1 => {
                Ok((self.shape(*n), batch.to_vec()))
            }
            dims => Err(Error::UnexpectedShape {
                what: "logits",
                got: dims.to_vec(),
                expected: "(batch, n, n + 1): for each of n nodes, the root and n nodes as its parent",
            }),
        }
    }

    /// Every tree of this shape as its parents.
    fn all_parents(shape: TreeShape) -> Result<Vec<Vec<u32>>> {
        let n = shape.n_nodes;
        let base = if shape.single_root { n } else { n + 1 };
        let size = (base as f64).powi(n as i32 - 1);
        if size > MAX_CODES as f64 {
            return Err(Error::TooLarge {
                what: "the number of trees to enumerate",
                size,
                limit: MAX_CODES,
            });
        }
        let mut partial: Vec<Vec<u32>> = vec![vec![]];
        for _ in 0..n {
            let longer = partial.iter().flat_map(|parents| {
                (0..=n as u32).map(|parent| [parents.as_slice(), &[parent]].concat())
            });
            partial = longer
                .filter(|parents| cycle(parents).is_none() && roots_fit(shape, parents))
                .collect();
        }
        partial.retain(|parents| !shape.single_root || parents.contains(&0));
        Ok(partial)
    }
}

/// A node on a cycle of what parents there are so far.
fn cycle(parents: &[u32]) -> Option<usize> {
    (1..=parents.len()).find(|&start| {
        let mut node = start;
        for _ in 0..parents.len() {
            match parents.get(node.wrapping_sub(1)) {
                Some(&parent) => node = parent as usize,
                None => return false,
            }
            if node == start {
                return true;
            }
        }
        false
    })
}

fn roots_fit(shape: TreeShape, parents: &[u32]) -> bool {
    !shape.single_root || parents.iter().filter(|&&parent| parent == 0).count() <= 1
}

/// One-hot rows for parents, `(…, n, n + 1)`, added to zeros.
fn write_codes(n: usize, parents: &[u32], codes: &mut [f64]) {
    for (row, &parent) in codes.chunks_exact_mut(n + 1).zip(parents) {
        row[parent as usize] = 1.0;
    }
}

impl Structure for Arborescence {
    fn name(&self) -> &'static str {
        match self.roots {
            Roots::Multiple => "arborescences",
            Roots::Single => "single-root arborescences",
        }
    }

    fn event_rank(&self, _: &Tensor) -> usize {
        2
    }

    fn support(&self) -> &'static str {
        "one parent for each node, that leads to the root without a cycle"
    }

    fn misfit(&self, _: usize, event: &[usize], z: &[f64]) -> Option<usize> {
        let (n, width) = (event[0], event[1]);
        let mut parents = Vec::with_capacity(n);
        for u in 0..n {
            let mut ones = (0..width).filter(|&v| z[u * width + v] == 1.0);
            match (ones.next(), ones.next()) {
                (Some(parent), None) => parents.push(parent as u32),
                (None, _) => return Some(u * width),
                (Some(_), Some(second)) => return Some(u * width + second),
            }
        }
        let own = |u: usize| u * width + parents[u] as usize;
        let mut roots = (0..n).filter(|&u| parents[u] == 0);
        match (cycle(&parents), roots.nth(1)) {
            (Some(node), _) => Some(own(node - 1)),
            (None, Some(second)) if self.roots == Roots::Single => Some(own(second)),
            _ => None,
        }
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        let (shape, _) = self.shapes(logits)?;
        let bad = |value, index| Error::InvalidLogit { value, index };
        check_values(logits, "logits", |logit| logit < f64::INFINITY, bad)?;
        // Without a mask there is a tree.
        if !has_masks(logits)? {
            return Ok(());
        }
        for (row, scores) in values(logits)?.chunks_exact(shape.n_scores()).enumerate() {
            if let Some(index) = reach::first_unreached(shape, scores) {
                return Err(Error::NoStructure { what: "arborescence", row, index });
            }
        }
        Ok(())
    }

    fn sample(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.check(logits)?;
        let (shape, batch) = self.shapes(logits)?;
        let rows = batch.iter().product::<usize>();
        let uniforms = uniform((rows, shape.n_uniforms()), DType::F64, &Device::Cpu, g)?;
        on_host([logits, &uniforms], logits.shape(), |[scores, uniforms], codes| {
            let mut parents = vec![0; rows * shape.n_nodes];
            tree_samples(shape, scores, uniforms, &mut parents)?;
            write_codes(shape.n_nodes, &parents, codes);
            Ok(())
        })
    }

    fn solve(&self, scores: &Tensor) -> Result<Tensor> {
        let (shape, batch) = self.shapes(scores)?;
        on_host([scores], scores.shape(), |[scores], codes| {
            let mut parents = vec![0; batch.iter().product::<usize>() * shape.n_nodes];
            best_arborescence(shape, scores, &mut parents)?;
            write_codes(shape.n_nodes, &parents, codes);
            Ok(())
        })
    }

    fn log_partition(&self, scores: &Tensor) -> Result<Tensor> {
        let (shape, batch) = self.shapes(scores)?;
        on_host([scores], batch, |[scores], out| Ok(tree_log_partition(shape, scores, out)?))
    }

    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor> {
        let (shape, _) = self.shapes(scores)?;
        let scores = divide(&scores.detach(), tau)?;
        on_host([&scores], scores.shape(), |[scores], out| Ok(tree_marginals(shape, scores, out)?))
    }

    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
        let (shape, _) = self.shapes(scores)?;
        let scores = divide(&scores.detach(), tau)?;
        let product = on_host([&scores, grad], scores.shape(), |[scores, grad], out| {
            Ok(tree_marginals_vjp(shape, scores, grad, out)?)
        })?;
        divide(&product, tau)
    }

    fn codes(&self, logits: &Tensor) -> Result<Tensor> {
        let (shape, _) = self.shapes(logits)?;
        let all = Self::all_parents(shape)?;
        let n = shape.n_nodes;
        let mut codes = vec![0.0; all.len() * shape.n_scores()];
        write_codes(n, &all.concat(), &mut codes);
        let codes = Tensor::from_vec(codes, (all.len(), n, n + 1), &Device::Cpu)?;
        Ok(codes.to_dtype(logits.dtype())?.to_device(logits.device())?)
    }
}

#[cfg(test)]
mod tests;
