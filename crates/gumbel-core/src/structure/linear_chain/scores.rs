//! Chains from the scores of labels and of pairs of neighbours.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::LinearChain;
use crate::distributions::Gibbs;
use crate::{Error, Result};

/// What is added to unary and transition scores in [`LinearChain::new`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ChainOptions<'a> {
    /// Scores of the first label, `(…, K)`.
    pub start: Option<&'a Tensor>,
    /// Scores of the last label, `(…, K)`: at the end of each row's length.
    pub end: Option<&'a Tensor>,
    /// `(batch…)`, u32, each 1 to `T`. Labels beyond are 0 in samples and ignored elsewhere; marginals and gradients are zero there.
    pub lengths: Option<&'a Tensor>,
}

impl LinearChain {
    /// A chain whose label `j` after `i` at step `t` has the score `unary_t(j) + transition(i, j)`.
    ///
    /// # Shapes
    /// - unary: `(batch…, T, K)`; transition: `(K, K)`, or what broadcasts to `(batch…, T, K, K)`.
    /// # Errors
    /// Those of [`Gibbs::new`]; [`Error::NoStructure`] with the step that no path reaches, [`Error::LengthOutOfRange`],
    /// [`Error::ShapeMismatch`], [`Error::UnexpectedShape`].
    /// # Example
    /// ```
    /// use candle_core::{DType, Device, Tensor, Var};
    /// use gumbel_core::Generator;
    /// use gumbel_core::structure::LinearChain;
    ///
    /// let unary = Var::zeros((2, 5, 3), DType::F32, &Device::Cpu)?; // two rows of five steps
    /// let transition = Var::new(&[[1f32, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], &Device::Cpu)?;
    /// let d = LinearChain::new(&unary, &transition, Default::default())?;
    /// let labels = d.sample_labels(10, &mut Generator::new(0))?;
    /// assert_eq!(labels.dims(), [10, 2, 5]);
    /// let loss = d.labels_log_prob(&labels)?.mean_all()?;
    /// assert!(loss.backward()?.get(&transition).is_some());
    /// # Ok::<(), gumbel_core::Error>(())
    /// ```
    #[allow(clippy::new_ret_no_self, reason = "a structure is of use with its logits")]
    pub fn new(
        unary: &Tensor,
        transition: &Tensor,
        options: ChainOptions<'_>,
    ) -> Result<Gibbs<Self>> {
        let expected = "(batch…, steps, labels) with at least one of each";
        let shape =
            |x: &Tensor| Error::UnexpectedShape { what: "unary", got: x.dims().to_vec(), expected };
        let [batch @ .., steps, k] = unary.dims() else { return Err(shape(unary)) };
        let (steps, k) = (*steps, *k);
        if steps == 0 || k == 0 {
            return Err(shape(unary));
        }
        let lengths = options.lengths.map(|x| read_lengths(x, batch, steps)).transpose()?;
        let dims = |last: &[usize]| [batch, last].concat();
        let label = |x: &Tensor, what| broadcast(x, &dims(&[k]), what);
        let mut unary = unary.clone();
        if let Some(start) = options.start {
            let start = label(start, "start")?.unsqueeze(batch.len())?;
            unary = (&unary + at_steps(&start, &vec![0; batch.iter().product()], batch, steps)?)?;
        }
        if let Some(end) = options.end {
            let last = match &lengths {
                Some(lengths) => lengths.iter().map(|length| length - 1).collect(),
                None => vec![steps - 1; batch.iter().product()],
            };
            let end = label(end, "end")?.unsqueeze(batch.len())?;
            unary = (&unary + at_steps(&end, &last, batch, steps)?)?;
        }
        let transition = broadcast(transition, &dims(&[steps, k, k]), "transition")?;
        let edges = transition.broadcast_add(&unary.unsqueeze(batch.len() + 1)?)?;
        let first = unary.narrow(batch.len(), 0, 1)?.unsqueeze(batch.len() + 1)?;
        Gibbs::new(
            Self { lengths },
            &with_first(&first, &edges.narrow(batch.len(), 1, steps - 1)?)?,
        )
    }

