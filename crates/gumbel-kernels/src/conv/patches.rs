//! The patches of an image as columns of a matrix, and back: im2col and col2im.
//!
//! A tap of the kernel reads every `stride`-th pixel. So a channel is first dealt into `stride x stride` phases, grids in
//! which the pixels that one tap reads are neighbours; then every row of the matrix is a few contiguous copies.

use crate::conv::{ConvShape, product};
use crate::lines::{Buffer, LINE};

/// Values that are copied at once. Copies of a row go on to a multiple of this, and what lies beyond is written later.
const COPY: usize = 8;

/// The sizes of the patches of a convolution.
#[derive(Debug, Clone)]
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
    /// For each tap, where its values for the first position lie in the phases.
    tap_starts: Vec<usize>,
    /// For each phase, where it meets the rows and the columns of the image.
    spans: Vec<(Span, Span)>,
}

/// Where a phase meets the image in one direction.
#[derive(Debug, Clone, Copy)]
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
            tap_starts: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Fills the tables; for a shape that has output, since others may claim any size.
    pub(super) fn with_tables(mut self) -> Self {
        // Without channels there are no weights, and the kernel may claim any size.
        if self.len == 0 {
            return self;
        }
        let ConvShape { kernel, stride, in_rows, in_cols, .. } = self.shape;
        let n = self.n_phases();
        self.spans = (0..n * n)
            .map(|phase| {
                let rows = self.span(phase / n, in_rows, self.phase_rows());
                (rows, self.span(phase % n, in_cols, self.phase_cols()))
            })
            .collect();
        self.tap_starts = (0..self.taps)
            .map(|tap| {
                let (row, col) = (tap / kernel, tap % kernel);
                let phase = row % stride * n + col % stride;
                phase * self.phase_len() + row / stride * self.phase_cols() + col / stride
            })
            .collect();
        self
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
        let phase_cols = self.phase_cols();
        for (tap, &start) in self.tap_starts.iter().enumerate() {
            for row in 0..self.out_rows {
                let from = tap * stride + row * self.out_cols;
                let to = start + row * phase_cols;
                let sums = &mut phases[to..to + self.out_cols];
                add_to(sums, &columns[from..from + self.out_cols]);
            }
        }
        self.collect(phases, pixels);
    }

    /// Copies what each tap reads to its row.
    #[inline(always)]
    fn gather(&self, phases: &[f32], out: &mut [f32], stride: usize) {
        let phase_cols = self.phase_cols();
        for (tap, &start) in self.tap_starts.iter().enumerate() {
            for row in 0..self.out_rows {
                let from = &phases[start + row * phase_cols..];
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
        let (stride, phase_cols) = (self.shape.stride, self.phase_cols());
        let phases = phases.chunks_exact_mut(self.phase_len());
        for (&(rows, cols), phase) in self.spans.iter().zip(phases) {
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
        let (stride, phase_cols) = (self.shape.stride, self.phase_cols());
        pixels.fill(0.0);
        for (&(rows, cols), phase) in self.spans.iter().zip(phases.chunks_exact(self.phase_len())) {
            for row in 0..rows.len {
                let from = (rows.before + row) * phase_cols + cols.before;
                let to = (rows.first + row * stride) * self.shape.in_cols;
                let pixels = &mut pixels[to..to + self.shape.in_cols];
                let at = cols.first.min(pixels.len());
                put_every(stride, &phase[from..from + cols.len], &mut pixels[at..]);
            }
        }
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

/// `sums[i] += values[i]`, in vectors of eight and four: most rows are shorter than a line.
#[inline(always)]
fn add_to(sums: &mut [f32], values: &[f32]) {
    let (eights, rest) = sums.as_chunks_mut::<8>();
    let (value_eights, value_rest) = values.as_chunks::<8>();
    for (sums, values) in eights.iter_mut().zip(value_eights) {
        for i in 0..8 {
            sums[i] += values[i];
        }
    }
    let (fours, rest) = rest.as_chunks_mut::<4>();
    let (value_fours, value_rest) = value_rest.as_chunks::<4>();
    if let (Some(sums), Some(values)) = (fours.first_mut(), value_fours.first()) {
        for i in 0..4 {
            sums[i] += values[i];
        }
    }
    for (sum, value) in rest.iter_mut().zip(value_rest) {
        *sum += value;
    }
}

/// `out[i] = from[i * stride]`.
#[inline(always)]
fn take_every(stride: usize, from: &[f32], out: &mut [f32]) {
    match stride {
        1 => out.copy_from_slice(&from[..out.len()]),
        2 => {
            let (pairs, last) = from.as_chunks::<2>();
            for (out, pair) in out.iter_mut().zip(pairs) {
                *out = pair[0];
            }
            if let (Some(out), Some(last)) = (out.get_mut(pairs.len()), last.first()) {
                *out = *last;
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
            let (pairs, last) = out.as_chunks_mut::<2>();
            if let (Some(last), Some(value)) = (last.first_mut(), from.get(pairs.len())) {
                *last = *value;
            }
            for (pair, value) in pairs.iter_mut().zip(from) {
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
