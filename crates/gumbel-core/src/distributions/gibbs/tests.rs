//! Every structure against the sum over its codes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use candle_core::{Device, Var};

use super::*;
use crate::estimators::{Estimator, EstimatorState, Evaluation};
use crate::structure::{
    Arborescence, Bits, Categories, ChainOptions, Copies, KSubset, LinearChain, Roots, SpanningTree,
};

/// A structure, its event, and the entries that are masked in the tests.
type Case = (Arc<dyn Structure>, Vec<usize>, Vec<usize>);

/// Add a structure here, and everything below is claimed of it.
fn cases() -> Vec<Case> {
    let short = {
        let lengths = Tensor::new(&[2u32], &Device::Cpu).unwrap();
        let unary = Tensor::zeros((1, 3, 2), DType::F64, &Device::Cpu).unwrap();
        let options = ChainOptions { lengths: Some(&lengths), ..Default::default() };
        let transition = Tensor::zeros((2, 2), DType::F64, &Device::Cpu).unwrap();
        LinearChain::new(&unary, &transition, options).unwrap().structure().clone()
    };
    vec![
        (Arc::new(Categories::default()), vec![2, 3], vec![1]),
        (Arc::new(Bits), vec![3, 2], vec![4]),
        (Arc::new(KSubset::new(0)), vec![4], vec![]),
        (Arc::new(KSubset::new(1)), vec![4], vec![2]),
        (Arc::new(KSubset::new(3)), vec![7], vec![5]),
        (Arc::new(KSubset::new(6)), vec![8], vec![0]),
        (Arc::new(KSubset::new(5)), vec![5], vec![]),
        (Arc::new(LinearChain::default()), vec![3, 3, 3], vec![2, 14, 20]),
        (Arc::new(LinearChain::default()), vec![1, 4, 4], vec![1]),
        (short, vec![3, 2, 2], vec![6]),
        (Arc::new(SpanningTree), vec![6], vec![2]),
        (Arc::new(Arborescence { roots: Roots::Multiple }), vec![3, 4], vec![2]),
        (Arc::new(Arborescence { roots: Roots::Single }), vec![3, 4], vec![2]),
        (Arc::new(Copies::new(Arc::new(KSubset::new(3)))), vec![2, 4], vec![1]),
        (Arc::new(Copies::new(Arc::new(LinearChain::default()))), vec![2, 2, 2, 2], vec![5]),
    ]
}

fn values_of(x: &Tensor) -> Vec<f64> {
    values(x).unwrap()
}

fn tensor(x: Vec<f64>, dims: &[usize]) -> Tensor {
    Tensor::from_vec(x, dims, &Device::Cpu).unwrap()
}

/// Numbers of the given standard deviation that depend on the seed.
fn normal(n: usize, deviation: f64, seed: u64) -> Vec<f64> {
    let u = crate::uniform(n + 1, DType::F64, &Device::Cpu, &mut Generator::new(seed)).unwrap();
    let u = values_of(&u);
    let tau = std::f64::consts::TAU;
    u.windows(2).map(|u| deviation * (-2.0 * u[0].ln()).sqrt() * (tau * u[1]).cos()).collect()
}

fn row((_, event, masks): &Case, deviation: f64, seed: u64) -> Vec<f64> {
    let mut theta = normal(event.iter().product(), deviation, seed);
    masks.iter().for_each(|&at| theta[at] = f64::NEG_INFINITY);
    theta
}

fn of(case: &Case, theta: &[f64]) -> Gibbs<dyn Structure> {
    let dims = [&[theta.len() / case.1.iter().product::<usize>()], case.1.as_slice()].concat();
    Gibbs::on(case.0.clone(), &tensor(theta.to_vec(), &dims)).unwrap()
}

fn log_sum(values: &[f64]) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match most {
        f64::NEG_INFINITY => most,
        _ => most + values.iter().map(|x| (x - most).exp()).sum::<f64>().ln(),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).filter(|(_, b)| **b != 0.0).map(|(a, b)| a * b).sum()
}

/// Codes, their log-probabilities, and the log-partition.
fn enumerate(case: &Case, theta: &[f64]) -> (Vec<Vec<f64>>, Vec<f64>, f64) {
    let codes = values_of(&of(case, theta).enumerate_support().unwrap());
    let codes: Vec<Vec<f64>> = codes.chunks(theta.len()).map(<[f64]>::to_vec).collect();
    let scores: Vec<f64> = codes.iter().map(|z| dot(theta, z)).collect();
    let total = log_sum(&scores);
    (codes, scores.iter().map(|score| score - total).collect(), total)
}

