//! Relaxed categorical samples: Gumbel-softmax, also known as the Concrete distribution.

use candle_core::Tensor;
use candle_core::shape::Dim;

use crate::logits::Rows;
use crate::op::{one_hot_argmax, perturb, softmax};
use crate::single_pass::SinglePass;
use crate::{Error, Generator, Result, Temperature, gumbel_noise, straight_through};

/// Draws relaxed one-hot vectors, `softmax((logits + g) / τ)` with Gumbel noise `g`
/// (Jang et al. 2017, eq. 2; Maddison et al. 2017, eq. 10).
///
/// The largest entry of a sample is at class `k` with probability `softmax(logits)_k` at every τ.
/// With `hard` the value is the one-hot vector of that class and the gradient is the relaxed
/// sample's: the straight-through Gumbel-softmax estimator (Jang et al. 2017, section 2.2).
///
/// Logits of `-inf` mask a class: its entry is exactly 0. Computed in at least f32 and returned in
/// the dtype of the logits.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`. Output: the same.
/// - tau: a number, or a tensor that broadcasts to the shape of the logits with one entry along `dim`: a row has
///   one temperature.
/// # Gradient
/// For the logits and for a tensor of temperatures; exactly zero for masked classes.
/// # Errors
/// [`Error::InvalidTemperature`], [`Error::InvalidLogit`], [`Error::AllMasked`],
/// [`Error::ShapeMismatch`] when a temperature does not broadcast or varies along the classes, [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use gumbel_core::{Generator, gumbel_softmax};
///
/// let logits = Var::new(&[[0.5f32, -1.0, 2.0]], &Device::Cpu)?;
/// let mut g = Generator::new(0);
/// let relaxed = gumbel_softmax(&logits, 0.5, false, 1, &mut g)?;
/// let hard = gumbel_softmax(&logits, 0.5, true, 1, &mut g)?;
/// assert_eq!(hard.sum_all()?.to_scalar::<f32>()?, 1.0);
/// let grads = (relaxed + hard)?.sqr()?.sum_all()?.backward()?;
/// assert!(grads.get(&logits).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_softmax<D: Dim>(
    logits: &Tensor,
    tau: impl Into<Temperature>,
    hard: bool,
    dim: D,
    g: &mut Generator,
) -> Result<Tensor> {
    let dim = dim.to_index(logits.shape(), "gumbel_softmax")?;
    let tau = tau.into();
    if let (Some(logits), Temperature::Fixed(tau_value)) = (SinglePass::new(logits, dim), &tau) {
        tau.check()?;
        return logits.relax(*tau_value, hard, g);
    }
    let rows = Rows::new(logits, dim)?;
    tau.check()?;
    let noise = gumbel_noise(logits.shape(), rows.rows.dtype(), logits.device(), g)?;
    relax(&rows, logits, &noise, &tau, hard)
}

/// [`gumbel_softmax`] with the noise passed in, to replay a draw or to share it between samples.
///
/// # Shapes
/// - logits, noise: the same; so is the output.
/// # Gradient
/// As for [`gumbel_softmax`]; the noise gets one too, the same as the logits.
/// # Errors
/// Those of [`gumbel_softmax`], and [`Error::ShapeMismatch`] when the noise has another shape.
pub fn gumbel_softmax_with_noise<D: Dim>(
    logits: &Tensor,
    noise: &Tensor,
    tau: impl Into<Temperature>,
    hard: bool,
    dim: D,
) -> Result<Tensor> {
    let rows = Rows::new(logits, dim.to_index(logits.shape(), "gumbel_softmax")?)?;
    let tau = tau.into();
    tau.check()?;
    relax(&rows, logits, noise, &tau, hard)
}

