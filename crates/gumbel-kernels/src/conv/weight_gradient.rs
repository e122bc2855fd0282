//! The gradients of a convolution's weight and bias: sums over images and positions.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::conv::adjoint::{Rows, side_by_side};
use crate::conv::patches::Patches;
use crate::conv::{ConvShape, each_group, product};
use crate::error::{LengthError, check_len};
use crate::gemm::{Part, multiply_part};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::{Buffer, LINE};
use crate::pack::{DepthAxis, Operand};
use crate::reduce;
use crate::window::SERIAL_WORK;

/// Values that the patches of a group of images may take; they are packed once more beside them.
const GROUP_VALUES: usize = 1 << 16;

/// Columns of a group.
const GROUP_COLUMNS: usize = 1 << 8;

/// Sums that run side by side, and are added up at the end.
const SEGMENTS: usize = 16;

/// The gradient of the weight of a convolution, `Σ dy · patchᵀ` over images and positions, written to `d_weight` or, with
/// `accumulate`, added to it.
///
/// The gradient of a `ConvTranspose2d` has the roles exchanged: `x` is the gradient of its output, and `dy` is its input.
///
/// # Shapes
/// - x: `(batch, in_channels, in_rows, in_cols)`; dy: `(batch, out_channels, out_rows, out_cols)`; d_weight:
///   `(out_channels, in_channels, kernel, kernel)`.
///
/// # Errors
/// [`LengthError`] when a slice does not fit `shape`, or when `shape` has no output.
pub fn conv2d_weight_gradient(
    shape: ConvShape,
    x: &[f32],
    dy: &[f32],
    accumulate: bool,
    d_weight: &mut [f32],
) -> Result<(), LengthError> {
    conv2d_weight_gradient_on(Isa::best(), shape, x, dy, accumulate, d_weight)
}

/// The sums of each channel over images and positions, written to `sums` or, with `accumulate`, added to it: the gradient
/// of the bias of a convolution, transposed or not, from the gradient of its output.
///
/// # Shapes
/// - values: `(batch, channels, positions)`; sums: `(channels)`.
///
/// # Errors
/// [`LengthError`] when a slice does not fit.
pub fn channel_sums(
    (batch, channels, positions): (usize, usize, usize),
    values: &[f32],
    accumulate: bool,
    sums: &mut [f32],
) -> Result<(), LengthError> {
    channel_sums_on(Isa::best(), (batch, channels, positions), values, accumulate, sums)
}

pub(super) fn conv2d_weight_gradient_on(
    isa: Isa,
    shape: ConvShape,
    x: &[f32],
    dy: &[f32],
    accumulate: bool,
    d_weight: &mut [f32],
) -> Result<(), LengthError> {
    let patches = shape.check(("x", x.len()), ("d_weight", d_weight.len()), ("dy", dy.len()))?;
    if !accumulate {
        d_weight.fill(0.0);
    }
    if d_weight.is_empty() || shape.batch == 0 {
        return Ok(());
    }
    let by_cache = (GROUP_VALUES / patches.len).min(GROUP_COLUMNS) / patches.positions;
    let images = by_cache.clamp(1, shape.batch);
    let n_groups = shape.batch.div_ceil(images);
    let n_segments = n_groups.min(SEGMENTS);
    let bound = |segment: usize| (n_groups * segment / n_segments * images).min(shape.batch);
    let (x_len, dy_len) = (x.len() / shape.batch, dy.len() / shape.batch);
    let mut partial = PARTIAL.take();
    let sums = &mut partial.get(n_segments * d_weight.len())[..n_segments * d_weight.len()];
    each_group(&patches, (1, d_weight.len()), sums, |segment, d_weight| {
        let (from, to) = (bound(segment), bound(segment + 1));
        let (x, dy) = (&x[from * x_len..to * x_len], &dy[from * dy_len..to * dy_len]);
        isa.dispatch(WeightGradient { patches: &patches, images, x, dy, d_weight });
    });
    for sums in sums.chunks_exact(d_weight.len()) {
        for (total, sum) in d_weight.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    PARTIAL.set(partial);
    Ok(())
}

/// Scratch of one thread: phases of a channel, patches and `dy` of a group.
#[derive(Default)]
struct Scratch {
    phases: Buffer,
    patches: Buffer,
    dy: Buffer,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// The sums of the segments, kept by the calling thread.
    static PARTIAL: RefCell<Buffer> = RefCell::default();
}

/// A segment of the batch, `images` at a time.
struct WeightGradient<'a> {
    patches: &'a Patches,
    images: usize,
    x: &'a [f32],
    dy: &'a [f32],
    d_weight: &'a mut [f32],
}

impl Task for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        // Taken out rather than borrowed: a closure would not be compiled for the instruction set.
        let mut scratch = SCRATCH.take();
        let Patches { shape, len, positions, pixels, .. } = *self.patches;
        let dy_len = shape.out_channels * positions;
        let x_len = shape.in_channels * pixels;
        for (group, dy) in self.dy.chunks(self.images * dy_len).enumerate() {
            let images = dy.len() / dy_len;
            let x = &self.x[group * self.images * x_len..][..images * x_len];
            let stride = self.patches.stride(images);
            let data = self.patches.unfold(images, x, &mut scratch.phases, &mut scratch.patches);
            let right = Operand { data, stride, axis: DepthAxis::Columns };
            let sizes = (shape.out_channels, positions);
            let data = side_by_side(dy, sizes, stride, &mut scratch.dy);
            let left = Operand { data, stride, axis: DepthAxis::Columns };
            let sink =
                Rows { out: &mut *self.d_weight, first: 0, stride: len, accumulate: group > 0 };
            let part = Part { rows: 0..shape.out_channels, columns: 0..len, sink };
            multiply_part(kernel, left, right, images * positions, part);
        }
        SCRATCH.set(scratch);
    }
}

pub(super) fn channel_sums_on(
    isa: Isa,
    (batch, channels, positions): (usize, usize, usize),
    values: &[f32],
    accumulate: bool,
    sums: &mut [f32],
) -> Result<(), LengthError> {
    check_len("values", values.len(), product(&[batch, channels, positions]))?;
    check_len("sums", sums.len(), channels)?;
    if !accumulate {
        sums.fill(0.0);
    }
    if values.is_empty() {
        return Ok(());
    }
    let run = |(channel, sum): (usize, &mut f32)| {
        *sum += isa.dispatch(ChannelSum { values, channel, channels, positions });
    };
    if values.len() < SERIAL_WORK {
        sums.iter_mut().enumerate().for_each(run);
    } else {
        sums.par_iter_mut().enumerate().for_each(run);
    }
    Ok(())
}

/// The sum of one channel: sixteen lanes within an image, then image after image.
struct ChannelSum<'a> {
    values: &'a [f32],
    channel: usize,
    channels: usize,
    positions: usize,
}

impl Task for ChannelSum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> f32 {
        let mut total = 0.0;
        for image in self.values.chunks_exact(self.channels * self.positions) {
            let start = self.channel * self.positions;
            let (lines, rest) = image[start..start + self.positions].as_chunks::<LINE>();
            let mut lanes = kernel.load(rest, 0.0);
            for line in lines {
                for (lane, value) in lanes.iter_mut().zip(line) {
                    *lane += value;
                }
            }
            total += reduce::sum(lanes);
        }
        total
    }
}
