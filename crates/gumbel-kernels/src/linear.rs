//! The three products of a linear layer, `y = x Wᵀ + b`, with what surrounds them in training.
//!
//! Weights have PyTorch's layout, `(outputs, inputs)`. All matrices are row-major slices of `f32`.

use std::ops::Range;

use crate::bf16::Precision;
use crate::error::{LengthError, check_len};
use crate::gemm::{Sink, multiply};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::{LINE, Line, Tile};
use crate::pack::{DepthAxis, Operand};
use crate::window::{Grid, Window};

/// The sizes of a linear layer applied to a batch; each may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearShape {
    /// Rows of `x` and `y`.
    pub batch: usize,
    /// Columns of `x`.
    pub inputs: usize,
    /// Columns of `y`.
    pub outputs: usize,
}

/// What is applied to each output of the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(y, 0)`; a NaN stays a NaN.
    Relu,
}

impl LinearShape {
    fn multiply_adds(&self) -> usize {
        self.batch.saturating_mul(self.inputs).saturating_mul(self.outputs)
    }

    fn check(
        &self,
        x: (&'static str, usize),
        weight: (&'static str, usize),
        y: (&'static str, usize),
    ) -> Result<(), LengthError> {
        // No slice is as long as a product that saturates.
        check_len(x.0, x.1, self.batch.saturating_mul(self.inputs))?;
        check_len(weight.0, weight.1, self.outputs.saturating_mul(self.inputs))?;
        check_len(y.0, y.1, self.batch.saturating_mul(self.outputs))
    }
}

/// `y = activation(x · weightᵀ + bias)`.
///
/// # Shapes
/// - x: `(batch, inputs)`; weight: `(outputs, inputs)`; bias: `(outputs)`; y: `(batch, outputs)`.
///
/// # Errors
/// [`LengthError`] when a slice does not fit `shape`.
pub fn linear_forward(
    precision: Precision,
    shape: LinearShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) -> Result<(), LengthError> {
    linear_forward_on((Isa::best(), precision), shape, x, weight, bias, activation, y)
}

/// `dx = dy · weight`, and zero where `relu_output` is not positive.
///
/// `relu_output` is the layer's input `x` where that is the output of a ReLU: its sign is the ReLU's
/// derivative, so the result is the gradient before that activation.
///
/// # Shapes
/// - dy: `(batch, outputs)`; weight: `(outputs, inputs)`; relu_output, dx: `(batch, inputs)`.
///
/// # Errors
/// [`LengthError`] when a slice does not fit `shape`.
pub fn linear_input_gradient(
    precision: Precision,
    shape: LinearShape,
    dy: &[f32],
    weight: &[f32],
    relu_output: Option<&[f32]>,
    dx: &mut [f32],
) -> Result<(), LengthError> {
    linear_input_gradient_on((Isa::best(), precision), shape, dy, weight, relu_output, dx)
}

/// `d_weight = dyᵀ · x` and `d_bias = ` the column sums of `dy`; with `accumulate`, added to what is there.
///
/// # Shapes
/// - dy: `(batch, outputs)`; x: `(batch, inputs)`; d_weight: `(outputs, inputs)`; d_bias: `(outputs)`.
///
/// # Errors
/// [`LengthError`] when a slice does not fit `shape`.
pub fn linear_weight_gradient(
    precision: Precision,
    shape: LinearShape,
    dy: &[f32],
    x: &[f32],
    accumulate: bool,
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) -> Result<(), LengthError> {
    linear_weight_gradient_on((Isa::best(), precision), shape, dy, x, accumulate, d_weight, d_bias)
}

pub(crate) fn linear_forward_on(
    (isa, precision): (Isa, Precision),
    shape: LinearShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) -> Result<(), LengthError> {
    shape.check(("x", x.len()), ("weight", weight.len()), ("y", y.len()))?;
    if let Some(bias) = bias {
        check_len("bias", bias.len(), shape.outputs)?;
    }
    if y.is_empty() {
        return Ok(());
    }
    let left = Operand { data: x, stride: shape.inputs, axis: DepthAxis::Columns };
    let right = Operand { data: weight, stride: shape.inputs, axis: DepthAxis::Columns };
    let grid = Grid::new(shape.batch, shape.outputs, shape.multiply_adds());
    let parts = grid.parts(y, |y| Forward { y, bias, activation });
    multiply(isa, left, right, (shape.inputs, precision), parts);
    Ok(())
}

pub(crate) fn linear_input_gradient_on(
    (isa, precision): (Isa, Precision),
    shape: LinearShape,
    dy: &[f32],
    weight: &[f32],
    relu_output: Option<&[f32]>,
    dx: &mut [f32],
) -> Result<(), LengthError> {
    shape.check(("dx", dx.len()), ("weight", weight.len()), ("dy", dy.len()))?;
    if let Some(relu_output) = relu_output {
        check_len("relu_output", relu_output.len(), dx.len())?;
    }
    if dx.is_empty() {
        return Ok(());
    }
    let left = Operand { data: dy, stride: shape.outputs, axis: DepthAxis::Columns };
    let right = Operand { data: weight, stride: shape.inputs, axis: DepthAxis::Rows };
    let grid = Grid::new(shape.batch, shape.inputs, shape.multiply_adds());
    let parts = grid.parts(dx, |dx| InputGradient { dx, relu_output, inputs: shape.inputs });
    multiply(isa, left, right, (shape.outputs, precision), parts);
    Ok(())
}

pub(crate) fn linear_weight_gradient_on(
    (isa, precision): (Isa, Precision),
    shape: LinearShape,
    dy: &[f32],
    x: &[f32],
    accumulate: bool,
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) -> Result<(), LengthError> {
    shape.check(("x", x.len()), ("d_weight", d_weight.len()), ("dy", dy.len()))?;
    if let Some(d_bias) = d_bias {
        check_len("d_bias", d_bias.len(), shape.outputs)?;
        isa.dispatch(ColumnSums { dy, accumulate, sums: d_bias });
    }
    if d_weight.is_empty() {
        return Ok(());
    }
    // Both sides are summed over their rows.
    let left = Operand { data: dy, stride: shape.outputs, axis: DepthAxis::Rows };
    let right = Operand { data: x, stride: shape.inputs, axis: DepthAxis::Rows };
    let grid = Grid::new(shape.outputs, shape.inputs, shape.multiply_adds()).by_rows();
    let parts = grid.parts(d_weight, |out| Store { out, accumulate });
    multiply(isa, left, right, (shape.batch, precision), parts);
    Ok(())
}

/// Adds the bias and applies the activation.
struct Forward<'a> {
    y: Window<'a>,
    bias: Option<&'a [f32]>,
    activation: Activation,
}

impl Sink for Forward<'_> {
    #[inline(always)]
    fn take<K: Kernel>(
        &mut self,
        kernel: K,
        rows: Range<usize>,
        column: usize,
        width: usize,
        sums: &Tile,
    ) {
        let mut bias = [Line::ZERO; 2];
        if let Some(values) = self.bias {
            let values = values[column..column + width].chunks(LINE);
            for (line, values) in bias.iter_mut().zip(values) {
                line.0 = kernel.load(values, 0.0);
            }
        }
        // Not `f32::max`, which would turn a NaN into zero and hide it.
        let floor = match self.activation {
            Activation::Identity => f32::NEG_INFINITY,
            Activation::Relu => 0.0,
        };
        for (row, sums) in rows.zip(sums) {
            let mut lines = *sums;
            for (line, bias) in lines.iter_mut().zip(&bias) {
                for i in 0..LINE {
                    let sum = line.0[i] + bias.0[i];
                    line.0[i] = if sum < floor { floor } else { sum };
                }
            }
            store_row(kernel, &lines, self.y.segment(row, column, width));
        }
    }
}

/// Multiplies by the derivative of the ReLU whose output is given.
struct InputGradient<'a> {
    dx: Window<'a>,
    relu_output: Option<&'a [f32]>,
    inputs: usize,
}

