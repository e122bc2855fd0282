//! Densities that integrate to one, fit their samples and stay finite.

use candle_core::{D, DType, Device, Tensor};
use gumbel_core::distributions::{
    ExpRelaxedOneHotCategorical, Gumbel, LogitRelaxedBernoulli, RelaxedBernoulli,
    RelaxedOneHotCategorical,
};
use gumbel_core::{Error, Generator};

use crate::law::values;

const MASK: f64 = f64::NEG_INFINITY;

fn tensor(v: &[f64]) -> Tensor {
    Tensor::new(v, &Device::Cpu).unwrap()
}

/// Points of an even grid, and its step. The trapezium rule is exact to rounding for the smooth,
/// quickly falling densities here.
fn grid(reach: f64, n: usize) -> (Vec<f64>, f64) {
    let step = 2.0 * reach / n as f64;
    ((0..=n).map(|i| i as f64 * step - reach).collect(), step)
}

fn integral(log_density: &Tensor, area: f64) -> f64 {
    values(log_density).into_iter().map(f64::exp).sum::<f64>() * area
}

#[test]
fn densities_of_one_variable_integrate_to_one() {
    for tau in [0.1f64, 1.0, 5.0] {
        for l in [-3.0, 0.0, 2.0] {
            let (x, step) = grid((40.0 + 3.0) / tau, 4000);
            let x = tensor(&x);
            let d = LogitRelaxedBernoulli::from_logits(tau, &tensor(&[l])).unwrap();
            let total = integral(&d.log_prob(&x).unwrap(), step);
            assert!((total - 1.0).abs() < 1e-10, "logit space, {tau} {l}: {total}");
            // On (0, 1), where the logit of y is near enough that 1 - y keeps its digits: dy = y (1 - y) dx.
            if tau > 0.5 {
                let (x, step) = grid(25.0 / tau.min(1.0), 4000);
                let y: Vec<f64> = x.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
                let weight = tensor(
                    &x.iter().zip(&y).map(|(x, y)| y.ln() + (y.ln() - x)).collect::<Vec<_>>(),
                );
                let d = RelaxedBernoulli::from_logits(tau, &tensor(&[l])).unwrap();
                let total = integral(&(d.log_prob(&tensor(&y)).unwrap() + weight).unwrap(), step);
                // Beyond the grid lies e^(l - 25 τ); 1 - y is off by 1e-16 e^25 relative at its end.
                assert!((total - 1.0).abs() < 1e-8, "(0, 1), {tau} {l}: {total}");
            }
        }
    }
    let (x, step) = grid(60.0, 8000);
    let d = Gumbel::new(&tensor(&[1.0]), &tensor(&[1.3])).unwrap();
    let total = integral(&d.log_prob(&tensor(&x)).unwrap(), step);
    assert!((total - 1.0).abs() < 1e-10, "Gumbel: {total}");
}

#[test]
fn densities_on_the_simplex_integrate_to_one_also_with_a_masked_class() {
    for (tau, logits) in [
        (0.5, vec![0.3, -1.0, 0.8]),
        (1.0, vec![0.3, MASK, -1.0, 0.8]),
        (2.0, vec![0.0, 1.0, -1.0]),
    ] {
        // y = softmax(u, v, 0) of the allowed classes; dy = y_1 y_2 y_3 du dv.
        let (u, step) = grid(45.0 / tau, 300);
        let allowed: Vec<usize> = (0..logits.len()).filter(|&k| logits[k] > MASK).collect();
        let mut x = Vec::new();
        for &a in &u {
            for &b in &u {
                let top = a.max(b).max(0.0);
                let lse = top + ((a - top).exp() + (b - top).exp() + (-top).exp()).ln();
                let mut row = vec![MASK; logits.len()];
                for (&k, v) in allowed.iter().zip([a, b, 0.0]) {
                    row[k] = v - lse;
                }
                x.extend(row);
            }
        }
        let x = Tensor::from_vec(x, (u.len() * u.len(), logits.len()), &Device::Cpu).unwrap();
        let d = ExpRelaxedOneHotCategorical::from_logits(tau, &tensor(&logits)).unwrap();
        let total = integral(&d.log_prob(&x).unwrap(), step * step);
        assert!((total - 1.0).abs() < 1e-8, "log space at {tau}: {total}");

        let allowed_t = x.gt(MASK).unwrap();
        let log_volume =
            allowed_t.where_cond(&x, &x.zeros_like().unwrap()).unwrap().sum(D::Minus1).unwrap();
        let d = RelaxedOneHotCategorical::from_logits(tau, &tensor(&logits)).unwrap();
        let density = d.log_prob(&x.exp().unwrap()).unwrap();
        let total = integral(&(density + log_volume).unwrap(), step * step);
        assert!((total - 1.0).abs() < 1e-8, "simplex at {tau}: {total}");
    }
}

