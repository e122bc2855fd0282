//! Relaxed categorical samples: Gumbel-softmax, also known as the Concrete distribution.

use candle_core::Tensor;
use candle_core::shape::Dim;

use crate::logits::Rows;
use crate::rowwise::{one_hot_argmax, perturb, softmax};
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
/// - tau: a number, or a tensor that broadcasts to the shape of the logits.
/// # Gradient
/// For the logits and for a tensor of temperatures; exactly zero for masked classes.
/// # Errors
/// [`Error::InvalidTemperature`], [`Error::InvalidLogit`], [`Error::AllMasked`],
/// [`Error::ShapeMismatch`] when a temperature does not broadcast, [`Error::UnsupportedDType`].
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
    let rows = Rows::new(logits, dim.to_index(logits.shape(), "gumbel_softmax")?)?;
    let tau = tau.into();
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
            let tau = rows.like(&broadcast_temperature(tau, logits)?, "temperature")?;
            softmax(&divide_by_temperature(&perturbed, &tau)?, 1.0)?
        }
    };
    // The perturbed logits decide, not the relaxed values: those can tie after rounding.
    let sample = if hard { straight_through(&one_hot_argmax(&perturbed)?, &soft)? } else { soft };
    rows.restore(&sample)
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
