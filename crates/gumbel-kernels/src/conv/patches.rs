//! The patches of an image as columns of a matrix, and back: im2col and col2im.
//!
//! A tap of the kernel reads every `stride`-th pixel. So a channel is first dealt into `stride x stride` phases, grids in
//! which the pixels that one tap reads are neighbours; then every row of the matrix is a few contiguous copies.

use crate::conv::{ConvShape, product};
use crate::lines::{Buffer, LINE};

/// Values that are copied at once. Copies of a row go on to a multiple of this, and what lies beyond is written later.
const COPY: usize = 8;

/// The sizes of the patches of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patches {
    pub(super) shape: ConvShape,
    /// Values in a patch, `in_channels * taps`.
    pub(super) len: usize,
    /// Weights of a kernel for each pair of channels.
    pub(super) taps: usize,
    /// Patches in an image.
    pub(super) positions: usize,
    /// Pixels in an image of `x`.
    pub(super) pixels: usize,
    out_rows: usize,
    out_cols: usize,
}

/// Where a phase meets the image in one direction.
#[derive(Clone, Copy)]
struct Span {
    /// Values of the phase before the image begins.
    before: usize,
    /// First pixel.
    first: usize,
    /// Pixels, each `stride` from the one before.
    len: usize,
}

impl Patches {
    pub(super) fn new(shape: ConvShape, out_rows: usize, out_cols: usize) -> Self {
        Patches {
            shape,
            len: product(&[shape.in_channels, shape.kernel, shape.kernel]),
            taps: product(&[shape.kernel, shape.kernel]),
            positions: product(&[out_rows, out_cols]),
            pixels: product(&[shape.in_rows, shape.in_cols]),
            out_rows,
            out_cols,
        }
    }

    pub(super) fn multiply_adds(&self) -> usize {
        product(&[self.shape.batch, self.shape.out_channels, self.len, self.positions])
    }

    /// Values from one row of the matrix of `images` images to the next.
    pub(super) fn stride(&self, images: usize) -> usize {
        (images * self.positions + COPY).next_multiple_of(LINE)
    }

