//! Adam and RAdam with PyTorch's formulas, in place, with a state that can be saved.

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor, Var};
use catvae_model::Parameter;
use gumbel_kernels::{AdamOptions, AdamParameter, AdamStep, adam_update};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which update rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Kingma & Ba 2015, algorithm 1, as `torch.optim.Adam`.
    #[default]
    Adam,
    /// Liu et al. 2020 (rectified Adam), algorithm 2, as `torch.optim.RAdam`.
    RAdam,
}

/// Decay of the first moment.
pub const BETA1: f64 = 0.9;
/// Decay of the second moment.
pub const BETA2: f64 = 0.999;
/// Added to the root of the second moment.
pub const EPSILON: f64 = 1e-8;

/// An optimiser over parameters in a fixed order.
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    learning_rate: f64,
    n_steps: u64,
    moments: Vec<Moments>,
}

/// Running means of a parameter's gradient and of its square (m and v in the papers).
#[derive(Clone, Debug)]
pub struct Moments {
    /// m.
    pub exp_avg: Var,
    /// v.
    pub exp_avg_sq: Var,
}

impl Moments {
    /// Zeros in the shape of a parameter.
    fn zeros(parameter: &Parameter) -> Result<Self> {
        let zeros = || Var::zeros(parameter.var.shape(), DType::F32, parameter.var.device());
        Ok(Self { exp_avg: zeros()?, exp_avg_sq: zeros()? })
    }
}

impl Optimizer {
    /// An optimiser with zero moments.
    ///
    /// # Errors
    /// [`Error::Setting`] for a learning rate that is not finite and above 0.
    pub fn new(kind: OptimizerKind, learning_rate: f64, parameters: &[Parameter]) -> Result<Self> {
        check_learning_rate(learning_rate)?;
        let moments = parameters.iter().map(Moments::zeros).collect::<Result<_>>()?;
        Ok(Self { kind, learning_rate, n_steps: 0, moments })
    }

    /// Updates the parameters that `gradients` belong to, in the order given to [`Self::new`].
    ///
    /// # Errors
    /// Only what the device reports.
    pub fn step(&mut self, parameters: &[Parameter], gradients: &[Tensor]) -> Result<()> {
        let step = self.begin_step();
        for ((parameter, gradient), moments) in parameters.iter().zip(gradients).zip(&self.moments)
        {
            let gradient = gradient.contiguous()?;
            match parameter.var.device() {
                Device::Cpu => with_slices(&parameter.var, moments, |parameter| {
                    let (storage, layout) = gradient.storage_and_layout();
                    let gradient = f32_values(&storage, layout)?;
                    adam_update(&step, parameter, gradient).map_err(candle_core::Error::wrap)
                })?,
                _ => self.step_in_tensors(&parameter.var, &gradient, moments)?,
            }
        }
        Ok(())
    }

    /// Updates parameters on the CPU. The gradients lie one after another in the order given to [`Self::new`],
    /// and count times `scale`.
    ///
    /// # Errors
    /// A gradient of another length than the parameters.
    pub(crate) fn step_flat(
        &mut self,
        parameters: &[Parameter],
        gradient: &[f32],
        scale: f32,
    ) -> Result<()> {
        let step = self.begin_step().with_gradient_scale(scale);
        let mut rest = gradient;
        for (parameter, moments) in parameters.iter().zip(&self.moments) {
            with_slices(&parameter.var, moments, |parameter| {
                let (gradient, others) = rest.split_at(parameter.value.len().min(rest.len()));
                rest = others;
                adam_update(&step, parameter, gradient).map_err(candle_core::Error::wrap)
            })?;
        }
        Ok(())
    }

    /// Counts a step and returns its coefficients.
    fn begin_step(&mut self) -> AdamStep {
        self.n_steps += 1;
        let options = AdamOptions {
            learning_rate: self.learning_rate,
            beta1: BETA1,
            beta2: BETA2,
            eps: EPSILON,
        };
        match self.kind {
            OptimizerKind::Adam => AdamStep::adam(options, self.n_steps),
            OptimizerKind::RAdam => AdamStep::radam(options, self.n_steps),
        }
    }

