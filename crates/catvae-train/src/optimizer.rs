//! Adam and RAdam with PyTorch's formulas, in place, with a state that can be saved.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, InplaceOp3, Layout, Tensor};
use catvae_model::Parameter;
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

/// Coefficients of one step, `θ ← θ − a·m / (b·√v + c)`, which both rules reduce to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepCoefficients {
    /// Step size over the first moment's bias correction (times the rectification, for RAdam).
    pub a: f64,
    /// Factor of √v: the second moment's bias correction.
    pub b: f64,
    /// The constant in the denominator.
    pub c: f64,
}

impl OptimizerKind {
    /// The coefficients of step `t` (counted from 1).
    pub fn coefficients(self, learning_rate: f64, t: u64) -> StepCoefficients {
        let t = t as f64;
        let bias1 = 1.0 - BETA1.powf(t);
        let bias2 = 1.0 - BETA2.powf(t);
        match self {
            Self::Adam => {
                StepCoefficients { a: learning_rate / bias1, b: 1.0 / bias2.sqrt(), c: EPSILON }
            }
            Self::RAdam => {
                // ρ: length of the approximated simple moving average; its variance is tractable
                // only above 4 (PyTorch and the authors' code take 5), and below that the step is
                // plain momentum.
                let rho_inf = 2.0 / (1.0 - BETA2) - 1.0;
                let rho = rho_inf - 2.0 * t * BETA2.powf(t) / bias2;
                if rho <= 5.0 {
                    return StepCoefficients { a: learning_rate / bias1, b: 0.0, c: 1.0 };
                }
                let rectification = ((rho - 4.0) * (rho - 2.0) * rho_inf
                    / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho))
                    .sqrt();
                StepCoefficients {
                    a: learning_rate * rectification * bias2.sqrt() / bias1,
                    b: 1.0,
                    c: EPSILON,
                }
            }
        }
    }
}

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
    pub exp_avg: Tensor,
    /// v.
    pub exp_avg_sq: Tensor,
}

