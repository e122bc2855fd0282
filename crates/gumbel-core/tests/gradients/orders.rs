//! Entries of the table for orders and matchings.

use candle_core::{Device, Tensor};
use gumbel_core::distributions::{PlackettLuce, PlackettLuceSubset};
use gumbel_core::{
    Iterations, Result, SinkhornOptions, Sort, gumbel_sinkhorn, neural_sort, sinkhorn, soft_sort,
    top_k,
};

use crate::table::{Entry, Inputs, entry, fresh, jumping, logits, t};

fn matrix() -> Tensor {
    t([[0.3, -1.2, 0.8], [2.0, 0.1, -0.4], [0.5, 0.6, -0.2]])
}

fn tau() -> Tensor {
    t([[0.8]])
}

fn other() -> Tensor {
    t([[-0.5, 0.2, 0.1], [0.3, 0.9, -1.4]])
}

pub(crate) fn orders() -> Vec<Entry> {
    let one: Inputs<'_> = &[("logits", logits)];
    let warm: Inputs<'_> = &[("logits", logits), ("tau", tau)];
    let pair: Inputs<'_> = &[("logits", logits), ("other", other)];
    let ranked = |x: &Tensor| PlackettLuce::from_logits(x);
    let first = |x: &Tensor| PlackettLuce::top(x, 2);
    let set = |x: &Tensor| PlackettLuceSubset::from_logits(x, 2);
    let ranking = || Tensor::new(&[[2u32, 0], [1, 2]], &Device::Cpu);
    let sorted = move |sort: Sort, hard: bool| {
        move |x: &[Tensor]| -> Result<Tensor> {
            first(&x[0])?.rsample_permutation((), &x[1], sort, hard, &mut fresh())
        }
    };
    let fixed = || SinkhornOptions { iterations: Some(Iterations::Fixed(6)), ..Default::default() };
    let pairs: Inputs<'_> = &[("log_alpha", matrix), ("tau", tau)];
    vec![
        entry("plackett_luce::from_logits", one, move |x| ranked(&x[0])?.entropy()),
        entry("plackett_luce::top", one, move |x| first(&x[0])?.entropy()),
        entry("plackett_luce::entropy", one, move |x| first(&x[0])?.entropy()),
        entry("plackett_luce::logits", one, move |x| ranked(&x[0])?.logits()),
        entry("plackett_luce::log_prob", one, move |x| first(&x[0])?.log_prob(&ranking()?)),
        entry("plackett_luce::kl_divergence", pair, move |x| {
            first(&x[0])?.kl_divergence(&first(&x[1])?)
        }),
        entry("plackett_luce::rsample_permutation", warm, sorted(Sort::Neural, false)),
        jumping("plackett_luce::rsample_permutation", warm, sorted(Sort::Soft { power: 2 }, true)),
        entry("plackett_luce_subset::from_logits", one, move |x| set(&x[0])?.logits()),
        entry("plackett_luce_subset::logits", one, move |x| set(&x[0])?.logits()),
        entry("plackett_luce_subset::log_prob", one, move |x| {
            set(&x[0])?.log_prob(&t([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
        }),
        entry("top_k::top_k", one, |x| Ok(top_k(&x[0], 2)?.0)),
        entry("relaxed_sort::soft_sort", warm, |x| soft_sort(&x[0], &x[1], 1, false)),
        jumping("relaxed_sort::soft_sort", warm, |x| soft_sort(&x[0], &x[1], 1, true)),
        entry("relaxed_sort::soft_sort", one, |x| soft_sort(&x[0], 0.8, 2, false)),
        entry("relaxed_sort::neural_sort", warm, |x| neural_sort(&x[0], &x[1], false)),
        entry("sinkhorn::sinkhorn", &[("log_alpha", matrix)], move |x| {
            Ok(sinkhorn(&x[0], &fixed())?.plan)
        }),
        entry("sinkhorn::require_converged", &[("log_alpha", matrix)], |x| {
            // To the last digits, for differences.
            let iterations = Some(Iterations::Until { tolerance: 1e-14, most: 10_000 });
            let options = SinkhornOptions { iterations, ..Default::default() };
            Ok(sinkhorn(&x[0], &options)?.require_converged()?.plan)
        }),
        entry("sinkhorn::gumbel_sinkhorn", pairs, move |x| {
            Ok(gumbel_sinkhorn(&x[0], &x[1], &fixed(), false, &mut fresh())?.plan)
        }),
        jumping("sinkhorn::gumbel_sinkhorn", pairs, move |x| {
            Ok(gumbel_sinkhorn(&x[0], &x[1], &fixed(), true, &mut fresh())?.plan)
        }),
    ]
}