fn relax(
    rows: &Rows,
    logits: &Tensor,
    noise: &Tensor,
    tau: &Temperature,
    hard: bool,
) -> Result<Tensor> {
    let perturbed = perturb(&rows.rows, &rows.like(noise, "noise")?)?;
    let soft = match tau {
        Temperature::Fixed(tau) => softmax(&perturbed, *tau)?,
        Temperature::Tensor(tau) => {
            check_one_per_row(tau, logits, rows.dim)?;
            let tau = rows.like(&broadcast_temperature(tau, logits)?, "temperature")?;
            softmax(&divide_by_temperature(&perturbed, &tau)?, 1.0)?
        }
    };
    // The perturbed logits decide, not the relaxed values: those can tie after rounding.
    let sample = if hard { straight_through(&one_hot_argmax(&perturbed)?, &soft)? } else { soft };
    rows.restore(&sample)
}

/// Refuses temperatures that vary along the classes: a relaxed sample is defined for one τ per row.
pub(crate) fn check_one_per_row(tau: &Tensor, logits: &Tensor, dim: usize) -> Result<()> {
    let mut rows = logits.dims().to_vec();
    rows[dim] = 1;
    match tau.broadcast_as(rows.as_slice()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::ShapeMismatch {
            what: "temperature",
            got: tau.dims().to_vec(),
            expected: rows,
        }),
    }
}

/// A tensor of temperatures in the shape of the logits.
pub(crate) fn broadcast_temperature(tau: &Tensor, logits: &Tensor) -> Result<Tensor> {
    tau.broadcast_as(logits.shape()).map_err(|_| Error::ShapeMismatch {
        what: "temperature",
        got: tau.dims().to_vec(),
        expected: logits.dims().to_vec(),
    })
}

