//! What is particular to chains.

use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::distributions::Gibbs;
use crate::structure::Categories;

fn tensor(x: &[f64], dims: &[usize]) -> Tensor {
    Tensor::from_vec(x.to_vec(), dims, &Device::Cpu).unwrap()
}

fn some(n: usize) -> Vec<f64> {
    (0..n).map(|i| 1.5 * (0.7 * i as f64 + 0.3).sin()).collect()
}

#[track_caller]
fn near(x: &Tensor, expected: &[f64], bound: f64) {
    let x = values(x).unwrap();
    assert_eq!(x.len(), expected.len());
    assert!(x.iter().zip(expected).all(|(a, b)| (a - b).abs() < bound), "{x:?} {expected:?}");
}

#[test]
fn small_weights_give_the_published_fractions() {
    let start = tensor(&[1.0, 2.0], &[2]).log().unwrap();
    let transition = tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2]).log().unwrap();
    let edges = Tensor::stack(&[&transition, &transition], 0).unwrap();
    let d = LinearChain::from_edges(&edges, &start, None).unwrap();
    near(&d.log_partition().unwrap(), &[91f64.ln()], 1e-14);
    let unary = d.unary_marginals().unwrap();
    near(&unary.get_on_dim(1, 0).unwrap(), &[17.0 / 91.0, 3.0 / 13.0, 37.0 / 91.0], 1e-15);
    let zeros = Tensor::zeros((3, 2), DType::F64, &Device::Cpu).unwrap();
    let options = ChainOptions { start: Some(&start), ..Default::default() };
    let same = LinearChain::new(&zeros, &transition, options).unwrap();
    assert_eq!(
        values(&same.log_partition().unwrap()).unwrap(),
        values(&d.log_partition().unwrap()).unwrap()
    );
}

#[test]
fn one_step_is_a_category_and_zero_transitions_are_independent_ones() {
    let unary = tensor(&some(8), &[2, 4]);
    let zeros = Tensor::zeros((4, 4), DType::F64, &Device::Cpu).unwrap();
    let one = Temperature::Fixed(1.0);
    let softmax = values(&Categories::default().marginals(&unary, &one).unwrap()).unwrap();
    let chain = LinearChain::new(&unary, &zeros, Default::default()).unwrap();
    near(&chain.unary_marginals().unwrap(), &softmax, 1e-15);
    let lse: f64 = values(&unary.log_sum_exp(1).unwrap()).unwrap().iter().sum();
    near(&chain.log_partition().unwrap(), &[lse], 1e-14);
    let step = unary.narrow(0, 0, 1).unwrap();
    let single = LinearChain::new(&step, &zeros, Default::default()).unwrap();
    near(&single.unary_marginals().unwrap(), &softmax[..4], 1e-15);
    let only = LinearChain::new(
        &tensor(&[3.0, 1.0], &[2, 1]),
        &tensor(&[5.0], &[1, 1]),
        Default::default(),
    );
    near(&only.unwrap().entropy().unwrap(), &[0.0], 1e-15);
}

/// A batch of rows of lengths 4, 2 and 1, and the rows by themselves.
fn ragged(lengths: &[u32; 3]) -> (Gibbs<LinearChain>, Vec<Gibbs<LinearChain>>) {
    let unary = tensor(&some(36), &[3, 4, 3]);
    let transition = tensor(&some(9), &[3, 3]);
    let end = tensor(&[0.5, -1.0, 2.0], &[3]);
    let build = |unary: &Tensor, lengths: Option<&Tensor>| {
        let options = ChainOptions { end: Some(&end), lengths, start: None };
        LinearChain::new(unary, &transition, options).unwrap()
    };
    let rows = lengths.iter().enumerate().map(|(row, &length)| {
        let unary = unary.narrow(0, row, 1).unwrap().narrow(1, 0, length as usize).unwrap();
        build(&unary.contiguous().unwrap(), None)
    });
    let rows = rows.collect();
    let lengths = Tensor::new(lengths, &Device::Cpu).unwrap();
    (build(&unary, Some(&lengths)), rows)
}

