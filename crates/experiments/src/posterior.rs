//! Fitting a distribution over structures to one of the same family, whose answer is known: the bound can be tight.
//!
//! What is minimised is `KL(q ‖ p) = E_q[⟨θ_q − θ_p, z⟩] + A_p − A_q`, the gap of the evidence lower bound. The entropy's gradient is exact
//! in every method; the expectation of `⟨θ_p, z⟩`, which is linear in the code, is left to the method.

use anyhow::{Context, Result};
use candle_core::{DType, Tensor, Var};
use candle_nn::Optimizer;
use gumbel_core::Generator;
use gumbel_core::distributions::Gibbs;
use gumbel_core::estimators::EstimatorState;
use gumbel_core::structure::Structure;

use crate::method::Method;
use crate::network::adam;
use crate::report::mean;

/// The approximate and the exact distribution, row by row.
pub(crate) type Pair<S> = (Gibbs<S>, Gibbs<S>);

/// A family `q` with parameters, and the distribution that it can reach.
pub(crate) trait Problem {
    type Structure: Structure;

    fn parameters(&self) -> Vec<Var>;

    /// Rows to take a step on.
    fn batch(&self, g: &mut Generator) -> Result<Pair<Self::Structure>>;

    /// Rows to measure the gap on.
    fn test(&self) -> Result<Pair<Self::Structure>>;
}

const STEPS: usize = 1500;
const LEARNING_RATE: f64 = 0.1;
/// Gradients that bias and noise are measured by.
const DRAWS: usize = 200;

/// Trains with Adam, whose learning rate falls linearly to zero. Returns the gap after it in nats, and bias and noise of the method's
/// gradient before it.
pub(crate) fn run<P: Problem>(
    problem: &P,
    method: &Method<P::Structure>,
    g: &mut Generator,
) -> Result<Vec<f64>> {
    let [bias, noise] = gradient_error(problem, method, g)?;
    let mut optimizer = adam(problem.parameters(), LEARNING_RATE)?;
    let mut state = EstimatorState::default();
    for step in 0..STEPS {
        optimizer.set_learning_rate(LEARNING_RATE * (1.0 - step as f64 / STEPS as f64));
        let (q, p) = problem.batch(g)?;
        optimizer.backward_step(&negative_elbo(method, (&q, &p), &mut state, g)?)?;
    }
    let (q, p) = problem.test()?;
    Ok(vec![q.kl_divergence(&p)?.mean_all()?.to_scalar()?, bias, noise])
}

/// The sum over rows, but for the constant `A_p`.
fn negative_elbo<S: Structure>(
    method: &Method<S>,
    (q, p): (&Gibbs<S>, &Gibbs<S>),
    state: &mut EstimatorState,
    g: &mut Generator,
) -> Result<Tensor> {
    let target = p.logits()?.detach();
    // Entries that no code has.
    let target = target.gt(f64::NEG_INFINITY)?.where_cond(&target, &target.zeros_like()?)?;
    let mut f = |z: &Tensor| Ok((z * &target)?.flatten_from(1)?.sum(1)?.neg()?);
    Ok((method.loss(q, state, g, &mut f)? - q.entropy()?)?.sum_all()?)
}

/// The distance of the mean gradient from the exact one, and the root of the summed variances, both in lengths of the exact one. The first
/// is corrected for the second, and zero where the draws do not show any.
fn gradient_error<P: Problem>(
    problem: &P,
    method: &Method<P::Structure>,
    g: &mut Generator,
) -> Result<[f64; 2]> {
    let (q, p) = problem.batch(g)?;
    let parameters = problem.parameters();
    let gradient = |loss: &Tensor| -> Result<Vec<f64>> {
        let store = loss.backward()?;
        let mut all = Vec::new();
        for parameter in &parameters {
            let d = store.get(parameter).context("a parameter without a gradient")?;
            all.extend(d.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        }
        Ok(all)
    };
    let exact = gradient(&q.kl_divergence(&p)?.sum_all()?)?;
    let mut state = EstimatorState::default();
    let draws: Vec<Vec<f64>> = (0..DRAWS)
        .map(|_| gradient(&negative_elbo(method, (&q, &p), &mut state, g)?))
        .collect::<Result<_>>()?;
    let (mut variance, mut distance, mut length) = (0.0, 0.0, 0.0);
    for (at, exact) in exact.iter().enumerate() {
        let values: Vec<f64> = draws.iter().map(|draw| draw[at]).collect();
        let mean = mean(&values);
        let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        variance += squares / (DRAWS - 1) as f64;
        distance += (mean - exact).powi(2);
        length += exact.powi(2);
    }
    let bias = (distance - variance / DRAWS as f64).max(0.0);
    Ok([(bias / length).sqrt(), (variance / length).sqrt()])
}
