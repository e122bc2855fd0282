//! Sequences of labels, each of which depends on its neighbours.

mod dims;
mod gumbel_crf;
mod hmm;
mod labels;
mod scores;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use gumbel_kernels::{
    ChainShape, Real, chain_dead_ends, chain_log_partition, chain_marginals, chain_mode,
    chain_sample, chain_vjp,
};

use super::host::{on_host, read, values};
use super::{MAX_CODES, Structure, divide};
use crate::checks::check_values;
use crate::op::on_slices;
use crate::{Error, Generator, Result, Temperature, uniform};

pub use hmm::Hmm;
pub use scores::ChainOptions;

use dims::Dims;

/// Labels `y_1 … y_T` out of `K`, with `p(y) ∝ exp(θ_1(y_1) + Σ_t θ_t(y_{t-1}, y_t))`: the linear-chain conditional random field.
///
/// Logits and codes are edges, `(batch…, T, K, K)`: entry `(t, i, j)` for label `i` before label `j`. The first step has no label before
/// it and uses its row `i = 0`; what stands in its other rows is not looked at, has marginal and gradient zero, and is 0 in codes.
/// [`Gibbs<LinearChain>`](crate::distributions::Gibbs) has the same in labels, `(batch…, T)`.
///
/// Log-partition and marginals come from forward filtering, samples from backward sampling, the mode from Viterbi's algorithm: `O(T K²)` a row, at
/// any scale of logits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinearChain {
    /// `(rows,)`; for more rows they repeat.
    lengths: Option<Arc<[usize]>>,
}

impl LinearChain {
    /// How long every row is, where they differ.
    pub fn lengths(&self) -> Option<&[usize]> {
        self.lengths.as_deref()
    }

    /// The lengths of so many rows.
    fn lengths_of(&self, rows: usize) -> Option<Vec<usize>> {
        let lengths = self.lengths.as_deref()?;
        Some(lengths.iter().copied().cycle().take(rows).collect())
    }

    fn length(&self, row: usize, steps: usize) -> usize {
        let lengths = self.lengths.as_deref().filter(|lengths| !lengths.is_empty());
        lengths.map_or(steps, |lengths| lengths[row % lengths.len()])
    }
}

impl Structure for LinearChain {
    fn name(&self) -> &'static str {
        "linear chains"
    }

    fn event_rank(&self, _: &Tensor) -> usize {
        3
    }

    fn support(&self) -> &'static str {
        "edges of one path of labels, the first in row 0, and zeros beyond the row's length"
    }

    fn misfit(&self, row: usize, event: &[usize], z: &[f64]) -> Option<usize> {
        let (steps, k) = (event[0], event[2]);
        let mut from = 0;
        for t in 0..steps {
            let cells = t * k * k..(t + 1) * k * k;
            let mut ones = cells.clone().filter(|&at| z[at] == 1.0);
            let inside = t < self.length(row, steps);
            match (inside, ones.next(), ones.next()) {
                (true, None, _) => return Some(cells.start + from * k),
                (true, Some(_), Some(second)) => return Some(second),
                (true, Some(at), None) if (at - cells.start) / k == from => from = at % k,
                (true, Some(at), None) | (false, Some(at), _) => return Some(at),
                (false, None, _) => {}
            }
        }
        None
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        let dims = Dims::of(logits)?;
        let lengths = self.lengths_of(dims.rows);
        let (shape, rows) = (dims.shape(&lengths), dims.rows);
        let (good, first) = read(logits, |x| look(shape, rows, x), |x| look(shape, rows, x))?;
        if !good {
            let invalid = |value, index| Error::InvalidLogit { value, index };
            check_values(logits, "logits", |logit| logit < f64::INFINITY, invalid)?;
        }
        match first.iter().enumerate().find(|(_, index)| **index < dims.steps) {
            Some((row, &index)) => Err(Error::NoStructure { what: "path of labels", row, index }),
            None => Ok(()),
        }
    }

    fn sample(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        let labels = self.sample_labels(logits, g)?;
        self.edges(&labels, logits)
    }

    fn solve(&self, scores: &Tensor) -> Result<Tensor> {
        self.edges(&self.best_labels(scores)?, scores)
    }

    fn log_partition(&self, scores: &Tensor) -> Result<Tensor> {
        let dims = Dims::of(scores)?;
        let lengths = self.lengths_of(dims.rows);
        let shape = dims.shape(&lengths);
        let mut wide = vec![0.0; dims.rows];
        let single = |[x]: [&[f32]; 1], a: &mut [f32]| {
            chain_log_partition(shape, x, &mut wide)?;
            a.iter_mut().zip(&wide).for_each(|(a, wide)| *a = *wide as f32);
            Ok(())
        };
        let double = |[x]: [&Tensor; 1]| {
            on_host([x], dims.batch, |[x], a| Ok(chain_log_partition(shape, x, a)?))
        };
        Ok(on_slices([scores], dims.batch, single, double)?.into_tensor())
    }

    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor> {
        let x = divide(&scores.detach(), tau)?;
        let dims = Dims::of(&x)?;
        let lengths = self.lengths_of(dims.rows);
        let shape = dims.shape(&lengths);
        let single = |[x]: [&[f32]; 1], mu: &mut [f32]| Ok(chain_marginals(shape, x, mu)?);
        let double = |[x]: [&Tensor; 1]| {
            on_host([x], x.shape(), |[x], mu| Ok(chain_marginals(shape, x, mu)?))
        };
        Ok(on_slices([&x], x.shape(), single, double)?.into_tensor())
    }

    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
        let x = divide(&scores.detach(), tau)?;
        let dims = Dims::of(&x)?;
        let lengths = self.lengths_of(dims.rows);
        let shape = dims.shape(&lengths);
        let single = |[x, g]: [&[f32]; 2], d: &mut [f32]| Ok(chain_vjp(shape, x, g, d)?);
        let double = |[x, g]: [&Tensor; 2]| {
            on_host([x, g], x.shape(), |[x, g], d| Ok(chain_vjp(shape, x, g, d)?))
        };
        let d = on_slices([&x, grad], x.shape(), single, double)?.into_tensor();
        divide(&d, tau)
    }

    /// The last label changes fastest. Rows of different lengths have different codes, and are refused.
    fn codes(&self, logits: &Tensor) -> Result<Tensor> {
        let dims = Dims::of(logits)?;
        let length = self.length(0, dims.steps);
        if self.lengths.iter().any(|lengths| lengths.iter().any(|&other| other != length)) {
            return Err(Error::InvalidParameter {
                name: "the lengths of chains to enumerate",
                value: length as f64,
                must: "the same for all rows",
            });
        }
        let size = (dims.k as f64).powi(length as i32);
        if size > MAX_CODES as f64 {
            return Err(Error::TooLarge { what: "paths to enumerate", size, limit: MAX_CODES });
        }
        let n_codes = size as usize;
        let digit = |code: usize, t: usize| {
            let label = code / dims.k.pow((length - 1 - t) as u32) % dims.k;
            label as u32
        };
        let label = |code, t| if t < length { digit(code, t) } else { 0 };
        let labels: Vec<u32> =
            (0..n_codes).flat_map(|code| (0..dims.steps).map(move |t| label(code, t))).collect();
        let whole = Self { lengths: self.lengths.as_ref().map(|_| vec![length].into()) };
        let like = logits.narrow(0, 0, 0)?;
        let like = Tensor::zeros(
            [&[n_codes], &like.dims()[like.rank() - 3..]].concat(),
            logits.dtype(),
            logits.device(),
        )?;
        whole.edges(&Tensor::from_vec(labels, (n_codes, dims.steps), logits.device())?, &like)
    }
}

