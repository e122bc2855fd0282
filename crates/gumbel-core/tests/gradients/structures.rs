//! Entries of the table for structures: every function of `Gibbs` for each of them, and what they have of their own.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use gumbel_core::Result;
use gumbel_core::distributions::Gibbs;
use gumbel_core::structure::{
    Arborescence, Bits, Categories, ChainOptions, Copies, Hmm, KSubset, LinearChain, Roots,
    SpanningTree, Structure, successive_softmax, successive_softmax_with_noise,
};

use crate::table::{Entry, Inputs, entry, fresh, jumping, logits, t};

fn other() -> Tensor {
    t([[-0.5, 0.2, 0.1], [0.3, 0.9, -1.4]])
}

fn noise() -> Tensor {
    t([[0.2, 1.4, -0.7], [-0.3, 2.2, 0.6]])
}

fn tau() -> Tensor {
    t([[0.8]])
}

/// Three steps of two labels.
fn edges(x: Tensor) -> Tensor {
    let x = Tensor::cat(&[&x, &(&x * -0.7).unwrap()], 0).unwrap();
    x.reshape((3, 2, 2)).unwrap()
}

fn chain_logits() -> Tensor {
    edges(logits())
}

fn other_edges() -> Tensor {
    edges(other())
}

fn edge_noise() -> Tensor {
    edges(noise())
}

/// A batch of one, with two copies.
fn copies(x: Tensor) -> Tensor {
    x.unsqueeze(0).unwrap()
}

fn unary() -> Tensor {
    t([[0.3, -1.2], [0.8, 2.0], [0.1, -0.4]])
}

fn transition() -> Tensor {
    t([[0.5, -0.1], [0.3, 1.1]])
}

fn label() -> Tensor {
    Tensor::new(&[0.4f64, -0.6], &Device::Cpu).unwrap()
}

fn square() -> Tensor {
    t([[0.0, 0.3, -1.2], [0.3, 0.0, 0.8], [-1.2, 0.8, 0.0]])
}

type Make = fn() -> Tensor;

pub(crate) fn structures() -> Vec<Entry> {
    let flat: [Make; 3] = [logits, other, noise];
    let all: [(Arc<dyn Structure>, [Make; 3]); 8] = [
        (Arc::new(Categories::default()), flat),
        (Arc::new(Bits), flat),
        (Arc::new(KSubset::new(2)), flat),
        (
            Arc::new(Copies::new(Arc::new(KSubset::new(1)))),
            [|| copies(logits()), || copies(other()), || copies(noise())],
        ),
        (Arc::new(LinearChain::default()), [chain_logits, other_edges, edge_noise]),
        (Arc::new(SpanningTree), flat),
        (Arc::new(Arborescence { roots: Roots::Multiple }), flat),
        (Arc::new(Arborescence { roots: Roots::Single }), flat),
    ];
    let general = all.into_iter().flat_map(|(structure, inputs)| of_gibbs(&structure, inputs));
    general.chain(of_chains()).chain(of_others()).collect()
}

/// A structured variable whose codes are those of a [`Structure`].
type Variable = Gibbs<dyn Structure>;

fn of_gibbs(structure: &Arc<dyn Structure>, [logits, other, noise]: [Make; 3]) -> Vec<Entry> {
    let one: Inputs<'_> = &[("logits", logits)];
    let warm: Inputs<'_> = &[("logits", logits), ("tau", tau)];
    let noisy: Inputs<'_> = &[("logits", logits), ("noise", noise), ("tau", tau)];
    let on = |f: fn(&Variable, &[Tensor]) -> Result<Tensor>| {
        let structure = structure.clone();
        move |x: &[Tensor]| f(&Gibbs::on(structure.clone(), &x[0])?, x)
    };
    vec![
        entry("gibbs::logits", one, on(|d, _| d.logits())),
        entry("gibbs::log_partition", one, on(|d, _| d.log_partition())),
        entry("gibbs::marginals", one, on(|d, _| d.marginals())),
        entry("gibbs::variance", one, on(|d, _| d.variance())),
        entry("gibbs::log_prob", one, on(|d, _| d.log_prob(&d.mode()?))),
        entry("gibbs::entropy", one, on(|d, _| d.entropy())),
        entry("divergence::kl_to_uniform", one, on(|d, _| d.kl_to_uniform())),
        entry(
            "divergence::kl_divergence",
            &[("logits", logits), ("other", other)],
            on(|d, x| d.kl_divergence(&Gibbs::on(d.structure().clone(), &x[1])?)),
        ),
        entry("samples::rsample", warm, on(|d, x| d.rsample(2, &x[1], false, &mut fresh()))),
        jumping("samples::rsample", warm, on(|d, x| d.rsample(2, &x[1], true, &mut fresh()))),
        entry(
            "samples::rsample_with_noise",
            noisy,
            on(|d, x| d.rsample_with_noise(&x[1], &x[2], false)),
        ),
        jumping(
            "samples::exact_straight_through",
            one,
            on(|d, _| d.exact_straight_through(2, &mut fresh())),
        ),
        jumping(
            "samples::implicit_mle",
            one,
            // More than one draw: the step of a single one may be zero.
            on(|d, _| {
                let mut g = fresh();
                let draws: Result<Vec<Tensor>> =
                    (0..4).map(|_| d.implicit_mle(20.0, &mut g)).collect();
                Ok(Tensor::stack(&draws?, 0)?)
            }),
        ),
    ]
}

