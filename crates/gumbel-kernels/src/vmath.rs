//! `exp`, `ln` and their relatives in single precision, branch-free so that loops over them vectorise.
//!
//! Each is plain Rust without fused multiply-add, so the values are the same bits on every processor
//! and at every vector width: noise for a seed does not change from machine to machine. The
//! polynomials are minimax fits (Lawson iteration) of relative error below 2⁻²⁷; the bounds in the
//! docs are measured over all or densely sampled floats by the tests.

/// `1.5 · 2²³`: adding it rounds to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `ln 2` in two parts; the first has 15 bits, so that its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_145_75;
const LN2_LOW: f32 = 1.428_606_8e-6;

const SQRT_HALF_BITS: u32 = 0x3f35_04f3;

/// `2ᵏ` for an integer `k` in -126..=127.
#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits(((k + 127) as u32) << 23)
}

/// `(eʳ, k)` with `eˣ = eʳ · 2ᵏ`, for `x` between -104 and 89.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let k = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let n = rounded - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let tail = 0.041_668_39 + r * (0.008_368_717 + r * 0.001_381_459_9);
    let tail = 0.499_999_94 + r * (0.166_665_21 + r * tail);
    (1.0 + (r + r * r * tail), k)
}

/// `eˣ` over the whole range, subnormal results included: infinite above 88.73, zero below -103.98.
///
/// Within 1 unit in the last place; NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Comparisons rather than `clamp`: a NaN goes through.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let (e, k) = exp_parts(x);
    // Two factors, since 2¹²⁸ and 2⁻¹⁵⁰ are no floats: the first product is exact, the second rounds once.
    let half = k >> 1;
    e * power_of_two(half) * power_of_two(k - half)
}

/// `eˣ` for `x ≤ 0`, zero where the result would be subnormal (below -87.33).
///
/// Softmax takes this one: subnormal numbers cost a slow path on most processors, and a probability
/// below 1e-38 changes no sum. Within 1 unit in the last place; NaN for NaN.
#[inline(always)]
pub(crate) fn exp_nonpositive(x: f32) -> f32 {
    let clamped = if x < -87.33 { -87.33 } else { x };
    let (e, k) = exp_parts(clamped);
    let value = e * power_of_two(k);
    if x < -87.33 { 0.0 } else { value }
}

/// `ln(1 + f) + e · ln 2` for `1 + f` between √½ and √2.
#[inline(always)]
pub(crate) fn ln_parts(f: f32, e: f32) -> f32 {
    let p = -0.131_601_83 + f * (0.127_615_82 - f * 0.076_345_004);
    let p = -0.166_233_57 + f * (0.142_017_57 + f * p);
    let p = 0.333_333_3 + f * (-0.250_008_2 + f * (0.200_012_27 + f * p));
    let square = f * f;
    let low = square * f * p + e * LN2_LOW - 0.5 * square;
    e * LN2_HIGH + (f + low)
}

/// Splits a positive normal float: `(f, e)` with `x = (1 + f) · 2ᵉ` and `1 + f` between √½ and √2.
#[inline(always)]
pub(crate) fn split(x: f32) -> (f32, i32) {
    let e = (x.to_bits().wrapping_sub(SQRT_HALF_BITS) as i32) >> 23;
    let mantissa = f32::from_bits(x.to_bits().wrapping_sub((e << 23) as u32));
    (mantissa - 1.0, e)
}

/// `ln x` of a positive, normal, finite float. Within 1 unit in the last place.
#[inline(always)]
pub(crate) fn ln_normal(x: f32) -> f32 {
    let (f, e) = split(x);
    ln_parts(f, e as f32)
}

/// `ln x`: -∞ at zero, NaN below, subnormal arguments included. Within 1 unit in the last place.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 33_554_432.0 } else { x };
    let (f, e) = split(scaled);
    let value = ln_parts(f, (e - if tiny { 25 } else { 0 }) as f32);
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    let value = if x < 0.0 { f32::NAN } else { value };
    // Infinity and NaN are their own logarithms.
    if x < f32::INFINITY || x < 0.0 { value } else { x }
}

/// Like [`split`] for `1 - x` with `0 < x ≤ ½`, without ever rounding the difference.
#[inline(always)]
pub(crate) fn split_one_minus(x: f32) -> (f32, f32) {
    // 1 - x ≥ √½ needs no scaling; else (1 - x) · 2 - 1 = 1 - 2x, exact since 2x is near 1.
    let near = x < 0.292_893_2;
    (if near { -x } else { 1.0 - 2.0 * x }, if near { 0.0 } else { -1.0 })
}

/// `ln(1 + t)` for `0 ≤ t ≤ 1`. Within 2 units in the last place.
#[inline(always)]
pub(crate) fn ln_one_plus(t: f32) -> f32 {
    let near = t < std::f32::consts::SQRT_2 - 1.0;
    let f = if near { t } else { 0.5 * t - 0.5 };
    ln_parts(f, if near { 0.0 } else { 1.0 })
}