impl LinearChain {
    /// `(batch…, T)`, u32.
    pub(super) fn sample_labels(&self, logits: &Tensor, g: &mut Generator) -> Result<Tensor> {
        self.check(logits)?;
        let dims = Dims::of(logits)?;
        let shape = [dims.batch, &[dims.steps]].concat();
        let uniforms = values(&uniform(shape.as_slice(), logits.dtype(), &Device::Cpu, g)?)?;
        let lengths = self.lengths_of(dims.rows);
        let chain = dims.shape(&lengths);
        let labels = read(logits, |x| draw(chain, x, &uniforms), |x| draw(chain, x, &uniforms))?;
        Ok(Tensor::from_vec(labels, shape, logits.device())?)
    }

    /// `(batch…, T)`, u32.
    pub(super) fn best_labels(&self, scores: &Tensor) -> Result<Tensor> {
        let dims = Dims::of(scores)?;
        let lengths = self.lengths_of(dims.rows);
        let (chain, n) = (dims.shape(&lengths), dims.rows * dims.steps);
        let labels = read(scores, |x| best(chain, n, x), |x| best(chain, n, x))?;
        Ok(Tensor::from_vec(labels, [dims.batch, &[dims.steps]].concat(), scores.device())?)
    }
}

/// Whether no value is NaN or `+inf`, and the first step of each row that no path reaches.
fn look<S: Real>(shape: ChainShape<'_>, rows: usize, x: &[S]) -> Result<(bool, Vec<usize>)> {
    let infinity = S::constant(f64::INFINITY);
    // Without a branch for each value.
    let good = x.iter().fold(true, |good, &x| good & (x < infinity));
    let mut first = vec![0; rows];
    chain_dead_ends(shape, x, &mut first)?;
    Ok((good, first))
}

fn draw<S: Real>(shape: ChainShape<'_>, x: &[S], uniforms: &[f64]) -> Result<Vec<u32>> {
    let mut labels = vec![0; uniforms.len()];
    chain_sample(shape, x, uniforms, &mut labels)?;
    Ok(labels)
}

fn best<S: Real>(shape: ChainShape<'_>, n: usize, x: &[S]) -> Result<Vec<u32>> {
    let mut labels = vec![0; n];
    chain_mode(shape, x, &mut labels)?;
    Ok(labels)
}
