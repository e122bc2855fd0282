//! Uniform, Gumbel and logistic noise with true tails on both sides.

use candle_core::{DType, Device, Shape, Tensor};

use crate::{Error, Generator, Result};

/// Uniform noise on the *open* interval (0, 1): neither end is ever drawn, in any dtype.
///
/// # Shapes
/// Any; the elements take the generator's words in row-major order.
/// # Errors
/// [`Error::UnsupportedDType`] unless `dtype` is f16, bf16, f32 or f64.
pub fn uniform(
    shape: impl Into<Shape>,
    dtype: DType,
    device: &Device,
    g: &mut Generator,
) -> Result<Tensor> {
    // The smallest value and the largest below one. f32 and f64 reach far lower than their 32 and
    // 64 bits do, f16 only to its smallest subnormal.
    let (least, most) = match dtype {
        DType::F16 => (2f32.powi(-24), 1.0 - 2f32.powi(-11)),
        DType::BF16 => (0.0, 1.0 - 2f32.powi(-8)),
        _ => (0.0, 1.0 - f32::EPSILON / 2.0),
    };
    let from32 = |draw: Draw<f32>| match draw.side {
        Side::Lower => draw.x.max(least),
        Side::Upper => (1.0 - draw.x).min(most),
    };
    let from64 = |draw: Draw<f64>| match draw.side {
        Side::Lower => draw.x,
        Side::Upper => (1.0 - draw.x).min(1.0 - f64::EPSILON / 2.0),
    };
    let single = |n, g: &mut Generator| values_f32(n, g, from32);
    noise(shape.into(), dtype, device, g, single, from64)
}

/// Standard Gumbel noise, `-ln(-ln U)`: location 0, scale 1.
///
/// A draw is computed from the *smaller* of `U` and `1 - U`, whose bits are exact, so that neither
/// tail is cut: in f32 one word gives 32 bits, and the one word in 65,536 that lands in a tail is
/// refined by 32 more from a second sequence at the same position. Tails are right down to
/// probabilities of 2^-64 (values from -3.8 to 44), in f32 as in f64. f16 and bf16 are rounded from f32.
///
/// # Shapes
/// Any; element `i` uses word `i` (f64: words `2i` and `2i + 1`) after the generator's position, so
/// the noise of a seed is the same on every device and for every batching of the same total.
/// # Errors
/// [`Error::UnsupportedDType`] unless `dtype` is f16, bf16, f32 or f64.
/// # Example
/// ```
/// use candle_core::{DType, Device};
/// use gumbel_core::{Generator, gumbel_noise};
///
/// let noise = gumbel_noise((2, 3), DType::F32, &Device::Cpu, &mut Generator::new(0))?;
/// assert_eq!(noise.dims(), &[2, 3]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn gumbel_noise(
    shape: impl Into<Shape>,
    dtype: DType,
    device: &Device,
    g: &mut Generator,
) -> Result<Tensor> {
    let single = |n, g: &mut Generator| {
        let mut values = vec![0.0; n];
        fill_gumbel_noise(&mut values, g);
        values
    };
    noise(shape.into(), dtype, device, g, single, gumbel_f64)
}

/// Fills a slice with the values that [`gumbel_noise`] gives for f32, without allocating.
pub fn fill_gumbel_noise(values: &mut [f32], g: &mut Generator) {
    g.fill_gumbels(values);
}

/// Standard logistic noise, `ln U - ln(1 - U)`: the difference of two independent Gumbel variables.
///
/// Drawn like [`gumbel_noise`], from the same words: tails are right down to 2^-64 on both sides.
///
/// # Errors
/// [`Error::UnsupportedDType`] unless `dtype` is f16, bf16, f32 or f64.
pub fn logistic_noise(
    shape: impl Into<Shape>,
    dtype: DType,
    device: &Device,
    g: &mut Generator,
) -> Result<Tensor> {
    let single = |n, g: &mut Generator| values_f32(n, g, logistic_f32);
    noise(shape.into(), dtype, device, g, single, logistic_f64)
}

