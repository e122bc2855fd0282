//! Sums and maxima over sixteen lanes, in one fixed order.

use crate::lines::LINE;

/// The sum, by halves: lanes 0 + 8, 1 + 9, .., then 0 + 4, .., so that the order is the same on every processor.
#[inline(always)]
pub(crate) fn sum(lanes: [f32; LINE]) -> f32 {
    halves(lanes, |x, y| x + y)
}

/// The largest lane; lanes that are NaN are passed over.
#[inline(always)]
pub(crate) fn max(lanes: [f32; LINE]) -> f32 {
    halves(lanes, larger)
}

/// The larger of two; the second if the first is NaN.
#[inline(always)]
pub(crate) fn larger(x: f32, y: f32) -> f32 {
    if x > y { x } else { y }
}

#[inline(always)]
fn halves(lanes: [f32; LINE], merge: impl Fn(f32, f32) -> f32) -> f32 {
    let mut eight = [0.0; 8];
    for i in 0..8 {
        eight[i] = merge(lanes[i], lanes[i + 8]);
    }
    let mut four = [0.0; 4];
    for i in 0..4 {
        four[i] = merge(eight[i], eight[i + 4]);
    }
    merge(merge(four[0], four[2]), merge(four[1], four[3]))
}
