//! The posterior of a hidden Markov model is a chain, and so is the approximate one: the bound can reach `ln p(x)`.

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor, Var};
use gumbel_core::estimators::Estimator;
use gumbel_core::structure::{ChainOptions, Hmm, LinearChain};
use gumbel_core::{Generator, gumbel_max, uniform};

use crate::method::Method;
use crate::network::normal;
use crate::posterior::{self, Pair, Problem};
use crate::report::{Column, Report, each_seed};

const STATES: usize = 4;
const SYMBOLS: usize = 16;
const STEPS: usize = 20;
const STAY: f64 = 0.8;
const N_TRAIN: usize = 20_000;
const N_TEST: usize = 2_000;
const BATCH: usize = 50;

/// For each method the gap on test sequences in nats, and the bias and the noise of its gradient.
pub(crate) fn run(seeds: u64) -> Result<Report> {
    let data = Data::new([N_TRAIN, N_TEST], &mut Generator::new(0).stream(1))?;
    let mut report = Report::new(
        "Chain posterior: gap of the bound to ln p(x)",
        vec![
            Column::new("gap, nats").answer(0.0).log(),
            Column::new("bias of the gradient").answer(0.0),
            Column::new("noise of the gradient"),
        ],
    );
    let methods: [(_, Method<LinearChain>); 11] = [
        ("exact marginals", Method::Sample(|q, _| Ok(q.marginals()?))),
        ("`straight-through`", Method::By(Estimator::StraightThrough, 1.0)),
        ("`rloo`, 4 samples", Method::By(Estimator::Rloo { samples: 4 }, 1.0)),
        ("`reinforce`", Method::By(Estimator::Reinforce, 1.0)),
        ("`gumbel-softmax`, τ = 1", Method::By(Estimator::GumbelSoftmax, 1.0)),
        ("`gumbel-softmax`, τ = 0.3", Method::By(Estimator::GumbelSoftmax, 0.3)),
        ("`gumbel_crf`, τ = 1", Method::Sample(|q, g| edges(&q.gumbel_crf(1.0, false, g)?))),
        ("`gumbel_crf`, hard, τ = 1", Method::Sample(|q, g| edges(&q.gumbel_crf(1.0, true, g)?))),
        ("`implicit-mle`, λ = 0.1", Method::By(Estimator::ImplicitMle { lambda: 0.1 }, 1.0)),
        ("`implicit-mle`, λ = 1", Method::By(Estimator::ImplicitMle { lambda: 1.0 }, 1.0)),
        ("`implicit-mle`, λ = 10", Method::By(Estimator::ImplicitMle { lambda: 10.0 }, 1.0)),
    ];
    for (name, method) in &methods {
        let one = |seed| {
            let mut g = Generator::new(seed);
            let fit = Fit { data: &data, encoder: Encoder::new(&mut g)? };
            posterior::run(&fit, method, &mut g)
        };
        report.push(name, &each_seed(seeds, one)?);
    }
    Ok(report)
}

/// Edges of labels `(batch, T, K)`, relaxed or not: what `ln p(x, z)` is linear in.
fn edges(labels: &Tensor) -> Result<Tensor> {
    let (batch, steps, k) = labels.dims3()?;
    // The first label comes after row 0.
    let first = labels.narrow(1, 0, 1)?.unsqueeze(2)?;
    let first = first.pad_with_zeros(2, 0, k - 1)?;
    let before = labels.narrow(1, 0, steps - 1)?.unsqueeze(D::Minus1)?;
    let after = labels.narrow(1, 1, steps - 1)?.unsqueeze(2)?;
    let rest = before.broadcast_mul(&after)?.reshape((batch, steps - 1, k, k))?;
    Ok(Tensor::cat(&[first, rest], 1)?)
}

/// Sequences of a hidden Markov model whose states stay with probability [`STAY`].
struct Data {
    hmm: Hmm,
    train: Tensor,
    test: Tensor,
}

impl Data {
    fn new([n_train, n_test]: [usize; 2], g: &mut Generator) -> Result<Self> {
        let initial = Tensor::zeros(STATES, DType::F64, &Device::Cpu)?;
        let leave = ((1.0 - STAY) / (STATES - 1) as f64).ln();
        let stay = Tensor::eye(STATES, DType::F64, &Device::Cpu)?;
        let transition = stay.affine(STAY.ln() - leave, leave)?;
        let emission = (normal((STATES, SYMBOLS), DType::F64, g)? * 1.5)?;
        let hmm = Hmm::from_logits(&initial, &transition, &emission)?;
        // The states before anything is observed are a chain, too.
        let n = n_train + n_test;
        let unary = Tensor::zeros((STEPS, STATES), DType::F64, &Device::Cpu)?;
        let prior = LinearChain::new(&unary, &transition, ChainOptions::default())?;
        let states = prior.sample_labels(n, g)?.flatten_all()?;
        let laws = hmm.emission().index_select(&states, 0)?;
        let x = gumbel_max(&laws, 1, g)?.reshape((n, STEPS))?;
        Ok(Self { hmm, train: x.narrow(0, 0, n_train)?, test: x.narrow(0, n_train, n_test)? })
    }
}

