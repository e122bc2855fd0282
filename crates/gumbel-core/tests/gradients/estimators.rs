//! The entries of the estimators: samples with their gradient, and losses at samples.

use candle_core::{D, Tensor};
use std::sync::Arc;

use gumbel_core::estimators::*;
use gumbel_core::structure::{Bits, Structure};
use gumbel_core::{Result, Temperature};

use crate::table::{Entry, Inputs, entry, fresh, jumping, logits, scale, t, tau};

/// For losses: a batch of one with two latents of three categories.
fn latents(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.unsqueeze(0)?)
}

/// A batch of one with three latents of two categories.
fn binary_latents(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.reshape((1, 3, 2))?)
}

/// A decoder with one parameter for each category: `(Σ w z)²`.
fn decode(z: &Tensor, w: &Tensor) -> Result<Tensor> {
    let w = w.narrow(1, 0, z.dim(D::Minus1)?)?;
    Ok(z.broadcast_mul(&w)?.sum(D::Minus1)?.sum(D::Minus1)?.sqr()?)
}

fn losses() -> Tensor {
    t([[0.3, -1.2, 0.8, 2.0, 0.1, -0.4, 0.7, 1.1, -0.6]])
}

const SAMPLE: Inputs<'_> = &[("logits", logits)];
const WITH_TAU: Inputs<'_> = &[("logits", logits), ("tau", tau)];
const RELAXED: Inputs<'_> = &[("logits", logits), ("tau", tau), ("decoder", scale)];
const LOSS: Inputs<'_> = &[("logits", logits), ("decoder", scale)];

pub(crate) fn estimators() -> Vec<Entry> {
    let mut all = vec![
        jumping("straight_through::categorical_straight_through", SAMPLE, |x| {
            categorical_straight_through(&x[0], 1.3, 1, &mut fresh())
        }),
        jumping("straight_through::categorical_straight_through", WITH_TAU, |x| {
            categorical_straight_through(&x[0], &x[1], 1, &mut fresh())
        }),
        jumping("decoupled_straight_through::decoupled_straight_through", SAMPLE, |x| {
            decoupled_straight_through(&x[0], 0.8, 1.3, 1, &mut fresh())
        }),
        jumping("gapped_straight_through::gapped_straight_through", SAMPLE, |x| {
            gapped_straight_through(&x[0], 0.7, 1.0, 1, &mut fresh())
        }),
        jumping("gapped_straight_through::gapped_straight_through", WITH_TAU, |x| {
            gapped_straight_through(&x[0], &x[1], 1.0, 1, &mut fresh())
        }),
        jumping("gumbel_rao::gumbel_rao", SAMPLE, |x| gumbel_rao(&x[0], 0.7, 3, 1, &mut fresh())),
        jumping("reinmax::reinmax", SAMPLE, |x| reinmax(&x[0], 1.0, 1, &mut fresh())),
        jumping("reinmax_rao::reinmax_rao", SAMPLE, |x| {
            reinmax_rao(&x[0], 0.8, 3, 1, &mut fresh())
        }),
        jumping("fini::fini", SAMPLE, |x| fini(&x[0], 1, &mut fresh())),
        jumping("reinforce::reinforce", LOSS, |x| {
            let mut f = |z: &Tensor| decode(z, &x[1]);
            let mut baseline = Baseline::default();
            Ok(reinforce(&latents(&x[0])?, &mut baseline, &mut fresh(), &mut f)?.surrogate)
        }),
        jumping("rloo::rloo", LOSS, |x| {
            let mut f = |z: &Tensor| decode(z, &x[1]);
            Ok(rloo(&latents(&x[0])?, 4, &mut fresh(), &mut f)?.surrogate)
        }),
        jumping("disarm::disarm", LOSS, |x| {
            let mut f = |z: &Tensor| decode(z, &x[1]);
            Ok(disarm(&binary_latents(&x[0])?, &mut fresh(), &mut f)?.surrogate)
        }),
        jumping("rebar::rebar", LOSS, |x| {
            let mut f = |z: &Tensor| decode(z, &x[1]);
            let mut control = ControlVariate::default();
            Ok(rebar(&latents(&x[0])?, 0.5, &mut control, &mut fresh(), &mut f)?.surrogate)
        }),
        // No sample, so the ordinary gradient.
        entry("enumeration::enumeration", LOSS, |x| {
            let mut f = |z: &Tensor| decode(z, &x[1]);
            Ok(enumeration(&latents(&x[0])?, &mut f)?.surrogate)
        }),
        entry("enumeration::expected_loss", &[("logits", logits), ("losses", losses)], |x| {
            expected_loss(&latents(&x[0])?, &x[1])
        }),
    ];
    all.push(entry("estimator::objective", RELAXED, |x| {
        let mut f = |z: &Tensor| decode(z, &x[2]);
        let (logits, state) = (latents(&x[0])?, &mut EstimatorState::default());
        let objective =
            Estimator::GumbelSoftmax.objective(state, &logits, &x[1], &mut fresh(), &mut f);
        Ok(objective?.surrogate)
    }));
    all.push(entry("estimator::objective_on", RELAXED, |x| {
        let mut f = |z: &Tensor| decode(z, &x[2]);
        let (logits, state) = (latents(&x[0])?, &mut EstimatorState::default());
        let bits: Arc<dyn Structure> = Arc::new(Bits);
        let at = (&logits, Temperature::from(&x[1]));
        let objective =
            Estimator::GumbelSoftmax.objective_on(&bits, state, at, &mut fresh(), &mut f);
        Ok(objective?.surrogate)
    }));
    all.extend(Estimator::ALL.map(|estimator| {
        jumping("estimator::objective", LOSS, move |x| {
            let logits = match estimator {
                Estimator::DisArm => binary_latents(&x[0])?,
                _ => latents(&x[0])?,
            };
            let mut f = |z: &Tensor| decode(z, &x[1]);
            let mut state = EstimatorState::default();
            let objective = estimator.objective(&mut state, &logits, 0.7, &mut fresh(), &mut f);
            Ok(objective?.surrogate)
        })
    }));
    all
}
