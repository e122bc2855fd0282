//! Several independent variables of one structure in a code.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::Tensor;

use super::{MAX_CODES, Structure};
use crate::{Error, Generator, Result, Temperature};

/// Independent variables of one structure side by side: a code is one code of the structure for each copy.
///
/// Logits and codes are `(batch, copies, event…)`. Log-partitions are sums over the copies; everything else is that of each copy.
///
/// # Example
/// ```
/// use std::sync::Arc;
///
/// use candle_core::{DType, Device, Tensor};
/// use gumbel_core::distributions::Gibbs;
/// use gumbel_core::structure::{Copies, KSubset};
///
/// // Three subsets, each of two out of four items.
/// let structure = Copies::new(Arc::new(KSubset::new(2)));
/// let q = Gibbs::new(structure, &Tensor::zeros((1, 3, 4), DType::F64, &Device::Cpu)?)?;
/// let entropy = q.entropy()?.to_vec1::<f64>()?[0];
/// assert!((entropy - 3.0 * 6f64.ln()).abs() < 1e-12);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Copies {
    of: Arc<dyn Structure>,
}

impl Copies {
    /// Copies of a structure: as many as the logits have along their second dimension.
    pub fn new(of: Arc<dyn Structure>) -> Self {
        Self { of }
    }

    /// What each copy is.
    pub fn of(&self) -> &Arc<dyn Structure> {
        &self.of
    }
}

/// `(batch · copies, event…)`.
fn rows(x: &Tensor) -> Result<Tensor> {
    match x.dims() {
        [batch, copies, event @ ..] => {
            Ok(x.contiguous()?.reshape([&[batch * copies], event].concat())?)
        }
        _ => Err(unexpected(x)),
    }
}

fn unexpected(logits: &Tensor) -> Error {
    Error::UnexpectedShape {
        what: "logits",
        got: logits.dims().to_vec(),
        expected: "(batch, copies, event…)",
    }
}

/// A temperature for [`rows`].
fn of_rows(tau: &Temperature, like: &Tensor) -> Result<Temperature> {
    match tau {
        Temperature::Tensor(tau) => {
            Ok(Temperature::Tensor(rows(&tau.broadcast_as(like.shape())?)?))
        }
        number => Ok(number.clone()),
    }
}

impl Structure for Copies {
    fn name(&self) -> &'static str {
        self.of.name()
    }

    fn event_rank(&self, logits: &Tensor) -> usize {
        (1 + self.of.event_rank(logits)).min(logits.rank().saturating_sub(1))
    }

    fn support(&self) -> &'static str {
        self.of.support()
    }

    fn misfit(&self, row: usize, event: &[usize], z: &[f64]) -> Option<usize> {
        let per_copy: usize = event[1..].iter().product();
        z.chunks(per_copy.max(1)).enumerate().find_map(|(copy, z)| {
            let at = self.of.misfit(row * event[0] + copy, &event[1..], z)?;
            Some(copy * per_copy + at)
        })
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        let of_copies = rows(logits)?;
        if of_copies.rank() <= self.of.event_rank(&of_copies) {
            return Err(unexpected(logits));
        }
        self.of.check(&of_copies)
    }

    fn sample(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        Ok(self.of.sample(&rows(logits)?, g)?.reshape(logits.shape())?)
    }

    fn solve(&self, scores: &Tensor) -> Result<Tensor> {
        Ok(self.of.solve(&rows(scores)?)?.reshape(scores.shape())?)
    }

    fn log_partition(&self, scores: &Tensor) -> Result<Tensor> {
        let (batch, copies) = (scores.dim(0)?, scores.dim(1)?);
        Ok(self.of.log_partition(&rows(scores)?)?.reshape((batch, copies))?.sum(1)?)
    }

    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor> {
        let tau = of_rows(tau, scores)?;
        Ok(self.of.marginals(&rows(scores)?, &tau)?.reshape(scores.shape())?)
    }

    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
        let tau = of_rows(tau, scores)?;
        let d = self.of.marginals_vjp(&rows(scores)?, &tau, &rows(grad)?)?;
        Ok(d.reshape(scores.shape())?)
    }

    /// Every combination of codes; the last copy's changes fastest.
    fn codes(&self, logits: &Tensor) -> Result<Tensor> {
        let copies = logits.dim(1)?;
        let of_one = self.of.codes(&rows(&logits.narrow(1, 0, copies.min(1))?)?)?;
        let n = of_one.dim(0)?;
        let size = (n as f64).powf(copies as f64);
        if size > MAX_CODES as f64 {
            return Err(Error::TooLarge { what: "codes to enumerate", size, limit: MAX_CODES });
        }
        let n_codes = size as usize;
        let of_copies = (0..copies).map(|copy| {
            let period = n.pow((copies - 1 - copy) as u32).max(1);
            let choice: Vec<u32> = (0..n_codes).map(|code| (code / period % n) as u32).collect();
            Ok(of_one.index_select(&Tensor::from_vec(choice, n_codes, logits.device())?, 0)?)
        });
        Ok(Tensor::stack(&of_copies.collect::<Result<Vec<_>>>()?, 1)?)
    }
}
