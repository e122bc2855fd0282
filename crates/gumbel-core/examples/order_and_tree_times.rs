//! Times of orders, matchings and trees, one line each, and the error of trees at a wide gap: the lines of
//! `scripts/order_and_tree_times.py` have the same names.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p gumbel-core --example order_and_tree_times
//! ```
//!
//! f32 on the CPU; three runs to warm up, then the median and the best of thirty, in milliseconds.

#![expect(clippy::print_stdout, reason = "an example reports to the terminal")]

use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use gumbel_core::distributions::{PlackettLuce, PlackettLuceSubset};
use gumbel_core::structure::{Arborescence, Structure};
use gumbel_core::{
    Generator, Iterations, Result, SinkhornOptions, Temperature, gumbel_noise, gumbel_top_k,
    matching, neural_sort, sinkhorn, soft_sort,
};

const BATCH: usize = 64;
const ONE: Temperature = Temperature::Fixed(1.0);

fn main() -> Result<()> {
    trees()?;
    matchings()?;
    orders()?;
    two_cycle()
}

fn normal_like(shape: &[usize], seed: u64) -> Result<Tensor> {
    gumbel_noise(shape, DType::F32, &Device::Cpu, &mut Generator::new(seed))
}

fn time(name: &str, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let mut times = Vec::new();
    for run in 0..33 {
        let start = Instant::now();
        work()?;
        if run >= 3 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    println!("{name:<44} {:8.3} ms, best {:8.3}", times[times.len() / 2], times[0]);
    Ok(())
}

fn trees() -> Result<()> {
    for n in [10, 30] {
        let x = normal_like(&[BATCH, n, n + 1], 1)?;
        let grad = normal_like(&[BATCH, n, n + 1], 2)?;
        let (tree, mut g) = (Arborescence::default(), Generator::new(3));
        time(&format!("tree log-partition, n = {n}"), || tree.log_partition(&x).map(drop))?;
        time(&format!("tree log-partition and marginals, n = {n}"), || {
            tree.log_partition(&x)?;
            tree.marginals(&x, &ONE).map(drop)
        })?;
        time(&format!("tree sample, n = {n}"), || tree.sample(&x, &mut g).map(drop))?;
        time(&format!("tree relaxed sample and gradient, n = {n}"), || {
            let scores = tree.perturb(&x, &mut g)?;
            tree.marginals(&scores, &ONE)?;
            tree.marginals_vjp(&scores, &ONE, &grad).map(drop)
        })?;
        time(&format!("best tree, n = {n}"), || tree.solve(&x).map(drop))?;
    }
    Ok(())
}

fn matchings() -> Result<()> {
    let x = Var::from_tensor(&normal_like(&[BATCH, 32, 32], 4)?)?;
    let options = SinkhornOptions { iterations: Some(Iterations::Fixed(20)), ..Default::default() };
    let constant = x.as_detached_tensor();
    time("sinkhorn, 20 iterations, n = 32", || {
        let options = SinkhornOptions {
            gradient: Some(gumbel_core::SinkhornGradient::Implicit),
            ..options.clone()
        };
        sinkhorn(&constant, &options).map(drop)
    })?;
    time("sinkhorn with gradient (unrolled), n = 32", || {
        sinkhorn(&x, &options)?.plan.sqr()?.sum_all()?.backward().map(drop).map_err(Into::into)
    })?;
    time("sinkhorn with gradient (implicit), n = 32", || {
        let options = SinkhornOptions::default();
        sinkhorn(&x, &options)?.plan.sqr()?.sum_all()?.backward().map(drop).map_err(Into::into)
    })?;
    time("matching, n = 32", || matching(&constant).map(drop))
}

fn orders() -> Result<()> {
    let x = Var::from_tensor(&normal_like(&[BATCH, 1000], 5)?)?;
    let mut g = Generator::new(6);
    time("gumbel top-k, n = 1000, k = 10", || gumbel_top_k(&x, 10, &mut g).map(drop))?;
    let ranking = PlackettLuce::from_logits(&x)?.sample((), &mut g)?;
    time("ranking log-prob with gradient, n = 1000", || {
        let log_prob = PlackettLuce::from_logits(&x)?.log_prob(&ranking)?;
        log_prob.sum_all()?.backward().map(drop).map_err(Into::into)
    })?;
    let few = normal_like(&[BATCH, 100], 7)?;
    let sets = PlackettLuceSubset::from_logits(&few, 10)?;
    let drawn = sets.sample((), &mut g)?;
    time("unordered set log-prob, n = 100, k = 10", || sets.log_prob(&drawn).map(drop))?;
    time("soft sort, n = 100", || soft_sort(&few, 1.0, 1, false).map(drop))?;
    time("neural sort, n = 100", || neural_sort(&few, 1.0, false).map(drop))
}

/// Two nodes that prefer each other by 40 nats: the marginals do not depend on how much they do.
fn two_cycle() -> Result<()> {
    for gap in [10f64, 30.0, 36.0, 40.0] {
        let x = Tensor::new(&[[[0.0, 0.0, gap], [0.5, gap, 0.0]]], &Device::Cpu)?;
        let p = Arborescence::default().marginals(&x, &ONE)?.flatten_all()?.to_vec1::<f64>()?;
        println!("P(root leads to node 2) at a gap of {gap} nats: {:.12}", p[3]);
    }
    Ok(())
}