#[test]
fn the_closed_entropies_are_the_mean_of_the_negative_log_density() {
    let n = 300_000;
    let check = |name: &str, entropy: f64, log_prob: Vec<f64>| {
        let mean = -log_prob.iter().sum::<f64>() / n as f64;
        let variance = log_prob.iter().map(|l| (l + mean).powi(2)).sum::<f64>() / n as f64;
        // 3.89 standard errors: α = 1e-4.
        let error = 3.89 * (variance / n as f64).sqrt();
        assert!((mean - entropy).abs() < error, "{name}: {mean} ± {error}, closed form {entropy}");
    };
    for (seed, tau, logits) in
        [(80, 0.3, vec![0.3, -1.0, 0.8, 2.0]), (81, 2.0, vec![0.3, MASK, -1.0, 0.8])]
    {
        let d = ExpRelaxedOneHotCategorical::from_logits(tau, &tensor(&logits)).unwrap();
        let x = d.sample(n, &mut Generator::new(seed)).unwrap();
        let entropy = d.entropy().unwrap().to_scalar::<f64>().unwrap();
        check("ExpRelaxedOneHotCategorical", entropy, values(&d.log_prob(&x).unwrap()));
        let d = LogitRelaxedBernoulli::from_logits(tau, &tensor(&[1.5])).unwrap();
        let x = d.sample(n, &mut Generator::new(seed)).unwrap();
        let entropy = values(&d.entropy().unwrap())[0];
        check("LogitRelaxedBernoulli", entropy, values(&d.log_prob(&x).unwrap()));
        let d = Gumbel::new(&tensor(&[1.5]), &tensor(&[tau])).unwrap();
        let x = d.sample(n, &mut Generator::new(seed)).unwrap();
        check("Gumbel", values(&d.entropy().unwrap())[0], values(&d.log_prob(&x).unwrap()));
    }
}

#[test]
fn densities_stay_finite_on_the_boundary_with_many_classes_and_saturated_logits() {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for (scale, n_classes) in [(80.0, 10), (3.0, 1000), (80.0, 1000)] {
            let logits: Vec<f64> = (0..n_classes).map(|k| scale * (1.7 * k as f64).sin()).collect();
            let logits = tensor(&logits).to_dtype(dtype).unwrap();
            let mut g = Generator::new(90);
            let d = RelaxedOneHotCategorical::from_logits(0.1, &logits).unwrap();
            let y = d.sample(50, &mut g).unwrap();
            // Only f64 reaches the 1e-300 that logits of 3 come down to at this temperature.
            assert!(values(&y).contains(&0.0) || (dtype == DType::F64 && scale < 80.0));
            let wide = values(&d.log_prob(&y).unwrap());
            // f16 ends at 65,504, and 1,000 logarithms of 6e-8 alone sum to 16,600.
            assert!(wide.iter().all(|l| l.is_finite()), "{dtype:?} {scale} {n_classes}");
            if dtype != DType::F16 && dtype != DType::BF16 {
                let d = ExpRelaxedOneHotCategorical::from_logits(0.1, &logits).unwrap();
                let x = d.sample(50, &mut g).unwrap();
                assert!(values(&d.log_prob(&x).unwrap()).iter().all(|l| l.is_finite()));
            }
        }
        let logits = tensor(&[-80.0, 80.0, 0.0]).to_dtype(dtype).unwrap();
        let d = RelaxedBernoulli::from_logits(0.1, &logits).unwrap();
        let y = d.sample(1000, &mut Generator::new(91)).unwrap();
        assert!(values(&y).contains(&0.0) && values(&y).contains(&1.0));
        assert!(values(&d.log_prob(&y).unwrap()).iter().all(|l| l.is_finite()), "{dtype:?}");
    }
}

#[test]
fn values_outside_the_support_are_refused_or_have_density_zero() {
    let logits = tensor(&[0.0, MASK, 1.0]);
    let d = ExpRelaxedOneHotCategorical::from_logits(1.0, &logits).unwrap();
    let weighs_masked = tensor(&[-1.0, -2.0, -0.7]);
    assert_eq!(values(&d.log_prob(&weighs_masked).unwrap()), [MASK]);
    for bad in [f64::NAN, MASK, f64::INFINITY] {
        let error = d.log_prob(&tensor(&[bad, MASK, 0.0])).unwrap_err();
        assert!(matches!(error, Error::OutsideSupport { .. }), "{error}");
    }
    let d = RelaxedOneHotCategorical::from_logits(1.0, &logits).unwrap();
    assert_eq!(values(&d.log_prob(&tensor(&[0.5, 0.1, 0.4])).unwrap()), [MASK]);
    assert!(matches!(d.log_prob(&tensor(&[-0.5, 0.0, 1.0])), Err(Error::OutsideSupport { .. })));
    let d = RelaxedBernoulli::from_logits(1.0, &tensor(&[0.0])).unwrap();
    assert!(matches!(d.log_prob(&tensor(&[1.5])), Err(Error::OutsideSupport { .. })));
    let d = LogitRelaxedBernoulli::from_logits(1.0, &tensor(&[0.0])).unwrap();
    assert!(matches!(d.log_prob(&tensor(&[f64::NAN])), Err(Error::OutsideSupport { .. })));
}
