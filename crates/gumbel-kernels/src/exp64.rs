//! `eˣ` in double precision as arithmetic that the compiler vectorises.

/// Of the series up to r¹³ / 13!, the last first.
const COEFFICIENTS: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// `eˣ`, to about one unit in the last place; 0 below -708 and infinite above 709.
#[inline(always)]
pub(crate) fn exp64(x: f64) -> f64 {
    // Adding 1.5 · 2⁵² leaves the nearest whole number in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let p = COEFFICIENTS.iter().fold(0.0, |p, c| p * r + c);
    let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    let value = if x > 709.0 { f64::INFINITY } else { p * scale };
    if x < -708.0 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential_to_a_unit_in_the_last_place() {
        for i in 0..200_000 {
            let x = 708.0 * (f64::from(i) / 100_000.0 - 1.0);
            let (ours, exact) = (exp64(x), x.exp());
            assert!((ours - exact).abs() <= 4.5e-16 * exact, "{x}: {ours} {exact}");
        }
        assert_eq!((exp64(0.0), exp64(-709.0), exp64(f64::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert_eq!(exp64(710.0), f64::INFINITY);
    }
}
