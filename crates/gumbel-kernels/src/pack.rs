//! Copies strips of 16 rows or columns of a row-major matrix into lines.

use crate::isa::Kernel;
use crate::lines::{LINE, Line, lanes_of};

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

impl Operand<'_> {
    /// Writes the strip `first..first + width` over a range of the depth that starts at `from`.
    ///
    /// A step of the depth takes `width / 16` (rounded up) adjacent lines of `out`, whose length sets
    /// the end of the range. Lanes beyond the width become zero.
    #[inline(always)]
    pub(crate) fn pack<K: Kernel>(
        &self,
        kernel: K,
        first: usize,
        width: usize,
        from: usize,
        out: &mut [Line],
    ) {
        let n_lines = width.div_ceil(LINE);
        for l in 0..n_lines {
            let first = first + l * LINE;
            let width = (width - l * LINE).min(LINE);
            match self.axis {
                DepthAxis::Rows => self.copy_strip(first, width, from, n_lines, &mut out[l..]),
                DepthAxis::Columns => {
                    self.transpose_strip(kernel, first, width, from, n_lines, &mut out[l..]);
                }
            }
        }
    }

    #[inline(always)]
    fn copy_strip(&self, first: usize, width: usize, from: usize, step: usize, out: &mut [Line]) {
        for (k, line) in out.iter_mut().step_by(step).enumerate() {
            let start = (from + k) * self.stride + first;
            line.0 = lanes_of(&self.data[start..start + width]);
        }
    }

    #[inline(always)]
    fn transpose_strip<K: Kernel>(
        &self,
        kernel: K,
        first: usize,
        width: usize,
        from: usize,
        step: usize,
        out: &mut [Line],
    ) {
        let mut block = [Line::ZERO; LINE];
        for (chunk_idx, chunk) in out.chunks_mut(LINE * step).enumerate() {
            let depth = chunk.len().div_ceil(step);
            let start = first * self.stride + from + chunk_idx * LINE;
            for (r, line) in block.iter_mut().enumerate().take(width) {
                let start = start + r * self.stride;
                line.0 = lanes_of(&self.data[start..start + depth]);
            }
            if depth == LINE {
                kernel.transpose(&block, step, chunk);
            } else {
                let mut full = [Line::ZERO; LINE];
                kernel.transpose(&block, 1, &mut full);
                for (line, full) in chunk.iter_mut().step_by(step).zip(&full) {
                    *line = *full;
                }
            }
        }
    }
}
