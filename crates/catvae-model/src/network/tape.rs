//! A network's forward and backward pass over slices, on buffers that live as long as the run.

use gumbel_kernels::{LengthError, largest_magnitude};

use super::{Network, Placed};
use crate::layer::Activation;

/// What a network leaves on its way forward and backward. Buffers grow to the largest batch and stay.
#[derive(Debug, Default)]
pub struct Tape {
    /// Of each layer, after its activation.
    outputs: Vec<Vec<f32>>,
    /// Gradients of each layer, before its activation.
    d_outputs: Vec<Vec<f32>>,
}

impl Tape {
    /// Runs the layers.
    ///
    /// # Shapes
    /// - parameters: weight and bias of each layer, one after another; x: `(batch, inputs)`.
    ///
    /// # Errors
    /// [`LengthError`] when a slice does not fit.
    pub fn forward(
        &mut self,
        network: &Network,
        parameters: &[&[f32]],
        batch: usize,
        x: &[f32],
    ) -> Result<(), LengthError> {
        let placed = network.placed();
        self.outputs.resize_with(placed.len(), Vec::new);
        self.d_outputs.resize_with(placed.len(), Vec::new);
        let parameters = parameters.chunks_exact(2);
        for (i, (Placed { layer, .. }, parameters)) in placed.iter().zip(parameters).enumerate() {
            let (below, here) = self.outputs.split_at_mut(i);
            let input = below.last().map_or(x, Vec::as_slice);
            here[0].resize(batch * layer.outputs(), 0.0);
            layer.forward(parameters[0], parameters[1], batch, input, &mut here[0])?;
        }
        Ok(())
    }

    /// The last layer's output of the last forward pass, and the place of its gradient.
    pub fn output(&mut self) -> (&[f32], &mut [f32]) {
        match (self.outputs.last(), self.d_outputs.last_mut()) {
            (Some(output), Some(d_output)) => {
                d_output.resize(output.len(), 0.0);
                (output, d_output)
            }
            _ => (&[], &mut []),
        }
    }

    /// From the gradient at the output to the gradient before every activation, and to the input's.
    ///
    /// `x` and `batch` are those of the forward pass. The gradient at the output is written into
    /// [`Self::output`] before; it is taken as the gradient *after* the last activation.
    ///
    /// # Errors
    /// [`LengthError`] when a slice does not fit.
    pub fn backward(
        &mut self,
        network: &Network,
        parameters: &[&[f32]],
        batch: usize,
        d_input: Option<&mut [f32]>,
    ) -> Result<(), LengthError> {
        let placed = network.placed();
        self.mask_output(placed);
        for (i, Placed { layer, .. }) in placed.iter().enumerate().skip(1).rev() {
            let below = &self.outputs[i - 1];
            let relu = placed[i - 1].layer.activation() == Activation::Relu;
            let (d_below, d_here) = self.d_outputs.split_at_mut(i);
            let d_below = &mut d_below[i - 1];
            d_below.resize(below.len(), 0.0);
            let relu_output = relu.then_some(below.as_slice());
            layer.input_gradient(parameters[2 * i], batch, &d_here[0], relu_output, d_below)?;
        }
        if let (Some(first), Some(d_input)) = (placed.first(), d_input) {
            first.layer.input_gradient(parameters[0], batch, &self.d_outputs[0], None, d_input)?;
        }
        Ok(())
    }

    /// Where the last layer has a ReLU, its gradient passes where its output is positive.
    fn mask_output(&mut self, placed: &[Placed]) {
        let relu = placed.last().is_some_and(|p| p.layer.activation() == Activation::Relu);
        if let (true, Some(output), Some(d)) =
            (relu, self.outputs.last(), self.d_outputs.last_mut())
        {
            for (d, &y) in d.iter_mut().zip(output) {
                *d = if y > 0.0 { *d } else { 0.0 };
            }
        }
    }

    /// The gradients of all parameters after [`Self::backward`], summed over the batch, into their flat buffer;
    /// with `accumulate`, added to what is there.
    ///
    /// # Errors
    /// [`LengthError`] when a slice does not fit.
    pub fn parameter_gradient(
        &self,
        network: &Network,
        batch: usize,
        x: &[f32],
        accumulate: bool,
        gradient: &mut [f32],
    ) -> Result<(), LengthError> {
        for (i, Placed { layer, weight, bias, .. }) in network.placed().iter().enumerate() {
            let (input, d_output) = (self.input_of(i, x), &self.d_outputs[i]);
            let (d_weight, d_bias) = gradient[weight.start..bias.end].split_at_mut(weight.len());
            layer.parameter_gradient(batch, input, d_output, accumulate, d_weight, d_bias)?;
        }
        Ok(())
    }

    /// Whether the gradient of a parameter, summed over `n_batches` batches like this one, might not be finite.
    ///
    /// A sum of products stays inside f32's range while the largest factors, times the number of products,
    /// do: where this is false, nobody needs to look at the gradients themselves.
    pub fn may_overflow(&self, network: &Network, x: &[f32], n_batches: usize) -> bool {
        network.placed().iter().enumerate().any(|(i, Placed { layer, .. })| {
            let input = largest_magnitude(self.input_of(i, x)).max(1.0);
            let d_output = &self.d_outputs[i];
            // At most every output takes part in every sum, as for the bias of a single channel.
            let terms = (n_batches * d_output.len() / layer.bias_len().max(1)) as f32;
            // Rounding to bf16 makes a factor larger by up to 2⁻⁸.
            let terms = 1.01 * terms;
            !(largest_magnitude(d_output) * input * terms).is_finite()
        })
    }

    fn input_of<'a>(&'a self, layer: usize, x: &'a [f32]) -> &'a [f32] {
        layer.checked_sub(1).map_or(x, |below| &self.outputs[below])
    }
}