    /// A chain with scores for every pair of neighbours, and for the first label.
    ///
    /// # Shapes
    /// - edges: `(batch…, T − 1, K, K)`; start: `(batch…, K)`. lengths: as in [`ChainOptions`].
    /// # Errors
    /// Those of [`Self::new`].
    pub fn from_edges(
        edges: &Tensor,
        start: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Gibbs<Self>> {
        let expected = "(batch…, steps - 1, labels, labels)";
        let shape =
            || Error::UnexpectedShape { what: "edges", got: edges.dims().to_vec(), expected };
        let [batch @ .., steps, i, k] = edges.dims() else { return Err(shape()) };
        if i != k || *k == 0 {
            return Err(shape());
        }
        let lengths = lengths.map(|x| read_lengths(x, batch, steps + 1)).transpose()?;
        let start = broadcast(start, &[batch, &[*k]].concat(), "start")?;
        let first = start.unsqueeze(batch.len())?.unsqueeze(batch.len())?;
        Gibbs::new(Self { lengths }, &with_first(&first, edges)?)
    }
}

fn broadcast(x: &Tensor, dims: &[usize], what: &'static str) -> Result<Tensor> {
    let (got, expected) = (x.dims().to_vec(), dims.to_vec());
    x.broadcast_as(dims).map_err(|_| Error::ShapeMismatch { what, got, expected })
}

/// `(batch…, 1, K)` at one step of each row, zeros elsewhere: `(batch…, steps, K)`.
fn at_steps(x: &Tensor, at: &[usize], batch: &[usize], steps: usize) -> Result<Tensor> {
    let mut hot = vec![0u8; at.len() * steps];
    at.iter().enumerate().for_each(|(row, &t)| hot[row * steps + t] = 1);
    let hot = Tensor::from_vec(hot, [batch, &[steps, 1]].concat(), x.device())?;
    let k = x.dims().last().copied().unwrap_or(1);
    let dims = [batch, &[steps, k]].concat();
    let (hot, x) = (hot.broadcast_as(dims.as_slice())?, x.broadcast_as(dims)?.contiguous()?);
    Ok(hot.where_cond(&x, &x.zeros_like()?)?)
}

/// The first step, `(batch…, 1, 1, K)`, before the edges: its other rows are masked.
fn with_first(first: &Tensor, edges: &Tensor) -> Result<Tensor> {
    let rank = first.rank();
    let mut dims = first.dims().to_vec();
    let k = dims[rank - 1];
    dims[rank - 2] = k - 1;
    let rest = Tensor::full(f64::NEG_INFINITY, dims, first.device())?.to_dtype(first.dtype())?;
    let first = match k {
        1 => first.clone(),
        _ => Tensor::cat(&[first, &rest], rank - 2)?,
    };
    if edges.elem_count() == 0 {
        return Ok(first);
    }
    Ok(Tensor::cat(&[first, edges.to_dtype(rest.dtype())?], rank - 3)?)
}

fn read_lengths(lengths: &Tensor, batch: &[usize], steps: usize) -> Result<Arc<[usize]>> {
    if lengths.dtype() != DType::U32 {
        let dtype = lengths.dtype();
        return Err(Error::UnsupportedDType { what: "lengths", dtype, expected: "u32" });
    }
    if lengths.dims() != batch {
        let (got, expected) = (lengths.dims().to_vec(), batch.to_vec());
        return Err(Error::ShapeMismatch { what: "lengths", got, expected });
    }
    let lengths: Vec<u32> = lengths.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    for (row, &length) in lengths.iter().enumerate() {
        if length == 0 || length as usize > steps {
            return Err(Error::LengthOutOfRange { length: length as usize, max: steps, row });
        }
    }
    Ok(lengths.into_iter().map(|length| length as usize).collect())
}
