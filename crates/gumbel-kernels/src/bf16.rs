//! Products in bf16 with sums in f32, bit by bit as the instruction VDPBF16PS computes them.
//!
//! A value is rounded to bf16 (the upper half of an f32) when its side of a product is packed. Two that follow each
//! other along the sum make a *pair*, which travels in the bits of an f32, the first in the lower half. So tiles and
//! lines are those of f32, and a step of the depth is a pair.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::isa::{Isa, Kernel, Side, Task};
use crate::lines::{LINE, Line, Tile};

/// In which numbers a product's factors are multiplied; its sums are always f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to 8 significant bits, the nearest, ties to even; subnormal numbers count as zero. The same bits on
    /// every processor, but fast only where [`bf16_gain`] says so.
    Bf16,
}

impl Precision {
    /// Steps in a sum of `depth` products.
    #[inline(always)]
    pub(crate) fn steps(self, depth: usize) -> usize {
        match self {
            Precision::F32 => depth,
            Precision::Bf16 => depth.div_ceil(2),
        }
    }
}

/// How many times as many multiply-adds this processor does in bf16 as in f32, in registers; 0 where it has no
/// instruction for it. Measured on the first call, in a few milliseconds.
pub fn bf16_gain() -> f64 {
    static GAIN: OnceLock<f64> = OnceLock::new();
    *GAIN.get_or_init(|| {
        // In turn, so that a change of the clock meets both; the best of each, so that an interruption meets neither.
        let end = Instant::now() + Duration::from_millis(10);
        let (mut bf16, mut f32) = (0.0f64, 0.0f64);
        while bf16 == 0.0 || Instant::now() < end {
            bf16 = bf16.max(rate(true));
            f32 = f32.max(rate(false));
            if bf16 == 0.0 {
                return 0.0;
            }
        }
        bf16 / f32
    })
}

/// Operations a second.
fn rate(pairs: bool) -> f64 {
    let start = Instant::now();
    let operations = Isa::best().dispatch(Spin { pairs });
    operations as f64 / start.elapsed().as_secs_f64()
}

struct Spin {
    pairs: bool,
}

impl Task for Spin {
    type Output = usize;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> usize {
        let n = if cfg!(miri) { 10 } else { 5_000 };
        if self.pairs { kernel.spin_pairs(n) } else { kernel.spin(n) }
    }
}

/// The bits of the nearest bf16.
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) | 0x40;
    }
    if x.abs() < f32::MIN_POSITIVE {
        return (bits >> 16) & 0x8000;
    }
    (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
}

/// The pair of `first` and `second`, the latter one step further along the sum.
pub(crate) fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(round(first) | (round(second) << 16))
}

/// `sum` and the products of two pairs: the second values, then the first, each fused to the sum, which is rounded to
/// nearest; what is subnormal counts as zero, going in and coming out.
fn add_products(sum: f32, a: f32, b: f32) -> f32 {
    let value = |bits: u32| flush(f32::from_bits(bits));
    let (a, b) = (a.to_bits(), b.to_bits());
    let sum = flush(value(a & 0xffff_0000).mul_add(value(b & 0xffff_0000), flush(sum)));
    flush(value(a << 16).mul_add(value(b << 16), sum))
}

fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0_f32.copysign(x) } else { x }
}

/// [`Kernel::multiply_pairs`] for processors without an instruction, and the oracle for those that have it.
pub(crate) fn multiply_pairs(
    (rows, lines, depth): (usize, usize, usize),
    a: Side<'_>,
    b: Side<'_>,
    fresh: bool,
    sums: &mut Tile,
) {
    for (r, sums) in sums.iter_mut().enumerate().take(rows) {
        for (l, sums) in sums.iter_mut().enumerate().take(lines) {
            let mut acc = if fresh { Line::ZERO } else { *sums };
            for k in 0..depth {
                let left = a.at(k, rows)[r];
                let right = &b.at(k, lines * LINE)[l * LINE..];
                for (acc, &right) in acc.0.iter_mut().zip(right) {
                    *acc = add_products(*acc, left, right);
                }
            }
            *sums = acc;
        }
    }
}

#[cfg(test)]
mod tests;
