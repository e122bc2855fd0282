//! Samples, exact and relaxed, and their gradients.

use candle_core::{Shape, Tensor};

use super::Gibbs;
use crate::checks::check_float;
use crate::distributions::shapes::{expand, expand_to_noise, sample_dims};
use crate::op::{allowed, with_gradient, zero_where_masked};
use crate::structure::Structure;
use crate::structure::host::has_masks;
use crate::{Error, Generator, Result, Temperature, straight_through};

impl<S: Structure + ?Sized> Gibbs<S> {
    /// Draws exact samples, `(sample…, batch…, event…)`. No gradient.
    pub fn sample(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let sample_shape = sample_shape.into();
        let logits = expand(&self.logits.detach(), sample_shape.clone())?;
        let z = self.structure.sample(&self.flat(&logits)?, g)?;
        self.finish(&self.unflat(&z, sample_shape.dims())?)
    }

    /// Fresh noise for [`Self::rsample_with_noise`], `(sample…, batch…, event…)`: Gumbel, for bits logistic.
    pub fn noise(&self, sample_shape: impl Into<Shape>, g: &mut Generator) -> Result<Tensor> {
        let dims = sample_dims(sample_shape.into(), &self.logits);
        let zeros = Tensor::zeros(dims.as_slice(), self.logits.dtype(), self.logits.device())?;
        Ok(self.structure.perturb(&self.flat(&zeros)?, g)?.reshape(dims)?)
    }

    /// Draws relaxed samples: the marginals of `(logits + noise) / τ` (Paulus et al. 2020, with exponential-family relaxation). With `hard` they are
    /// the best codes of `logits + noise`, with the gradient of the relaxed ones. The law of those codes is not that of [`Self::sample`],
    /// but for categories and bits.
    ///
    /// # Shapes
    /// - tau: a number, or a tensor that broadcasts to the logits, which gets its gradient. Output: `(sample…, batch…, event…)`.
    /// # Errors
    /// [`Error::InvalidTemperature`], [`Error::ShapeMismatch`] for a temperature that does not fit.
    pub fn rsample(
        &self,
        sample_shape: impl Into<Shape>,
        tau: impl Into<Temperature>,
        hard: bool,
        g: &mut Generator,
    ) -> Result<Tensor> {
        let noise = self.noise(sample_shape, g)?;
        self.rsample_with_noise(&noise, tau, hard)
    }

    /// [`Self::rsample`] with the given noise.
    ///
    /// # Errors
    /// Those of [`Self::rsample`]; [`Error::ShapeMismatch`] and [`Error::UnsupportedDType`] for the noise.
    pub fn rsample_with_noise(
        &self,
        noise: &Tensor,
        tau: impl Into<Temperature>,
        hard: bool,
    ) -> Result<Tensor> {
        let tau = tau.into();
        tau.check()?;
        check_float(noise, "noise")?;
        let logits = expand_to_noise(&self.logits, noise)?;
        let noise = noise.to_dtype(logits.dtype())?;
        let masks = if has_masks(&logits)? { Some(allowed(&logits)?) } else { None };
        // Zeros stand for masked entries until the division is done: they give no gradient to τ.
        let scores = match &masks {
            None => (&logits + noise)?,
            Some(masks) => {
                let scores = (zero_where_masked(&logits)? + noise)?;
                masks.where_cond(&scores, &scores.zeros_like()?)?
            }
        };
        let mask = |x: &Tensor| match &masks {
            None => Ok(x.clone()),
            Some(masks) => masks.where_cond(x, &x.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?),
        };
        let divided = match &tau {
            Temperature::Fixed(1.0) => scores.clone(),
            Temperature::Fixed(tau) => (&scores / *tau)?,
            Temperature::Tensor(tau) => {
                let mismatch = |_| Error::ShapeMismatch {
                    what: "temperature",
                    got: tau.dims().to_vec(),
                    expected: logits.dims().to_vec(),
                };
                let tau = tau.to_dtype(logits.dtype())?;
                scores.div(&tau.broadcast_as(logits.shape()).map_err(mismatch)?)?
            }
        };
        let soft = self.finish(&self.marginals_of(&mask(&divided)?)?)?;
        if !hard {
            return Ok(soft);
        }
        let scores = self.flat(&mask(&scores.detach())?)?;
        let code = self.structure.solve(&scores)?.reshape(logits.shape())?;
        straight_through(&self.finish(&code)?, &soft)
    }

    /// Draws exact samples with the gradient of the marginals, `H g` at the logits (Ahmed et al. 2023, SIMPLE). There is neither noise nor
    /// a temperature in the gradient. It is exact for a loss that is linear in the code, and the estimator
    /// [`StraightThrough`](crate::estimators::Estimator::StraightThrough) at τ = 1.
    pub fn exact_straight_through(
        &self,
        sample_shape: impl Into<Shape>,
        g: &mut Generator,
    ) -> Result<Tensor> {
        let sample_shape = sample_shape.into();
        let z = self.sample(sample_shape.clone(), g)?;
        let mu = self.marginals()?;
        straight_through(&z, &expand(&mu, sample_shape)?)
    }

    /// Draws the best code `z` of `logits + noise`, with the gradient of implicit maximum-likelihood estimation (Niepert et al. 2021):
    /// `(z − z') / λ`, where `z'` is the best code of `logits + noise − λ g` for the gradient `g` at `z`.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless `0 < lambda < inf`.
    pub fn implicit_mle(&self, lambda: f64, g: &mut Generator) -> Result<Tensor> {
        let structure = self.structure.clone();
        let flat = self.flat(&self.logits)?;
        let (z, pull) = implicit_mle(structure, &flat.detach(), lambda, g)?;
        let z =
            with_gradient("implicit-mle", z, [&flat], move |_, _, grad| Ok([Some(pull(grad)?)]))?;
        self.finish(&self.unflat(&z, &[])?)
    }
}

/// The code and its gradient, for logits `(rows, event…)`.
pub(crate) fn implicit_mle<S: Structure + ?Sized>(
    structure: std::sync::Arc<S>,
    logits: &Tensor,
    lambda: f64,
    g: &mut Generator,
) -> Result<(Tensor, impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + use<S>)> {
    check_lambda(lambda)?;
    let scores = structure.perturb(logits, g)?;
    let z = structure.solve(&scores)?;
    let sample = z.clone();
    let pull = move |grad: &Tensor| {
        // A masked entry stays masked, whatever its gradient is.
        let moved = allowed(&scores)?.where_cond(&(&scores - (grad * lambda)?)?, &scores)?;
        Ok(((&sample - structure.solve(&moved)?)? / lambda)?)
    };
    Ok((z, pull))
}

pub(crate) fn check_lambda(lambda: f64) -> Result<()> {
    if lambda > 0.0 && lambda < f64::INFINITY {
        return Ok(());
    }
    Err(Error::InvalidParameter { name: "lambda", value: lambda, must: "positive and finite" })
}
