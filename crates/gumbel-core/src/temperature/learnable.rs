//! A temperature that is trained.

use candle_core::{DType, Device, Tensor, Var};

use super::{Temperature, check_value};
use crate::op::softplus;
use crate::{Error, Result};

/// A temperature that is trained with the model: `softplus(raw) + floor`, where `raw` is free.
///
/// # Gradient
/// `dτ/draw = sigmoid(raw)`, never above one. It is positive until it rounds to zero, for `raw` below -103 in f32
/// and -745 in f64.
///
/// # Example
/// ```
/// use candle_core::{DType, Device};
/// use gumbel_core::{Generator, LearnableTemperature, gumbel_softmax};
///
/// let tau = LearnableTemperature::new(1.0, 0.1, DType::F32, &Device::Cpu)?;
/// let logits = candle_core::Tensor::new(&[[1f32, 0.0, -1.0]], &Device::Cpu)?;
/// let y = gumbel_softmax(&logits, tau.temperature()?, false, 1, &mut Generator::new(0))?;
/// let grads = y.sqr()?.sum_all()?.backward()?;
/// assert!(grads.get(tau.var()).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LearnableTemperature {
    raw: Var,
    floor: f64,
}

impl LearnableTemperature {
    /// A scalar parameter that starts at `init` and stays above `floor`.
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`] unless both are between 1e-30 and 1e30, [`Error::InvalidParameter`] unless
    /// `floor < init`.
    pub fn new(init: f64, floor: f64, dtype: DType, device: &Device) -> Result<Self> {
        check_value(floor)?;
        check_value(init)?;
        let above = init - floor;
        if above <= 0.0 {
            let must = "above the floor";
            return Err(Error::InvalidParameter { name: "init", value: init, must });
        }
        // The inverse of softplus, ln(e^x - 1), written so that large x does not overflow.
        let raw = above + (-(-above).exp_m1()).ln();
        let raw = Tensor::new(raw, device)?.to_dtype(dtype)?;
        Ok(Self { raw: Var::from_tensor(&raw)?, floor })
    }

    /// Takes over a parameter, for example one made by a `VarBuilder` or loaded from a checkpoint.
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`] unless `1e-30 <= floor <= 1e30`.
    pub fn from_var(raw: Var, floor: f64) -> Result<Self> {
        check_value(floor)?;
        Ok(Self { raw, floor })
    }

    /// The temperature as a node of the graph, with the shape of the parameter.
    pub fn temperature(&self) -> Result<Temperature> {
        let tau = softplus(self.raw.as_tensor())?.affine(1.0, self.floor)?;
        Ok(Temperature::Tensor(tau))
    }

    /// The free parameter, for the optimiser and the checkpoint.
    pub fn var(&self) -> &Var {
        &self.raw
    }

    /// The bound the temperature stays above.
    pub fn floor(&self) -> f64 {
        self.floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tau: &LearnableTemperature) -> f64 {
        match tau.temperature().unwrap() {
            Temperature::Tensor(t) => t.to_dtype(DType::F64).unwrap().to_scalar().unwrap(),
            Temperature::Fixed(t) => t,
        }
    }

    #[test]
    fn a_learnable_temperature_starts_where_it_should() {
        for init in [0.11, 0.5, 1.0, 10.0, 900.0] {
            let tau = LearnableTemperature::new(init, 0.1, DType::F64, &Device::Cpu).unwrap();
            assert!((value(&tau) / init - 1.0).abs() < 1e-12);
        }
        assert!(LearnableTemperature::new(0.1, 0.1, DType::F32, &Device::Cpu).is_err());
        assert!(LearnableTemperature::new(1.0, 0.0, DType::F32, &Device::Cpu).is_err());
    }

    #[test]
    fn a_learnable_temperature_stays_positive_and_keeps_its_gradient() {
        let tau = LearnableTemperature::new(1.0, 0.1, DType::F64, &Device::Cpu).unwrap();
        for raw in [-500f64, -5.0, 0.0, 5.0, 500.0] {
            tau.var().set(&Tensor::new(raw, &Device::Cpu).unwrap()).unwrap();
            assert!(value(&tau) >= 0.1 && value(&tau).is_finite());
            let Temperature::Tensor(t) = tau.temperature().unwrap() else { unreachable!() };
            let grads = t.backward().unwrap();
            let grad: f64 = grads.get(tau.var()).unwrap().to_scalar().unwrap();
            // d softplus(x) / dx = sigmoid(x), to rounding.
            let expected =
                if raw < 0.0 { raw.exp() / (1.0 + raw.exp()) } else { 1.0 / (1.0 + (-raw).exp()) };
            assert!((grad - expected).abs() <= 1e-14 * expected, "{raw}: {grad} {expected}");
        }
    }
}
