//! Uniform, Gumbel and logistic noise.

use candle_core::{DType, Device};
use gumbel_core::{Generator, gumbel_noise, logistic_noise, uniform};

use crate::law::{count_is, follows, sigmoid, values};

const N: usize = 1_000_000;

#[test]
fn a_million_draws_follow_their_law() {
    for (seed, dtype) in [(1, DType::F32), (2, DType::F64)] {
        let mut g = Generator::new(seed);
        let cpu = &Device::Cpu;
        let u = uniform(N, dtype, cpu, &mut g).unwrap();
        follows("uniform", values(&u), |u| u);
        let gumbel = gumbel_noise(N, dtype, cpu, &mut g).unwrap();
        follows("Gumbel", values(&gumbel), |x| (-(-x).exp()).exp());
        let logistic = logistic_noise(N, dtype, cpu, &mut g).unwrap();
        follows("logistic", values(&logistic), sigmoid);
    }
}

#[test]
fn both_tails_are_drawn_as_often_as_they_should_be() {
    // Twenty million draws, so that the rarest tail is expected twenty times.
    let chunks = 20;
    for (seed, dtype) in [(3, DType::F32), (4, DType::F64)] {
        let mut g = Generator::new(seed);
        let tails = [1e-3f64, 1e-4, 1e-5, 1e-6];
        let mut gumbel = [[0u64; 4]; 2];
        let mut logistic = [[0u64; 4]; 2];
        for _ in 0..chunks {
            for x in values(&gumbel_noise(N, dtype, &Device::Cpu, &mut g).unwrap()) {
                for (i, p) in tails.iter().enumerate() {
                    // Quantiles of Gumbel: P(X < -ln(-ln p)) = p and P(X > -ln(-ln(1 - p))) = p.
                    gumbel[0][i] += u64::from(x < -(-p.ln()).ln());
                    gumbel[1][i] += u64::from(x > -(-(-p).ln_1p()).ln());
                }
            }
        }
        for _ in 0..chunks / 4 {
            for x in values(&logistic_noise(N, dtype, &Device::Cpu, &mut g).unwrap()) {
                for (i, p) in tails.iter().enumerate() {
                    let quantile = p.ln() - (-p).ln_1p();
                    logistic[0][i] += u64::from(x < quantile);
                    logistic[1][i] += u64::from(x > -quantile);
                }
            }
        }
        for side in 0..2 {
            for (i, p) in tails.iter().enumerate() {
                let name = |law| format!("{law} {dtype:?}, side {side}, p = {p}");
                count_is(&name("Gumbel"), gumbel[side][i], p * (chunks * N) as f64);
                count_is(&name("logistic"), logistic[side][i], p * (chunks / 4 * N) as f64);
            }
        }
    }
}

#[test]
fn single_precision_noise_of_a_seed_never_changes() {
    // Value stability of the words is tested beside the generator; this is what is made of them. The
    // last digits may differ between platforms' logarithms.
    let noise = gumbel_noise(4, DType::F32, &Device::Cpu, &mut Generator::new(0)).unwrap();
    let words = [2811902828u32, 3045455719, 3134767159, 2001118559];
    for (x, word) in values(&noise).into_iter().zip(words) {
        let u = (f64::from(word) + 0.5) / 2f64.powi(32);
        assert!((x + (-u.ln()).ln()).abs() < 1e-6);
    }
}
