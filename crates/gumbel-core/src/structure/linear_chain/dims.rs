//! The dimensions of a chain's logits.

use candle_core::Tensor;
use gumbel_kernels::ChainShape;

use crate::{Error, Result};

/// Dimensions of edges: the batch, rows, steps and labels.
pub(super) struct Dims<'a> {
    pub(super) batch: &'a [usize],
    pub(super) rows: usize,
    pub(super) steps: usize,
    pub(super) k: usize,
}

impl<'a> Dims<'a> {
    pub(super) fn of(x: &'a Tensor) -> Result<Self> {
        match x.dims() {
            [batch @ .., steps, i, k] if i == k && *k > 0 && *steps > 0 => {
                Ok(Self { batch, rows: batch.iter().product(), steps: *steps, k: *k })
            }
            got => Err(Error::UnexpectedShape {
                what: "logits",
                got: got.to_vec(),
                expected: "(batch…, steps, labels, labels) with at least one of each",
            }),
        }
    }

    pub(super) fn shape<'b>(&self, lengths: &'b Option<Vec<usize>>) -> ChainShape<'b> {
        ChainShape { steps: self.steps, labels: self.k, lengths: lengths.as_deref() }
    }
}
