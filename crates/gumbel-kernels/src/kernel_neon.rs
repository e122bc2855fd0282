//! Matrix tiles of 6 x 16 sums in NEON registers, two of them to a tile of 12 rows.
#![allow(
    unsafe_code,
    reason = "vector loads and stores take raw pointers, and calling a function with target features is unsafe"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers are indexed together; iterators would hide which is which"
)]

use std::arch::aarch64::*;

use crate::isa::{Kernel, Side};
use crate::lines::{LINE, Line, Tile};

/// Proof that the processor has NEON, as every 64-bit ARM does; absent under Miri, which does not know all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neon(());

impl Neon {
    /// The token, except under Miri.
    pub(crate) fn detect() -> Option<Self> {
        (!cfg!(miri)).then_some(Neon(()))
    }
}

impl Kernel for Neon {
    const TILE_ROWS: usize = 12;
    const TILE_LINES: usize = 1;

    fn spin(self, n: usize) -> usize {
        // SAFETY: NEON is part of the baseline of every aarch64 target.
        unsafe { spin(n) }
    }

    #[inline(always)]
    fn multiply(
        self,
        (rows, _lines, depth): (usize, usize, usize),
        a: Side<'_>,
        b: Side<'_>,
        fresh: bool,
        sums: &mut Tile,
    ) {
        macro_rules! by_height {
            ($($height:literal)*) => {
                match rows {
                    // SAFETY: NEON is part of the baseline of every aarch64 target.
                    $($height => unsafe {
                        const UPPER: usize = if $height > 6 { 6 } else { $height };
                        tile::<UPPER, 0>(depth, a, b, fresh, sums);
                        if $height > 6 {
                            tile::<{ $height - UPPER }, 6>(depth, a, b, fresh, sums);
                        }
                    },)*
                    _ => debug_assert!(false, "a tile of {rows} rows"),
                }
            };
        }
        by_height!(1 2 3 4 5 6 7 8 9 10 11 12);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(line: &[f32], quarter: usize) -> float32x4_t {
    // SAFETY: the slice is bounds-checked to 4 values; any alignment will do.
    unsafe { vld1q_f32(line[4 * quarter..4 * quarter + 4].as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(line: &mut Line, quarter: usize, value: float32x4_t) {
    // SAFETY: the slice is bounds-checked to 4 values; any alignment will do.
    unsafe { vst1q_f32(line.0[4 * quarter..4 * quarter + 4].as_mut_ptr(), value) }
}

/// Rows `FROM..FROM + ROWS` of the tile: 24 registers of sums, 4 of `b`.
#[target_feature(enable = "neon")]
fn tile<const ROWS: usize, const FROM: usize>(
    depth: usize,
    a: Side<'_>,
    b: Side<'_>,
    fresh: bool,
    sums: &mut Tile,
) {
    let mut acc = [[vdupq_n_f32(0.0); 4]; ROWS];
    if !fresh {
        for r in 0..ROWS {
            for q in 0..4 {
                acc[r][q] = load(&sums[FROM + r][0].0, q);
            }
        }
    }
    for k in 0..depth {
        let (a, b) = (a.at(k, FROM + ROWS), b.at(k, LINE));
        let right = [load(b, 0), load(b, 1), load(b, 2), load(b, 3)];
        for r in 0..ROWS {
            for q in 0..4 {
                acc[r][q] = vfmaq_n_f32(acc[r][q], right[q], a[FROM + r]);
            }
        }
    }
    for r in 0..ROWS {
        for q in 0..4 {
            store(&mut sums[FROM + r][0], q, acc[r][q]);
        }
    }
}

#[target_feature(enable = "neon")]
fn spin(n: usize) -> usize {
    let mut acc = [vdupq_n_f32(0.0); 24];
    let (factor, term) = (vdupq_n_f32(0.75), vdupq_n_f32(0.25));
    for _ in 0..n {
        for acc in &mut acc {
            *acc = vfmaq_f32(term, *acc, factor);
        }
    }
    std::hint::black_box(acc);
    n * acc.len() * 4 * 2
}
