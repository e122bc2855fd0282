//! Which features matter for a label (Chen et al. 2018, L2X, section 4.1): a network chooses `k` of ten features for each input, another
//! predicts the label from those alone. Which features do matter is known.
//!
//! Ten standard normal features, labels with probability `σ(ℓ)`. As in the authors' program, and unlike in the paper, the additive task has
//! `ℓ = -100 sin(0.2 x₁) + |x₂| + x₃ + exp(-x₄) - 2.4`. Selector 10-100-100-10, predictor 10-200-200-2, Adam at 1e-3, 1500 steps of 250 inputs. The
//! authors take a million inputs, and their predictor has batch normalisation and weight decay.

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::Optimizer;
use candle_nn::ops::log_softmax;
use gumbel_core::estimators::{Estimator, EstimatorState};
use gumbel_core::structure::{KSubset, successive_softmax};
use gumbel_core::{Generator, gumbel_softmax, uniform};

use crate::method::Method;
use crate::network::{Mlp, adam, normal};
use crate::report::{Column, Report, each_seed, mean};

const FEATURES: usize = 10;
const STEPS: usize = 1500;
const BATCH: usize = 250;
const N_TEST: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Task {
    Xor,
    OrangeSkin,
    Additive,
    Switch,
}

impl Task {
    const ALL: [Self; 4] = [Self::Xor, Self::OrangeSkin, Self::Additive, Self::Switch];

    fn title(self) -> &'static str {
        match self {
            Self::Xor => "XOR",
            Self::OrangeSkin => "orange skin",
            Self::Additive => "additive",
            Self::Switch => "switch",
        }
    }

    /// How many features matter for an input.
    fn k(self) -> usize {
        match self {
            Self::Xor => 2,
            Self::OrangeSkin | Self::Additive => 4,
            Self::Switch => 5,
        }
    }

    /// The features that matter for an input.
    fn relevant(self, x: &[f32]) -> &'static [usize] {
        match self {
            Self::Xor => &[0, 1],
            Self::OrangeSkin | Self::Additive => &[0, 1, 2, 3],
            Self::Switch if x[9] > 0.0 => &[0, 1, 2, 3, 9],
            Self::Switch => &[4, 5, 6, 7, 9],
        }
    }

    /// The logit of the first class.
    fn logit(self, x: &[f32]) -> f32 {
        let orange = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>() - 4.0;
        let additive =
            |x: &[f32]| -100.0 * (0.2 * x[0]).sin() + x[1].abs() + x[2] + (-x[3]).exp() - 2.4;
        match self {
            Self::Xor => x[0] * x[1],
            Self::OrangeSkin => orange(&x[..4]),
            Self::Additive => additive(&x[..4]),
            Self::Switch if x[9] > 0.0 => orange(&x[..4]),
            Self::Switch => additive(&x[4..8]),
        }
    }

    /// Inputs, and the probabilities of both classes.
    fn draw(self, n: usize, g: &mut Generator) -> Result<(Tensor, Tensor)> {
        let mut x = normal((n, FEATURES), DType::F32, g)?.to_vec2::<f32>()?;
        let signs = uniform(n, DType::F32, &Device::Cpu, g)?.to_vec1::<f32>()?;
        if self == Self::Switch {
            x.iter_mut().zip(signs).for_each(|(x, u)| x[9] += if u < 0.5 { 3.0 } else { -3.0 });
        }
        let sigmoid = |logit: f32| 1.0 / (1.0 + (-logit).exp());
        let p: Vec<f32> = x
            .iter()
            .map(|x| self.logit(x))
            .flat_map(|logit| [sigmoid(logit), sigmoid(-logit)])
            .collect();
        Ok((Tensor::new(x, &Device::Cpu)?, Tensor::from_vec(p, (n, 2), &Device::Cpu)?))
    }
}

/// For each method and task the median rank of the features that matter, the mean over test inputs.
pub(crate) fn run(seeds: u64) -> Result<Report> {
    // The best ranks are 1 to k.
    let column = |task: Task| Column::new(task.title()).answer((task.k() + 1) as f64 / 2.0);
    let columns = Task::ALL.map(column).to_vec();
    let mut report =
        Report::new("Feature selection: median rank of the features that matter", columns);
    for (name, method) in &methods() {
        let one = |seed| -> Result<Vec<f64>> {
            Task::ALL.iter().map(|task| train(*task, method, seed)).collect()
        };
        report.push(name, &each_seed(seeds, one)?);
    }
    Ok(report)
}