/// Scores of labels for each symbol, of pairs, and of the first label.
struct Encoder {
    unary: Var,
    transition: Var,
    start: Var,
}

impl Encoder {
    fn new(g: &mut Generator) -> Result<Self> {
        let mut draw = |shape: &[usize]| -> Result<Var> {
            Ok(Var::from_tensor(&normal(shape, DType::F64, g)?)?)
        };
        Ok(Self {
            unary: draw(&[SYMBOLS, STATES])?,
            transition: draw(&[STATES, STATES])?,
            start: draw(&[STATES])?,
        })
    }
}

struct Fit<'a> {
    data: &'a Data,
    encoder: Encoder,
}

impl Fit<'_> {
    fn pair(&self, x: &Tensor) -> Result<Pair<LinearChain>> {
        let Encoder { unary, transition, start } = &self.encoder;
        let (n, steps) = x.dims2()?;
        let unary = unary.index_select(&x.flatten_all()?, 0)?.reshape((n, steps, STATES))?;
        let options = ChainOptions { start: Some(start), ..Default::default() };
        Ok((LinearChain::new(&unary, transition, options)?, self.data.hmm.posterior(x, None)?))
    }
}

impl Problem for Fit<'_> {
    type Structure = LinearChain;

    fn parameters(&self) -> Vec<Var> {
        let Encoder { unary, transition, start } = &self.encoder;
        vec![unary.clone(), transition.clone(), start.clone()]
    }

    fn batch(&self, g: &mut Generator) -> Result<Pair<LinearChain>> {
        let n = self.data.train.dim(0)? as f64;
        let at = uniform(BATCH, DType::F64, &Device::Cpu, g)?.affine(n, 0.0)?;
        self.pair(&self.data.train.index_select(&at.to_dtype(DType::U32)?, 0)?)
    }

    fn test(&self) -> Result<Pair<LinearChain>> {
        self.pair(&self.data.test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer that the experiment rests on: with the model's own scores the gap is zero, and `ln p(x)` is the sum over all paths.
    #[test]
    fn the_models_own_scores_close_the_gap() {
        let mut g = Generator::new(3);
        let data = Data::new([10, 90], &mut g).unwrap();
        let leave = ((1.0 - STAY) / (STATES - 1) as f64).ln();
        let stay = Tensor::eye(STATES, DType::F64, &Device::Cpu).unwrap();
        let transition = stay.affine(STAY.ln() - leave, leave).unwrap();
        let unary = data.hmm.emission().t().unwrap().contiguous().unwrap();
        let start = Tensor::zeros(STATES, DType::F64, &Device::Cpu).unwrap();
        let encoder = Encoder {
            unary: Var::from_tensor(&unary).unwrap(),
            transition: Var::from_tensor(&transition).unwrap(),
            start: Var::from_tensor(&start).unwrap(),
        };
        let fit = Fit { data: &data, encoder };
        let (q, p) = fit.test().unwrap();
        let gap = q.kl_divergence(&p).unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(gap.abs() < 1e-10, "{gap}");

        // Five steps have 1024 paths.
        let x = data.test.narrow(0, 0, 1).unwrap().narrow(1, 0, 5).unwrap();
        let p = data.hmm.posterior(&x, None).unwrap();
        let symbols = x.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        let emission = data.hmm.emission().to_vec2::<f64>().unwrap();
        let mut total = 0.0;
        for path in 0..STATES.pow(5) {
            let state = |t: u32| path / STATES.pow(t) % STATES;
            let mut log_p = -(STATES as f64).ln();
            for t in 0..5 {
                log_p += emission[state(t)][symbols[t as usize] as usize];
                if t > 0 {
                    log_p += if state(t) == state(t - 1) { STAY.ln() } else { leave };
                }
            }
            total += f64::exp(log_p);
        }
        let exact = p.log_partition().unwrap().to_vec1::<f64>().unwrap()[0];
        assert!((exact - total.ln()).abs() < 1e-12, "{exact} {}", total.ln());
    }

    #[test]
    fn edges_of_one_hot_labels_are_a_code() {
        let labels = Tensor::new(&[[2u32, 0, 1]], &Device::Cpu).unwrap();
        let hot = gumbel_core::one_hot(&labels, 3, DType::F64).unwrap();
        let logits = Tensor::zeros((1, 3, 3, 3), DType::F64, &Device::Cpu).unwrap();
        let expected = LinearChain::default().edges(&labels, &logits).unwrap();
        let difference = (edges(&hot).unwrap() - expected).unwrap().abs().unwrap();
        assert_eq!(difference.sum_all().unwrap().to_scalar::<f64>().unwrap(), 0.0);
    }
}
