//! Structured variables at the sizes of the comparison: 64 chains of 100 labels out of 20, 64 subsets of 10 of 1,000 items.

use candle_core::{DType, Device, Tensor, Var};
use gumbel_core::distributions::Gibbs;
use gumbel_core::structure::{KSubset, LinearChain};
use gumbel_core::{Generator, gumbel_noise, gumbel_top_k};

use crate::Result;
use crate::timing::Iterate;

const BATCH: usize = 64;
const CHAIN: (usize, usize) = (100, 20);
const SUBSET: (usize, usize) = (1000, 10);

/// What is measured: `marginals` with the log-partition; `relaxed` with noise and the gradient of the logits.
pub(crate) const WORK: [&str; 7] = [
    "structured_chain_marginals",
    "structured_chain_relaxed",
    "structured_chain_sample",
    "structured_subset_marginals",
    "structured_subset_relaxed",
    "structured_subset_sample",
    "structured_subset_top_k",
];

pub(crate) struct Structured {
    name: &'static str,
    logits: Var,
    upstream: Tensor,
    g: Generator,
}

impl Structured {
    pub(crate) fn new(name: &'static str) -> Result<Self> {
        let (steps, k) = CHAIN;
        let dims = match name.contains("chain") {
            true => vec![BATCH, steps, k, k],
            false => vec![BATCH, SUBSET.0],
        };
        let mut g = Generator::new(0);
        let values = |g: &mut Generator| gumbel_noise(dims.as_slice(), DType::F32, &Device::Cpu, g);
        let (logits, upstream) = (Var::from_tensor(&values(&mut g)?)?, values(&mut g)?);
        Ok(Self { name, logits, upstream, g })
    }

    fn chain(&self) -> Result<Gibbs<LinearChain>> {
        Ok(Gibbs::new(LinearChain::default(), &self.logits)?)
    }

    fn subset(&self) -> Result<Gibbs<KSubset>> {
        Ok(KSubset::from_logits(&self.logits, SUBSET.1)?)
    }

    fn back(&self, y: &Tensor) -> Result<()> {
        (y * &self.upstream)?.sum_all()?.backward()?;
        Ok(())
    }
}

impl Iterate for Structured {
    fn iterate(&mut self) -> Result<()> {
        let mut g = self.g.clone();
        match self.name {
            "structured_chain_marginals" => {
                let d = self.chain()?;
                d.log_partition()?;
                d.marginals()?;
            }
            "structured_chain_relaxed" => {
                self.back(&self.chain()?.rsample((), 1.0, false, &mut g)?)?;
            }
            "structured_chain_sample" => drop(self.chain()?.sample_labels((), &mut g)?),
            "structured_subset_marginals" => {
                let d = self.subset()?;
                d.log_partition()?;
                d.marginals()?;
            }
            "structured_subset_relaxed" => {
                self.back(&self.subset()?.rsample((), 1.0, false, &mut g)?)?;
            }
            "structured_subset_sample" => drop(self.subset()?.sample((), &mut g)?),
            _ => drop(gumbel_top_k(&self.logits, SUBSET.1, &mut g)?),
        }
        self.g = g;
        Ok(())
    }
}
