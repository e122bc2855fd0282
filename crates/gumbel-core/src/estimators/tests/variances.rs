//! Claims about variances. Those of 20,000 draws are known to a few percent; the bounds leave more room.

use super::*;
use crate::estimators::Estimator::*;

const LOGITS: [f64; 6] = [0.3, -1.1, 0.9, 0.1, 1.2, -0.4];

fn total_variance(
    estimator: Estimator,
    state: &mut EstimatorState,
    n_categories: usize,
    tau: f64,
) -> f64 {
    let loss = TestLoss::smooth(6);
    let run = (20_000, 50);
    Draws::of(estimator, state, &LOGITS, n_categories, tau, &loss, run).total_variance()
}

fn of(estimator: Estimator, n_categories: usize, tau: f64) -> f64 {
    total_variance(estimator, &mut EstimatorState::default(), n_categories, tau)
}

#[test]
fn gumbel_rao_varies_less_than_st_gumbel_softmax_and_less_with_more_draws() {
    for tau in [0.3, 1.0] {
        let plain = of(StGumbelSoftmax, 3, tau);
        let [one, ten, hundred] = [1, 10, 100].map(|draws| of(GumbelRao { draws }, 3, tau));
        assert!((one / plain - 1.0).abs() < 0.1, "{tau}: {one} {plain}");
        assert!(ten < 0.9 * plain && hundred < ten, "{tau}: {plain} {ten} {hundred}");
    }
}

#[test]
fn leave_one_out_varies_less_with_more_samples() {
    let [two, four, eight] = [2, 4, 8].map(|samples| of(Rloo { samples }, 3, 1.0));
    assert!(four < 0.6 * two && eight < 0.6 * four, "{two} {four} {eight}");
}

#[test]
fn disarm_varies_less_than_leave_one_out_with_two_samples() {
    let (pair, two) = (of(DisArm, 2, 1.0), of(Rloo { samples: 2 }, 2, 1.0));
    assert!(pair < 0.9 * two, "{pair} {two}");
}

#[test]
fn rebar_varies_less_than_reinforce_once_its_scale_is_learnt() {
    // Eight bits and a loss that is nearly linear: the relaxed loss tells much about the discrete one.
    let w = (0..16).map(|i| 0.3 * (1.3 * f64::from(i)).sin()).collect();
    let loss = TestLoss { w, v: vec![0.0; 16], exponential: 10.0 };
    let variance = |estimator: Estimator| {
        let mut state = EstimatorState::default();
        // The first call finds the baseline, the second the scale.
        let mut run = |seed| {
            let run = (20_000, seed);
            Draws::of(estimator, &mut state, &[0.2; 16], 2, 0.5, &loss, run).total_variance()
        };
        run(50);
        run(51);
        (run(52), state.control.scale())
    };
    let (rebar, scale) = variance(Rebar);
    let (reinforce, _) = variance(Reinforce);
    assert!(scale > 0.1 && scale < 1.5, "{scale}");
    assert!(rebar < 0.6 * reinforce, "{rebar} {reinforce}");
}