    /// Writes the matrix `(len, images * positions)` of the patches of some images.
    #[inline(always)]
    pub(super) fn unfold<'o>(
        &self,
        images: usize,
        x: &[f32],
        phases: &mut Buffer,
        out: &'o mut Buffer,
    ) -> &'o [f32] {
        let stride = self.stride(images);
        let out = out.get(self.len * stride);
        // Without channels there are no weights, and the kernel may claim any size.
        if self.len == 0 {
            return out;
        }
        let phases = phases.get(self.phases_len());
        for image in 0..images {
            for channel in 0..self.shape.in_channels {
                let start = (image * self.shape.in_channels + channel) * self.pixels;
                self.deal(&x[start..start + self.pixels], phases);
                let start = channel * self.taps * stride + image * self.positions;
                self.gather(phases, &mut out[start..], stride);
            }
        }
        out
    }

    /// Adds the columns of one channel of one image, rows of `stride` values, up to the pixels they were read from.
    #[inline(always)]
    pub(super) fn fold(
        &self,
        columns: &[f32],
        stride: usize,
        phases: &mut Buffer,
        pixels: &mut [f32],
    ) {
        let phases = phases.get(self.phases_len());
        phases[..self.phases_len()].fill(0.0);
        for tap in 0..self.taps {
            let start = self.tap_start(tap);
            for row in 0..self.out_rows {
                let from = tap * stride + row * self.out_cols;
                let to = start + row * self.phase_cols();
                let sums = &mut phases[to..to + self.out_cols];
                for (sum, value) in sums.iter_mut().zip(&columns[from..from + self.out_cols]) {
                    *sum += value;
                }
            }
        }
        self.collect(phases, pixels);
    }

    /// Copies what each tap reads to its row.
    #[inline(always)]
    fn gather(&self, phases: &[f32], out: &mut [f32], stride: usize) {
        for tap in 0..self.taps {
            let start = self.tap_start(tap);
            for row in 0..self.out_rows {
                let from = &phases[start + row * self.phase_cols()..];
                let to = &mut out[tap * stride + row * self.out_cols..];
                let copies = self.out_cols.div_ceil(COPY);
                let from = from.as_chunks::<COPY>().0;
                let to = to.as_chunks_mut::<COPY>().0;
                for (to, from) in to[..copies].iter_mut().zip(&from[..copies]) {
                    *to = *from;
                }
            }
        }
    }

    /// Writes the padded pixels of a channel to the phases.
    #[inline(always)]
    fn deal(&self, pixels: &[f32], phases: &mut [f32]) {
        let (n, stride, phase_cols) = (self.n_phases(), self.shape.stride, self.phase_cols());
        for phase in 0..n * n {
            let start = phase * self.phase_len();
            let rows = self.span(phase / n, self.shape.in_rows, self.phase_rows());
            let cols = self.span(phase % n, self.shape.in_cols, phase_cols);
            let phase = &mut phases[start..start + self.phase_rows() * phase_cols];
            for (row, phase) in phase.chunks_exact_mut(phase_cols).enumerate() {
                if row < rows.before || row >= rows.before + rows.len {
                    phase.fill(0.0);
                    continue;
                }
                let row = rows.first + (row - rows.before) * stride;
                let pixels = &pixels[row * self.shape.in_cols..(row + 1) * self.shape.in_cols];
                let (before, rest) = phase.split_at_mut(cols.before);
                let (inside, after) = rest.split_at_mut(cols.len);
                before.fill(0.0);
                after.fill(0.0);
                take_every(stride, &pixels[cols.first.min(pixels.len())..], inside);
            }
        }
    }

    /// Writes the phases back to the pixels of a channel; a pixel that no tap reads becomes zero.
    #[inline(always)]
    fn collect(&self, phases: &[f32], pixels: &mut [f32]) {
        let (n, stride, phase_cols) = (self.n_phases(), self.shape.stride, self.phase_cols());
        pixels.fill(0.0);
        for phase in 0..n * n {
            let start = phase * self.phase_len();
            let rows = self.span(phase / n, self.shape.in_rows, self.phase_rows());
            let cols = self.span(phase % n, self.shape.in_cols, phase_cols);
            for row in 0..rows.len {
                let from = start + (rows.before + row) * phase_cols + cols.before;
                let to = (rows.first + row * stride) * self.shape.in_cols;
                let pixels = &mut pixels[to..to + self.shape.in_cols];
                let at = cols.first.min(pixels.len());
                put_every(stride, &phases[from..from + cols.len], &mut pixels[at..]);
            }
        }
    }

    /// Where a tap's values for the first position lie.
    #[inline(always)]
    fn tap_start(&self, tap: usize) -> usize {
        let (kernel, stride) = (self.shape.kernel, self.shape.stride);
        let (row, col) = (tap / kernel, tap % kernel);
        let phase = row % stride * self.n_phases() + col % stride;
        phase * self.phase_len() + row / stride * self.phase_cols() + col / stride
    }

    /// Phases in one direction; a kernel smaller than the stride leaves some pixels out.
    #[inline(always)]
    fn n_phases(&self) -> usize {
        self.shape.stride.min(self.shape.kernel)
    }

    #[inline(always)]
    fn phase_rows(&self) -> usize {
        self.out_rows + (self.shape.kernel - 1) / self.shape.stride
    }

    #[inline(always)]
    fn phase_cols(&self) -> usize {
        self.out_cols + (self.shape.kernel - 1) / self.shape.stride
    }

    #[inline(always)]
    fn phase_len(&self) -> usize {
        self.phase_rows() * self.phase_cols()
    }

    /// Room for all phases, and for the last copy to read beyond them.
    #[inline(always)]
    fn phases_len(&self) -> usize {
        self.n_phases() * self.n_phases() * self.phase_len() + COPY
    }

    /// Value `i` of a phase is pixel `i * stride + phase - padding`; `len` values and `pixels` pixels.
    #[inline(always)]
    fn span(&self, phase: usize, pixels: usize, len: usize) -> Span {
        let ConvShape { stride, padding, .. } = self.shape;
        let before = padding.saturating_sub(phase).div_ceil(stride).min(len);
        // What saturates lies beyond the image, since image and padding together can be counted.
        let first = before.saturating_mul(stride).saturating_add(phase).saturating_sub(padding);
        let inside = pixels.saturating_sub(first).div_ceil(stride);
        Span { before, first, len: inside.min(len - before) }
    }
}

/// `out[i] = from[i * stride]`.
#[inline(always)]
fn take_every(stride: usize, from: &[f32], out: &mut [f32]) {
    match stride {
        1 => out.copy_from_slice(&from[..out.len()]),
        2 => {
            for (out, pair) in out.iter_mut().zip(from.chunks(2)) {
                *out = pair[0];
            }
        }
        _ => {
            for (out, value) in out.iter_mut().zip(from.iter().step_by(stride)) {
                *out = *value;
            }
        }
    }
}

/// `out[i * stride] = from[i]`.
#[inline(always)]
fn put_every(stride: usize, from: &[f32], out: &mut [f32]) {
    match stride {
        1 => out[..from.len()].copy_from_slice(from),
        2 => {
            for (pair, value) in out.chunks_mut(2).zip(from) {
                pair[0] = *value;
            }
        }
        _ => {
            for (out, value) in out.iter_mut().step_by(stride).zip(from) {
                *out = *value;
            }
        }
    }
}
