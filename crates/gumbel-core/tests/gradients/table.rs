//! Every function with a gradient, with inputs to try it at.

use candle_core::{Device, Tensor, Var};
use gumbel_core::distributions::{
    Bernoulli, Categorical, Distribution, ExpRelaxedOneHotCategorical, Gumbel, Independent,
    LogitRelaxedBernoulli, OneHotCategorical, RelaxedBernoulli, RelaxedOneHotCategorical,
    StraightThrough,
};
use gumbel_core::{
    Generator, LearnableTemperature, Result, Temperature, entropy, gumbel_sigmoid,
    gumbel_sigmoid_with_noise, gumbel_softmax, gumbel_softmax_with_noise, kl_to_uniform, log_prob,
    mask_logits, straight_through,
};

use crate::estimators::estimators;
use crate::orders::orders;
use crate::structures::structures;

type Function = dyn Fn(&[Tensor]) -> Result<Tensor>;

/// A function and its differentiable inputs.
pub(crate) struct Entry {
    /// `file::function`, as the coverage test finds it in the sources.
    pub(crate) name: &'static str,
    pub(crate) inputs: Vec<(&'static str, Var)>,
    pub(crate) run: Box<Function>,
    /// Straight-through values jump: their gradient is another function's, so differences do not apply.
    pub(crate) differentiable: bool,
}

pub(crate) type Inputs<'a> = &'a [(&'static str, fn() -> Tensor)];

pub(crate) fn entry(
    name: &'static str,
    inputs: Inputs<'_>,
    run: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
) -> Entry {
    let variable =
        |&(name, make): &(&'static str, fn() -> Tensor)| (name, Var::from_tensor(&make()).unwrap());
    Entry {
        name,
        inputs: inputs.iter().map(variable).collect(),
        run: Box::new(run),
        differentiable: true,
    }
}

pub(crate) fn jumping(
    name: &'static str,
    inputs: Inputs<'_>,
    run: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
) -> Entry {
    Entry { differentiable: false, ..entry(name, inputs, run) }
}

pub(crate) fn t<const R: usize, const C: usize>(rows: [[f64; C]; R]) -> Tensor {
    Tensor::new(&rows, &Device::Cpu).unwrap()
}

pub(crate) fn logits() -> Tensor {
    t([[0.3, -1.2, 0.8], [2.0, 0.1, -0.4]])
}

fn other_logits() -> Tensor {
    t([[-0.5, 0.2, 0.1], [0.3, 0.9, -1.4]])
}

fn probs() -> Tensor {
    t([[0.3, 0.2, 0.5], [0.7, 0.1, 0.2]])
}

fn noise() -> Tensor {
    t([[0.2, 1.4, -0.7], [-0.3, 2.2, 0.6]])
}

pub(crate) fn tau() -> Tensor {
    t([[0.7], [1.6]])
}

fn bit_tau() -> Tensor {
    t([[0.7, 1.1, 0.4]])
}

pub(crate) fn scale() -> Tensor {
    t([[0.7, 1.1, 2.4]])
}

fn simplex() -> Tensor {
    t([[0.2, 0.5, 0.3], [0.05, 0.05, 0.9]])
}

fn log_simplex() -> Tensor {
    simplex().log().unwrap()
}

fn one_hot() -> Tensor {
    t([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
}

pub(crate) fn fresh() -> Generator {
    Generator::new(5)
}

pub(crate) fn table() -> Vec<Entry> {
    let mut all = functions();
    all.extend(exact_distributions());
    all.extend(relaxed_categories());
    all.extend(relaxed_bits());
    all.extend(orders());
    all.extend(structures());
    all.extend(estimators());
    all
}

fn functions() -> Vec<Entry> {
    vec![
        entry("gumbel_softmax::gumbel_softmax", &[("logits", logits), ("tau", tau)], |x| {
            gumbel_softmax(&x[0], &x[1], false, 1, &mut fresh())
        }),
        entry(
            "gumbel_softmax::gumbel_softmax_with_noise",
            &[("logits", logits), ("noise", noise), ("tau", tau)],
            |x| gumbel_softmax_with_noise(&x[0], &x[1], &x[2], false, 1),
        ),
        entry(
            "gumbel_softmax::gumbel_softmax_with_noise",
            &[("logits", logits), ("noise", noise)],
            |x| gumbel_softmax_with_noise(&x[0], &x[1], 0.4, false, 0),
        ),
        jumping(
            "gumbel_softmax::gumbel_softmax_with_noise",
            &[("logits", logits), ("noise", noise), ("tau", tau)],
            |x| gumbel_softmax_with_noise(&x[0], &x[1], &x[2], true, 1),
        ),
        entry("gumbel_sigmoid::gumbel_sigmoid", &[("logits", logits), ("tau", bit_tau)], |x| {
            gumbel_sigmoid(&x[0], &x[1], false, &mut fresh())
        }),
        entry(
            "gumbel_sigmoid::gumbel_sigmoid_with_noise",
            &[("logits", logits), ("noise", noise), ("tau", bit_tau)],
            |x| gumbel_sigmoid_with_noise(&x[0], &x[1], &x[2], false),
        ),
        jumping(
            "gumbel_sigmoid::gumbel_sigmoid_with_noise",
            &[("logits", logits), ("noise", noise), ("tau", bit_tau)],
            |x| gumbel_sigmoid_with_noise(&x[0], &x[1], &x[2], true),
        ),
        jumping("straight_through::straight_through", &[("soft", simplex)], |x| {
            straight_through(&one_hot(), &x[0])
        }),
        entry("log_prob::log_prob", &[("logits", logits), ("one_hot", simplex)], |x| {
            log_prob(&x[0], &x[1])
        }),
        entry("entropy::entropy", &[("logits", logits)], |x| entropy(&x[0])),
        entry("entropy::kl_to_uniform", &[("logits", logits)], |x| kl_to_uniform(&x[0])),
        entry("logits::mask_logits", &[("logits", logits)], |x| {
            let mask = Tensor::new(&[1u8, 1, 1], &Device::Cpu)?;
            mask_logits(&x[0], &mask, 1)
        }),
        entry("learnable::temperature", &[("raw", bit_tau)], |x| {
            // A `Var` made of a variable is that variable.
            let tau = LearnableTemperature::from_var(Var::from_tensor(&x[0])?, 0.1)?;
            match tau.temperature()? {
                Temperature::Tensor(value) => Ok(value),
                Temperature::Fixed(_) => unreachable!("a learnable temperature is a tensor"),
            }
        }),
    ]
}

fn exact_distributions() -> Vec<Entry> {
    let pair: Inputs<'_> = &[("logits", logits), ("other", other_logits)];
    let one: Inputs<'_> = &[("logits", logits)];
    let cat = |x: &Tensor| Categorical::from_logits(x);
    let hot = |x: &Tensor| OneHotCategorical::from_logits(x);
    let bit = |x: &Tensor| Bernoulli::from_logits(x);
    let params: Inputs<'_> = &[("loc", logits), ("scale", scale)];
    vec![
        entry("categorical::from_logits", one, move |x| cat(&x[0])?.probs()),
        entry("categorical::from_probs", &[("probs", probs)], |x| {
            Categorical::from_probs(&x[0])?.log_probs()
        }),
        entry("categorical::logits", one, move |x| cat(&x[0])?.logits()),
        entry("one_hot_categorical::logits", one, move |x| hot(&x[0])?.logits()),
        entry("bernoulli::logits", one, move |x| bit(&x[0])?.logits()),
        entry("gumbel::loc", &[("loc", logits)], |x| Gumbel::new(&x[0], &scale())?.loc()),
        entry("gumbel::scale", &[("scale", scale)], |x| Gumbel::new(&logits(), &x[0])?.scale()),
        entry("independent::base", one, move |x| {
            let d = Independent::new(hot(&x[0])?, 1)?;
            Ok(d.base().entropy()?.broadcast_add(&d.entropy()?)?)
        }),
        entry("categorical::probs", one, move |x| cat(&x[0])?.probs()),
        entry("categorical::log_probs", one, move |x| cat(&x[0])?.log_probs()),
        entry("categorical::log_prob", one, move |x| {
            cat(&x[0])?.log_prob(&Tensor::new(&[[2u32], [0], [1]], &Device::Cpu)?)
        }),
        entry("categorical::entropy", one, move |x| cat(&x[0])?.entropy()),
        entry("categorical::kl_divergence", pair, move |x| cat(&x[0])?.kl_divergence(&cat(&x[1])?)),
        entry("categorical::kl_to_uniform", one, move |x| cat(&x[0])?.kl_to_uniform()),
        entry("one_hot_categorical::from_logits", one, move |x| hot(&x[0])?.mean()),
        entry("one_hot_categorical::from_probs", &[("probs", probs)], |x| {
            OneHotCategorical::from_probs(&x[0])?.log_probs()
        }),
        entry("one_hot_categorical::log_probs", one, move |x| hot(&x[0])?.log_probs()),
        entry(
            "one_hot_categorical::log_prob",
            &[("logits", logits), ("value", simplex)],
            move |x| hot(&x[0])?.log_prob(&x[1]),
        ),
        entry("one_hot_categorical::entropy", one, move |x| hot(&x[0])?.entropy()),
        entry("one_hot_categorical::mean", one, move |x| hot(&x[0])?.mean()),
        entry("one_hot_categorical::variance", one, move |x| hot(&x[0])?.variance()),
        entry("one_hot_categorical::kl_divergence", pair, move |x| {
            hot(&x[0])?.kl_divergence(&hot(&x[1])?)
        }),
        entry("one_hot_categorical::kl_to_uniform", one, move |x| hot(&x[0])?.kl_to_uniform()),
        jumping("straight_through::rsample", one, |x| {
            StraightThrough::new(OneHotCategorical::from_logits(&x[0])?).rsample(2, &mut fresh())
        }),
        jumping("straight_through::rsample", &[("probs", probs)], |x| {
            StraightThrough::new(OneHotCategorical::from_probs(&x[0])?).rsample((), &mut fresh())
        }),
        jumping("straight_through::rsample", one, |x| {
            StraightThrough::new(OneHotCategorical::from_logits(&x[0])?).rsample((), &mut fresh())
        }),
        jumping("straight_through::rsample_with_noise", one, |x| {
            StraightThrough::new(OneHotCategorical::from_logits(&x[0])?)
                .rsample_with_noise(&noise())
        }),
        entry("straight_through::base", one, |x| {
            StraightThrough::new(OneHotCategorical::from_logits(&x[0])?).base().entropy()
        }),
        entry("bernoulli::from_logits", one, move |x| bit(&x[0])?.mean()),
        entry("bernoulli::from_probs", &[("probs", probs)], |x| {
            Bernoulli::from_probs(&x[0])?.log_prob(&one_hot())
        }),
        entry("bernoulli::log_prob", &[("logits", logits), ("value", simplex)], move |x| {
            bit(&x[0])?.log_prob(&x[1])
        }),
        entry("bernoulli::entropy", one, move |x| bit(&x[0])?.entropy()),
        entry("bernoulli::mean", one, move |x| bit(&x[0])?.mean()),
        entry("bernoulli::variance", one, move |x| bit(&x[0])?.variance()),
        entry("bernoulli::kl_divergence", pair, move |x| bit(&x[0])?.kl_divergence(&bit(&x[1])?)),
        entry("bernoulli::kl_to_uniform", one, move |x| bit(&x[0])?.kl_to_uniform()),
        jumping("straight_through::rsample", one, |x| {
            StraightThrough::new(Bernoulli::from_logits(&x[0])?).rsample(2, &mut fresh())
        }),
        jumping("straight_through::rsample", &[("probs", probs)], |x| {
            StraightThrough::new(Bernoulli::from_probs(&x[0])?).rsample((), &mut fresh())
        }),
        jumping("straight_through::rsample", one, |x| {
            StraightThrough::new(Bernoulli::from_logits(&x[0])?).rsample((), &mut fresh())
        }),
        jumping("straight_through::rsample_with_noise", one, |x| {
            StraightThrough::new(Bernoulli::from_logits(&x[0])?).rsample_with_noise(&noise())
        }),
        entry("straight_through::base", one, |x| {
            StraightThrough::new(Bernoulli::from_logits(&x[0])?).base().entropy()
        }),
        entry("gumbel::new", params, |x| Gumbel::new(&x[0], &x[1])?.mean()),
        entry("gumbel::rsample", params, |x| Gumbel::new(&x[0], &x[1])?.rsample(2, &mut fresh())),
        entry(
            "gumbel::rsample_with_noise",
            &[("loc", logits), ("scale", scale), ("noise", noise)],
            |x| Gumbel::new(&x[0], &x[1])?.rsample_with_noise(&x[2]),
        ),
        entry("gumbel::log_prob", &[("loc", logits), ("scale", scale), ("value", noise)], |x| {
            Gumbel::new(&x[0], &x[1])?.log_prob(&x[2])
        }),
        entry("gumbel::entropy", &[("scale", scale)], |x| Gumbel::new(&logits(), &x[0])?.entropy()),
        entry("gumbel::mean", params, |x| Gumbel::new(&x[0], &x[1])?.mean()),
        entry("gumbel::mode", &[("loc", logits)], |x| Gumbel::new(&x[0], &scale())?.mode()),
        entry("gumbel::variance", &[("scale", scale)], |x| {
            Gumbel::new(&logits(), &x[0])?.variance()
        }),
        entry(
            "gumbel::kl_divergence",
            &[
                ("loc", logits),
                ("scale", scale),
                ("other loc", other_logits),
                ("other scale", bit_tau),
            ],
            |x| Gumbel::new(&x[0], &x[1])?.kl_divergence(&Gumbel::new(&x[2], &x[3])?),
        ),
    ]
}

fn relaxed_categories() -> Vec<Entry> {
    let both: Inputs<'_> = &[("tau", tau), ("logits", logits)];
    let noisy: Inputs<'_> = &[("tau", tau), ("logits", logits), ("noise", noise)];
    let exp = |x: &[Tensor]| ExpRelaxedOneHotCategorical::from_logits(&x[0], &x[1]);
    let plain = |x: &[Tensor]| RelaxedOneHotCategorical::from_logits(&x[0], &x[1]);
    let hard = |x: &[Tensor]| {
        RelaxedOneHotCategorical::from_logits(&x[0], &x[1]).map(StraightThrough::new)
    };
    vec![
        entry("exp_relaxed_one_hot_categorical::from_logits", both, move |x| {
            exp(x)?.rsample_with_noise(&noise())
        }),
        entry(
            "exp_relaxed_one_hot_categorical::from_probs",
            &[("tau", tau), ("probs", probs)],
            |x| ExpRelaxedOneHotCategorical::from_probs(&x[0], &x[1])?.rsample_with_noise(&noise()),
        ),
        entry("exp_relaxed_one_hot_categorical::logits", &[("logits", logits)], |x| {
            ExpRelaxedOneHotCategorical::from_logits(1, &x[0])?.logits()
        }),
        entry("relaxed_one_hot_categorical::logits", &[("logits", logits)], |x| {
            RelaxedOneHotCategorical::from_logits(1, &x[0])?.logits()
        }),
        entry("exp_relaxed_one_hot_categorical::rsample", both, move |x| {
            exp(x)?.rsample(2, &mut fresh())
        }),
        entry("exp_relaxed_one_hot_categorical::rsample_with_noise", noisy, move |x| {
            exp(x)?.rsample_with_noise(&x[2])
        }),
        entry(
            "exp_relaxed_one_hot_categorical::log_prob",
            &[("tau", tau), ("logits", logits), ("value", log_simplex)],
            move |x| exp(x)?.log_prob(&x[2]),
        ),
        entry("exp_relaxed_one_hot_categorical::entropy", &[("tau", tau)], |x| {
            ExpRelaxedOneHotCategorical::from_logits(&x[0], &logits())?.entropy()
        }),
        entry("relaxed_one_hot_categorical::from_logits", both, move |x| {
            plain(x)?.rsample_with_noise(&noise())
        }),
        entry("relaxed_one_hot_categorical::from_probs", &[("tau", tau), ("probs", probs)], |x| {
            RelaxedOneHotCategorical::from_probs(&x[0], &x[1])?.rsample_with_noise(&noise())
        }),
        entry("relaxed_one_hot_categorical::rsample", both, move |x| {
            plain(x)?.rsample(2, &mut fresh())
        }),
        entry("relaxed_one_hot_categorical::rsample_with_noise", noisy, move |x| {
            plain(x)?.rsample_with_noise(&x[2])
        }),
        entry(
            "relaxed_one_hot_categorical::log_prob",
            &[("tau", tau), ("logits", logits), ("value", simplex)],
            move |x| plain(x)?.log_prob(&x[2]),
        ),
        entry("relaxed_one_hot_categorical::log_space", both, move |x| {
            plain(x)?.log_space().log_prob(&log_simplex())
        }),
        jumping("straight_through::rsample", both, move |x| hard(x)?.rsample(2, &mut fresh())),
        jumping("straight_through::rsample", &[("tau", tau), ("probs", probs)], |x| {
            StraightThrough::new(RelaxedOneHotCategorical::from_probs(&x[0], &x[1])?)
                .rsample((), &mut fresh())
        }),
        jumping("straight_through::rsample", both, move |x| hard(x)?.rsample((), &mut fresh())),
        jumping("straight_through::rsample_with_noise", noisy, move |x| {
            hard(x)?.rsample_with_noise(&x[2])
        }),
        entry("straight_through::rsample_pair", both, move |x| {
            Ok(hard(x)?.rsample_pair((), &mut fresh())?.1)
        }),
        entry("straight_through::base", both, move |x| hard(x)?.base().log_prob(&simplex())),
    ]
}

fn relaxed_bits() -> Vec<Entry> {
    let both: Inputs<'_> = &[("tau", bit_tau), ("logits", logits)];
    let noisy: Inputs<'_> = &[("tau", bit_tau), ("logits", logits), ("noise", noise)];
    let logit = |x: &[Tensor]| LogitRelaxedBernoulli::from_logits(&x[0], &x[1]);
    let plain = |x: &[Tensor]| RelaxedBernoulli::from_logits(&x[0], &x[1]);
    let hard = |x: &[Tensor]| RelaxedBernoulli::from_logits(&x[0], &x[1]).map(StraightThrough::new);
    vec![
        entry("logit_relaxed_bernoulli::from_logits", both, move |x| logit(x)?.mean()),
        entry("logit_relaxed_bernoulli::from_probs", &[("tau", bit_tau), ("probs", probs)], |x| {
            LogitRelaxedBernoulli::from_probs(&x[0], &x[1])?.rsample_with_noise(&noise())
        }),
        entry("logit_relaxed_bernoulli::logits", &[("logits", logits)], |x| {
            LogitRelaxedBernoulli::from_logits(1, &x[0])?.logits()
        }),
        entry("relaxed_bernoulli::logits", &[("logits", logits)], |x| {
            RelaxedBernoulli::from_logits(1, &x[0])?.logits()
        }),
        entry("logit_relaxed_bernoulli::rsample", both, move |x| {
            logit(x)?.rsample(2, &mut fresh())
        }),
        entry("logit_relaxed_bernoulli::rsample_with_noise", noisy, move |x| {
            logit(x)?.rsample_with_noise(&x[2])
        }),
        entry(
            "logit_relaxed_bernoulli::log_prob",
            &[("tau", bit_tau), ("logits", logits), ("value", noise)],
            move |x| logit(x)?.log_prob(&x[2]),
        ),
        entry("logit_relaxed_bernoulli::entropy", &[("tau", bit_tau)], |x| {
            LogitRelaxedBernoulli::from_logits(&x[0], &logits())?.entropy()
        }),
        entry("logit_relaxed_bernoulli::mean", both, move |x| logit(x)?.mean()),
        entry("logit_relaxed_bernoulli::mode", both, move |x| logit(x)?.mode()),
        entry("logit_relaxed_bernoulli::variance", &[("tau", bit_tau)], |x| {
            LogitRelaxedBernoulli::from_logits(&x[0], &logits())?.variance()
        }),
        entry("relaxed_bernoulli::from_logits", both, move |x| {
            plain(x)?.rsample_with_noise(&noise())
        }),
        entry("relaxed_bernoulli::from_probs", &[("tau", bit_tau), ("probs", probs)], |x| {
            RelaxedBernoulli::from_probs(&x[0], &x[1])?.rsample_with_noise(&noise())
        }),
        entry("relaxed_bernoulli::rsample", both, move |x| plain(x)?.rsample(2, &mut fresh())),
        entry("relaxed_bernoulli::rsample_with_noise", noisy, move |x| {
            plain(x)?.rsample_with_noise(&x[2])
        }),
        entry(
            "relaxed_bernoulli::log_prob",
            &[("tau", bit_tau), ("logits", logits), ("value", simplex)],
            move |x| plain(x)?.log_prob(&x[2]),
        ),
        entry("relaxed_bernoulli::logit_space", both, move |x| {
            plain(x)?.logit_space().log_prob(&noise())
        }),
        jumping("straight_through::rsample", both, move |x| hard(x)?.rsample(2, &mut fresh())),
        jumping("straight_through::rsample", &[("tau", bit_tau), ("probs", probs)], |x| {
            StraightThrough::new(RelaxedBernoulli::from_probs(&x[0], &x[1])?)
                .rsample((), &mut fresh())
        }),
        jumping("straight_through::rsample", both, move |x| hard(x)?.rsample((), &mut fresh())),
        jumping("straight_through::rsample_with_noise", noisy, move |x| {
            hard(x)?.rsample_with_noise(&x[2])
        }),
        entry("straight_through::rsample_pair", both, move |x| {
            Ok(hard(x)?.rsample_pair((), &mut fresh())?.1)
        }),
        entry("straight_through::base", both, move |x| hard(x)?.base().log_prob(&simplex())),
    ]
}
