//! Divergences of two distributions over the same codes.

use candle_core::{DType, Tensor};

use super::Gibbs;
use crate::op::{allowed, zero_where_masked};
use crate::structure::Structure;
use crate::{Error, Result};

impl<S: Structure + ?Sized> Gibbs<S> {
    /// `KL(self || other)`, `(batch…)`, in nats; `+inf` where `other` masks an entry that `self` uses. Both must have the same
    /// structure: it is exactly zero for equal logits.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] for logits of another shape.
    pub fn kl_divergence(&self, other: &Self) -> Result<Tensor> {
        if self.logits.dims() != other.logits.dims() {
            let (got, expected) = (other.logits.dims().to_vec(), self.logits.dims().to_vec());
            return Err(Error::ShapeMismatch { what: "the other distribution", got, expected });
        }
        let (p, q) = (self.precise()?, other.precise()?);
        let mu = self.marginals_of(&p)?;
        let difference = (zero_where_masked(&q)? - zero_where_masked(&p)?)?;
        let cross = self.sum_event(&(&mu * difference)?)?;
        let partitions = (other.log_partition_of(&q)? - self.log_partition_of(&p)?)?;
        let kl = (partitions - cross)?;
        let missing = (mu.detach().gt(0.0)? * allowed(&q)?.eq(0u8)?)?.to_dtype(DType::F64)?;
        let infinite = self.sum_event(&missing)?.gt(0.0)?;
        let infinity = kl.zeros_like()?.affine(1.0, f64::INFINITY)?;
        self.finish(&infinite.where_cond(&infinity, &kl)?)
    }

    /// The divergence from the distribution in which all allowed codes are equally probable, `ln(count) − entropy`: `(batch…)`, in nats.
    pub fn kl_to_uniform(&self) -> Result<Tensor> {
        let logits = self.precise()?;
        let entropy = {
            let mean = (zero_where_masked(&logits)? * self.marginals_of(&logits)?)?;
            (self.log_partition_of(&logits)? - self.sum_event(&mean)?)?
        };
        let zeros = logits.detach().zeros_like()?;
        let masks = zeros.affine(1.0, f64::NEG_INFINITY)?;
        let count = self.log_partition_of(&allowed(&logits)?.where_cond(&zeros, &masks)?)?;
        self.finish(&(count - entropy)?)
    }
}