impl Optimizer {
    /// An optimiser with zero moments.
    ///
    /// # Errors
    /// [`Error::Setting`] for a learning rate that is not finite and above 0.
    pub fn new(kind: OptimizerKind, learning_rate: f64, parameters: &[Parameter]) -> Result<Self> {
        check_learning_rate(learning_rate)?;
        let zeros = |p: &Parameter| {
            Ok(Moments { exp_avg: p.var.zeros_like()?, exp_avg_sq: p.var.zeros_like()? })
        };
        let moments = parameters.iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self { kind, learning_rate, n_steps: 0, moments })
    }

    /// Updates the parameters that `gradients` belong to, in the order given to [`Self::new`].
    ///
    /// # Errors
    /// Only what the device reports.
    pub fn step(&mut self, parameters: &[Parameter], gradients: &[Tensor]) -> Result<()> {
        self.n_steps += 1;
        let coefficients = self.kind.coefficients(self.learning_rate, self.n_steps);
        for ((parameter, gradient), moments) in
            parameters.iter().zip(gradients).zip(&mut self.moments)
        {
            let gradient = gradient.contiguous()?;
            match parameter.var.device() {
                Device::Cpu => step_in_place(parameter, &gradient, moments, coefficients)?,
                _ => step_in_tensors(parameter, &gradient, moments, coefficients)?,
            }
        }
        Ok(())
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

    /// The moments, in the order of the parameters.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a moment has another shape than its parameter.
    pub fn restore(&mut self, n_steps: u64, moments: Vec<Moments>) -> Result<()> {
        for (new, old) in moments.iter().zip(&self.moments) {
            for (new, old) in [(&new.exp_avg, &old.exp_avg), (&new.exp_avg_sq, &old.exp_avg_sq)] {
                if new.dims() != old.dims() || new.dtype() != DType::F32 {
                    return Err(candle_core::Error::ShapeMismatchBinaryOp {
                        lhs: new.shape().clone(),
                        rhs: old.shape().clone(),
                        op: "restore optimizer",
                    }
                    .into());
                }
            }
        }
        self.n_steps = n_steps;
        self.moments = moments;
        Ok(())
    }
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

fn step_in_place(
    parameter: &Parameter,
    gradient: &Tensor,
    moments: &Moments,
    coefficients: StepCoefficients,
) -> Result<()> {
    moments.exp_avg.inplace_op2(gradient, &FirstMoment)?;
    moments.exp_avg_sq.inplace_op2(gradient, &SecondMoment)?;
    parameter.var.inplace_op3(&moments.exp_avg, &moments.exp_avg_sq, &Descent(coefficients))?;
    Ok(())
}

/// The same formulas in candle operations, for devices that the in-place operations do not reach.
fn step_in_tensors(
    parameter: &Parameter,
    gradient: &Tensor,
    moments: &mut Moments,
    StepCoefficients { a, b, c }: StepCoefficients,
) -> Result<()> {
    moments.exp_avg = ((&moments.exp_avg * BETA1)? + (gradient * (1.0 - BETA1))?)?;
    moments.exp_avg_sq = ((&moments.exp_avg_sq * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?;
    let denominator = moments.exp_avg_sq.sqrt()?.affine(b, c)?;
    let descent = (&moments.exp_avg / denominator)?.affine(a, 0.0)?;
    parameter.var.set(&(parameter.var.as_tensor() - descent)?)?;
    Ok(())
}

struct FirstMoment;
struct SecondMoment;
struct Descent(StepCoefficients);

/// The smallest normal f32. A moment below it is set to zero: denormal numbers would slow every
/// later step down by up to half, and their contribution to a parameter is nothing.
const SMALLEST_NORMAL: f32 = f32::MIN_POSITIVE;

fn flush(x: f32) -> f32 {
    if x.abs() < SMALLEST_NORMAL { 0.0 } else { x }
}

impl InplaceOp2 for FirstMoment {
    fn name(&self) -> &'static str {
        "adam-first-moment"
    }

    fn cpu_fwd(
        &self,
        m: &mut CpuStorage,
        m_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = f32_slice(gradient, gradient_layout)?;
        for (m, g) in f32_slice_mut(m, m_layout)?.iter_mut().zip(gradient) {
            *m = flush(*m + (1.0 - BETA1) as f32 * (g - *m));
        }
        Ok(())
    }
}

impl InplaceOp2 for SecondMoment {
    fn name(&self) -> &'static str {
        "adam-second-moment"
    }

    fn cpu_fwd(
        &self,
        v: &mut CpuStorage,
        v_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = f32_slice(gradient, gradient_layout)?;
        for (v, g) in f32_slice_mut(v, v_layout)?.iter_mut().zip(gradient) {
            *v = flush(BETA2 as f32 * *v + (1.0 - BETA2) as f32 * (g * g));
        }
        Ok(())
    }
}

impl InplaceOp3 for Descent {
    fn name(&self) -> &'static str {
        "adam-descent"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        m: &CpuStorage,
        m_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> candle_core::Result<()> {
        let StepCoefficients { a, b, c } = self.0;
        let (a, b, c) = (a as f32, b as f32, c as f32);
        let (m, v) = (f32_slice(m, m_layout)?, f32_slice(v, v_layout)?);
        let parameter = f32_slice_mut(parameter, parameter_layout)?;
        for ((parameter, m), v) in parameter.iter_mut().zip(m).zip(v) {
            *parameter -= a * m / (b * v.sqrt() + c);
        }
        Ok(())
    }
}

fn f32_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (start, end) = contiguous(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn f32_slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let (start, end) = contiguous(layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        other => Err(candle_core::Error::UnsupportedDTypeForOp(
            candle_core::backend::BackendStorage::dtype(other),
            "optimizer step",
        )),
    }
}

fn contiguous(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    layout
        .contiguous_offsets()
        .ok_or(candle_core::Error::RequiresContiguous { op: "optimizer step" })
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    fn parameter(values: &[f32]) -> Parameter {
        Parameter { name: "p".into(), var: Var::new(values, &Device::Cpu).unwrap() }
    }

    #[test]
    fn in_place_and_tensor_steps_agree() {
        let gradients: [[f32; 3]; 3] = [[0.3, -2.0, 1e-6], [0.1, 0.5, 0.0], [-4.0, 0.0, 2e-6]];
        for kind in [OptimizerKind::Adam, OptimizerKind::RAdam] {
            let (fast, plain) = (parameter(&[1.0, -1.0, 0.5]), parameter(&[1.0, -1.0, 0.5]));
            let zeros = || fast.var.as_tensor().zeros_like().unwrap().copy().unwrap();
            let moments = || Moments { exp_avg: zeros(), exp_avg_sq: zeros() };
            let (mut fast_moments, mut plain_moments) = (moments(), moments());
            for (i, gradient) in gradients.iter().cycle().take(12).enumerate() {
                let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
                let coefficients = kind.coefficients(0.01, i as u64 + 1);
                step_in_place(&fast, &gradient, &fast_moments, coefficients).unwrap();
                step_in_tensors(&plain, &gradient, &mut plain_moments, coefficients).unwrap();
            }
            let _ = &mut fast_moments;
            let fast = fast.var.to_vec1::<f32>().unwrap();
            let plain = plain.var.to_vec1::<f32>().unwrap();
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
        for t in 1..=5 {
            assert_eq!(OptimizerKind::RAdam.coefficients(1.0, t).b, 0.0, "step {t}");
        }
        assert_eq!(OptimizerKind::RAdam.coefficients(1.0, 6).b, 1.0);
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