fn mean(codes: &[Vec<f64>], log_p: &[f64]) -> Vec<f64> {
    let of = |i: usize| {
        codes.iter().zip(log_p).map(move |(z, p)| if z[i] > 0.0 { p.exp() } else { 0.0 })
    };
    (0..codes[0].len()).map(|i| of(i).sum()).collect()
}

#[track_caller]
fn close(a: &[f64], b: &[f64], bound: f64, what: &str) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= bound * b.abs().max(1.0) || a == b, "{what} at {i}: {a} {b}");
    }
}

#[test]
fn partition_marginals_entropy_and_mode_are_those_of_all_codes_at_every_scale() {
    for case in cases() {
        for (seed, deviation) in [0.1, 1.0, 30.0, 400.0].into_iter().enumerate() {
            let theta = row(&case, deviation, seed as u64);
            let (codes, log_p, total) = enumerate(&case, &theta);
            let d = of(&case, &theta);
            let what = format!("{:?} {deviation}", case.0);
            close(&values_of(&d.log_partition().unwrap()), &[total], 1e-12, &what);
            let mu = values_of(&d.marginals().unwrap());
            close(&mu, &mean(&codes, &log_p), 1e-12, &what);
            assert!(mu.iter().all(|mu| (0.0..=1.0).contains(mu)), "{what}");
            case.2.iter().for_each(|&at| assert_eq!(mu[at], 0.0, "{what}"));
            let finite = log_p.iter().filter(|p| **p > f64::NEG_INFINITY);
            let entropy: f64 = finite.map(|p| -p * p.exp()).sum();
            close(&values_of(&d.entropy().unwrap()), &[entropy], 1e-10, &what);
            let best = (0..codes.len()).rev().max_by(|&a, &b| log_p[a].total_cmp(&log_p[b]));
            assert_eq!(values_of(&d.mode().unwrap()), codes[best.unwrap()], "{what}");

            let single = d.logits().unwrap().to_dtype(DType::F32).unwrap();
            let rounded = values_of(&single);
            let (codes, log_p, total) = enumerate(&case, &rounded);
            let d = Gibbs::on(case.0.clone(), &single).unwrap();
            assert_eq!(d.marginals().unwrap().dtype(), DType::F32);
            close(&values_of(&d.log_partition().unwrap()), &[total], 2e-6, &what);
            // Sums of scores of up to a thousand are rounded to 6e-5 where a chain is filtered in f32.
            let bound = 2e-6 * deviation.max(1.0);
            close(&values_of(&d.marginals().unwrap()), &mean(&codes, &log_p), bound, &what);
        }
    }
}

#[test]
fn the_support_has_as_many_codes_as_it_should_and_every_code_fits() {
    let n_codes = [9, 64, 1, 4, 35, 28, 1, 27, 4, 4, 16, 16, 9, 16, 16];
    for (case, n) in cases().iter().zip(n_codes) {
        let theta = vec![0.0; case.1.iter().product()];
        let d = of(case, &theta);
        let codes = d.enumerate_support().unwrap();
        assert_eq!(codes.dims()[0], n, "{:?}", case.0);
        let count = values_of(&d.log_count().unwrap())[0];
        assert!((count - (n as f64).ln()).abs() < 1e-12, "{:?}", case.0);
        let entropy = values_of(&d.entropy().unwrap())[0];
        assert!((entropy - count).abs() < 1e-12, "{:?}", case.0);
        let log_p = values_of(&d.log_prob(&codes).unwrap());
        assert!(log_p.iter().all(|p| (p + count).abs() < 1e-12), "{:?}", case.0);
        // A one more or less is no code; but for bits.
        let first = codes.narrow(0, 0, 1).unwrap();
        let wrong = (first.affine(-1.0, 1.0).unwrap() * 1.0).unwrap();
        if case.0.name() != "bits" && !values_of(&codes).is_empty() {
            let refused = d.log_prob(&wrong);
            assert!(matches!(refused, Err(Error::OutsideSupport { .. })), "{:?}", case.0);
        }
    }
}