    /// The formulas in candle's operations: for other devices, and the oracle of the tests.
    fn step_in_tensors(&self, parameter: &Var, gradient: &Tensor, moments: &Moments) -> Result<()> {
        let Moments { exp_avg, exp_avg_sq } = moments;
        exp_avg.set(&((exp_avg.as_tensor() * BETA1)? + (gradient * (1.0 - BETA1))?)?)?;
        exp_avg_sq
            .set(&((exp_avg_sq.as_tensor() * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?)?;
        let t = self.n_steps as f64;
        let (bias1, bias2) = (1.0 - BETA1.powf(t), 1.0 - BETA2.powf(t));
        let descent = match self.kind {
            OptimizerKind::Adam => {
                let denominator = (exp_avg_sq.sqrt()? / bias2.sqrt())? + EPSILON;
                ((exp_avg.as_tensor() / denominator?)? * (self.learning_rate / bias1))?
            }
            OptimizerKind::RAdam => {
                // ρ: length of the approximated simple moving average; its variance is tractable
                // only above 4 (PyTorch and the authors' code take 5), and below that the step is
                // plain momentum.
                let rho_inf = 2.0 / (1.0 - BETA2) - 1.0;
                let rho = rho_inf - 2.0 * t * BETA2.powf(t) / bias2;
                let momentum = (exp_avg.as_tensor() * (self.learning_rate / bias1))?;
                if rho > 5.0 {
                    let rectification = ((rho - 4.0) * (rho - 2.0) * rho_inf
                        / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho))
                        .sqrt();
                    ((momentum * (bias2.sqrt() * rectification))?
                        / (exp_avg_sq.sqrt()? + EPSILON)?)?
                } else {
                    momentum
                }
            }
        };
        Ok(parameter.set(&(parameter.as_tensor() - descent)?)?)
    }

    /// Steps taken so far (t in the papers).
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// The rule.
    pub fn kind(&self) -> OptimizerKind {
        self.kind
    }

    /// The learning rate.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Takes the next steps with this learning rate, which may be 0.
    pub(crate) fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// The moments, in the order of the parameters.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a moment has another shape than its parameter.
    pub fn restore(&mut self, n_steps: u64, moments: &[Moments]) -> Result<()> {
        for (place, saved) in self.moments.iter().zip(moments) {
            place.exp_avg.set(&saved.exp_avg)?;
            place.exp_avg_sq.set(&saved.exp_avg_sq)?;
        }
        self.n_steps = n_steps;
        Ok(())
    }
}

/// Hands a parameter and its moments to a kernel as slices, to be changed in place.
fn with_slices(
    parameter: &Var,
    moments: &Moments,
    body: impl FnOnce(AdamParameter<'_>) -> candle_core::Result<()>,
) -> candle_core::Result<()> {
    in_place(&moments.exp_avg, |exp_avg| {
        in_place(&moments.exp_avg_sq, |exp_avg_sq| {
            in_place(parameter, |value| body(AdamParameter { value, exp_avg, exp_avg_sq }))
        })
    })
}

/// Hands the values of a variable on the CPU to `body`. candle lends them through an in-place
/// operation only.
fn in_place(
    variable: &Var,
    body: impl FnOnce(&mut [f32]) -> candle_core::Result<()>,
) -> candle_core::Result<()> {
    variable.inplace_op1(&InPlace(RefCell::new(Some(body))))
}

struct InPlace<F>(RefCell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> candle_core::Result<()>> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (start, end) = contiguous(layout)?;
        match (storage, self.0.take()) {
            (CpuStorage::F32(values), Some(body)) => body(&mut values[start..end]),
            _ => candle_core::bail!("parameters and their moments must be F32"),
        }
    }
}

/// The values of a contiguous f32 tensor on the CPU.
pub(crate) fn f32_values<'a>(
    storage: &'a Storage,
    layout: &Layout,
) -> candle_core::Result<&'a [f32]> {
    let (start, end) = contiguous(layout)?;
    match storage {
        Storage::Cpu(CpuStorage::F32(values)) => Ok(&values[start..end]),
        _ => candle_core::bail!("a CPU kernel needs F32 values on the CPU"),
    }
}

fn contiguous(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    // Made only where it is needed: with RUST_BACKTRACE set, it looks the whole stack up.
    let error = || candle_core::Error::RequiresContiguous { op: "kernel" }.bt();
    layout.contiguous_offsets().ok_or_else(error)
}

