//! `dx = convᵀ(dy, weight)`: the weight's transpose times `dy`, each column added up to the patch of its position.

use std::cell::RefCell;
use std::ops::Range;

use crate::conv::epilogue::Epilogue;
use crate::conv::patches::Patches;
use crate::conv::{ConvShape, each_group, images_per_group};
use crate::error::LengthError;
use crate::gemm::{Part, Sink, multiply_part};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::{Buffer, LINE, Tile};
use crate::pack::{DepthAxis, Operand};

/// Rows of the product, at least, that are added up while they are in the cache.
const BLOCK_ROWS: usize = 84;

pub(super) fn conv2d_adjoint_on(
    isa: Isa,
    mut shape: ConvShape,
    dy: &[f32],
    weight: &[f32],
    epilogue: Epilogue<'_>,
    dx: &mut [f32],
) -> Result<(), LengthError> {
    let mut patches = shape.check(("dx", dx.len()), ("weight", weight.len()), ("dy", dy.len()))?;
    epilogue.check(shape.in_channels, dx.len())?;
    if dx.is_empty() {
        return Ok(());
    }
    if shape.out_channels == 0 {
        // All kernels give the same zeros, and one that has no weights may claim any size.
        (shape.kernel, shape.stride, shape.padding) = (1, 1, 0);
        patches = Patches::new(shape, shape.in_rows, shape.in_cols);
    }
    let dx_len = shape.in_channels * patches.pixels;
    let dy_len = shape.out_channels * patches.positions;
    each_group(&patches, (images_per_group(&patches), dx_len), dx, |first, dx| {
        let images = dx.len() / dx_len;
        let dy = &dy[first * dy_len..(first + images) * dy_len];
        let epilogue = epilogue.at(first * dx_len..(first + images) * dx_len);
        isa.dispatch(Adjoint { patches: &patches, images, dy, weight, epilogue, dx });
    });
    Ok(())
}

/// Scratch of one thread: phases of a channel, `dy` of a group and a block of the product.
#[derive(Default)]
struct Scratch {
    phases: Buffer,
    dy: Buffer,
    columns: Buffer,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A group of images.
struct Adjoint<'a> {
    patches: &'a Patches,
    images: usize,
    dy: &'a [f32],
    weight: &'a [f32],
    epilogue: Epilogue<'a>,
    dx: &'a mut [f32],
}

impl Task for Adjoint<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        // Taken out rather than borrowed: a closure would not be compiled for the instruction set.
        let mut scratch = SCRATCH.take();
        let Patches { shape, len, taps, positions, pixels, .. } = *self.patches;
        let ConvShape { in_channels, out_channels, .. } = shape;
        let columns = self.images * positions;
        let stride = self.patches.stride(self.images);
        let data = side_by_side(self.dy, (out_channels, positions), stride, &mut scratch.dy);
        let left = Operand { data: self.weight, stride: len, axis: DepthAxis::Rows };
        let right = Operand { data, stride, axis: DepthAxis::Rows };
        let block = BLOCK_ROWS.div_ceil(taps).min(in_channels);
        for from in (0..in_channels).step_by(block) {
            let to = (from + block).min(in_channels);
            let rows = from * taps..to * taps;
            let product = scratch.columns.get(rows.len() * stride);
            let sink = Rows { out: product, first: rows.start, stride, accumulate: false };
            // Whole lines, which the product reads where they lie; the last columns are left out below.
            let part = Part { rows, columns: 0..columns.next_multiple_of(LINE), sink };
            multiply_part(kernel, left, right, out_channels, part);
            for channel in from..to {
                for image in 0..self.images {
                    let start = (image * in_channels + channel) * pixels;
                    let dx = &mut self.dx[start..start + pixels];
                    let product = &product[(channel - from) * taps * stride + image * positions..];
                    self.patches.fold(product, stride, &mut scratch.phases, dx);
                    self.epilogue.apply(channel, start, dx);
                }
            }
        }
        SCRATCH.set(scratch);
    }
}

/// Copies `(image, channel, position)` to row `channel`, column `(image, position)` of a matrix.
#[inline(always)]
pub(super) fn side_by_side<'o>(
    images: &[f32],
    (channels, positions): (usize, usize),
    stride: usize,
    out: &'o mut Buffer,
) -> &'o [f32] {
    let out = out.get(channels * stride);
    for (row, values) in images.chunks_exact(positions).enumerate() {
        let (image, channel) = (row / channels, row % channels);
        let start = channel * stride + image * positions;
        out[start..start + positions].copy_from_slice(values);
    }
    out
}

/// Writes the sums to, or adds them to, the rows from `first` on of a matrix whose rows are `stride` values apart.
pub(super) struct Rows<'a> {
    pub(super) out: &'a mut [f32],
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) accumulate: bool,
}

impl Sink for Rows<'_> {
    #[inline(always)]
    fn take<K: Kernel>(
        &mut self,
        kernel: K,
        rows: Range<usize>,
        column: usize,
        width: usize,
        sums: &Tile,
    ) {
        for (row, sums) in rows.zip(sums) {
            let start = (row - self.first) * self.stride + column;
            let out = &mut self.out[start..start + width];
            for (out, sums) in out.chunks_mut(LINE).zip(sums) {
                let mut sums = sums.0;
                if self.accumulate {
                    let before = kernel.load(out, 0.0);
                    for (sum, before) in sums.iter_mut().zip(before) {
                        *sum += before;
                    }
                }
                kernel.store(&sums, out);
            }
        }
    }
}
