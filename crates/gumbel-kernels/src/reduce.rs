//! Sums and maxima over sixteen lanes, in one fixed order.

use crate::isa::Kernel;
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

/// The largest value of a row, of any length.
#[inline(always)]
pub(crate) fn row_max<K: Kernel>(kernel: K, row: &[f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LINE];
    for line in row.chunks(LINE) {
        let line = kernel.load(line, f32::NEG_INFINITY);
        for i in 0..LINE {
            largest[i] = larger(line[i], largest[i]);
        }
    }
    max(largest)
}

/// Values that may be added in single precision before they go into a [`LongSum`].
pub(crate) const BLOCK: usize = 16 * LINE;

/// A sum over any number of lines, or of sums of a [`BLOCK`]. It is kept in double precision, so that its rounding
/// does not grow with their number. The order is fixed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LongSum {
    wide: [f64; LINE],
}

impl LongSum {
    #[inline(always)]
    pub(crate) fn add(&mut self, line: &[f32; LINE]) {
        for (wide, value) in self.wide.iter_mut().zip(line) {
            *wide += f64::from(*value);
        }
    }

    #[inline(always)]
    pub(crate) fn value(&self) -> f32 {
        let mut total = self.wide;
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