/// `x / τ` elementwise, where infinite `x` are constants: the quotient's own gradient for τ is NaN there.
pub(crate) fn divide_by_temperature(x: &Tensor, tau: &Tensor) -> Result<Tensor> {
    let infinite = x.detach().abs()?.eq(f64::INFINITY)?;
    let safe = infinite.where_cond(&x.zeros_like()?, x)?;
    Ok(infinite.where_cond(&x.detach(), &(safe / tau)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn logits() -> Tensor {
        let x = Tensor::arange(0f64, 24.0, &Device::Cpu).unwrap();
        x.reshape((2, 3, 4)).unwrap().sin().unwrap()
    }

    fn list(t: &Tensor) -> Vec<f64> {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn bad_temperatures_logits_and_shapes_are_refused() {
        let x = logits();
        let mut g = Generator::new(0);
        for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = gumbel_softmax(&x, tau, false, 2, &mut g).unwrap_err();
            assert!(matches!(error, Error::InvalidTemperature { .. }), "{error}");
            let t = Tensor::new(tau, &Device::Cpu).unwrap();
            assert!(matches!(
                gumbel_softmax(&x, t, false, 2, &mut g),
                Err(Error::InvalidTemperature { .. })
            ));
        }
        for value in [f64::NAN, f64::INFINITY] {
            let bad = Tensor::new(&[[0.0, value]], &Device::Cpu).unwrap();
            let error = gumbel_softmax(&bad, 1.0, false, 1, &mut g).unwrap_err();
            assert!(
                matches!(error, Error::InvalidLogit { ref index, .. } if index == &[0, 1]),
                "{error}"
            );
        }
        let masked = Tensor::full(f32::NEG_INFINITY, (2, 3), &Device::Cpu).unwrap();
        assert!(matches!(
            gumbel_softmax(&masked, 1.0, true, 1, &mut g),
            Err(Error::AllMasked { .. })
        ));
        let noise = Tensor::zeros((2, 4, 3), DType::F64, &Device::Cpu).unwrap();
        let error = gumbel_softmax_with_noise(&x, &noise, 1.0, false, 2).unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { what: "noise", .. }), "{error}");
        let tau = Tensor::ones((2, 2, 1), DType::F64, &Device::Cpu).unwrap();
        let error = gumbel_softmax(&x, &tau, false, 2, &mut g).unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { what: "temperature", .. }), "{error}");
        assert!(gumbel_softmax(&x, 1.0, false, 3, &mut g).is_err());
    }

    #[test]
    fn a_temperature_that_varies_along_the_classes_is_refused() {
        let l = Tensor::new(&[[5.0f64, 5.0]], &Device::Cpu).unwrap();
        let tau = Tensor::new(&[1.0f64, 2.0], &Device::Cpu).unwrap();
        let noise = l.zeros_like().unwrap();
        for (dim, refused) in [(1, true), (0, false)] {
            let y = gumbel_softmax_with_noise(&l, &noise, &tau, false, dim);
            assert_eq!(matches!(y, Err(Error::ShapeMismatch { .. })), refused);
        }
    }

    #[test]
    fn every_dimension_gives_the_sample_of_the_turned_tensor() {
        let x = logits();
        let noise =
            gumbel_noise(x.shape(), DType::F64, &Device::Cpu, &mut Generator::new(2)).unwrap();
        for hard in [false, true] {
            for dim in 0..3 {
                let y = gumbel_softmax_with_noise(&x, &noise, 0.7, hard, dim).unwrap();
                let turn = |t: &Tensor| t.transpose(dim, 2).unwrap().contiguous().unwrap();
                let turned =
                    gumbel_softmax_with_noise(&turn(&x), &turn(&noise), 0.7, hard, 2).unwrap();
                assert_eq!(list(&y), list(&turn(&turned)));
                assert_eq!(y.dims(), x.dims());
                let drawn = gumbel_softmax(&x, 0.7, hard, dim, &mut Generator::new(2)).unwrap();
                assert_eq!(list(&drawn), list(&y), "the generator's noise is that of gumbel_noise");
            }
        }
    }

    #[test]
    fn an_empty_batch_gives_an_empty_sample() {
        let x = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
        let tau = Tensor::new(0.5f32, &Device::Cpu).unwrap();
        for hard in [false, true] {
            let y = gumbel_softmax(&x, 0.5, hard, 1, &mut Generator::new(0)).unwrap();
            assert_eq!(y.dims(), x.dims());
            let y = gumbel_softmax(&x, &tau, hard, 1, &mut Generator::new(0)).unwrap();
            assert_eq!(y.dims(), x.dims());
        }
        assert_eq!(crate::kl_to_uniform(&x).unwrap().dims(), &[0]);
        assert_eq!(crate::gumbel_max(&x, 1, &mut Generator::new(0)).unwrap().dims(), &[0]);
    }

    #[test]
    fn a_tensor_of_temperatures_equals_a_number_row_by_row() {
        let x = logits();
        let noise =
            gumbel_noise(x.shape(), DType::F64, &Device::Cpu, &mut Generator::new(3)).unwrap();
        let tau = Tensor::new(&[[[0.3], [1.0], [4.0]]], &Device::Cpu).unwrap();
        let rows = gumbel_softmax_with_noise(&x, &noise, &tau, false, 2).unwrap();
        for (row, tau) in [0.3, 1.0, 4.0].into_iter().enumerate() {
            let y = gumbel_softmax_with_noise(&x, &noise, tau, false, 2).unwrap();
            let row = |t: &Tensor| list(&t.narrow(1, row, 1).unwrap());
            for (a, b) in row(&rows).into_iter().zip(row(&y)) {
                assert!((a - b).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn extreme_temperatures_give_corners_and_the_centre() {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let x = logits().to_dtype(dtype).unwrap();
            for tau in [1e-30, 1e-6] {
                let y = gumbel_softmax(&x, tau, false, 2, &mut Generator::new(4)).unwrap();
                let hard = gumbel_softmax(&x, tau, true, 2, &mut Generator::new(4)).unwrap();
                assert_eq!(list(&y), list(&hard), "{dtype:?} at {tau}");
            }
            let y = gumbel_softmax(&x, 1e30, false, 2, &mut Generator::new(4)).unwrap();
            assert!(list(&y).iter().all(|&y| y == 0.25));
        }
    }
}
