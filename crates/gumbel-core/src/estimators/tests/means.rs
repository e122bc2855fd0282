//! The mean of each estimator against its own formula, summed or integrated without sampling.

use super::*;

const LOGITS: [f64; 4] = [0.3, -1.1, 0.9, 0.1];
const N_DRAWS: usize = 100_000;

fn loss() -> TestLoss {
    TestLoss::smooth(4)
}

/// Holds the mean over draws at [`LOGITS`] against `Σ_i p_i gradient(i, ∇f(e_i))`.
fn holds(estimator: Estimator, tau: f64, p: &[f64], gradient: impl Fn(usize, &[f64]) -> Vec<f64>) {
    let expected = combine((0..4).map(|i| (p[i], gradient(i, &loss().gradient(&unit(4, i))))));
    let mut state = EstimatorState::default();
    let draws = Draws::of(estimator, &mut state, &LOGITS, 4, tau, &loss(), (N_DRAWS, 1));
    let distance = draws.distance(&expected);
    assert!(distance < STANDARD_ERRORS, "{estimator} at {tau}: {distance} standard errors");
}

#[test]
fn straight_through_has_the_gradient_of_the_tempered_probabilities() {
    for tau in [0.5, 1.0, 1.4] {
        holds(Estimator::StraightThrough, tau, &softmax(&LOGITS, 1.0), |_, g| {
            combine([(1.0 / tau, jacobian(&softmax(&LOGITS, tau), g))])
        });
    }
}

#[test]
fn decoupled_straight_through_samples_at_one_temperature_and_differentiates_at_the_other() {
    let estimator = Estimator::DecoupledStraightThrough { backward_tau: 2.0 };
    holds(estimator, 0.6, &softmax(&LOGITS, 0.6), |_, g| {
        combine([(0.5, jacobian(&softmax(&LOGITS, 2.0), g))])
    });
}

#[test]
fn gapped_straight_through_moves_the_logits_as_published() {
    for (tau, gap) in [(1.0, 1.0), (0.5, 1.0), (0.7, 0.2), (1.0, 0.0)] {
        let top = 0.9;
        holds(Estimator::GappedStraightThrough { gap }, tau, &softmax(&LOGITS, 1.0), |i, g| {
            // m1 raises the sampled class to the top; m2 pushes the others to top - gap (Fan et al. 2022).
            let moved: Vec<f64> = (0..4)
                .map(|j| {
                    let l = LOGITS[j];
                    if j == i { l + (top - l) } else { l - (l - top + gap).max(0.0) }
                })
                .collect();
            combine([(1.0 / tau, jacobian(&softmax(&moved, tau), g))])
        });
    }
}

#[test]
fn reinmax_follows_its_algorithm_at_any_temperature() {
    for tau in [0.7, 1.0, 1.5] {
        let p = softmax(&LOGITS, 1.0);
        holds(Estimator::ReinMax, tau, &p, |i, g| {
            let middle = combine([(0.5, softmax(&LOGITS, tau)), (0.5, unit(4, i))]);
            combine([(2.0, jacobian(&middle, g)), (-0.5, jacobian(&p, g))])
        });
    }
}

