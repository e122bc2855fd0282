//! A distribution over the spanning trees of ten vertices, fitted to another: the optimum is `θ = ln w`, up to a constant, and the gap zero.

use anyhow::Result;
use candle_core::{DType, Tensor, Var};
use gumbel_core::Generator;
use gumbel_core::distributions::Gibbs;
use gumbel_core::estimators::Estimator;
use gumbel_core::structure::SpanningTree;

use crate::method::Method;
use crate::network::normal;
use crate::posterior::{self, Pair, Problem};
use crate::report::{Column, Report, each_seed};

const VERTICES: usize = 10;
const EDGES: usize = VERTICES * (VERTICES - 1) / 2;
/// Equal rows, each with its own sample.
const BATCH: usize = 20;
/// Standard deviation of the logarithms of the target's weights.
const SCALE: f64 = 2.0;

/// For each method the gap in nats, and the bias and the noise of its gradient. Each seed has weights of its own.
pub(crate) fn run(seeds: u64) -> Result<Report> {
    let mut report = Report::new(
        "Tree posterior: gap of the bound to ln Z",
        vec![
            Column::new("gap, nats").answer(0.0).log(),
            Column::new("bias of the gradient").answer(0.0),
            Column::new("noise of the gradient"),
        ],
    );
    let methods: [(_, Method<SpanningTree>); 9] = [
        ("exact marginals", Method::Sample(|q, _| Ok(q.marginals()?))),
        ("`straight-through`", Method::By(Estimator::StraightThrough, 1.0)),
        ("`rloo`, 4 samples", Method::By(Estimator::Rloo { samples: 4 }, 1.0)),
        ("`reinforce`", Method::By(Estimator::Reinforce, 1.0)),
        ("`gumbel-softmax`, τ = 1", Method::By(Estimator::GumbelSoftmax, 1.0)),
        ("`gumbel-softmax`, τ = 0.3", Method::By(Estimator::GumbelSoftmax, 0.3)),
        ("`implicit-mle`, λ = 0.1", Method::By(Estimator::ImplicitMle { lambda: 0.1 }, 1.0)),
        ("`implicit-mle`, λ = 1", Method::By(Estimator::ImplicitMle { lambda: 1.0 }, 1.0)),
        ("`implicit-mle`, λ = 10", Method::By(Estimator::ImplicitMle { lambda: 10.0 }, 1.0)),
    ];
    for (name, method) in &methods {
        let one = |seed| {
            let mut g = Generator::new(seed);
            let fit = Fit {
                target: (normal((1, EDGES), DType::F64, &mut g)? * SCALE)?,
                logits: Var::from_tensor(&normal((1, EDGES), DType::F64, &mut g)?)?,
            };
            posterior::run(&fit, method, &mut g)
        };
        report.push(name, &each_seed(seeds, one)?);
    }
    Ok(report)
}

struct Fit {
    target: Tensor,
    logits: Var,
}

impl Fit {
    fn pair(&self, rows: usize) -> Result<Pair<SpanningTree>> {
        let on = |logits: &Tensor| Gibbs::new(SpanningTree, &logits.repeat((rows, 1))?);
        Ok((on(&self.logits)?, on(&self.target)?))
    }
}

impl Problem for Fit {
    type Structure = SpanningTree;

    fn parameters(&self) -> Vec<Var> {
        vec![self.logits.clone()]
    }

    fn batch(&self, _: &mut Generator) -> Result<Pair<SpanningTree>> {
        self.pair(BATCH)
    }

    fn test(&self) -> Result<Pair<SpanningTree>> {
        self.pair(1)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// The gap is zero at the target's own logits, whatever is added to all of them: every tree has as many edges.
    #[test]
    fn the_gap_is_zero_at_the_target_only() {
        let mut g = Generator::new(0);
        let target = normal((1, EDGES), DType::F64, &mut g).unwrap();
        let gap = |logits: &Tensor| {
            let logits = Var::from_tensor(logits).unwrap();
            let (q, p) = Fit { target: target.clone(), logits }.test().unwrap();
            q.kl_divergence(&p).unwrap().to_vec1::<f64>().unwrap()[0]
        };
        assert!(gap(&(&target + 3.0).unwrap()).abs() < 1e-10);
        assert!(gap(&(&target * 1.1).unwrap()) > 1e-3);
        let zeros = Tensor::zeros((1, EDGES), DType::F64, &Device::Cpu).unwrap();
        assert!(gap(&zeros) > 0.1);
    }
}
