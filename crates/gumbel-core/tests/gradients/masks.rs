//! Masked classes: gradient exactly zero, never NaN.

use candle_core::{DType, Device, Tensor, Var};
use gumbel_core::distributions::{
    ExpRelaxedOneHotCategorical, OneHotCategorical, RelaxedOneHotCategorical, StraightThrough,
};
use gumbel_core::{
    Generator, Result, entropy, gumbel_sigmoid, gumbel_softmax, kl_to_uniform, log_prob,
};

const MASK: f64 = f64::NEG_INFINITY;
const MASKED: [bool; 4] = [false, true, false, true];

fn logits(dtype: DType) -> Var {
    let x = Tensor::new(&[[0.5, MASK, -1.0, MASK]], &Device::Cpu).unwrap();
    Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap()
}

#[test]
fn masked_logits_get_gradient_exactly_zero_from_every_function() {
    type Case = (&'static str, fn(&Tensor, &Tensor) -> Result<Tensor>);
    let cases: &[Case] = &[
        ("gumbel_softmax", |x, t| gumbel_softmax(x, t, false, 1, &mut Generator::new(0))),
        ("gumbel_softmax, hard", |x, t| gumbel_softmax(x, t, true, 1, &mut Generator::new(0))),
        ("gumbel_softmax, number", |x, _| gumbel_softmax(x, 0.1, false, 1, &mut Generator::new(0))),
        ("gumbel_sigmoid", |x, _| gumbel_sigmoid(x, 0.5, false, &mut Generator::new(0))),
        ("entropy", |x, _| entropy(x)),
        ("kl_to_uniform", |x, _| kl_to_uniform(x)),
        ("log_prob", |x, _| {
            let hot = Tensor::new(&[[1f64, 0.0, 0.0, 0.0]], &Device::Cpu)?;
            log_prob(x, &hot)
        }),
        ("kl_divergence", |x, _| {
            let other = OneHotCategorical::from_logits(&Tensor::new(
                &[[0.1, 0.2, 0.3, MASK]],
                &Device::Cpu,
            )?)?;
            OneHotCategorical::from_logits(x)?.kl_divergence(&other)
        }),
        ("straight-through", |x, _| {
            StraightThrough::new(OneHotCategorical::from_logits(x)?)
                .rsample(5, &mut Generator::new(0))
        }),
        ("density of own sample", |x, t| {
            let d = RelaxedOneHotCategorical::from_logits(t, x)?;
            d.log_prob(&d.rsample(5, &mut Generator::new(0))?)
        }),
        ("log density of own sample", |x, t| {
            let d = ExpRelaxedOneHotCategorical::from_logits(t, x)?;
            d.log_prob(&d.rsample(5, &mut Generator::new(0))?)
        }),
        ("logarithm of the sample", |x, t| {
            // ln 0 has an infinite slope; it must not reach the logits.
            let y = gumbel_softmax(x, t, false, 1, &mut Generator::new(0))?;
            let log_y = y.log()?;
            Ok(log_y.maximum(-1e3)?)
        }),
    ];
    for dtype in [DType::F32, DType::F64] {
        for (name, f) in cases {
            let x = logits(dtype);
            let tau = Var::from_tensor(
                &Tensor::new(0.7f64, &Device::Cpu).unwrap().to_dtype(dtype).unwrap(),
            )
            .unwrap();
            let y = f(x.as_tensor(), tau.as_tensor()).unwrap();
            let weights: Vec<f64> = (0..y.elem_count()).map(|i| 1.0 + i as f64).collect();
            let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu)
                .unwrap()
                .to_dtype(y.dtype())
                .unwrap();
            let grads = (y * weights).unwrap().sum_all().unwrap().backward().unwrap();
            let grad =
                grads.get(&x).unwrap().to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
            for (g, masked) in grad[0].iter().zip(MASKED) {
                assert!(g.is_finite(), "{name} {dtype:?}: {grad:?}");
                assert!(!masked || *g == 0.0, "{name} {dtype:?}: {grad:?}");
            }
            if let Some(g) = grads.get(&tau) {
                assert!(
                    g.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap().is_finite(),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn certain_bits_get_gradient_exactly_zero() {
    use gumbel_core::distributions::Bernoulli;
    let p = Var::new(&[0.0, 0.25, 1.0], &Device::Cpu).unwrap();
    let d = Bernoulli::from_probs(&p).unwrap();
    let value = Tensor::new(&[0.0, 1.0, 1.0], &Device::Cpu).unwrap();
    for y in [d.log_prob(&value), d.entropy(), d.kl_to_uniform(), d.mean(), d.variance()] {
        let grads = y.unwrap().sum_all().unwrap().backward().unwrap();
        let g = grads.get(&p).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!((g[0], g[2]), (0.0, 0.0));
        assert!(g[1].is_finite() && g[1] != 0.0);
    }
}
