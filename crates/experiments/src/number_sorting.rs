//! Learning to sort numbers with Gumbel-Sinkhorn (Mena et al. 2018, section 5.1), and what its ten iterations leave.
//!
//! A network (1, 32, n), Adam at 0.1, lists of U(0, 1), 10 a step, 5 samples each, τ = 1, 500 steps. Tested on new lists of U(0, 1) and of
//! U(1, 2), which training has not seen.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::Optimizer;
use gumbel_core::{Generator, Iterations, SinkhornOptions, top_k, uniform};

use crate::network::{Mlp, adam};
use crate::report::{Column, Report, each_seed};
use crate::unscramble::{Lists, loss, wrong};

const BATCH: usize = 10;
const SAMPLES: usize = 5;
const STEPS: usize = 500;
const N_TEST: usize = 50;

/// For each length, with ten iterations and with as many as it takes: shares of wrong places and of lists with any, and the residual.
pub(crate) fn run(seeds: u64, sizes: &[usize]) -> Result<Report> {
    let mut report = Report::new(
        "Sorting numbers by Gumbel-Sinkhorn",
        vec![
            Column::new("wrong places, U(0, 1)").answer(0.0),
            Column::new("lists with any").answer(0.0),
            Column::new("wrong places, U(1, 2)").answer(0.0),
            Column::new("residual of the last step").log(),
        ],
    );
    let fixed = SinkhornOptions { iterations: Some(Iterations::Fixed(10)), ..Default::default() };
    for &n in sizes {
        for (name, options) in [("10 iterations", &fixed), ("to 1e-4", &SinkhornOptions::default())]
        {
            let one = |seed| train(n, options, seed);
            report.push(&format!("n = {n}, {name}"), &each_seed(seeds, one)?);
        }
    }
    Ok(report)
}

fn lists(count: usize, n: usize, low: f64, g: &mut Generator) -> Result<Lists> {
    let x = uniform((count, n), DType::F32, &Device::Cpu, g)?.affine(1.0, low)?;
    let solved = top_k(&x, n)?.0.unsqueeze(2)?;
    Ok(Lists { pieces: x.unsqueeze(2)?, solved })
}

fn train(n: usize, options: &SinkhornOptions, seed: u64) -> Result<Vec<f64>> {
    let mut g = Generator::new(seed + 1);
    let network = Mlp::new(&[1, 32, n], Tensor::relu, &mut g)?;
    let mut optimizer = adam(network.parameters(), 0.1)?;
    let mut residual = 0.0;
    for _ in 0..STEPS {
        let batch = lists(BATCH, n, 0.0, &mut g)?;
        let (loss, largest) = loss(&network, &batch, options, SAMPLES, &mut g)?;
        optimizer.backward_step(&loss)?;
        residual = largest;
    }
    let test = |low| wrong(&network, &lists(N_TEST, n, low, &mut Generator::new(seed).stream(1))?);
    let ([near, any], [far, _]) = (test(0.0)?, test(1.0)?);
    Ok(vec![near, any, far, residual])
}