impl Sink for InputGradient<'_> {
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
            let mut lines = *sums;
            if let Some(output) = self.relu_output {
                let start = row * self.inputs + column;
                let output = output[start..start + width].chunks(LINE);
                for (line, output) in lines.iter_mut().zip(output) {
                    let output = kernel.load(output, 0.0);
                    for (lane, output) in line.0.iter_mut().zip(output) {
                        // A mask of bits: a choice between floats compiles to a branch for each lane.
                        let mask = u32::from(output > 0.0).wrapping_neg();
                        *lane = f32::from_bits(lane.to_bits() & mask);
                    }
                }
            }
            store_row(kernel, &lines, self.dx.segment(row, column, width));
        }
    }
}

/// Writes the sums, or adds them to what is there.
struct Store<'a> {
    out: Window<'a>,
    accumulate: bool,
}

impl Sink for Store<'_> {
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
            let out = self.out.segment(row, column, width);
            let mut lines = *sums;
            if self.accumulate {
                for (line, before) in lines.iter_mut().zip(out.chunks(LINE)) {
                    let before = kernel.load(before, 0.0);
                    for (lane, before) in line.0.iter_mut().zip(before) {
                        *lane += before;
                    }
                }
            }
            store_row(kernel, &lines, out);
        }
    }
}

/// Writes one row of a tile.
#[inline(always)]
fn store_row<K: Kernel>(kernel: K, lines: &[Line; 2], out: &mut [f32]) {
    let (full, rest) = out.as_chunks_mut::<LINE>();
    for (out, line) in full.iter_mut().zip(lines) {
        *out = line.0;
    }
    if !rest.is_empty() {
        kernel.store(&lines[full.len()].0, rest);
    }
}

/// The sums of each column of `dy`, row after row.
struct ColumnSums<'a> {
    dy: &'a [f32],
    accumulate: bool,
    sums: &'a mut [f32],
}

impl Task for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _kernel: K) {
        if !self.accumulate {
            self.sums.fill(0.0);
        }
        if self.sums.is_empty() {
            return;
        }
        for row in self.dy.chunks_exact(self.sums.len()) {
            for (sum, value) in self.sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

#[cfg(test)]
mod tests;
