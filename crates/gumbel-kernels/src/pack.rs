//! Copies strips of 16 rows or columns of a row-major matrix into lines.

use crate::isa::Kernel;
use crate::lines::{LINE, Line};

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
        match self.axis {
            DepthAxis::Rows => {
                for (k, lines) in out.chunks_exact_mut(n_lines).enumerate() {
                    let start = (from + k) * self.stride + first;
                    let (full, rest) = self.data[start..start + width].as_chunks::<LINE>();
                    for (line, values) in lines.iter_mut().zip(full) {
                        line.0 = *values;
                    }
                    if !rest.is_empty() {
                        lines[n_lines - 1].0 = kernel.load(rest, 0.0);
                    }
                }
            }
            DepthAxis::Columns => {
                let depth = out.len() / n_lines;
                for l in 0..n_lines {
                    let rows = (width - l * LINE).min(LINE);
                    for k in (0..depth).step_by(LINE) {
                        let matrix = &self.data[(first + l * LINE) * self.stride + from + k..];
                        let columns = (depth - k).min(LINE);
                        let out = &mut out[k * n_lines + l..];
                        kernel.transpose(matrix, self.stride, rows, columns, n_lines, out);
                    }
                }
            }
        }
    }
}
