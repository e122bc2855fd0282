//! `y = conv(x, weight)`: the weight times the patches.

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

pub(super) fn conv2d_forward_on(
    isa: Isa,
    shape: ConvShape,
    x: &[f32],
    weight: &[f32],
    epilogue: Epilogue<'_>,
    y: &mut [f32],
) -> Result<(), LengthError> {
    let patches = shape.check(("x", x.len()), ("weight", weight.len()), ("y", y.len()))?;
    epilogue.check(shape.out_channels, y.len())?;
    if y.is_empty() {
        return Ok(());
    }
    let x_len = shape.in_channels * patches.pixels;
    let y_len = shape.out_channels * patches.positions;
    each_group(&patches, (images_per_group(&patches), y_len), y, |first, y| {
        let images = y.len() / y_len;
        let x = &x[first * x_len..(first + images) * x_len];
        let epilogue = epilogue.at(first * y_len..(first + images) * y_len);
        isa.dispatch(Forward { patches: &patches, x, weight, epilogue, y });
    });
    Ok(())
}

/// Scratch of one thread: phases of a channel and patches of a group.
#[derive(Default)]
struct Scratch {
    phases: Buffer,
    patches: Buffer,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A group of images.
struct Forward<'a> {
    patches: &'a Patches,
    x: &'a [f32],
    weight: &'a [f32],
    epilogue: Epilogue<'a>,
    y: &'a mut [f32],
}

impl Task for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        // Taken out rather than borrowed: a closure would not be compiled for the instruction set.
        let mut scratch = SCRATCH.take();
        let (depth, channels) = (self.patches.len, self.patches.shape.out_channels);
        let positions = self.patches.positions;
        let columns = self.y.len() / channels;
        let images = columns / positions;
        let stride = self.patches.stride(images);
        let data = self.patches.unfold(images, self.x, &mut scratch.phases, &mut scratch.patches);
        let left = Operand { data: self.weight, stride: depth, axis: DepthAxis::Columns };
        let right = Operand { data, stride, axis: DepthAxis::Rows };
        let sink = Images { y: self.y, epilogue: self.epilogue, channels, positions, columns };
        // Whole lines, which the product reads where they lie; the sink leaves the last columns out.
        let columns = 0..columns.next_multiple_of(LINE);
        multiply_part(kernel, left, right, depth, Part { rows: 0..channels, columns, sink });
        SCRATCH.set(scratch);
    }
}

/// Writes row `channel`, column `(image, position)` of the product to `(image, channel, position)`.
struct Images<'a> {
    y: &'a mut [f32],
    epilogue: Epilogue<'a>,
    channels: usize,
    positions: usize,
    columns: usize,
}

impl Sink for Images<'_> {
    #[inline(always)]
    fn take<K: Kernel>(
        &mut self,
        _: K,
        rows: Range<usize>,
        column: usize,
        width: usize,
        sums: &Tile,
    ) {
        let end = (column + width).min(self.columns);
        let mut first = column;
        while first < end {
            // As far as the line and the image go.
            let (image, position) = (first / self.positions, first % self.positions);
            let (line, lane) = ((first - column) / LINE, (first - column) % LINE);
            let len = (LINE - lane).min(self.positions - position).min(end - first);
            for (channel, sums) in rows.clone().zip(sums) {
                let start = (image * self.channels + channel) * self.positions + position;
                let out = &mut self.y[start..start + len];
                let sums = &sums[line].0;
                if len == LINE {
                    let mut sums = *sums;
                    self.epilogue.apply(channel, start, &mut sums);
                    out.copy_from_slice(&sums);
                } else {
                    for (out, sum) in out.iter_mut().zip(&sums[lane..]) {
                        *out = *sum;
                    }
                    self.epilogue.apply(channel, start, out);
                }
            }
            first += len;
        }
    }
}
