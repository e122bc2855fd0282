//! Every law: slices against candle's operations, textbook values, a density that integrates to one.

use candle_core::{Device, Var};
use gumbel_core::{Generator, uniform};
use proptest::prelude::*;

use super::*;

fn nll(likelihood: Likelihood, logits: &Tensor, images: &Tensor) -> Tensor {
    likelihood.nll(logits, images).unwrap()
}

#[test]
fn bernoulli_is_exact_at_saturated_logits() {
    let l = Var::new(&[[-200.0_f32, -17.0, 0.0, 17.0, 200.0]], &Device::Cpu).unwrap();
    for (target, value, gradient) in [
        (0.0_f32, 217.693_15_f32, [0.0_f32, 4.139_938e-8, 0.5, 1.0, 1.0]),
        (1.0, 217.693_15, [-1.0, -1.0, -0.5, -4.139_938e-8, 0.0]),
    ] {
        let targets = (l.ones_like().unwrap() * f64::from(target)).unwrap();
        let of_image = nll(Likelihood::Bernoulli, l.as_tensor(), &targets);
        assert_eq!(of_image.to_vec1::<f32>().unwrap(), [value]);
        let gradients = of_image.backward().unwrap();
        let actual = gradients.get(&l).unwrap().to_vec2::<f32>().unwrap();
        for (a, e) in actual[0].iter().zip(gradient) {
            // sigmoid of ∓17 is a difference of numbers near 1: right to one f32 ulp of 1.
            assert!((a - e).abs() <= 1.2e-7, "{actual:?} against {gradient:?}");
        }
    }
}

proptest! {
    #[test]
    fn slices_and_candle_agree_on_values_and_gradients(
        batch in 1_usize..6,
        n_pixels in 1_usize..70,
        spread in prop::sample::select(vec![0.01, 1.0, 30.0]),
        law in prop::sample::select(Likelihood::ALL),
        seed: u64,
    ) {
        let mut generator = Generator::new(seed);
        let mut unit = || uniform((batch, n_pixels), DType::F32, &Device::Cpu, &mut generator).unwrap();
        let logits = Var::from_tensor(&unit().affine(2.0 * spread, -spread).unwrap()).unwrap();
        let images = unit();
        let run = |value: Tensor| {
            let gradients = value.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let d_logits = gradients.get(&logits).unwrap().flatten_all().unwrap();
            [value.to_vec1::<f32>().unwrap(), d_logits.to_vec1::<f32>().unwrap()].concat()
        };
        let fast = run(nll(law, logits.as_tensor(), &images));
        let plain = run(plain(law.law(), logits.as_tensor(), &images).unwrap());
        let largest = plain.iter().fold(0_f32, |m, x| m.max(x.abs()));
        for (f, p) in fast.iter().zip(&plain) {
            // Sums of up to 70 terms of about the spread, in two orders.
            let allowed = 1e-5 * largest + 1e-6 * spread as f32;
            prop_assert!((f - p).abs() <= allowed, "{} against {}", f, p);
        }
    }
}

#[test]
fn values_are_those_of_the_textbook_formulas() {
    let logits = [[0.3_f64, -1.2], [2.0, 0.7]];
    let images = [[0.2_f64, 1.0], [0.0, 0.5]];
    let bernoulli = |l: f64, x: f64| {
        let p = 1.0 / (1.0 + (-l).exp());
        -x * p.ln() - (1.0 - x) * (1.0 - p).ln()
    };
    // −ln C(λ) as Loaiza-Ganem and Cunningham write it, with λ = sigmoid(l).
    let continuous = |l: f64, x: f64| {
        let p = 1.0 / (1.0 + (-l).exp());
        bernoulli(l, x) - (2.0 * (1.0 - 2.0 * p).atanh() / (1.0 - 2.0 * p)).ln()
    };
    // The law at both edges of a level; black and white have one. From the side where nothing cancels.
    let logistic = |l: f64, x: f64| {
        let sign = if x < 0.5 { 1.0 } else { -1.0 };
        let tail = |edge: f64| 1.0 / (1.0 + (sign * (l - (edge - 0.5) / 0.2)).exp());
        let at = |h: f64| if (x + h) * (1.0 - x - h) < 0.0 { 0.0 } else { tail(x + h) };
        let (near, far) = (at(sign * 0.5 / 255.0), at(-sign * 0.5 / 255.0));
        -(near - far).ln()
    };
    for (law, textbook) in [
        (Likelihood::Bernoulli, &bernoulli as &dyn Fn(f64, f64) -> f64),
        (Likelihood::ContinuousBernoulli, &continuous),
        (Likelihood::DiscretisedLogistic, &logistic),
    ] {
        let tensors = [&logits, &images].map(|x| Tensor::new(x, &Device::Cpu).unwrap());
        let actual = nll(law, &tensors[0], &tensors[1]).to_vec1::<f64>().unwrap();
        for (row, actual) in actual.iter().enumerate() {
            let expected: f64 =
                logits[row].iter().zip(images[row]).map(|(&l, x)| textbook(l, x)).sum();
            assert!((actual - expected).abs() < 1e-12, "{law:?}: {actual} and {expected}");
        }
    }
}