fn of_chains() -> Vec<Entry> {
    let one: Inputs<'_> = &[("logits", chain_logits)];
    let model: Inputs<'_> =
        &[("initial", label), ("transition", transition), ("emission", unary_t)];
    let labels = || Tensor::new(&[1u32, 0, 1], &Device::Cpu);
    let chain = |x: &Tensor| Gibbs::new(LinearChain::default(), x);
    let hmm = |x: &[Tensor]| Hmm::from_logits(&x[0], &x[1], &x[2]);
    let observed = || Tensor::new(&[2u32, 0, 0, 1], &Device::Cpu);
    vec![
        entry(
            "scores::new",
            &[("unary", unary), ("transition", transition), ("start", label), ("end", label)],
            move |x| {
                let (start, end) = (Some(&x[2]), Some(&x[3]));
                let options = ChainOptions { start, end, lengths: None };
                LinearChain::new(&x[0], &x[1], options)?.labels_log_prob(&labels()?)
            },
        ),
        entry("scores::from_edges", &[("edges", other_edges), ("start", label)], |x| {
            LinearChain::from_edges(&x[0], &x[1], None)?.log_partition()
        }),
        entry("labels::unary_marginals", one, move |x| chain(&x[0])?.unary_marginals()),
        entry("labels::labels_log_prob", one, move |x| chain(&x[0])?.labels_log_prob(&labels()?)),
        entry("gumbel_crf::gumbel_crf", one, move |x| {
            chain(&x[0])?.gumbel_crf(0.7, false, &mut fresh())
        }),
        jumping("gumbel_crf::gumbel_crf", one, move |x| {
            chain(&x[0])?.gumbel_crf(0.7, true, &mut fresh())
        }),
        entry("gumbel_crf::gumbel_crf_with_noise", one, move |x| {
            chain(&x[0])?.gumbel_crf_with_noise(&unary(), 0.7, false)
        }),
        entry("hmm::from_logits", model, move |x| {
            hmm(x)?.posterior(&observed()?, None)?.log_partition()
        }),
        entry("hmm::posterior", model, move |x| {
            hmm(x)?.posterior(&observed()?, None)?.unary_marginals()
        }),
        entry("hmm::emission", &[("emission", unary_t)], |x| {
            Ok(Hmm::from_logits(&label(), &transition(), &x[0])?.emission().clone())
        }),
    ]
}

/// Two states and three symbols.
fn unary_t() -> Tensor {
    unary().t().unwrap().contiguous().unwrap()
}

fn of_others() -> Vec<Entry> {
    let one: Inputs<'_> = &[("logits", logits)];
    vec![
        entry("k_subset::from_logits", one, |x| KSubset::from_logits(&x[0], 2)?.marginals()),
        entry("successive_softmax::successive_softmax", one, |x| {
            successive_softmax(&x[0], 2, 0.7, &mut fresh())
        }),
        entry("successive_softmax::successive_softmax_with_noise", one, |x| {
            successive_softmax_with_noise(&x[0], &noise(), 2, 0.7)
        }),
        entry("arborescence::from_head_scores", &[("heads", transition), ("root", label)], |x| {
            Arborescence::from_head_scores(&x[0], &x[1])
        }),
        entry("spanning_tree::adjacency", one, |x| SpanningTree::adjacency(&x[0])),
        // A matrix that is not symmetric is refused, so differences do not apply.
        jumping("spanning_tree::edges", &[("matrix", square)], |x| SpanningTree::edges(&x[0])),
    ]
}
