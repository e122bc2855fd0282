//! Structured variables at the sizes of the comparison: 64 chains of 100 labels out of 20, 64 subsets of 10 of 1,000 items, 64 trees over
//! 30 nodes and a root, matrices of 32 rows, rankings of 1,000 items, and 100 items to sort.

use candle_core::{DType, Device, Tensor, Var};
use std::sync::Arc;

use gumbel_core::distributions::{Gibbs, PlackettLuce};
use gumbel_core::structure::{Arborescence, KSubset, LinearChain};
use gumbel_core::{
    Generator, Iterations, SinkhornGradient, SinkhornOptions, gumbel_noise, gumbel_top_k, sinkhorn,
    soft_sort,
};

use crate::Result;
use crate::timing::Iterate;

const BATCH: usize = 64;
const CHAIN: (usize, usize) = (100, 20);
const SUBSET: (usize, usize) = (1000, 10);
const NODES: usize = 30;
const ROWS: usize = 32;
const SORTED: usize = 100;

/// What is measured: `marginals` with the log-partition; `relaxed` with noise and the gradient of the logits.
pub(crate) const WORK: [&str; 14] = [
    "structured_chain_marginals",
    "structured_chain_relaxed",
    "structured_chain_sample",
    "structured_subset_marginals",
    "structured_subset_relaxed",
    "structured_subset_sample",
    "structured_subset_top_k",
    "structured_tree_marginals",
    "structured_tree_relaxed",
    "structured_tree_sample",
    "structured_sinkhorn_plan",
    "structured_sinkhorn_gradient",
    "structured_ranking_gradient",
    "structured_sort_soft",
];

pub(crate) struct Structured {
    name: &'static str,
    logits: Var,
    upstream: Tensor,
    ranking: Tensor,
    g: Generator,
}

impl Structured {
    pub(crate) fn new(name: &'static str) -> Result<Self> {
        let (steps, k) = CHAIN;
        let dims = match name.split('_').nth(1) {
            Some("chain") => vec![BATCH, steps, k, k],
            Some("tree") => vec![BATCH, NODES, NODES + 1],
            Some("sinkhorn") => vec![BATCH, ROWS, ROWS],
            Some("sort") => vec![BATCH, SORTED],
            _ => vec![BATCH, SUBSET.0],
        };
        let mut g = Generator::new(0);
        let values = |g: &mut Generator| gumbel_noise(dims.as_slice(), DType::F32, &Device::Cpu, g);
        let (logits, upstream) = (Var::from_tensor(&values(&mut g)?)?, values(&mut g)?);
        let ranking = match name.contains("ranking") {
            true => PlackettLuce::from_logits(&logits)?.sample((), &mut g)?,
            false => upstream.clone(),
        };
        Ok(Self { name, logits, upstream, ranking, g })
    }

    fn chain(&self) -> Result<Gibbs<LinearChain>> {
        Ok(Gibbs::new(LinearChain::default(), &self.logits)?)
    }

    fn subset(&self) -> Result<Gibbs<KSubset>> {
        Ok(KSubset::from_logits(&self.logits, SUBSET.1)?)
    }

    fn tree(&self) -> Result<Gibbs<Arborescence>> {
        Ok(Gibbs::on(Arc::new(Arborescence::default()), &self.logits)?)
    }

    /// Twenty iterations, of which a gradient undoes each.
    fn plan(&self, logits: &Tensor, gradient: SinkhornGradient) -> Result<Tensor> {
        let (iterations, gradient) = (Some(Iterations::Fixed(20)), Some(gradient));
        let options = SinkhornOptions { iterations, gradient, ..Default::default() };
        Ok(sinkhorn(logits, &options)?.plan)
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
            "structured_tree_marginals" => {
                let d = self.tree()?;
                d.log_partition()?;
                d.marginals()?;
            }
            "structured_tree_relaxed" => {
                self.back(&self.tree()?.rsample((), 1.0, false, &mut g)?)?;
            }
            "structured_tree_sample" => drop(self.tree()?.sample((), &mut g)?),
            // Without a gradient there is no history to keep.
            "structured_sinkhorn_plan" => {
                self.plan(&self.logits.as_detached_tensor(), SinkhornGradient::Implicit)?;
            }
            "structured_sinkhorn_gradient" => {
                self.back(&self.plan(&self.logits, SinkhornGradient::Unrolled)?)?;
            }
            "structured_ranking_gradient" => {
                let d = PlackettLuce::from_logits(&self.logits)?;
                d.log_prob(&self.ranking)?.sum_all()?.backward()?;
            }
            "structured_sort_soft" => {
                drop(soft_sort(&self.logits.as_detached_tensor(), 1.0, 1, false)?)
            }
            _ => drop(gumbel_top_k(&self.logits, SUBSET.1, &mut g)?),
        }
        self.g = g;
        Ok(())
    }
}
