//! The constant that makes the expected number of set bits `k`.

use crate::isa::Kernel;
use crate::lines::LINE;
use crate::reduce::LongSum;
use crate::vmath::sigmoid;

/// More than Newton steps from any start and halvings of any bracket of floats take together.
const MAX_STEPS: usize = 200;

/// `t` with `Σ σ(d_i + t) ≈ k` for `0 < k < n`, to a twentieth of the standard deviation of the number of bits.
///
/// The sums are in single precision, because `t` decides only how well the recursions are conditioned. Newton's steps are
/// taken while they stay in the bracket, else it is halved.
#[inline(always)]
pub(super) fn tilt<K: Kernel>(kernel: K, k: usize, d: &[f32]) -> f64 {
    let edge = (d.len() as f64).ln() + 40.0;
    let (least, most) = d.iter().fold((f32::MAX, f32::MIN), |(a, b), &d| (a.min(d), b.max(d)));
    let (mut low, mut high) = (-f64::from(most) - edge, edge - f64::from(least));
    let mut t = 0.0;
    for _ in 0..MAX_STEPS {
        let (mean, variance) = moments(kernel, d, t as f32);
        let excess = mean - k as f64;
        if excess.abs() <= 0.05 * variance.sqrt() + 1e-3 {
            break;
        }
        *(if excess > 0.0 { &mut high } else { &mut low }) = t;
        let newton = t - excess / variance;
        t = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
    }
    t
}

/// Mean and variance of the number of set bits.
#[inline(always)]
fn moments<K: Kernel>(kernel: K, d: &[f32], t: f32) -> (f64, f64) {
    let (mut mean, mut variance) = (LongSum::default(), LongSum::default());
    for d in d.chunks(LINE) {
        let mut p = kernel.load(d, f32::NEG_INFINITY);
        let mut v = [0.0; LINE];
        for i in 0..LINE {
            p[i] = sigmoid(p[i] + t);
            v[i] = p[i] * (1.0 - p[i]);
        }
        mean.add(&p);
        variance.add(&v);
    }
    (f64::from(mean.value()), f64::from(variance.value()))
}