#[test]
fn a_row_of_a_length_equals_the_row_cut_there_in_every_output() {
    let (all, rows) = ragged(&[4, 2, 1]);
    for (row, (one, length)) in rows.iter().zip([4, 2, 1]).enumerate() {
        let same = |a: Tensor, b: Tensor| {
            let (a, b) = (a.narrow(0, row, 1).unwrap(), b);
            assert_eq!(values(&a).unwrap(), values(&b).unwrap(), "{row}");
        };
        same(all.log_partition().unwrap(), one.log_partition().unwrap());
        same(all.entropy().unwrap(), one.entropy().unwrap());
        let padded = |of: fn(&Gibbs<LinearChain>) -> Result<Tensor>| {
            let (a, b) = (of(&all).unwrap().narrow(0, row, 1).unwrap(), of(one).unwrap());
            let (a, b) = (values(&a.to_dtype(DType::F64).unwrap()).unwrap(), values(&b).unwrap());
            assert_eq!(a[..b.len()], b, "{row}");
            assert!(a[b.len()..].iter().all(|a| *a == 0.0), "{row}");
        };
        padded(Gibbs::<LinearChain>::marginals);
        padded(Gibbs::<LinearChain>::unary_marginals);
        padded(Gibbs::<LinearChain>::mode);
        padded(Gibbs::<LinearChain>::mode_labels);
        assert_eq!(one.event_shape()[0], length);
    }
    let labels = all.sample_labels(200, &mut Generator::new(1)).unwrap();
    let labels = labels.to_vec3::<u32>().unwrap();
    assert!(labels.iter().all(|z| z[1][2..] == [0, 0] && z[2][1..] == [0, 0, 0]));
    let beyond = Tensor::new(&[[1u32, 2, 0, 1], [1, 1, 2, 2], [2, 0, 7, 9]], &Device::Cpu).unwrap();
    let cut = Tensor::new(&[[1u32, 2, 0, 1], [1, 1, 0, 0], [2, 0, 0, 0]], &Device::Cpu).unwrap();
    let log_p = |labels| values(&all.labels_log_prob(labels).unwrap()).unwrap();
    assert_eq!(log_p(&beyond), log_p(&cut));
    let edges = all.structure().edges(&cut, &all.logits().unwrap()).unwrap();
    near(&all.log_prob(&edges).unwrap(), &log_p(&cut), 1e-13);
}

#[test]
fn labels_and_edges_are_two_forms_of_one_sample() {
    let (d, _) = ragged(&[4, 3, 2]);
    let edges = d.sample(50, &mut Generator::new(7)).unwrap();
    let labels = d.sample_labels(50, &mut Generator::new(7)).unwrap();
    let like = d.expanded(&[50]).unwrap();
    let same = d.structure().edges(&labels, &like).unwrap();
    assert_eq!(values(&edges).unwrap(), values(&same).unwrap());
    let (a, b) = (d.log_prob(&edges).unwrap(), d.labels_log_prob(&labels).unwrap());
    assert_eq!(a.dims(), [50, 3]);
    near(&a, &values(&b).unwrap(), 1e-12);
}

#[test]
fn gumbel_crf_has_noise_for_every_row_and_step() {
    // Noise that is drawn once and shared would give equal rows, and equal steps where transitions are zero.
    let unary = Tensor::zeros((64, 8, 3), DType::F32, &Device::Cpu).unwrap();
    let transition = Tensor::zeros((3, 3), DType::F32, &Device::Cpu).unwrap();
    let d = LinearChain::new(&unary, &transition, Default::default()).unwrap();
    let y = d.gumbel_crf(1.0, false, &mut Generator::new(2)).unwrap();
    let steps = values(&y).unwrap();
    let mut steps: Vec<String> = steps.chunks(3).map(|y| format!("{y:?}")).collect();
    steps.sort();
    steps.dedup();
    assert_eq!(steps.len(), 64 * 8);
}

