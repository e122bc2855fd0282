//! What is done to the sums of a convolution before they are written.

use std::ops::Range;

use crate::error::{LengthError, check_len};
use crate::linear::Activation;

/// A bias for each channel, an activation, and the derivative of the ReLU whose output is given.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    pub(super) relu_output: Option<&'a [f32]>,
}

impl<'a> Epilogue<'a> {
    pub(super) fn check(&self, channels: usize, values: usize) -> Result<(), LengthError> {
        if let Some(bias) = self.bias {
            check_len("bias", bias.len(), channels)?;
        }
        if let Some(output) = self.relu_output {
            check_len("relu_output", output.len(), values)?;
        }
        Ok(())
    }

    /// The epilogue of the values at `range`.
    pub(super) fn at(self, range: Range<usize>) -> Self {
        Epilogue { relu_output: self.relu_output.map(|output| &output[range]), ..self }
    }

    /// Finishes `sums`, which are all of one channel and lie from `start` on.
    #[inline(always)]
    pub(super) fn apply(&self, channel: usize, start: usize, sums: &mut [f32]) {
        let bias = self.bias.map_or(0.0, |bias| bias[channel]);
        // Not `f32::max`, which would turn a NaN into zero and hide it.
        let floor = match self.activation {
            Activation::Identity => f32::NEG_INFINITY,
            Activation::Relu => 0.0,
        };
        for sum in sums.iter_mut() {
            let value = *sum + bias;
            *sum = if value < floor { floor } else { value };
        }
        if let Some(output) = self.relu_output {
            for (sum, output) in sums.iter_mut().zip(&output[start..]) {
                // A mask of bits: a choice between floats compiles to a branch for each lane.
                let mask = u32::from(*output > 0.0).wrapping_neg();
                *sum = f32::from_bits(sum.to_bits() & mask);
            }
        }
    }
}
