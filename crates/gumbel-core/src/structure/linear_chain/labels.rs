//! Chains in labels, in the place of edges.

use candle_core::{D, DType, Device, Shape, Tensor};

use super::{Dims, LinearChain};
use crate::distributions::Gibbs;
use crate::op::{allowed, zero_where_masked};
use crate::{Error, Generator, Result};

impl LinearChain {
    /// The edges of labels `(batch…, T)`, u32, in the shape and dtype of `like`. Labels beyond a row's length are not looked at.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`] for a label that is not below `K`, [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn edges(&self, labels: &Tensor, like: &Tensor) -> Result<Tensor> {
        let dims = Dims::of(like)?;
        let cells = self.cells(labels, &dims)?;
        let mut hot = vec![0u8; like.elem_count()];
        let per_row = dims.steps * dims.k * dims.k;
        for (row, cells) in cells.chunks(dims.steps).enumerate() {
            let inside = &cells[..self.length(row, dims.steps)];
            inside.iter().for_each(|&cell| hot[row * per_row + cell as usize] = 1);
        }
        Ok(Tensor::from_vec(hot, like.shape(), like.device())?.to_dtype(like.dtype())?)
    }

    /// Where in its row the edge of each label is; 0 beyond a row's length.
    fn cells(&self, labels: &Tensor, dims: &Dims<'_>) -> Result<Vec<u32>> {
        if labels.dtype() != DType::U32 {
            let dtype = labels.dtype();
            return Err(Error::UnsupportedDType { what: "labels", dtype, expected: "u32" });
        }
        let expected = [dims.batch, &[dims.steps]].concat();
        if labels.dims() != expected {
            let got = labels.dims().to_vec();
            return Err(Error::ShapeMismatch { what: "labels", got, expected });
        }
        let labels: Vec<u32> = labels.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        let mut cells = vec![0; labels.len()];
        for (row, labels) in labels.chunks(dims.steps).enumerate() {
            let mut before = 0;
            for (t, &label) in labels[..self.length(row, dims.steps)].iter().enumerate() {
                if label as usize >= dims.k {
                    let index = i64::from(label);
                    return Err(Error::IndexOutOfRange { index, n_classes: dims.k });
                }
                cells[row * dims.steps + t] = ((t * dims.k + before) * dims.k) as u32 + label;
                before = label as usize;
            }
        }
        Ok(cells)
    }
}

impl Gibbs<LinearChain> {
    /// Draws exact samples of labels, `(sample…, batch…, T)`, u32: those of [`Self::sample`] for the same generator.
    ///
    /// # Errors
    /// Those of candle.
    pub fn sample_labels(&self, sample: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        self.structure().sample_labels(&self.expanded(sample.into().dims())?.detach(), g)
    }

    /// The most probable labels, `(batch…, T)`, u32. Of equal paths the one whose last label is lowest, then the one before it, and so on.
    ///
    /// # Errors
    /// Those of candle.
    pub fn mode_labels(&self) -> Result<Tensor> {
        self.structure().best_labels(&self.wide_logits().detach())
    }

    /// The probability of every label at every step, `(batch…, T, K)`; zero beyond a row's length.
    ///
    /// # Errors
    /// Those of candle.
    pub fn unary_marginals(&self) -> Result<Tensor> {
        Ok(self.marginals()?.sum(D::Minus2)?)
    }

    /// The log-probability of labels, in nats; `-inf`, with gradient zero, for a path through a masked edge. Labels beyond a row's length
    /// are not looked at.
    ///
    /// # Shapes
    /// - labels: `(sample…, batch…, T)`, u32; output: `(sample…, batch…)`.
    /// # Errors
    /// [`Error::IndexOutOfRange`] for a label that is not below `K`, [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn labels_log_prob(&self, labels: &Tensor) -> Result<Tensor> {
        let mismatch = || Error::ShapeMismatch {
            what: "labels",
            got: labels.dims().to_vec(),
            expected: [self.batch_shape(), &self.event_shape()[..1]].concat(),
        };
        let n_sample = (labels.rank() + 2).checked_sub(self.wide_logits().rank());
        let sample = &labels.dims()[..n_sample.ok_or_else(mismatch)?];
        let logits = self.expanded(sample)?;
        let dims = Dims::of(&logits)?;
        let cells = self.structure().cells(labels, &dims)?;
        let cells = Tensor::from_vec(cells, (dims.rows, dims.steps), logits.device())?;
        let rows = logits.reshape((dims.rows, dims.steps * dims.k * dims.k))?;
        let scores = rows.gather(&cells, 1)?.to_dtype(DType::F64)?;
        let inside = (0..dims.rows).flat_map(|row| {
            let length = self.structure().length(row, dims.steps);
            (0..dims.steps).map(move |t| u8::from(t < length))
        });
        let inside =
            Tensor::from_iter(inside, logits.device())?.reshape((dims.rows, dims.steps))?;
        let scores = inside.where_cond(&scores, &scores.zeros_like()?)?;
        let forbidden = allowed(&scores)?.eq(0u8)?.to_dtype(DType::F64)?.sum(1)?.gt(0.0)?;
        let score = zero_where_masked(&scores)?.sum(1)?;
        let n_sample: usize = sample.iter().product();
        let log_partition = self.precise_log_partition()?.flatten_all()?.repeat(n_sample)?;
        let log_p = (score - log_partition)?;
        let never = log_p.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?;
        let log_p = forbidden.where_cond(&never, &log_p)?;
        self.finish(&log_p.reshape(dims.batch)?)
    }

    /// The logits for samples of the given shape.
    pub(super) fn expanded(&self, sample: &[usize]) -> Result<Tensor> {
        let logits = self.wide_logits();
        if sample.is_empty() {
            return Ok(logits.contiguous()?);
        }
        Ok(logits.broadcast_as([sample, logits.dims()].concat())?.contiguous()?)
    }
}
