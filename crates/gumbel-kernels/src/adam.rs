//! Adam and RAdam in one pass over parameter, gradient and moments.
//!
//! Kingma & Ba 2015, algorithm 1; Liu et al. 2020, algorithm 2; both as `torch.optim` computes them.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;

/// Moments smaller than this in magnitude become zero, and so do squares of gradients.
///
/// The moments of a weight whose gradient stays zero decay for ever. Below 2⁻¹²⁶ they would be
/// subnormal numbers, on which processors take a slow path of a hundred cycles and more. Cutting off
/// at 2⁻¹²⁰ leaves room for the multiplication by β, so that none ever forms. The root of a second
/// moment of 2⁻¹²⁰ is 1e-18, far below any useful ε.
const NEGLIGIBLE: f32 = f32::from_bits((127 - 120) << 23);

/// The root of [`NEGLIGIBLE`].
const NEGLIGIBLE_ROOT: f32 = f32::from_bits((127 - 60) << 23);

/// Values in the chunk that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// The numbers of one optimiser step, the same for every parameter:
/// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`, `p ← p − step_size · m / (root_scale · √v + floor)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    root_scale: f32,
    floor: f32,
    gradient_scale: f32,
}

/// What Adam and RAdam are set by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamOptions {
    /// The step size α.
    pub learning_rate: f64,
    /// Decay of the mean of gradients, usually 0.9.
    pub beta1: f64,
    /// Decay of the mean of squared gradients, usually 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment, usually 1e-8.
    pub eps: f64,
}

impl AdamStep {
    /// Step number `step` (from 1) of `torch.optim.Adam`: `p −= α/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)`.
    pub fn adam(options: AdamOptions, step: u64) -> Self {
        let (correction1, correction2) = options.bias_corrections(step);
        Self::new(
            options,
            options.learning_rate / correction1,
            1.0 / correction2.sqrt(),
            options.eps,
        )
    }

    /// Step number `step` (from 1) of `torch.optim.RAdam`: with ρ the length of the approximated moving
    /// average, `p −= α r √(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε)` where ρ > 5, else `p −= α/(1 − β₁ᵗ) · m`.
    pub fn radam(options: AdamOptions, step: u64) -> Self {
        let (correction1, correction2) = options.bias_corrections(step);
        let step_size = options.learning_rate / correction1;
        let rho_inf = 2.0 / (1.0 - options.beta2) - 1.0;
        let rho = rho_inf - 2.0 * step as f64 * (1.0 - correction2) / correction2;
        if rho > 5.0 {
            let rectification = ((rho - 4.0) * (rho - 2.0) * rho_inf
                / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho))
                .sqrt();
            let step_size = step_size * rectification * correction2.sqrt();
            Self::new(options, step_size, 1.0, options.eps)
        } else {
            Self::new(options, step_size, 0.0, 1.0)
        }
    }

    fn new(options: AdamOptions, step_size: f64, root_scale: f64, floor: f64) -> Self {
        AdamStep {
            beta1: options.beta1 as f32,
            one_minus_beta1: (1.0 - options.beta1) as f32,
            beta2: options.beta2 as f32,
            one_minus_beta2: (1.0 - options.beta2) as f32,
            step_size: step_size as f32,
            root_scale: root_scale as f32,
            floor: floor as f32,
            gradient_scale: 1.0,
        }
    }

    /// The same step for gradients that are first multiplied by `scale`: one over the number of summed
    /// gradients, say, or what clipping leaves of them.
    pub fn with_gradient_scale(self, scale: f32) -> Self {
        AdamStep { gradient_scale: scale, ..self }
    }

    /// Updates up to 16 values.
    #[inline(always)]
    pub(crate) fn apply<K: Kernel>(
        &self,
        kernel: K,
        value: &mut [f32],
        exp_avg: &mut [f32],
        exp_avg_sq: &mut [f32],
        gradient: &[f32; LINE],
    ) {
        let full = (
            <&mut [f32; LINE]>::try_from(&mut *value),
            <&mut [f32; LINE]>::try_from(&mut *exp_avg),
            <&mut [f32; LINE]>::try_from(&mut *exp_avg_sq),
        );
        if let (Ok(value), Ok(exp_avg), Ok(exp_avg_sq)) = full {
            self.apply_line(value, exp_avg, exp_avg_sq, gradient);
        } else {
            let mut p = kernel.load(value, 0.0);
            let mut m = kernel.load(exp_avg, 0.0);
            let mut v = kernel.load(exp_avg_sq, 0.0);
            self.apply_line(&mut p, &mut m, &mut v, gradient);
            kernel.store(&p, value);
            kernel.store(&m, exp_avg);
            kernel.store(&v, exp_avg_sq);
        }
    }

    #[inline(always)]
    fn apply_line(
        &self,
        value: &mut [f32; LINE],
        exp_avg: &mut [f32; LINE],
        exp_avg_sq: &mut [f32; LINE],
        gradient: &[f32; LINE],
    ) {
        let (mut p, mut m, mut v) = (*value, *exp_avg, *exp_avg_sq);
        for i in 0..LINE {
            let g = self.gradient_scale * gradient[i];
            m[i] = flush(self.beta1 * m[i] + self.one_minus_beta1 * g);
            let g = if g.abs() < NEGLIGIBLE_ROOT { 0.0 } else { g };
            v[i] = flush(self.beta2 * v[i] + self.one_minus_beta2 * g * g);
            p[i] -= self.step_size * (m[i] / (self.root_scale * v[i].sqrt() + self.floor));
        }
        (*value, *exp_avg, *exp_avg_sq) = (p, m, v);
    }
}