#[test]
fn divergences_are_those_of_all_codes_and_zero_for_equal_logits() {
    for case in cases() {
        let (p, q) = (row(&case, 1.0, 1), row(&case, 1.3, 2));
        let (_, log_p, _) = enumerate(&case, &p);
        let (_, log_q, _) = enumerate(&case, &q);
        let pairs = log_p.iter().zip(&log_q).filter(|(p, _)| **p > f64::NEG_INFINITY);
        let exact: f64 = pairs.map(|(p, q)| p.exp() * (p - q)).sum();
        let kl = |p: &[f64], q: &[f64]| {
            values_of(&of(&case, p).kl_divergence(&of(&case, q)).unwrap())[0]
        };
        assert!((kl(&p, &q) - exact).abs() < 1e-12, "{:?}", case.0);
        assert_eq!(kl(&p, &p), 0.0);
        let uniform: f64 = values_of(&of(&case, &p).kl_to_uniform().unwrap())[0];
        let zeros: Vec<f64> =
            p.iter().map(|x| if *x > f64::NEG_INFINITY { 0.0 } else { *x }).collect();
        assert!((uniform - kl(&p, &zeros)).abs() < 1e-12, "{:?}", case.0);
        if let (Some(&at), true) = (case.2.first(), exact > 0.0) {
            let mut unmasked = p.clone();
            unmasked[at] = 0.0;
            assert!(kl(&unmasked, &p) == f64::INFINITY && kl(&p, &unmasked).is_finite());
        }
    }
}

/// Central differences of a sum over `f`'s values, weighted, against its backward pass.
fn gradient_holds(case: &Case, what: &str, f: impl Fn(&Gibbs<dyn Structure>) -> Result<Tensor>) {
    let theta = row(case, 1.0, 5);
    let dims = [&[1], case.1.as_slice()].concat();
    let var = Var::from_tensor(&tensor(theta.clone(), &dims)).unwrap();
    let weigh = |y: Tensor| {
        let weights = normal(y.elem_count(), 1.0, 9);
        let weights = tensor(weights, y.dims());
        (y * weights).unwrap().sum_all().unwrap()
    };
    let y = weigh(f(&Gibbs::on(case.0.clone(), &var).unwrap()).unwrap());
    let d = values_of(y.backward().unwrap().get(&var).unwrap());
    for (i, d) in d.iter().enumerate() {
        let at = |h: f64| {
            let mut theta = theta.clone();
            theta[i] += h;
            weigh(f(&of(case, &theta)).unwrap()).to_scalar::<f64>().unwrap()
        };
        let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
        let masked = theta[i] == f64::NEG_INFINITY;
        assert!(!masked || *d == 0.0, "{what} {:?} {i}: {d}", case.0);
        assert!((d - expected).abs() < 2e-8 * expected.abs().max(1.0), "{what} {:?} {i}", case.0);
    }
}

#[test]
fn gradients_are_those_of_differences() {
    for case in cases() {
        let q = of(&case, &row(&case, 1.0, 6));
        let noise = q.noise((), &mut Generator::new(3)).unwrap();
        let z = q.sample((), &mut Generator::new(4)).unwrap();
        let holds = |what, f: &dyn Fn(&Gibbs<dyn Structure>) -> Result<Tensor>| {
            gradient_holds(&case, what, f);
        };
        holds("log_partition", &|d| d.log_partition());
        holds("marginals", &|d| d.marginals());
        holds("variance", &|d| d.variance());
        holds("log_prob", &|d| d.log_prob(&z));
        holds("entropy", &|d| d.entropy());
        holds("kl_to_uniform", &|d| d.kl_to_uniform());
        holds("kl from", &|d| d.kl_divergence(&q));
        holds("kl to", &|d| q.kl_divergence(d));
        holds("rsample", &|d| d.rsample_with_noise(&noise, 0.7, false));
        let exact = |d: &Gibbs<dyn Structure>| d.exact_straight_through((), &mut Generator::new(4));
        // Its gradient is that of the marginals.
        let theta = Var::from_tensor(&q.logits().unwrap()).unwrap();
        let d = Gibbs::on(case.0.clone(), &theta).unwrap();
        let weights = tensor(normal(theta.elem_count(), 1.0, 9), theta.dims());
        let back = |y: Tensor| {
            let y = (y * &weights).unwrap().sum_all().unwrap();
            values_of(y.backward().unwrap().get(&theta).unwrap())
        };
        assert_eq!(values_of(&exact(&d).unwrap()), values_of(&z));
        assert_eq!(back(exact(&d).unwrap()), back(d.marginals().unwrap()));
        let hard = d.rsample_with_noise(&noise, 0.7, true).unwrap();
        assert!(values_of(&hard).iter().all(|z| *z == 0.0 || *z == 1.0));
        assert_eq!(back(hard), back(d.rsample_with_noise(&noise, 0.7, false).unwrap()));
    }
}