/// `ln(1 + eˣ)`. Within 2 units in the last place; NaN for NaN.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let above = if x < 0.0 { 0.0 } else { x };
    let value = above + ln_one_plus(exp(-x.abs()));
    // The logarithm of a subnormal number plus one is that number.
    if x < -87.0 { exp(x) } else { value }
}

/// `1 / (1 + e⁻ˣ)`. Within 3 units in the last place; NaN for NaN.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let decay = exp(-x.abs());
    let numerator = if x < 0.0 { decay } else { 1.0 };
    numerator / (1.0 + decay)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance of `actual` from `expected` in units of the last place of the nearest float to `expected`.
    fn ulps(actual: f32, expected: f64) -> f64 {
        let rounded = expected as f32;
        if actual == rounded || (actual.is_nan() && expected.is_nan()) {
            return 0.0;
        }
        let magnitude = (rounded.abs()).max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
        (f64::from(actual) - expected).abs() / ulp
    }

    /// Every `step`-th float of a range of bit patterns.
    #[track_caller]
    fn worst(from: f32, to: f32, actual: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let step = if cfg!(miri) { 9_999_991 } else { 1009 };
        let (from, to) = (from.to_bits(), to.to_bits());
        (from.min(to)..=from.max(to))
            .step_by(step)
            .map(f32::from_bits)
            .map(|x| ulps(actual(x), exact(f64::from(x))))
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_an_ulp_over_the_whole_range() {
        assert!(worst(0.0, f32::INFINITY, exp, f64::exp) < 1.0);
        assert!(worst(-0.0, f32::NEG_INFINITY, exp, f64::exp) < 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(88.722_84), 88.722_84f64.exp() as f32);
        assert_eq!(exp(88.722_85), f32::INFINITY);
        assert_eq!(exp(-103.97), f32::from_bits(1));
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn exp_nonpositive_equals_exp_down_to_the_smallest_normal_float() {
        assert!(worst(-0.0, -87.33, exp_nonpositive, f64::exp) < 1.0);
        assert!(exp_nonpositive(-87.33) >= f32::MIN_POSITIVE);
        for x in [-87.331, -100.0, -1e30, f32::NEG_INFINITY] {
            assert_eq!(exp_nonpositive(x), 0.0);
        }
        assert!(exp_nonpositive(f32::NAN).is_nan());
    }

    #[test]
    fn ln_is_within_an_ulp_over_the_whole_range() {
        assert!(worst(f32::from_bits(1), f32::MAX, ln, f64::ln) < 1.0);
        assert!(worst(0.5, 2.0, ln_normal, f64::ln) < 1.0);
        assert!(worst(f32::MIN_POSITIVE, f32::MAX, ln_normal, f64::ln) < 1.0);
        for x in [f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX] {
            assert!(ulps(ln(x), f64::from(x).ln()) < 1.0);
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(0.0), f32::NEG_INFINITY);
        assert_eq!(ln(-0.0), f32::NEG_INFINITY);
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        for x in [f32::NAN, -1.0, -f32::MIN_POSITIVE, -f32::from_bits(1), f32::NEG_INFINITY] {
            assert!(ln(x).is_nan(), "{x}");
        }
    }

    #[test]
    fn logarithms_beside_one_keep_their_relative_accuracy() {
        let neg_ln_one_minus = |x: f32| {
            let (f, e) = split_one_minus(x);
            -ln_parts(f, e)
        };
        let exact = |x: f64| -(-x).ln_1p();
        assert!(worst(2f32.powi(-64), 0.5, neg_ln_one_minus, exact) < 2.0);
        assert!(worst(0.29, 0.3, neg_ln_one_minus, exact) < 2.0);
        assert!(worst(2f32.powi(-64), 1.0, ln_one_plus, f64::ln_1p) < 2.0);
        assert!(worst(0.41, 0.42, ln_one_plus, f64::ln_1p) < 2.0);
        assert_eq!(ln_one_plus(0.0), 0.0);
        assert!(ln_one_plus(f32::NAN).is_nan());
    }

    #[test]
    fn softplus_and_sigmoid_are_accurate_over_the_whole_range() {
        let exact = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        assert!(worst(0.0, f32::MAX, softplus, exact) < 2.0);
        assert!(worst(-0.0, f32::MIN, softplus, exact) < 2.0);
        let exact =
            |x: f64| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
        assert!(worst(0.0, f32::MAX, sigmoid, exact) < 3.0);
        assert!(worst(-0.0, f32::MIN, sigmoid, exact) < 3.0);
        assert!(softplus(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!(softplus(f32::INFINITY), f32::INFINITY);
        assert_eq!(softplus(f32::NEG_INFINITY), 0.0);
        assert_eq!([sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)], [1.0, 0.0]);
    }
}
