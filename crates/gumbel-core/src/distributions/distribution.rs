//! What the distributions have in common.

use std::fmt::Debug;

use candle_core::{Shape, Tensor};

use crate::{Error, Generator, Result};

/// Any distribution, for code that does not care which: `fn f(q: &impl Distribution)` or `&dyn Distribution`.
///
/// Every distribution has samples and a density or a probability mass. What some of them lack is
/// [`Error::Undefined`]; the table of the [module](super) says which have what. A divergence belongs to a pair
/// of one type, so it is a function of the types.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{Generator, Result};
/// use gumbel_core::distributions::{Bernoulli, Distribution, Gumbel, Independent};
///
/// /// The entropy, estimated from samples where there is no closed form.
/// fn entropy(q: &dyn Distribution, g: &mut Generator) -> Result<Tensor> {
///     q.entropy().or_else(|_| Ok(q.log_prob(&q.sample(1000.into(), g)?)?.mean(0)?.neg()?))
/// }
///
/// let mut g = Generator::new(0);
/// let zeros = Tensor::new(&[0f64, 0.0], &Device::Cpu)?;
/// let bits = Independent::new(Bernoulli::from_logits(&zeros)?, 1)?;
/// assert_eq!(entropy(&bits, &mut g)?.to_scalar::<f64>()?, 2.0 * std::f64::consts::LN_2);
/// assert_eq!(entropy(&Gumbel::new(&zeros, &zeros.ones_like()?)?, &mut g)?.dims(), &[2]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub trait Distribution: Debug + Send + Sync {
    /// The name of the type, for messages.
    fn name(&self) -> &'static str;

    /// The dimensions of independent variables.
    fn batch_shape(&self) -> &[usize];

    /// The dimensions of one value.
    fn event_shape(&self) -> &[usize];

    /// Draws samples `(sample..., batch..., event...)`, which carry no gradient.
    fn sample(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor>;

    /// The log-density or log-probability of values that broadcast against `(batch..., event...)`, in nats.
    /// The event's dimensions are dropped.
    ///
    /// # Errors
    /// [`Error::OutsideSupport`], [`Error::IndexOutOfRange`], [`Error::ShapeMismatch`], [`Error::UnsupportedDType`].
    fn log_prob(&self, value: &Tensor) -> Result<Tensor>;

    /// Draws samples with a gradient for the parameters.
    ///
    /// # Errors
    /// [`Error::Undefined`] for the exact distributions: see [`StraightThrough`](super::StraightThrough).
    fn rsample(&self, sample_shape: Shape, g: &mut Generator) -> Result<Tensor> {
        let _ = (sample_shape, g);
        undefined(self.name(), "rsample")
    }

    /// The entropy, `(batch...)`, in nats.
    ///
    /// # Errors
    /// [`Error::Undefined`].
    fn entropy(&self) -> Result<Tensor> {
        undefined(self.name(), "entropy")
    }

    /// The mean, `(batch..., event...)`.
    ///
    /// # Errors
    /// [`Error::Undefined`].
    fn mean(&self) -> Result<Tensor> {
        undefined(self.name(), "mean")
    }

    /// The variance of each coordinate, `(batch..., event...)`.
    ///
    /// # Errors
    /// [`Error::Undefined`].
    fn variance(&self) -> Result<Tensor> {
        undefined(self.name(), "variance")
    }

    /// The most probable value, `(batch..., event...)`.
    ///
    /// # Errors
    /// [`Error::Undefined`].
    fn mode(&self) -> Result<Tensor> {
        undefined(self.name(), "mode")
    }

    /// The logits, as they were given or as `ln p` (of bits: `ln p - ln(1 - p)`).
    ///
    /// # Errors
    /// [`Error::Undefined`].
    fn logits(&self) -> Result<Tensor> {
        undefined(self.name(), "logits")
    }
}

fn undefined(distribution: &'static str, what: &'static str) -> Result<Tensor> {
    Err(Error::Undefined { distribution, what })
}

/// The trait from the functions of the type: its event, and what it has beyond samples and densities.
macro_rules! distribution {
    ($type:ident, event: |$d:ident| $event:expr, has: $($method:ident)*) => {
        impl super::Distribution for $type {
            fn name(&self) -> &'static str {
                stringify!($type)
            }

            fn batch_shape(&self) -> &[usize] {
                $type::batch_shape(self)
            }

            fn event_shape(&self) -> &[usize] {
                let $d = self;
                $event
            }

            fn sample(
                &self,
                sample_shape: candle_core::Shape,
                g: &mut crate::Generator,
            ) -> crate::Result<candle_core::Tensor> {
                $type::sample(self, sample_shape, g)
            }

            fn log_prob(&self, value: &candle_core::Tensor) -> crate::Result<candle_core::Tensor> {
                $type::log_prob(self, value)
            }

            $(distribution!(@method $type $method);)*
        }
    };
    (@method $type:ident rsample) => {
        fn rsample(
            &self,
            sample_shape: candle_core::Shape,
            g: &mut crate::Generator,
        ) -> crate::Result<candle_core::Tensor> {
            $type::rsample(self, sample_shape, g)
        }
    };
    (@method $type:ident $method:ident) => {
        fn $method(&self) -> crate::Result<candle_core::Tensor> {
            $type::$method(self)
        }
    };
}
pub(super) use distribution;