#[test]
fn gumbel_crf_draws_exact_samples_and_relaxes_them() {
    let (d, _) = ragged(&[4, 2, 1]);
    const N: usize = 20_000;
    // As many rows as draws, of one chain: frequencies of labels against their marginals.
    let unary = tensor(&some(9), &[3, 3]).broadcast_as((N, 3, 3)).unwrap().contiguous().unwrap();
    let transition = tensor(&some(9), &[3, 3]);
    let many = LinearChain::new(&unary, &transition, Default::default()).unwrap();
    let hard = many.gumbel_crf(0.5, true, &mut Generator::new(3)).unwrap();
    let soft = many.gumbel_crf(0.5, false, &mut Generator::new(3)).unwrap();
    let exact = values(&many.unary_marginals().unwrap().get(0).unwrap()).unwrap();
    let share = values(&hard.mean(0).unwrap()).unwrap();
    for (share, p) in share.iter().zip(exact) {
        // 4.5 standard errors, nine comparisons: α = 6e-5 in all.
        assert!((share - p).abs() < 4.5 * (p * (1.0 - p) / N as f64).sqrt(), "{share} {p}");
    }
    let argmax = |y: &Tensor| y.argmax(2).unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(argmax(&hard), argmax(&soft));
    let y = values(&d.gumbel_crf(0.5, true, &mut Generator::new(4)).unwrap()).unwrap();
    let per_step: Vec<f64> = y.chunks(3).map(|y| y.iter().sum()).collect();
    assert_eq!(per_step, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn scores_of_all_parts_get_their_gradients() {
    let unary = Var::from_tensor(&tensor(&some(24), &[2, 4, 3])).unwrap();
    let transition = Var::from_tensor(&tensor(&some(9), &[3, 3])).unwrap();
    let (start, end) =
        (Var::from_tensor(&tensor(&some(3), &[3])).unwrap(), tensor(&[0.5; 3], &[3]));
    let end = Var::from_tensor(&end).unwrap();
    let lengths = Tensor::new(&[4u32, 2], &Device::Cpu).unwrap();
    let build = |x: [&Tensor; 4]| {
        let [unary, transition, start, end] = x;
        let options = ChainOptions { start: Some(start), end: Some(end), lengths: Some(&lengths) };
        LinearChain::new(unary, transition, options).unwrap()
    };
    let labels = Tensor::new(&[[0u32, 2, 1, 1], [2, 0, 0, 0]], &Device::Cpu).unwrap();
    let noise = tensor(&some(24), &[2, 4, 3]);
    let f = |d: Gibbs<LinearChain>, which: usize| {
        let y = match which {
            0 => d.labels_log_prob(&labels).unwrap(),
            1 => (d.unary_marginals().unwrap() * &noise).unwrap(),
            _ => (d.gumbel_crf_with_noise(&noise, 0.7, false).unwrap() * &noise).unwrap(),
        };
        y.sum_all().unwrap()
    };
    let vars = [&unary, &transition, &start, &end];
    for which in 0..3 {
        let grads = f(build(vars.map(|v| v.as_tensor())), which).backward().unwrap();
        for (at, var) in vars.iter().enumerate() {
            let d = values(grads.get(var).unwrap()).unwrap();
            let x = values(var).unwrap();
            for (i, d) in d.iter().enumerate() {
                let moved = |h: f64| {
                    let mut x = x.clone();
                    x[i] += h;
                    let x = tensor(&x, var.dims());
                    let mut all = vars.map(|v| v.as_tensor());
                    all[at] = &x;
                    values(&f(build(all), which)).unwrap()[0]
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((d - expected).abs() < 1e-8, "{which} {at} {i}: {d} {expected}");
            }
        }
    }
}

#[test]
fn a_hidden_markov_model_has_the_likelihood_of_all_state_paths() {
    let (initial, transition) = (tensor(&some(2), &[2]), tensor(&some(4), &[2, 2]));
    let emission = tensor(&some(6), &[2, 3]);
    let hmm = Hmm::from_logits(&initial, &transition, &emission).unwrap();
    let softmax = |x: &Tensor| {
        let p = Categories::default().marginals(&x.unsqueeze(0).unwrap(), &Temperature::Fixed(1.0));
        values(&p.unwrap()).unwrap()
    };
    let (pi, a, b) = (softmax(&initial), softmax(&transition), softmax(&emission));
    let x = [2usize, 0, 1];
    let mut likelihood = 0.0;
    for path in 0..8 {
        let state = |t: usize| path >> t & 1;
        let mut p = pi[state(0)] * b[state(0) * 3 + x[0]];
        for t in 1..3 {
            p *= a[state(t - 1) * 2 + state(t)] * b[state(t) * 3 + x[t]];
        }
        likelihood += p;
    }
    let observed = Tensor::new(&[2u32, 0, 1], &Device::Cpu).unwrap();
    let posterior = hmm.posterior(&observed, None).unwrap();
    near(&posterior.log_partition().unwrap(), &[likelihood.ln()], 1e-14);
    let wrong = Tensor::new(&[2u32, 3], &Device::Cpu).unwrap();
    assert!(matches!(
        hmm.posterior(&wrong, None),
        Err(Error::IndexOutOfRange { index: 3, n_classes: 3 })
    ));
}

#[test]
fn errors_name_the_row_the_step_and_the_length() {
    let unary = Tensor::zeros((2, 3, 2), DType::F32, &Device::Cpu).unwrap();
    let zeros = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    let lengths = |l: [u32; 2]| Tensor::new(&l, &Device::Cpu).unwrap();
    let with = |l: &Tensor| {
        let options = ChainOptions { lengths: Some(l), ..Default::default() };
        LinearChain::new(&unary, &zeros, options).unwrap_err()
    };
    let error = with(&lengths([3, 0]));
    assert!(matches!(error, Error::LengthOutOfRange { length: 0, max: 3, row: 1 }), "{error}");
    let error = with(&lengths([4, 1]));
    assert!(matches!(error, Error::LengthOutOfRange { length: 4, max: 3, row: 0 }), "{error}");
    let mut blocked = vec![0f32; 12];
    blocked[8..10].fill(f32::NEG_INFINITY); // row 1, step 1
    let blocked = Tensor::from_vec(blocked, (2, 3, 2), &Device::Cpu).unwrap();
    let error = LinearChain::new(&blocked, &zeros, Default::default()).unwrap_err();
    assert!(matches!(error, Error::NoStructure { row: 1, index: 1, .. }), "{error}");
    // Beyond the length the mask does not matter.
    let short = lengths([3, 1]);
    let options = ChainOptions { lengths: Some(&short), ..Default::default() };
    let d = LinearChain::new(&blocked, &zeros, options).unwrap();
    let label = Tensor::new(&[[0u32, 1, 2], [0, 0, 0]], &Device::Cpu).unwrap();
    assert!(matches!(
        d.labels_log_prob(&label),
        Err(Error::IndexOutOfRange { index: 2, n_classes: 2 })
    ));
    assert!(d.enumerate_support().is_err());
    let empty = Tensor::zeros((2, 0, 2), DType::F32, &Device::Cpu).unwrap();
    assert!(LinearChain::new(&empty, &zeros, Default::default()).is_err());
}
