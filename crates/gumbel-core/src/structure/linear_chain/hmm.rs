//! Hidden Markov models: chains from observations.

use candle_core::{D, DType, Device, Tensor};

use super::{ChainOptions, LinearChain};
use crate::distributions::Gibbs;
use crate::op::{log_softmax, widen};
use crate::{Error, Result};

/// A hidden Markov model with `K` states and `V` symbols. Its posterior given observations is a [`LinearChain`].
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use gumbel_core::structure::Hmm;
///
/// let initial = Var::new(&[0f64, 0.0], &Device::Cpu)?;
/// let transition = Var::new(&[[2f64, 0.0], [0.0, 2.0]], &Device::Cpu)?;
/// let emission = Var::new(&[[3f64, 0.0, 0.0], [0.0, 0.0, 3.0]], &Device::Cpu)?;
/// let hmm = Hmm::from_logits(&initial, &transition, &emission)?;
/// let x = Tensor::new(&[[0u32, 0, 2, 2], [1, 1, 1, 1]], &Device::Cpu)?;
/// let posterior = hmm.posterior(&x, None)?;
/// assert_eq!(posterior.mode_labels()?.to_vec2::<u32>()?[0], [0, 0, 1, 1]);
/// let log_likelihood = posterior.log_partition()?; // ln p(x)
/// assert!(log_likelihood.sum_all()?.backward()?.get(&emission).is_some());
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hmm {
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
}

impl Hmm {
    /// From unnormalised log-probabilities. Every last dimension is normalised by a log-softmax.
    ///
    /// # Shapes
    /// - initial: `(K,)`; transition: `(K, K)`, rows for the state before; emission: `(K, V)`.
    /// # Errors
    /// [`Error::ShapeMismatch`]; [`Error::InvalidLogit`] and [`Error::AllMasked`] for values that normalise to no distribution.
    pub fn from_logits(initial: &Tensor, transition: &Tensor, emission: &Tensor) -> Result<Self> {
        let k = initial.elem_count();
        let check = |what, x: &Tensor, expected: Vec<usize>| {
            if x.dims() != expected || x.elem_count() == 0 {
                return Err(Error::ShapeMismatch { what, got: x.dims().to_vec(), expected });
            }
            crate::logits::Rows::new(&x.detach(), x.rank() - 1)?;
            log_softmax(&widen(x)?.contiguous()?)
        };
        let symbols = emission.dims().last().copied().unwrap_or(0);
        Ok(Self {
            initial: check("initial", initial, vec![k])?,
            transition: check("transition", transition, vec![k, k])?,
            emission: check("emission", emission, vec![k, symbols])?,
        })
    }

    /// The states given observations. Its [`Gibbs::log_partition`] is `ln p(x)`.
    ///
    /// # Shapes
    /// - observations: `(batch…, T)`, u32; lengths: `(batch…)`, u32. What is observed beyond a row's length must be a symbol too.
    /// # Errors
    /// [`Error::IndexOutOfRange`] for an observation that is no symbol; those of [`LinearChain::new`].
    pub fn posterior(
        &self,
        observations: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Gibbs<LinearChain>> {
        let dtype = observations.dtype();
        if dtype != DType::U32 {
            return Err(Error::UnsupportedDType { what: "observations", dtype, expected: "u32" });
        }
        let (k, n_classes) = self.emission.dims2()?;
        let flat = observations.flatten_all()?;
        let list = flat.to_device(&Device::Cpu)?.to_vec1::<u32>()?;
        if let Some(&symbol) = list.iter().find(|&&symbol| symbol as usize >= n_classes) {
            return Err(Error::IndexOutOfRange { index: i64::from(symbol), n_classes });
        }
        let by_symbol = self.emission.t()?.contiguous()?;
        let unary = by_symbol.index_select(&flat, 0)?;
        let unary = unary.reshape([observations.dims(), &[k]].concat())?;
        let start = Some(&self.initial);
        LinearChain::new(&unary, &self.transition, ChainOptions { start, end: None, lengths })
    }

    /// Normalised emission log-probabilities, `(K, V)`.
    pub fn emission(&self) -> &Tensor {
        &self.emission
    }

    /// The number of states.
    pub fn n_states(&self) -> usize {
        self.initial.dim(D::Minus1).unwrap_or(0)
    }
}
