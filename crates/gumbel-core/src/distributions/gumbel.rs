//! The Gumbel distribution.

use candle_core::{DType, Shape, Tensor};

use super::distribution::distribution;
use super::parameters::not_below_zero;
use super::shapes::{broadcast, broadcast_as, expand, expand_to_noise};
use crate::checks::{check_float, check_values};
use crate::op::widen;
use crate::op::{EULER_GAMMA, ln_gamma};
use crate::{Error, Generator, Result, gumbel_noise};

/// The Gumbel distribution of maxima, `loc + scale · g` with standard Gumbel noise `g`.
///
/// # Shapes
/// - loc, scale: broadcast against each other to `(batch...)`; event shape `()`.
/// # Gradient
/// Of every function but `sample` for `loc` and `scale` (where they enter), of `log_prob` for the value.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::Generator;
/// use gumbel_core::distributions::Gumbel;
///
/// let d = Gumbel::new(&Tensor::new(&[0f64, 5.0], &Device::Cpu)?, &Tensor::new(2f64, &Device::Cpu)?)?;
/// assert_eq!(d.rsample(3, &mut Generator::new(0))?.dims(), &[3, 2]);
/// assert_eq!(d.log_prob(&d.mode()?)?.to_vec1::<f64>()?[0], -1.0 - 2f64.ln());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gumbel {
    loc: Tensor,
    scale: Tensor,
    dtype: DType,
}

distribution!(Gumbel, event: |_d| &[], has: rsample entropy mean variance mode);

impl Gumbel {
    /// From location and scale.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless `loc` is finite and `scale` finite and > 0,
    /// [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let bad = |name, must| move |value, _| Error::InvalidParameter { name, value, must };
        check_values(loc, "loc", f64::is_finite, bad("loc", "finite"))?;
        let positive = |s: f64| s.is_finite() && s > 0.0;
        check_values(scale, "scale", positive, bad("scale", "finite and > 0"))?;
        let dtype = loc.dtype();
        let loc = widen(loc)?;
        let (loc, scale) = broadcast(&loc, &scale.to_dtype(loc.dtype())?)?;
        Ok(Self { loc, scale, dtype })
    }

    /// The dimensions of independent variables.
    pub fn batch_shape(&self) -> &[usize] {
        self.loc.dims()
    }

    /// The location, `(batch...)`.
    pub fn loc(&self) -> Result<Tensor> {
        self.finish(self.loc.clone())
    }

    /// The scale, `(batch...)`.
    pub fn scale(&self) -> Result<Tensor> {
        self.finish(self.scale.clone())
    }

    /// Draws samples `(sample..., batch...)` with a pathwise gradient.
    pub fn rsample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let shape = sample_shape.into();
        let (loc, scale) = (expand(&self.loc, shape.clone())?, expand(&self.scale, shape)?);
        let noise = gumbel_noise(loc.shape(), loc.dtype(), loc.device(), g)?;
        self.finish((loc + (scale * noise)?)?)
    }

    /// The sample that standard Gumbel noise `(sample..., batch...)` gives; the noise gets a gradient too.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn rsample_with_noise(&self, noise: &Tensor) -> Result<Tensor> {
        check_float(noise, "noise")?;
        let (loc, scale) =
            (expand_to_noise(&self.loc, noise)?, expand_to_noise(&self.scale, noise)?);
        let noise = noise.to_dtype(loc.dtype())?;
        self.finish((loc + (scale * noise)?)?)
    }

    /// [`Self::rsample`] without a gradient.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        Ok(self.rsample(sample_shape, g)?.detach())
    }

    /// The log-density `-(z + e^-z) - ln scale` with `z = (value - loc) / scale`, in nats.
    ///
    /// # Shapes
    /// - value: broadcasts against `(batch...)`; output: the common shape.
    /// # Errors
    /// [`Error::OutsideSupport`] for a value that is not finite, [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    pub fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let (what, support) = ("Gumbel::log_prob", "the real line");
        let bad = |value, index| Error::OutsideSupport { what, value, index, support };
        check_values(value, "value", f64::is_finite, bad)?;
        let (value, loc) = broadcast(&value.to_dtype(self.loc.dtype())?, &self.loc)?;
        let z = (value - loc)?.broadcast_div(&self.scale)?;
        let shape = (&z + z.neg()?.exp()?)?;
        self.finish(shape.broadcast_add(&self.scale.log()?)?.neg()?)
    }

    /// The entropy, `ln scale + γ + 1`: `(batch...)`, in nats.
    pub fn entropy(&self) -> Result<Tensor> {
        self.finish(self.scale.log()?.affine(1.0, EULER_GAMMA + 1.0)?)
    }

    /// The mean, `loc + γ · scale`: `(batch...)`.
    pub fn mean(&self) -> Result<Tensor> {
        self.finish((&self.loc + (&self.scale * EULER_GAMMA)?)?)
    }

    /// The mode, `loc`: `(batch...)`.
    pub fn mode(&self) -> Result<Tensor> {
        self.finish(self.loc.clone())
    }

    /// The variance, `π² scale² / 6`: `(batch...)`.
    pub fn variance(&self) -> Result<Tensor> {
        self.finish((self.scale.sqr()? * (std::f64::consts::PI.powi(2) / 6.0))?)
    }

    /// `KL(self || other)`, in nats. With `r = self.scale / other.scale` and
    /// `d = (self.loc - other.loc) / other.scale`: `d + γ r - ln r - 1 - γ + Γ(1 + r) e^-d`.
    ///
    /// # Shapes
    /// The parameters of the two broadcast against each other.
    /// # Errors
    /// [`Error::ShapeMismatch`].
    pub fn kl_divergence(&self, other: &Self) -> Result<Tensor> {
        let dtype = self.loc.dtype();
        let what = "the other distribution";
        let (loc, other_loc) = broadcast_as(what, &self.loc, &other.loc.to_dtype(dtype)?)?;
        let (scale, other_scale) = broadcast_as(what, &self.scale, &other.scale.to_dtype(dtype)?)?;
        let r = (scale / &other_scale)?;
        let d = ((loc - other_loc)? / other_scale)?;
        let linear = ((&d + (&r * EULER_GAMMA)?)? - r.log()?)?.affine(1.0, -1.0 - EULER_GAMMA)?;
        let tail = (ln_gamma(&r.affine(1.0, 1.0)?)? - d)?.exp()?;
        self.finish(not_below_zero(&(linear + tail)?)?)
    }

    fn finish(&self, result: Tensor) -> Result<Tensor> {
        Ok(result.to_dtype(self.dtype)?)
    }
}