/// A uniform variable seen from its nearer end: `U = x` or `U = 1 - x`, with `x` in (0, 1/2].
#[derive(Clone, Copy)]
struct Draw<T> {
    x: T,
    side: Side,
}

#[derive(Clone, Copy)]
enum Side {
    Lower,
    Upper,
}

/// What the vectorised [`Generator::fill_gumbels`] computes: its oracle in the tests.
#[cfg(test)]
fn gumbel_f32(Draw { x, side }: Draw<f32>) -> f32 {
    let exponential = match side {
        Side::Lower => -x.ln(),
        Side::Upper => -(-x).ln_1p(),
    };
    -exponential.ln()
}

fn gumbel_f64(Draw { x, side }: Draw<f64>) -> f64 {
    let exponential = match side {
        Side::Lower => -x.ln(),
        Side::Upper => -(-x).ln_1p(),
    };
    -exponential.ln()
}

fn logistic_f32(Draw { x, side }: Draw<f32>) -> f32 {
    let below = x.ln() - (-x).ln_1p();
    match side {
        Side::Lower => below,
        Side::Upper => -below,
    }
}

fn logistic_f64(Draw { x, side }: Draw<f64>) -> f64 {
    let below = x.ln() - (-x).ln_1p();
    match side {
        Side::Lower => below,
        Side::Upper => -below,
    }
}

fn noise(
    shape: Shape,
    dtype: DType,
    device: &Device,
    g: &mut Generator,
    single: impl Fn(usize, &mut Generator) -> Vec<f32>,
    from64: impl Fn(Draw<f64>) -> f64,
) -> Result<Tensor> {
    let n = shape.elem_count();
    match dtype {
        DType::F64 => Ok(Tensor::from_vec(values_f64(n, g, from64), shape, device)?),
        DType::F32 => Ok(Tensor::from_vec(single(n, g), shape, device)?),
        // Rounded on the host: less to transfer, and the same bits on every device.
        DType::F16 | DType::BF16 => {
            let noise = Tensor::from_vec(single(n, g), shape, &Device::Cpu)?;
            Ok(noise.to_dtype(dtype)?.to_device(device)?)
        }
        _ => {
            Err(Error::UnsupportedDType { what: "noise", dtype, expected: "f16, bf16, f32 or f64" })
        }
    }
}

/// Words this near to either end, together a fraction 2^-16, are refined with 32 more bits.
const TAIL: u32 = 1 << 15;

/// One word, one value.
fn values_f32(n: usize, g: &mut Generator, value: impl Fn(Draw<f32>) -> f32) -> Vec<f32> {
    let start = g.position();
    let words = g.next_words(n);
    let mut values: Vec<f32> = words.iter().map(|&word| value(near_end_f32(word))).collect();
    let tail = g.tail();
    for (i, &word) in words.iter().enumerate() {
        if word.min(!word) < TAIL {
            values[i] = value(refined_f32(word, tail.word(start.wrapping_add(i as u64))));
        }
    }
    values
}

fn values_f64(n: usize, g: &mut Generator, value: impl Fn(Draw<f64>) -> f64) -> Vec<f64> {
    let words = g.next_words(2 * n);
    let long = |pair: &[u32]| u64::from(pair[0]) | u64::from(pair[1]) << 32;
    words.chunks_exact(2).map(|pair| value(near_end_f64(long(pair)))).collect()
}

fn near_end_f32(word: u32) -> Draw<f32> {
    Draw {
        x: (word.min(!word) as f32 + 0.5) * 2f32.powi(-32),
        side: if word >> 31 == 0 { Side::Lower } else { Side::Upper },
    }
}

/// The draw whose leading 32 bits are `word` and whose next 32 bits are `refinement`.
fn refined_f32(word: u32, refinement: u32) -> Draw<f32> {
    let x = u64::from(word.min(!word)) << 32 | u64::from(refinement);
    Draw { x: (x as f32 + 0.5) * 2f32.powi(-64), side: near_end_f32(word).side }
}

