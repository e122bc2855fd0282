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

/// Lines that are added in single precision before they go into the double-precision sums.
const BLOCK: usize = 16;

/// A sum over any number of lines whose rounding does not grow with their number.
///
/// Sixteen lines at a time are added in single precision, and those sums in double precision: a row of millions of
/// equal values loses no more than one of a hundred. The order is fixed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LongSum {
    lanes: [f32; LINE],
    wide: [f64; LINE],
    n_lines: usize,
}

impl Default for LongSum {
    #[inline(always)]
    fn default() -> Self {
        LongSum { lanes: [0.0; LINE], wide: [0.0; LINE], n_lines: 0 }
    }
}

impl LongSum {
    #[inline(always)]
    pub(crate) fn add(&mut self, line: &[f32; LINE]) {
        for (lane, value) in self.lanes.iter_mut().zip(line) {
            *lane += value;
        }
        self.n_lines += 1;
        if self.n_lines == BLOCK {
            for i in 0..LINE {
                self.wide[i] += f64::from(self.lanes[i]);
            }
            self.lanes = [0.0; LINE];
            self.n_lines = 0;
        }
    }

    #[inline(always)]
    pub(crate) fn value(&self) -> f32 {
        let mut total = self.wide;
        for (total, lane) in total.iter_mut().zip(self.lanes) {
            *total += f64::from(lane);
        }
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                total[i] += total[i + half];
            }
        }
        total[0] as f32
    }
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