/// Ways to train a choice of `k` items.
pub(crate) fn methods() -> [(&'static str, Method<KSubset>); 7] {
    [
        ("L2X, τ = 0.1", Method::Sample(|q, g| concretes(&q.logits()?, q.k(), g))),
        (
            "`successive_softmax`, τ = 0.1",
            Method::Sample(|q, g| Ok(successive_softmax(&q.logits()?, q.k(), 0.1, g)?)),
        ),
        ("`gumbel-softmax`, τ = 0.5", Method::By(Estimator::GumbelSoftmax, 0.5)),
        ("`st-gumbel-softmax`, τ = 0.5", Method::By(Estimator::StGumbelSoftmax, 0.5)),
        ("`straight-through`", Method::By(Estimator::StraightThrough, 1.0)),
        ("`implicit-mle`, λ = 10", Method::By(Estimator::ImplicitMle { lambda: 10.0 }, 1.0)),
        ("`rloo`, 4 samples", Method::By(Estimator::Rloo { samples: 4 }, 1.0)),
    ]
}

/// L2X's own relaxation: the largest entries of `k` independent relaxed categories.
fn concretes(logits: &Tensor, k: usize, g: &mut Generator) -> Result<Tensor> {
    let each = logits.unsqueeze(1)?.repeat((1, k, 1))?;
    Ok(gumbel_softmax(&each, 0.1, false, D::Minus1, g)?.max(1)?)
}

fn train(task: Task, method: &Method<KSubset>, seed: u64) -> Result<f64> {
    let mut g = Generator::new(seed);
    // As the authors have it; the second is SELU.
    let activation: fn(&Tensor) -> candle_core::Result<Tensor> = match task {
        Task::Xor | Task::OrangeSkin => Tensor::relu,
        Task::Additive | Task::Switch => |x| x.elu(1.673_263_2)? * 1.050_701,
    };
    let selector = Mlp::new(&[FEATURES, 100, 100, FEATURES], activation, &mut g)?;
    let predictor = Mlp::new(&[FEATURES, 200, 200, 2], Tensor::relu, &mut g)?;
    let mut optimizer = adam([selector.parameters(), predictor.parameters()].concat(), 1e-3)?;
    let mut state = EstimatorState::default();
    for _ in 0..STEPS {
        let (x, p) = task.draw(BATCH, &mut g)?;
        let q = KSubset::from_logits(&selector.forward(&x)?, task.k())?;
        let mut f = |z: &Tensor| {
            let log_p = log_softmax(&predictor.forward(&(&x * z)?)?, 1)?;
            Ok((&p * log_p)?.sum(1)?.neg()?)
        };
        // A sum: in a mean, the gradient that `implicit-mle` sees of a row would depend on the batch.
        optimizer.backward_step(&method.loss(&q, &mut state, &mut g, &mut f)?.sum_all()?)?;
    }
    let (x, _) = task.draw(N_TEST, &mut Generator::new(seed).stream(1))?;
    let scores = selector.forward(&x)?.to_vec2::<f32>()?;
    let x = x.to_vec2::<f32>()?;
    let ranks = x.iter().zip(scores).map(|(x, scores)| median_rank(&scores, task.relevant(x)));
    Ok(mean(&ranks.collect::<Vec<_>>()))
}

/// The median rank of some features by their scores, the largest score first.
fn median_rank(scores: &[f32], relevant: &[usize]) -> f64 {
    let rank = |feature: usize| scores.iter().filter(|x| **x >= scores[feature]).count();
    let mut ranks: Vec<usize> = relevant.iter().map(|feature| rank(*feature)).collect();
    ranks.sort_unstable();
    let middle = ranks.len() / 2;
    match ranks.len() % 2 {
        0 => (ranks[middle - 1] + ranks[middle]) as f64 / 2.0,
        _ => ranks[middle] as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_ranks_of_the_best_scores_are_the_known_answer() {
        for task in Task::ALL {
            let x = [1.0, -1.0, 2.0, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5, -3.0];
            let mut scores = [0.0; FEATURES];
            let relevant = task.relevant(&x);
            relevant
                .iter()
                .enumerate()
                .for_each(|(at, feature)| scores[*feature] = 1.0 + at as f32);
            assert_eq!(median_rank(&scores, relevant), (task.k() + 1) as f64 / 2.0, "{task:?}");
        }
        assert_eq!(median_rank(&[3.0, 2.0, 1.0, 4.0], &[1, 2]), 3.5);
    }

    /// The labels depend on the features that are said to matter, and on no others.
    #[test]
    fn labels_depend_on_what_matters_only() {
        for task in Task::ALL {
            for x9 in [-3.0, 3.0] {
                let x = [1.0, -1.0, 2.0, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5, x9];
                for feature in 0..FEATURES {
                    let mut moved = x;
                    moved[feature] = if feature == 9 { -x[9] } else { x[feature] + 0.7 };
                    let changes = task.logit(&moved) != task.logit(&x);
                    assert_eq!(changes, task.relevant(&x).contains(&feature), "{task:?} {feature}");
                }
            }
        }
    }
}