#[test]
fn reinmax_at_one_equals_its_closed_form_draw_by_draw() {
    let p = softmax(&LOGITS, 1.0);
    let forms: Vec<Vec<f64>> = (0..4)
        .map(|i| {
            let g = loss().gradient(&unit(4, i));
            let mean = dot(&p, &g);
            let score = combine([(1.0, unit(4, i)), (-1.0, p.clone())]);
            combine([(0.5, jacobian(&p, &g)), (0.5 * (g[i] - mean), score)])
        })
        .collect();
    let mut state = EstimatorState::default();
    let draws = Draws::of(Estimator::ReinMax, &mut state, &LOGITS, 4, 1.0, &loss(), (200, 2));
    let mut seen = [false; 4];
    for gradient in &draws.gradients {
        let distance = |form: &Vec<f64>| {
            form.iter().zip(gradient).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        let nearest = (0..4).min_by(|&a, &b| distance(&forms[a]).total_cmp(&distance(&forms[b])));
        let nearest = nearest.unwrap();
        assert!(distance(&forms[nearest]) < 1e-14);
        seen[nearest] = true;
    }
    assert_eq!(seen, [true; 4]);
}

/// The mean of `f(u)` over `u` uniform in (0, 1): the midpoint rule.
fn integrate(f: impl Fn(f64) -> Vec<f64>) -> Vec<f64> {
    let n = 200_000;
    combine((0..n).map(|k| (1.0 / n as f64, f((k as f64 + 0.5) / n as f64))))
}

const TWO: [f64; 2] = [0.4, -0.5];

/// The two-class relaxed sample for logistic noise of quantile `u`.
fn relaxed(u: f64, tau: f64) -> Vec<f64> {
    let noise = u.ln() - (-u).ln_1p();
    let y = 1.0 / (1.0 + (-(TWO[0] - TWO[1] + noise) / tau).exp());
    vec![y, 1.0 - y]
}

fn two_class_draws(estimator: Estimator, tau: f64, n_draws: usize, seed: u64) -> Draws {
    let mut state = EstimatorState::default();
    Draws::of(estimator, &mut state, &TWO, 2, tau, &TestLoss::smooth(2), (n_draws, seed))
}

#[test]
fn gumbel_softmax_has_the_gradient_of_the_relaxed_loss() {
    for tau in [0.5, 1.0] {
        let expected = integrate(|u| {
            let y = relaxed(u, tau);
            combine([(1.0 / tau, jacobian(&y, &TestLoss::smooth(2).gradient(&y)))])
        });
        let distance =
            two_class_draws(Estimator::GumbelSoftmax, tau, N_DRAWS, 3).distance(&expected);
        assert!(distance < STANDARD_ERRORS, "{tau}: {distance}");
    }
}

#[test]
fn st_gumbel_softmax_and_gumbel_rao_have_the_same_mean() {
    for tau in [0.3, 1.0] {
        let expected = integrate(|u| {
            let y = relaxed(u, tau);
            let sampled = if y[0] > 0.5 { 0 } else { 1 };
            let g = TestLoss::smooth(2).gradient(&unit(2, sampled));
            combine([(1.0 / tau, jacobian(&y, &g))])
        });
        let estimators = [
            Estimator::StGumbelSoftmax,
            Estimator::GumbelRao { draws: 1 },
            Estimator::GumbelRao { draws: 10 },
        ];
        for estimator in estimators {
            let distance = two_class_draws(estimator, tau, N_DRAWS, 4).distance(&expected);
            assert!(distance < STANDARD_ERRORS, "{estimator} at {tau}: {distance}");
        }
    }
}

/// For two classes, the mean over noises that lead to class `i` of the gradient at `softmax(· / τ)`.
fn conditional_mean(p: &[f64], i: usize, g: &[f64], tau: f64) -> Vec<f64> {
    let j = 1 - i;
    integrate(|u| {
        // The ratio of two exponential variables has the distribution function r / (1 + r).
        let ratio = u / (1.0 - u);
        let other = (1.0 + ratio / p[j]).powf(-1.0 / tau);
        let mut y = vec![0.0; 2];
        (y[i], y[j]) = (1.0 / (1.0 + other), other / (1.0 + other));
        combine([(1.0 / tau, jacobian(&y, g))])
    })
}

#[test]
fn gumbel_rao_goes_to_its_conditional_mean_as_draws_grow() {
    let p = softmax(&TWO, 1.0);
    let loss = TestLoss::smooth(2);
    let limits: Vec<_> =
        (0..2).map(|i| conditional_mean(&p, i, &loss.gradient(&unit(2, i)), 0.5)).collect();
    let error = |draws: usize| {
        let of = |g: &Vec<f64>| {
            let to = |limit: &Vec<f64>| (g[0] - limit[0]).abs();
            to(&limits[0]).min(to(&limits[1]))
        };
        let draws = two_class_draws(Estimator::GumbelRao { draws }, 0.5, 100, 5);
        draws.gradients.iter().map(of).sum::<f64>() / 100.0
    };
    // The error of a mean of n falls as 1/√n: a hundredfold n makes it ten times smaller.
    let (few, many) = (error(40), error(4000));
    assert!(many < 0.15 * few && many > 0.05 * few, "{few} {many}");
}

#[test]
fn reinmax_rao_combines_the_conditional_mean_at_the_midpoint() {
    let p = softmax(&TWO, 1.0);
    let loss = TestLoss::smooth(2);
    for tau in [0.7, 1.0] {
        let expected = combine((0..2).map(|i| {
            let g = loss.gradient(&unit(2, i));
            let middle = combine([(0.5, p.clone()), (0.5, unit(2, i))]);
            let second = conditional_mean(&middle, i, &g, tau);
            (p[i], combine([(2.0, second), (-0.5, jacobian(&p, &g))]))
        }));
        let draws = two_class_draws(Estimator::ReinMaxRao { draws: 3 }, tau, N_DRAWS, 6);
        let distance = draws.distance(&expected);
        assert!(distance < STANDARD_ERRORS, "{tau}: {distance}");
    }
}

#[test]
fn the_relaxed_gradient_goes_to_the_exact_one_as_the_temperature_falls() {
    let loss = TestLoss::smooth(2);
    let exact = exact_gradient(&TWO, 2, &loss);
    let error = |tau: f64| {
        let relaxed = integrate(|u| {
            let y = relaxed(u, tau);
            combine([(1.0 / tau, jacobian(&y, &loss.gradient(&y)))])
        });
        (relaxed[0] - exact[0]).abs()
    };
    // The bias falls in proportion to τ.
    assert!(error(0.01) < 0.15 * error(0.1) && error(0.001) < 0.15 * error(0.01));
    // And the sampled gradient is that of the integral at small τ too, within its larger standard error.
    let distance = two_class_draws(Estimator::GumbelSoftmax, 0.05, N_DRAWS, 7).distance(&exact);
    assert!(distance < STANDARD_ERRORS, "{distance}");
}

#[test]
fn fini_equals_the_dense_formula_draw_by_draw() {
    let p = softmax(&LOGITS, 1.0);
    let mut state = EstimatorState::default();
    let draws = Draws::of(Estimator::Fini, &mut state, &LOGITS, 4, 1.0, &loss(), (200, 8));
    let forms: Vec<_> = (0..4).map(|i| dense_fini(&p, i, &loss().gradient(&unit(4, i)))).collect();
    for gradient in &draws.gradients {
        let distance = |form: &Vec<f64>| {
            form.iter().zip(gradient).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        assert!(forms.iter().map(distance).fold(f64::INFINITY, f64::min) < 1e-13);
    }
}

/// `W_i g` as it is written in the proposition: `C = ½ G⁺ J`, `W_i e_j = p_j / (p_i + p_j) Cᵀ (e_j - e_i)`.
fn dense_fini(p: &[f64], i: usize, g: &[f64]) -> Vec<f64> {
    let n = p.len();
    let mut laplacian = vec![vec![0.0; n]; n];
    for a in 0..n {
        for b in (0..n).filter(|&b| b != a) {
            laplacian[a][b] = -p[a] * p[b] / (p[a] + p[b]);
            laplacian[a][a] += p[a] * p[b] / (p[a] + p[b]);
        }
    }
    // G⁺ J = (G + 1 1ᵀ / n)⁻¹ J, since the columns of J sum to zero.
    laplacian.iter_mut().flatten().for_each(|x| *x += 1.0 / n as f64);
    let half_j: Vec<_> = (0..n)
        .map(|a| (0..n).map(|b| 0.5 * (if a == b { p[a] } else { 0.0 } - p[a] * p[b])).collect())
        .collect();
    let c: Vec<Vec<f64>> = gauss_jordan(laplacian, half_j);
    let own = combine([(0.5 * g[i], unit(n, i)), (-0.5 * g[i], p.to_vec())]);
    let others = (0..n).filter(|&j| j != i).map(|j| {
        let difference = combine([(1.0, c[j].clone()), (-1.0, c[i].clone())]);
        (p[j] / (p[i] + p[j]) * g[j], difference)
    });
    combine(others.chain([(1.0, own)]))
}

/// `A⁻¹ B` with pivoting, all dense.
fn gauss_jordan(mut a: Vec<Vec<f64>>, mut b: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = a.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&x, &y| a[x][k].abs().total_cmp(&a[y][k].abs())).unwrap();
        a.swap(k, pivot);
        b.swap(k, pivot);
        for row in (0..n).filter(|&row| row != k) {
            let factor = a[row][k] / a[k][k];
            for column in 0..n {
                a[row][column] -= factor * a[k][column];
                b[row][column] -= factor * b[k][column];
            }
        }
    }
    (0..n).map(|k| b[k].iter().map(|x| x / a[k][k]).collect()).collect()
}
