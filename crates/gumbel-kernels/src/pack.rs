//! Reads strips of a row-major matrix as one side of a product, packed into lines where need be.

use crate::isa::{Kernel, Side};
use crate::lines::LINE;

/// A row-major matrix read as one side of a product.
///
/// `across` counts along the tile (rows of the result for the left side, columns for the right),
/// `depth` along the sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) data: &'a [f32],
    /// Columns of the matrix as it lies in memory.
    pub(crate) stride: usize,
    pub(crate) axis: DepthAxis,
}

/// Where the summed dimension lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DepthAxis {
    /// Along the columns: element (across, depth) is `data[across * stride + depth]`.
    Columns,
    /// Along the rows: element (across, depth) is `data[depth * stride + across]`.
    Rows,
}

impl<'a> Operand<'a> {
    /// The matrix as it lies, for a tile that starts at `first` and `from`, where the values of a step
    /// of the depth are neighbours in memory.
    #[inline(always)]
    pub(crate) fn direct(self, first: usize, from: usize) -> Option<Side<'a>> {
        match self.axis {
            DepthAxis::Rows => {
                let values = &self.data[from * self.stride + first..];
                Some(Side { values, stride: self.stride })
            }
            DepthAxis::Columns => None,
        }
    }

    /// Copies the strip `first..first + width` over `depth` steps that start at `from`.
    ///
    /// A step takes `width` values of `out`, rounded up to whole lines, with zeros beyond the width.
    #[inline(always)]
    pub(crate) fn pack<'o, K: Kernel>(
        &self,
        kernel: K,
        (first, width): (usize, usize),
        (from, depth): (usize, usize),
        out: &'o mut [f32],
    ) -> Side<'o> {
        let stride = width.next_multiple_of(LINE);
        match self.axis {
            DepthAxis::Rows => {
                for (k, out) in out.chunks_exact_mut(stride).enumerate().take(depth) {
                    let start = (from + k) * self.stride + first;
                    let values = &self.data[start..start + width];
                    for (out, values) in out.as_chunks_mut().0.iter_mut().zip(values.chunks(LINE)) {
                        *out = kernel.load(values, 0.0);
                    }
                }
            }
            DepthAxis::Columns => {
                for l in (0..width).step_by(LINE) {
                    let rows = (width - l).min(LINE);
                    for k in (0..depth).step_by(LINE) {
                        let matrix = &self.data[(first + l) * self.stride + from + k..];
                        let columns = (depth - k).min(LINE);
                        let out = &mut out[k * stride + l..];
                        kernel.transpose(matrix, self.stride, rows, columns, stride, out);
                    }
                }
            }
        }
        Side { values: out, stride }
    }

    /// [`Self::pack`] in pairs of bf16; `from` and `steps` count pairs, and the whole sum is `depth` long.
    #[inline(always)]
    pub(crate) fn pack_pairs<'o, K: Kernel>(
        &self,
        kernel: K,
        (first, width): (usize, usize),
        (from, steps): (usize, usize),
        depth: usize,
        out: &'o mut [f32],
    ) -> Side<'o> {
        let stride = width.next_multiple_of(LINE);
        let (from, end) = (2 * from, (2 * (from + steps)).min(depth));
        match self.axis {
            DepthAxis::Rows => {
                for (k, out) in (from..end).step_by(2).zip(out.chunks_exact_mut(stride)) {
                    let row = |k: usize| &self.data[k * self.stride + first..][..width];
                    out[width..].fill(0.0);
                    kernel.pair_rows(row(k), (k + 1 < end).then(|| row(k + 1)), &mut out[..width]);
                }
            }
            DepthAxis::Columns => {
                for l in (0..width).step_by(LINE) {
                    let rows = (width - l).min(LINE);
                    for (k, out_k) in (from..end).step_by(2 * LINE).zip((0..).step_by(LINE)) {
                        let matrix = &self.data[(first + l) * self.stride + k..];
                        let columns = (end - k).min(2 * LINE);
                        let out = &mut out[out_k * stride + l..];
                        kernel.transpose_pairs(matrix, self.stride, rows, columns, stride, out);
                    }
                }
            }
        }
        Side { values: out, stride }
    }
}