fn near_end_f64(word: u64) -> Draw<f64> {
    Draw {
        x: (word.min(!word) as f64 + 0.5) * 2f64.powi(-64),
        side: if word >> 63 == 0 { Side::Lower } else { Side::Upper },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extreme_words_give_finite_and_true_tails() {
        // The distribution function at the value must give back the uniform, at the ends and beside the refinement.
        for (word, refinement) in [
            (0, 0),
            (0, u32::MAX),
            (TAIL - 1, u32::MAX),
            (TAIL, 0),
            (1 << 30, 0),
            ((1 << 31) - 1, 0),
        ] {
            let draw = if word < TAIL { refined_f32(word, refinement) } else { near_end_f32(word) };
            let x = f64::from(draw.x);
            assert!(x > 0.0 && x <= 0.5);
            let lower = f64::from(gumbel_f32(draw));
            assert!(((-(-lower).exp()).exp() / x - 1.0).abs() < 2e-5, "{word}");
            let upper = f64::from(gumbel_f32(Draw { side: Side::Upper, ..draw }));
            let survival = -(-(-upper).exp()).exp_m1();
            assert!((survival / x - 1.0).abs() < 1e-5, "{word}: {survival} {x}");
        }
        assert!(matches!(near_end_f32(u32::MAX).side, Side::Upper));
        assert!((gumbel_f64(near_end_f64(u64::MAX)) - 65.0 * std::f64::consts::LN_2).abs() < 1e-9);
        assert!((gumbel_f64(near_end_f64(0)) + (65.0 * std::f64::consts::LN_2).ln()).abs() < 1e-9);
    }

    #[test]
    fn uniforms_never_reach_an_end_in_any_dtype() {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let u = uniform(300_000, dtype, &Device::Cpu, &mut Generator::new(3)).unwrap();
            let u = u.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            assert!(u.iter().all(|&u| u > 0.0 && u < 1.0), "{dtype:?}");
            let mean = u.iter().sum::<f64>() / u.len() as f64;
            // Standard deviation of the mean: 0.2887 / sqrt(3e5) = 5.3e-4; four of them, alpha = 6e-5.
            assert!((mean - 0.5).abs() < 2.1e-3, "{dtype:?}: {mean}");
        }
    }

    #[test]
    fn noise_does_not_depend_on_how_it_is_batched() {
        for dtype in [DType::F32, DType::F64] {
            let mut once = Generator::new(4);
            let mut twice = Generator::new(4);
            let all = gumbel_noise(200_000, dtype, &Device::Cpu, &mut once).unwrap();
            let a = gumbel_noise(123_457, dtype, &Device::Cpu, &mut twice).unwrap();
            let b = gumbel_noise(200_000 - 123_457, dtype, &Device::Cpu, &mut twice).unwrap();
            let parts = Tensor::cat(&[a, b], 0).unwrap();
            let different =
                all.ne(&parts).unwrap().to_dtype(DType::F64).unwrap().sum_all().unwrap();
            assert_eq!(different.to_scalar::<f64>().unwrap(), 0.0);
            assert_eq!(once.state(), twice.state());
        }
    }

    #[test]
    fn vectorised_noise_equals_the_plain_formula() {
        // 300,000 words have about five in the refined tails; odd starts put the chunks out of line.
        for start in [0, 1, 77] {
            let mut fast = Generator::new(6);
            fast.next_words(start);
            let mut plain = fast.clone();
            let mut values = vec![0.0; 300_000];
            fill_gumbel_noise(&mut values, &mut fast);
            let expected = values_f32(300_000, &mut plain, gumbel_f32);
            for (i, (v, e)) in values.iter().zip(&expected).enumerate() {
                // Two logarithms of two makes, each good to some units of 6e-8.
                assert!((v - e).abs() <= 5e-7 * (1.0 + e.abs()), "{i}: {v} {e}");
            }
            assert_eq!(fast.state(), plain.state());
        }
    }

    #[test]
    fn integers_are_refused() {
        let error = gumbel_noise(3, DType::U32, &Device::Cpu, &mut Generator::new(0)).unwrap_err();
        assert!(matches!(error, Error::UnsupportedDType { dtype: DType::U32, .. }));
    }
}