impl AdamOptions {
    /// `1 − β₁ᵗ` and `1 − β₂ᵗ`.
    fn bias_corrections(&self, step: u64) -> (f64, f64) {
        let t = step as f64;
        (1.0 - self.beta1.powf(t), 1.0 - self.beta2.powf(t))
    }
}

/// A parameter with its moments, in the optimiser's and in PyTorch's names; three slices of one length.
#[derive(Debug)]
pub struct AdamParameter<'a> {
    /// The parameter itself.
    pub value: &'a mut [f32],
    /// The moving mean of its gradients.
    pub exp_avg: &'a mut [f32],
    /// The moving mean of their squares.
    pub exp_avg_sq: &'a mut [f32],
}

impl AdamParameter<'_> {
    pub(crate) fn check(&self) -> Result<(), LengthError> {
        check_len("exp_avg", self.exp_avg.len(), self.value.len())?;
        check_len("exp_avg_sq", self.exp_avg_sq.len(), self.value.len())
    }
}

/// Takes one step: updates the value and both moments in place.
///
/// A NaN gradient makes value and moments NaN. Moments below 2⁻¹²⁰ are set to zero, so that no
/// subnormal numbers build up.
///
/// # Errors
/// [`LengthError`] when moments or gradient are not as long as the value.
pub fn adam_update(
    step: &AdamStep,
    parameter: AdamParameter<'_>,
    gradient: &[f32],
) -> Result<(), LengthError> {
    parameter.check()?;
    check_len("gradient", gradient.len(), parameter.value.len())?;
    adam_update_on(Isa::best(), step, parameter, gradient);
    Ok(())
}

/// [`adam_update`] with lengths already checked.
pub(crate) fn adam_update_on(
    isa: Isa,
    step: &AdamStep,
    parameter: AdamParameter<'_>,
    gradient: &[f32],
) {
    let chunk = |value, exp_avg, exp_avg_sq, gradient| {
        isa.dispatch(Update { step: *step, value, exp_avg, exp_avg_sq, gradient });
    };
    let AdamParameter { value, exp_avg, exp_avg_sq } = parameter;
    if value.len() <= CHUNK {
        chunk(value, exp_avg, exp_avg_sq, gradient);
    } else {
        value
            .par_chunks_mut(CHUNK)
            .zip(exp_avg.par_chunks_mut(CHUNK))
            .zip(exp_avg_sq.par_chunks_mut(CHUNK))
            .zip(gradient.par_chunks(CHUNK))
            .for_each(|(((value, exp_avg), exp_avg_sq), gradient)| {
                chunk(value, exp_avg, exp_avg_sq, gradient);
            });
    }
}

struct Update<'a> {
    step: AdamStep,
    value: &'a mut [f32],
    exp_avg: &'a mut [f32],
    exp_avg_sq: &'a mut [f32],
    gradient: &'a [f32],
}

impl Task for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let value = self.value.chunks_mut(LINE);
        let exp_avg = self.exp_avg.chunks_mut(LINE);
        let exp_avg_sq = self.exp_avg_sq.chunks_mut(LINE);
        let gradient = self.gradient.chunks(LINE);
        for (((value, exp_avg), exp_avg_sq), gradient) in
            value.zip(exp_avg).zip(exp_avg_sq).zip(gradient)
        {
            self.step.apply(kernel, value, exp_avg, exp_avg_sq, &kernel.load(gradient, 0.0));
        }
    }
}

/// Zero for a moment too small to matter; a NaN stays.
#[inline(always)]
fn flush(moment: f32) -> f32 {
    if moment.abs() < NEGLIGIBLE { 0.0 } else { moment }
}

#[cfg(test)]
mod tests;