/// # Errors
/// [`Error::Setting`] unless finite and above 0.
pub(crate) fn check_learning_rate(learning_rate: f64) -> Result<()> {
    if learning_rate.is_finite() && learning_rate > 0.0 {
        return Ok(());
    }
    Err(Error::Setting {
        field: "training.learning_rate",
        range: "finite and above 0",
        value: learning_rate.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(values: &[f32]) -> Parameter {
        Parameter { name: "p".into(), var: Var::new(values, &Device::Cpu).unwrap() }
    }

    #[test]
    fn kernel_and_tensor_steps_agree() {
        let gradients: [[f32; 3]; 3] = [[0.3, -2.0, 1e-6], [0.1, 0.5, 0.0], [-4.0, 0.0, 2e-6]];
        for kind in [OptimizerKind::Adam, OptimizerKind::RAdam] {
            let start = [1.0, -1.0, 0.5];
            let (fast, plain) = ([parameter(&start)], [parameter(&start)]);
            let mut fast_optimizer = Optimizer::new(kind, 0.01, &fast).unwrap();
            let mut plain_optimizer = Optimizer::new(kind, 0.01, &plain).unwrap();
            for gradient in gradients.iter().cycle().take(12) {
                let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
                fast_optimizer.step(&fast, std::slice::from_ref(&gradient)).unwrap();
                plain_optimizer.begin_step();
                let moments = &plain_optimizer.moments[0];
                plain_optimizer.step_in_tensors(&plain[0].var, &gradient, moments).unwrap();
            }
            let fast = fast[0].var.to_vec1::<f32>().unwrap();
            let plain = plain[0].var.to_vec1::<f32>().unwrap();
            for (f, p) in fast.iter().zip(&plain) {
                // Twelve steps of a handful of roundings each.
                assert!(
                    (f - p).abs() <= 1e-6 * p.abs().max(1.0),
                    "{kind:?}: {fast:?} against {plain:?}"
                );
            }
        }
    }

    #[test]
    fn first_adam_step_is_the_learning_rate_against_the_sign_of_the_gradient() {
        let p = parameter(&[0.0, 0.0]);
        let mut adam = Optimizer::new(OptimizerKind::Adam, 0.01, std::slice::from_ref(&p)).unwrap();
        let gradient = Tensor::new(&[3.0_f32, -0.002], &Device::Cpu).unwrap();
        adam.step(std::slice::from_ref(&p), &[gradient]).unwrap();
        let values = p.var.to_vec1::<f32>().unwrap();
        // ε/|g| is 5e-6 for the smaller gradient.
        assert!((values[0] + 0.01).abs() < 1e-7 && (values[1] - 0.01).abs() < 1e-7, "{values:?}");
    }

    #[test]
    fn radam_starts_as_plain_momentum_and_rectifies_from_the_sixth_step() {
        let p = parameter(&[0.0]);
        let mut radam =
            Optimizer::new(OptimizerKind::RAdam, 1.0, std::slice::from_ref(&p)).unwrap();
        let mut previous = 0.0;
        for step in 1..=6 {
            let gradient = Tensor::new(&[4.0_f32], &Device::Cpu).unwrap();
            radam.step(std::slice::from_ref(&p), &[gradient]).unwrap();
            let value = p.var.to_vec1::<f32>().unwrap()[0];
            // A constant gradient g gives steps of g unrectified, and of at most 1 rectified.
            let length = previous - value;
            assert_eq!((length - 4.0).abs() < 1e-4, step < 6, "step {step} is {length} long");
            previous = value;
        }
    }

    #[test]
    fn moments_that_fade_become_zero_instead_of_denormal() {
        let p = parameter(&[1.0]);
        let mut adam = Optimizer::new(OptimizerKind::Adam, 1e-3, std::slice::from_ref(&p)).unwrap();
        let step = |adam: &mut Optimizer, g: f32| {
            let gradient = Tensor::new(&[g], &Device::Cpu).unwrap();
            adam.step(std::slice::from_ref(&p), &[gradient]).unwrap();
            adam.moments()[0].exp_avg.to_vec1::<f32>().unwrap()[0]
        };
        step(&mut adam, 1e-30);
        for _ in 0..400 {
            let m = step(&mut adam, 0.0);
            assert!(m == 0.0 || m.is_normal(), "{m:e} is denormal");
        }
        assert_eq!(step(&mut adam, 0.0), 0.0);
    }

    #[test]
    fn senseless_learning_rates_are_refused() {
        for rate in [0.0, -1e-3, f64::NAN, f64::INFINITY] {
            let error = Optimizer::new(OptimizerKind::Adam, rate, &[]).unwrap_err().to_string();
            assert!(error.contains("training.learning_rate must be finite and above 0"), "{error}");
        }
    }
}
