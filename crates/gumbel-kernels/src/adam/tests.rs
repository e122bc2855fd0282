//! Adam and RAdam against PyTorch's formulas in double precision.

use super::*;
use crate::test_support::values;

const OPTIONS: AdamOptions =
    AdamOptions { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8 };

/// One parameter in double precision, as `torch.optim` steps it.
#[derive(Clone, Copy)]
struct Exact {
    p: f64,
    m: f64,
    v: f64,
}

impl Exact {
    fn moments(&mut self, g: f64) {
        self.m = 0.9 * self.m + 0.1 * g;
        self.v = 0.999 * self.v + 0.001 * g * g;
    }

    /// `torch.optim.adam._single_tensor_adam`.
    fn adam(&mut self, g: f64, t: i32) {
        self.moments(g);
        let denominator = self.v.sqrt() / (1.0 - 0.999f64.powi(t)).sqrt() + 1e-8;
        self.p -= 1e-3 / (1.0 - 0.9f64.powi(t)) * self.m / denominator;
    }

    /// `torch.optim.radam._single_tensor_radam`.
    fn radam(&mut self, g: f64, t: i32) {
        self.moments(g);
        let corrected = self.m / (1.0 - 0.9f64.powi(t));
        let rho_inf = 2.0 / (1.0 - 0.999) - 1.0;
        let power = 0.999f64.powi(t);
        let rho = rho_inf - 2.0 * f64::from(t) * power / (1.0 - power);
        if rho > 5.0 {
            let rectification = ((rho - 4.0) * (rho - 2.0) * rho_inf
                / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho))
                .sqrt();
            self.p -=
                1e-3 * corrected * rectification * (1.0 - power).sqrt() / (self.v.sqrt() + 1e-8);
        } else {
            self.p -= 1e-3 * corrected;
        }
    }
}

#[test]
fn steps_agree_with_pytorch_s_formulas_in_double_precision() {
    let lens: &[usize] = if cfg!(miri) { &[17] } else { &[0, 1, 15, 16, 1000, 40_000] };
    // RAdam starts to rectify at step 6.
    let n_steps = if cfg!(miri) { 7 } else { 20 };
    for isa in Isa::available() {
        for &len in lens {
            for rectified in [false, true] {
                let mut value = values(len, 1);
                let mut exact: Vec<Exact> =
                    value.iter().map(|&p| Exact { p: p.into(), m: 0.0, v: 0.0 }).collect();
                let (mut exp_avg, mut exp_avg_sq) = (vec![0.0; len], vec![0.0; len]);
                for t in 1..=n_steps {
                    let gradient = values(len, 100 + t);
                    let step = if rectified {
                        AdamStep::radam(OPTIONS, t.into())
                    } else {
                        AdamStep::adam(OPTIONS, t.into())
                    };
                    let parameter = AdamParameter {
                        value: &mut value,
                        exp_avg: &mut exp_avg,
                        exp_avg_sq: &mut exp_avg_sq,
                    };
                    adam_update_on(isa, &step, parameter, &gradient);
                    for (exact, &g) in exact.iter_mut().zip(&gradient) {
                        if rectified {
                            exact.radam(g.into(), t as i32);
                        } else {
                            exact.adam(g.into(), t as i32);
                        }
                    }
                }
                for (i, exact) in exact.iter().enumerate() {
                    // Per step the value is rounded once (2^-25), the moments and the quotient a few times.
                    let bound = f64::from(n_steps) * 2f64.powi(-24);
                    assert!((f64::from(value[i]) - exact.p).abs() < bound, "{}", isa.name());
                    assert!((f64::from(exp_avg[i]) - exact.m).abs() < bound);
                    assert!((f64::from(exp_avg_sq[i]) - exact.v).abs() < bound * exact.v);
                }
            }
        }
    }
}

#[test]
fn moments_of_a_vanished_gradient_become_zero_and_never_subnormal() {
    let n_steps = if cfg!(miri) { 1 } else { 120_000 };
    let (mut value, mut exp_avg, mut exp_avg_sq) = ([1.0], [0.5], [0.25]);
    for t in 1..=n_steps {
        let parameter =
            AdamParameter { value: &mut value, exp_avg: &mut exp_avg, exp_avg_sq: &mut exp_avg_sq };
        // Gradients whose square is subnormal must not feed the second moment either.
        let gradient = if t % 2 == 0 { [0.0] } else { [1e-21] };
        adam_update(&AdamStep::adam(OPTIONS, t), parameter, &gradient).unwrap();
        assert!(!exp_avg[0].is_subnormal() && !exp_avg_sq[0].is_subnormal());
    }
    assert!(exp_avg_sq[0] == 0.0 || cfg!(miri));
}

#[test]
fn a_nan_gradient_stays_visible() {
    let (mut value, mut exp_avg, mut exp_avg_sq) = ([1.0], [0.5], [0.25]);
    let parameter =
        AdamParameter { value: &mut value, exp_avg: &mut exp_avg, exp_avg_sq: &mut exp_avg_sq };
    adam_update(&AdamStep::adam(OPTIONS, 1), parameter, &[f32::NAN]).unwrap();
    assert!(value[0].is_nan() && exp_avg[0].is_nan() && exp_avg_sq[0].is_nan());
}

#[test]
fn lengths_are_checked() {
    let parameter =
        AdamParameter { value: &mut [0.0; 3], exp_avg: &mut [0.0; 3], exp_avg_sq: &mut [0.0; 2] };
    let error = adam_update(&AdamStep::adam(OPTIONS, 1), parameter, &[0.0; 3]);
    assert_eq!(error, Err(LengthError { operand: "exp_avg_sq", expected: 3, actual: 2 }));
}