#[test]
fn the_temperature_gets_its_gradient() {
    for case in cases() {
        let d = of(&case, &row(&case, 1.0, 6));
        let noise = d.noise((), &mut Generator::new(3)).unwrap();
        let weights = tensor(normal(noise.elem_count(), 1.0, 9), noise.dims());
        let tau = Var::new(0.7f64, &Device::Cpu).unwrap();
        let sum = |y: Tensor| (y * &weights).unwrap().sum_all().unwrap();
        let y = sum(d.rsample_with_noise(&noise, tau.as_tensor(), false).unwrap());
        let slope = values_of(y.backward().unwrap().get(&tau).unwrap())[0];
        let at = |tau: f64| values_of(&sum(d.rsample_with_noise(&noise, tau, false).unwrap()))[0];
        let expected = (at(0.7 + 1e-5) - at(0.7 - 1e-5)) / 2e-5;
        assert!((slope - expected).abs() < 1e-8, "{:?}: {slope} {expected}", case.0);
    }
}

#[test]
fn relaxed_samples_tend_to_codes_and_to_the_mean_of_all() {
    for case in cases() {
        let d = of(&case, &row(&case, 1.0, 6).repeat(20));
        let noise = d.noise((), &mut Generator::new(8)).unwrap();
        let cold = values_of(&d.rsample_with_noise(&noise, 1e-3, false).unwrap());
        let hard = values_of(&d.rsample_with_noise(&noise, 1e-3, true).unwrap());
        let n = cold.len() / 20;
        // Rows whose two best codes are nearer than 0.05 are in between.
        let rows = cold.chunks(n).zip(hard.chunks(n));
        let equal = rows.filter(|(a, b)| a.iter().zip(*b).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(equal.count() >= 16, "{:?}", case.0);
        let hot = values_of(&d.rsample_with_noise(&noise, 1e6, false).unwrap());
        let theta: Vec<f64> = values_of(&d.logits().unwrap())
            .iter()
            .map(|x| if *x > f64::NEG_INFINITY { 0.0 } else { *x })
            .collect();
        close(&hot, &values_of(&of(&case, &theta).marginals().unwrap()), 1e-4, "hot");
        let still = d.rsample_with_noise(&noise.zeros_like().unwrap(), 1.0, true).unwrap();
        assert_eq!(values_of(&still), values_of(&d.mode().unwrap()), "{:?}", case.0);
    }
}

#[test]
fn samples_have_the_frequencies_of_their_probabilities() {
    // Pearson's statistic lies above its mean plus 3.89 standard deviations with probability below 1e-3 for these numbers of
    // cells (its right tail is heavier than the normal one); twenty comparisons, seeds fixed.
    const N: usize = 40_000;
    for case in cases() {
        for seed in [1, 2] {
            let theta = row(&case, 1.0, 6);
            let (codes, log_p, _) = enumerate(&case, &theta);
            let mut counts = std::collections::HashMap::new();
            let d = of(&case, &theta);
            let z = d.sample(N, &mut Generator::new(seed)).unwrap();
            assert_eq!(z.dims()[..2], [N, 1]);
            let bits = |z: &[f64]| z.iter().fold(0u64, |bits, z| bits << 1 | u64::from(*z == 1.0));
            for z in values_of(&z).chunks(theta.len()) {
                *counts.entry(bits(z)).or_insert(0usize) += 1;
            }
            let (mut statistic, mut cells, mut seen) = (0.0, 0.0, 0);
            for (code, p) in codes.iter().zip(&log_p) {
                let (hits, expected) = (*counts.get(&bits(code)).unwrap_or(&0), N as f64 * p.exp());
                assert!(*p > f64::NEG_INFINITY || hits == 0, "{:?}", case.0);
                seen += hits;
                if expected > 5.0 {
                    statistic += (hits as f64 - expected).powi(2) / expected;
                    cells += 1.0;
                }
            }
            assert_eq!(seen, N, "{:?}", case.0);
            let degrees = f64::max(cells - 1.0, 0.0);
            let bound = degrees + 3.89 * (2.0 * degrees).sqrt();
            assert!(statistic <= bound + 1e-9, "{:?}: {statistic} {bound}", case.0);
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_neighbours_their_order_or_the_threads() {
    for case in cases() {
        let rows: Vec<Vec<f64>> =
            (0..7).map(|r| row(&case, [1.0, 400.0][r % 2], r as u64)).collect();
        let together = of(&case, &rows.concat());
        let turned = of(&case, &rows.iter().rev().flatten().copied().collect::<Vec<_>>());
        let all = |d: &Gibbs<dyn Structure>| {
            let rows = values_of(&d.log_partition().unwrap());
            let vjp = case.0.marginals_vjp(&d.logits, &ONE, &d.logits.cos().unwrap()).unwrap();
            (rows, values_of(&d.marginals().unwrap()), values_of(&vjp))
        };
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        let (a, mu, h) = pool(1).install(|| all(&together));
        assert_eq!((a.clone(), mu.clone(), h.clone()), pool(2).install(|| all(&together)));
        let n = mu.len() / 7;
        let (turned, _, _) = all(&turned);
        for r in 0..7 {
            let (one, mu_one, h_one) = all(&of(&case, &rows[r]));
            assert_eq!((one[0], turned[6 - r]), (a[r], a[r]), "{:?}", case.0);
            assert_eq!(mu_one, mu[r * n..(r + 1) * n], "{:?}", case.0);
            assert_eq!(h_one, h[r * n..(r + 1) * n], "{:?}", case.0);
        }
    }
}

#[test]
fn every_row_has_noise_of_its_own_and_its_amount_depends_on_shapes_only() {
    for case in cases() {
        let theta = row(&case, 0.1, 3);
        let (d, other) = (of(&case, &theta.repeat(40)), of(&case, &row(&case, 5.0, 4).repeat(40)));
        let n_codes = values_of(&d.log_count().unwrap())[0].exp().round();
        for seed in [1, 2] {
            let draw = |d: &Gibbs<dyn Structure>| {
                let mut g = Generator::new(seed);
                let z = [
                    d.sample((), &mut g).unwrap(),
                    d.rsample((), 0.5, true, &mut g).unwrap(),
                    d.implicit_mle(1.0, &mut g).unwrap(),
                ];
                (z.map(|z| values_of(&z)), g.state())
            };
            let (z, state) = draw(&d);
            assert_eq!(z, draw(&d).0);
            assert_eq!(state, draw(&other).1, "{:?}", case.0);
            for z in z {
                let differ = z.chunks(theta.len()).any(|row| row != &z[..theta.len()]);
                assert!(differ || n_codes == 1.0, "{:?}", case.0);
            }
        }
    }
}

/// A structure whose samples are given.
#[derive(Debug)]
struct Scripted(Arc<dyn Structure>, Mutex<VecDeque<Tensor>>);

impl Structure for Scripted {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn support(&self) -> &'static str {
        self.0.support()
    }

    fn misfit(&self, row: usize, event: &[usize], z: &[f64]) -> Option<usize> {
        self.0.misfit(row, event, z)
    }

    fn check(&self, logits: &Tensor) -> Result<()> {
        self.0.check(logits)
    }

    fn sample(&self, _: &Tensor, _: &mut Generator) -> Result<Tensor> {
        Ok(self.1.lock().unwrap().pop_front().unwrap())
    }

    fn solve(&self, scores: &Tensor) -> Result<Tensor> {
        self.0.solve(scores)
    }

    fn log_partition(&self, scores: &Tensor) -> Result<Tensor> {
        self.0.log_partition(scores)
    }

    fn marginals(&self, scores: &Tensor, tau: &Temperature) -> Result<Tensor> {
        self.0.marginals(scores, tau)
    }

    fn marginals_vjp(&self, scores: &Tensor, tau: &Temperature, grad: &Tensor) -> Result<Tensor> {
        self.0.marginals_vjp(scores, tau, grad)
    }

    fn codes(&self, logits: &Tensor) -> Result<Tensor> {
        self.0.codes(logits)
    }
}

/// Far from linear, with products of all coordinates.
fn loss(z: &[f64]) -> f64 {
    let w: f64 = z.iter().enumerate().map(|(i, z)| 0.8 * (1.3 * i as f64).sin() * z).sum();
    let v: f64 = z.iter().enumerate().map(|(i, z)| (0.9 * i as f64 + 0.4).cos() * z).sum();
    w.exp() + v * v
}

#[test]
fn score_functions_and_enumeration_are_unbiased_by_the_sum_over_all_samples() {
    for case in cases() {
        let theta = row(&case, 1.0, 6);
        let (mut codes, log_p, _) = enumerate(&case, &theta);
        let mut p: Vec<f64> = log_p.iter().map(|p| p.exp()).collect();
        let mu = mean(&codes, &log_p);
        let exact: Vec<f64> = (0..theta.len())
            .map(|i| codes.iter().zip(&p).map(|(z, p)| p * loss(z) * (z[i] - mu[i])).sum())
            .collect();
        // Codes that are never drawn are left out.
        let kept: Vec<usize> = (0..p.len()).filter(|&i| p[i] > 0.0).collect();
        (codes, p) = kept.iter().map(|&i| (codes[i].clone(), p[i])).unzip();
        let n = codes.len();
        let pairs: Vec<(usize, usize)> = (0..n * n).map(|i| (i / n, i % n)).collect();
        let dims = [&[n * n], case.1.as_slice()].concat();
        let stack = |which: &dyn Fn(&(usize, usize)) -> usize| {
            tensor(pairs.iter().flat_map(|pair| codes[which(pair)].clone()).collect(), &dims)
        };
        let draws = VecDeque::from([stack(&|pair| pair.0), stack(&|pair| pair.1)]);
        let scripted: Arc<dyn Structure> = Arc::new(Scripted(case.0.clone(), Mutex::new(draws)));
        let logits = tensor(theta.repeat(n * n), &dims);
        let combine = |estimator: Estimator, structure: &Arc<dyn Structure>, logits: &Tensor| {
            let (mut state, mut g) = (EstimatorState::default(), Generator::new(0));
            let proposal = estimator.propose_on(structure, logits, &ONE, &state, &mut g).unwrap();
            let evaluate = |z: &Tensor| {
                let losses: Vec<f64> = values_of(z).chunks(theta.len()).map(loss).collect();
                Evaluation { loss: Tensor::new(losses, &Device::Cpu).unwrap(), gradient: None }
            };
            let found: Vec<_> = proposal.points().iter().map(|p| evaluate(&p.z)).collect();
            values_of(&proposal.combine(&found, &mut state).unwrap())
        };
        let d = combine(Estimator::Rloo { samples: 2 }, &scripted, &logits);
        let mut total = vec![0.0; theta.len()];
        for (d, (a, b)) in d.chunks(theta.len()).zip(&pairs) {
            total.iter_mut().zip(d).for_each(|(total, d)| *total += p[*a] * p[*b] * d);
        }
        close(&total, &exact, 1e-10, &format!("rloo, {:?}", case.0));
        let one = logits.narrow(0, 0, 1).unwrap();
        let enumerated = combine(Estimator::Enumeration, &case.0, &one);
        close(&enumerated, &exact, 1e-10, &format!("enumeration, {:?}", case.0));
    }
}

#[test]
fn implicit_mle_has_one_over_lambda() {
    for case in cases() {
        let theta = Var::from_tensor(&of(&case, &row(&case, 1.0, 6).repeat(50)).logits().unwrap());
        let theta = theta.unwrap();
        let d = Gibbs::on(case.0.clone(), &theta).unwrap();
        let slope = tensor(normal(theta.elem_count(), 1.0, 2), theta.dims());
        let scores = case.0.perturb(&theta.detach(), &mut Generator::new(4)).unwrap();
        let gradient = |lambda: f64| {
            let z = d.implicit_mle(lambda, &mut Generator::new(4)).unwrap();
            assert_eq!(values_of(&z), values_of(&case.0.solve(&scores).unwrap()));
            let y = (z * &slope).unwrap().sum_all().unwrap();
            values_of(y.backward().unwrap().get(&theta).unwrap())
        };
        // The best code of every row by enumeration, after a step of λ against the gradient.
        let codes = values_of(&d.enumerate_support().unwrap().narrow(1, 0, 1).unwrap());
        let n = theta.elem_count() / 50;
        let best = |lambda: f64| {
            let moved = values_of(&(&scores - (&slope * lambda).unwrap()).unwrap());
            let best = moved.chunks(n).flat_map(|row| {
                let score = |z: &&[f64]| dot(row, z);
                let mut codes: Vec<&[f64]> = codes.chunks(n).collect();
                codes.sort_by(|a, b| score(b).total_cmp(&score(a)));
                codes[0].to_vec()
            });
            best.collect::<Vec<f64>>()
        };
        for lambda in [0.5, 1.0, 1000.0, 2000.0] {
            let pairs = best(0.0).into_iter().zip(best(lambda));
            let expected: Vec<f64> = pairs.map(|(a, b)| (a - b) / lambda).collect();
            close(&gradient(lambda), &expected, 1e-12, &format!("{:?} {lambda}", case.0));
        }
        // Far out the second code no longer changes, and the gradient halves exactly; near by it does not differ.
        let half: Vec<f64> = gradient(1e9).iter().map(|d| d / 2.0).collect();
        assert_eq!(gradient(2e9), half, "{:?}", case.0);
        assert!(gradient(1e-12).iter().all(|d| *d == 0.0), "{:?}", case.0);
        assert!(matches!(
            d.implicit_mle(0.0, &mut Generator::new(0)),
            Err(Error::InvalidParameter { name: "lambda", .. })
        ));
    }
}

#[test]
fn one_row_cannot_change_the_rounding_of_another() {
    // A shift by the largest value of the whole batch would lose the small row's digits.
    let case: Case = (Arc::new(KSubset::new(2)), vec![4], vec![]);
    let small = [1e-9, 2e-9, -1e-9, 0.5];
    let huge = [1e15, 0.0, -1e15, 3.0];
    let alone = values_of(&of(&case, &small).log_partition().unwrap());
    let beside = values_of(&of(&case, &[small, huge].concat()).log_partition().unwrap());
    assert_eq!(alone[0], beside[0]);
}

#[test]
fn log_probabilities_stay_below_zero_at_large_scores() {
    for case in cases() {
        let d = of(&case, &row(&case, 400.0, 5));
        let z = d.sample(50, &mut Generator::new(1)).unwrap();
        assert!(values_of(&d.log_prob(&z).unwrap()).iter().all(|p| *p <= 1e-9), "{:?}", case.0);
    }
}

#[test]
fn empty_batches_and_other_batch_shapes_work_and_shapes_are_checked() {
    for case in cases() {
        let none = Tensor::zeros([&[0], case.1.as_slice()].concat(), DType::F32, &Device::Cpu);
        let d = Gibbs::on(case.0.clone(), &none.unwrap()).unwrap();
        assert_eq!(d.entropy().unwrap().dims(), [0], "{:?}", case.0);
        assert_eq!(d.sample(3, &mut Generator::new(0)).unwrap().dims()[..2], [3, 0]);
        assert_eq!(d.rsample((), 1.0, true, &mut Generator::new(0)).unwrap().dims()[0], 0);
        if case.0.event_rank(&d.logits) < d.logits.rank() && case.0.name() != "categories" {
            let many = tensor(row(&case, 1.0, 1).repeat(6), &[&[6], case.1.as_slice()].concat());
            let flat = Gibbs::on(case.0.clone(), &many).unwrap();
            if case.0.name() != "bits" {
                let many = many.reshape([&[2, 3], case.1.as_slice()].concat()).unwrap();
                let deep = Gibbs::on(case.0.clone(), &many).unwrap();
                assert_eq!(deep.batch_shape(), [2, 3]);
                let (a, b) = (deep.entropy().unwrap(), flat.entropy().unwrap());
                assert_eq!(values_of(&a), values_of(&b));
            }
            let other = tensor(vec![0.0; 11], &[11]);
            assert!(matches!(flat.log_prob(&other), Err(Error::ShapeMismatch { .. })));
        }
        let d = of(&case, &row(&case, 1.0, 1));
        let half = tensor(vec![0.5; d.logits.elem_count()], d.logits.dims());
        assert!(matches!(
            d.log_prob(&half),
            Err(Error::OutsideSupport { value, .. }) if value == 0.5
        ));
        let error = d.rsample((), 0.0, false, &mut Generator::new(0)).unwrap_err();
        assert!(matches!(error, Error::InvalidTemperature { .. }));
        let mut bad = row(&case, 1.0, 1);
        bad[0] = f64::NAN;
        let dims = [&[1], case.1.as_slice()].concat();
        let error = Gibbs::on(case.0.clone(), &tensor(bad, &dims)).unwrap_err();
        assert!(matches!(error, Error::InvalidLogit { .. }), "{error}");
    }
}
