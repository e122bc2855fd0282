//! The temperature of a relaxation: a number, a tensor, a parameter that is learned, or a schedule.

mod learnable;
mod schedule;

use candle_core::{DType, Tensor};

pub use learnable::LearnableTemperature;
pub use schedule::TemperatureSchedule;

use crate::{Error, Result};

/// The temperature τ of a relaxed sample, between 1e-30 and 1e30.
///
/// Small τ brings relaxed samples near one-hot vectors, with gradients of high variance; large τ
/// brings them near the barycentre, with gradients of high bias (Jang et al. 2017, section 2.1).
/// There is no τ = 0: take [`gumbel_max`](crate::gumbel_max) or a straight-through sample.
///
/// Functions that take a temperature check it, so that `0.5.into()` is as safe as [`Temperature::new`].
#[derive(Clone, Debug)]
pub enum Temperature {
    /// One number for all rows.
    Fixed(f64),
    /// A tensor that broadcasts to the shape of the logits, such as a scalar or `(batch, 1)`. Gets a gradient.
    Tensor(Tensor),
}

impl Temperature {
    /// A checked number.
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`] unless `1e-30 <= tau <= 1e30`.
    pub fn new(tau: f64) -> Result<Self> {
        check_value(tau)?;
        Ok(Self::Fixed(tau))
    }

    /// Checks every value. A tensor on a device is copied to the host for it, which waits for the device.
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`] with the first value that is not between 1e-30 and 1e30.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Fixed(tau) => check_value(*tau),
            Self::Tensor(tau) => {
                let values = tau.detach().to_dtype(DType::F64)?.flatten_all()?;
                values.to_vec1::<f64>()?.into_iter().try_for_each(check_value)
            }
        }
    }
}

/// Beyond these, τ or 1/τ times a logit would leave f32: nothing is gained there, and NaN is near.
pub(crate) const LEAST: f64 = 1e-30;
pub(crate) const MOST: f64 = 1e30;

fn check_value(tau: f64) -> Result<()> {
    if (LEAST..=MOST).contains(&tau) {
        Ok(())
    } else {
        Err(Error::InvalidTemperature { value: tau })
    }
}

impl From<f64> for Temperature {
    fn from(tau: f64) -> Self {
        Self::Fixed(tau)
    }
}

impl From<f32> for Temperature {
    fn from(tau: f32) -> Self {
        Self::Fixed(f64::from(tau))
    }
}

impl From<i32> for Temperature {
    fn from(tau: i32) -> Self {
        Self::Fixed(f64::from(tau))
    }
}

impl From<Tensor> for Temperature {
    fn from(tau: Tensor) -> Self {
        Self::Tensor(tau)
    }
}

impl From<&Tensor> for Temperature {
    fn from(tau: &Tensor) -> Self {
        Self::Tensor(tau.clone())
    }
}

impl From<&Temperature> for Temperature {
    fn from(tau: &Temperature) -> Self {
        tau.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn zero_negative_infinite_and_nan_are_refused() {
        for tau in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-31, 1e31] {
            assert!(matches!(Temperature::new(tau), Err(Error::InvalidTemperature { .. })));
            let t = Tensor::new(&[1.0, tau], &Device::Cpu).unwrap();
            assert!(Temperature::from(t).check().is_err());
        }
        assert!(Temperature::new(0.5).unwrap().check().is_ok());
    }

    #[test]
    fn numbers_of_any_type_are_temperatures() {
        let of = |tau: Temperature| matches!(tau, Temperature::Fixed(tau) if tau == 2.0);
        assert!(of(2.into()) && of(2f32.into()) && of(2.0.into()));
    }
}