#[test]
fn the_continuous_law_is_a_density_with_the_mean_it_says() {
    let law = Likelihood::ContinuousBernoulli;
    for l in [-30.0_f64, -1.0, -1e-3, 0.0, 1e-9, 0.5, 0.999, 1.001, 12.0] {
        // Simpson's rule on 4,000 intervals: its error is far below 1e-9 for e^(30 x).
        let n = 4000;
        let x: Vec<f64> = (0..=n).map(|i| i as f64 / n as f64).collect();
        let images = Tensor::from_slice(&x, (n + 1, 1), &Device::Cpu).unwrap();
        let logits = (images.ones_like().unwrap() * l).unwrap();
        let density: Vec<f64> = nll(law, &logits, &images)
            .to_vec1::<f64>()
            .unwrap()
            .iter()
            .map(|v| (-v).exp())
            .collect();
        let integral = |f: &dyn Fn(usize) -> f64| {
            let weight = |i: usize| [2.0, 4.0][i % 2] - f64::from(u8::from(i == 0 || i == n));
            (0..=n).map(|i| weight(i) * f(i)).sum::<f64>() / (3 * n) as f64
        };
        assert!((integral(&|i| density[i]) - 1.0).abs() < 1e-9, "{l}");
        let mean = law.law().mean(&Tensor::new(&[[l]], &Device::Cpu).unwrap()).unwrap();
        let mean = mean.to_vec2::<f64>().unwrap()[0][0];
        assert!((integral(&|i| x[i] * density[i]) - mean).abs() < 1e-9, "{l}: {mean}");
    }
}

#[test]
fn the_256_levels_have_mass_one_and_the_mean_they_say() {
    let law = Likelihood::DiscretisedLogistic;
    for l in [-30.0_f64, -10.0, -1.0, 0.0, 0.5, 9.0] {
        let levels: Vec<f64> = (0..256).map(|k| f64::from(k) / 255.0).collect();
        let images = Tensor::from_slice(&levels, (256, 1), &Device::Cpu).unwrap();
        let logits = (images.ones_like().unwrap() * l).unwrap();
        let nll = nll(law, &logits, &images).to_vec1::<f64>().unwrap();
        let mass: Vec<f64> = nll.iter().map(|v| (-v).exp()).collect();
        assert!((mass.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{l}");
        let mean: f64 = mass.iter().zip(&levels).map(|(p, x)| p * x).sum();
        let said = law.law().mean(&Tensor::new(&[[l]], &Device::Cpu).unwrap()).unwrap();
        let said = said.to_vec2::<f64>().unwrap()[0][0];
        assert!((said - mean).abs() < 1e-5, "{l}: {said} and {mean}");
    }
}

#[test]
fn means_of_single_precision_stay_inside_the_unit_interval() {
    let logits = Tensor::new(&[[-1e30_f32, -100.0, 0.0, 100.0, 1e30]], &Device::Cpu).unwrap();
    for law in Likelihood::ALL {
        let means = law.law().mean(&logits).unwrap().to_vec2::<f32>().unwrap()[0].clone();
        assert!(means.iter().all(|m| (0.0..=1.0).contains(m)), "{means:?}");
        assert!(means.is_sorted() && means[2] == 0.5, "{means:?}");
    }
}

#[test]
fn images_of_another_shape_are_refused() {
    let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    let images = Tensor::zeros((2, 1), DType::F32, &Device::Cpu).unwrap();
    let error = Likelihood::Bernoulli.nll(&logits, &images).unwrap_err().to_string();
    assert!(error.contains("images must have the shape [2, 3]"), "{error}");
}
