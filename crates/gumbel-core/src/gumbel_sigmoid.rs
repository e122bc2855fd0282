//! Relaxed binary samples: Gumbel-sigmoid, also known as the binary Concrete distribution.

use candle_core::{DType, Tensor};

use crate::checks::{check_float, check_values};
use crate::gumbel_softmax::{broadcast_temperature, divide_by_temperature};
use crate::op::{sigmoid, widen};
use crate::{Error, Generator, Result, Temperature, logistic_noise, straight_through};

/// Draws relaxed bits, `sigmoid((logits + l) / τ)` with logistic noise `l`
/// (Maddison et al. 2017, appendix B): [`gumbel_softmax`](crate::gumbel_softmax) for two classes.
///
/// A sample is above one half with probability `sigmoid(logits)` at every τ. With `hard` the value
/// is exactly 0 or 1 and the gradient is the relaxed sample's. A logit of `-inf` gives 0 for certain.
///
/// # Shapes
/// - logits: any, each element a variable of its own; output the same, in the same dtype.
/// - tau: a number, or a tensor that broadcasts to the shape of the logits.
/// # Gradient
/// For the logits and for a tensor of temperatures; exactly zero at a logit of `-inf`.
/// # Errors
/// [`Error::InvalidTemperature`], [`Error::InvalidLogit`] (NaN, `+inf`), [`Error::ShapeMismatch`],
/// [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::{Generator, gumbel_sigmoid};
///
/// let logits = Var::new(&[0.5f32, -1.0, 2.0], &Device::Cpu)?;
/// let bits = gumbel_sigmoid(&logits, 1.0, true, &mut Generator::new(0))?;
/// assert!(bits.to_vec1::<f32>()?.iter().all(|&b| b == 0.0 || b == 1.0));
/// assert!(bits.sum_all()?.backward()?.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_sigmoid(
    logits: &Tensor,
    tau: impl Into<Temperature>,
    hard: bool,
    g: &mut Generator,
) -> Result<Tensor> {
    check_bit_logits(logits)?;
    let wide = widen(logits)?;
    let noise = logistic_noise(logits.shape(), wide.dtype(), logits.device(), g)?;
    relax(&wide, &noise, &tau.into(), hard, logits.dtype())
}

/// [`gumbel_sigmoid`] with the logistic noise passed in, to replay a draw or to share it.
///
/// # Shapes
/// - logits, noise: the same; so is the output.
/// # Gradient
/// As for [`gumbel_sigmoid`]; the noise gets one too, the same as the logits.
/// # Errors
/// Those of [`gumbel_sigmoid`], and [`Error::ShapeMismatch`] when the noise has another shape.
pub fn gumbel_sigmoid_with_noise(
    logits: &Tensor,
    noise: &Tensor,
    tau: impl Into<Temperature>,
    hard: bool,
) -> Result<Tensor> {
    check_bit_logits(logits)?;
    relax(&widen(logits)?, noise, &tau.into(), hard, logits.dtype())
}

fn relax(
    logits: &Tensor,
    noise: &Tensor,
    tau: &Temperature,
    hard: bool,
    dtype: DType,
) -> Result<Tensor> {
    let perturbed = perturb_bits(logits, noise)?;
    let soft = sigmoid(&scale_bits(&perturbed, tau)?)?;
    let sample = if hard { straight_through(&hard_bits(&perturbed)?, &soft)? } else { soft };
    Ok(sample.to_dtype(dtype)?)
}

/// `logits + noise`, in the dtype of the logits.
pub(crate) fn perturb_bits(logits: &Tensor, noise: &Tensor) -> Result<Tensor> {
    check_float(noise, "noise")?;
    if noise.dims() != logits.dims() {
        return Err(Error::ShapeMismatch {
            what: "noise",
            got: noise.dims().to_vec(),
            expected: logits.dims().to_vec(),
        });
    }
    Ok((logits + noise.to_dtype(logits.dtype())?)?)
}

/// `x / τ` for either kind of temperature, which is checked.
pub(crate) fn scale_bits(x: &Tensor, tau: &Temperature) -> Result<Tensor> {
    tau.check()?;
    match tau {
        Temperature::Fixed(tau) => Ok((x / *tau)?),
        Temperature::Tensor(tau) => {
            let tau = broadcast_temperature(&tau.to_dtype(x.dtype())?, x)?;
            divide_by_temperature(x, &tau)
        }
    }
}

/// 1 where the perturbed logit is positive, else 0. No gradient.
pub(crate) fn hard_bits(perturbed: &Tensor) -> Result<Tensor> {
    Ok(perturbed.detach().gt(0.0)?.to_dtype(perturbed.dtype())?)
}

fn check_bit_logits(logits: &Tensor) -> Result<()> {
    check_values(
        logits,
        "logits",
        |l| l < f64::INFINITY,
        |value, index| Error::InvalidLogit { value, index },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gumbel_softmax_with_noise;
    use candle_core::Device;

    fn list(t: &Tensor) -> Vec<f64> {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn bad_temperatures_logits_and_shapes_are_refused() {
        let x = Tensor::new(&[0.0, 1.0], &Device::Cpu).unwrap();
        let mut g = Generator::new(0);
        for tau in [0.0, -1.0, f64::NAN] {
            let error = gumbel_sigmoid(&x, tau, false, &mut g).unwrap_err();
            assert!(matches!(error, Error::InvalidTemperature { .. }), "{error}");
        }
        for value in [f64::NAN, f64::INFINITY] {
            let bad = Tensor::new(&[0.0, value], &Device::Cpu).unwrap();
            let error = gumbel_sigmoid(&bad, 1.0, false, &mut g).unwrap_err();
            assert!(
                matches!(error, Error::InvalidLogit { ref index, .. } if index == &[1]),
                "{error}"
            );
        }
        let noise = Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap();
        assert!(matches!(
            gumbel_sigmoid_with_noise(&x, &noise, 1.0, true),
            Err(Error::ShapeMismatch { .. })
        ));
        let ints = Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap();
        assert!(matches!(
            gumbel_sigmoid(&ints, 1.0, true, &mut g),
            Err(Error::UnsupportedDType { .. })
        ));
    }

    #[test]
    fn bits_are_two_classes() {
        // With class logits (l, 0) and noise (n, 0): softmax over two classes is the sigmoid of the difference.
        let l = Tensor::new(&[-2.0, 0.3, 5.0, f64::NEG_INFINITY], &Device::Cpu).unwrap();
        let noise = logistic_noise(4, DType::F64, &Device::Cpu, &mut Generator::new(1)).unwrap();
        let pair = |t: &Tensor| Tensor::stack(&[t, &t.zeros_like().unwrap()], 1).unwrap();
        for tau in [0.2, 1.0, 3.0] {
            let bits = gumbel_sigmoid_with_noise(&l, &noise, tau, false).unwrap();
            let classes =
                gumbel_softmax_with_noise(&pair(&l), &pair(&noise), tau, false, 1).unwrap();
            let first = classes.narrow(1, 0, 1).unwrap();
            for (a, b) in list(&bits).into_iter().zip(list(&first)) {
                assert!((a - b).abs() < 1e-15, "{a} {b}");
            }
        }
    }
}
