//! Matrix tiles in plain Rust, for processors without a kernel of their own and as the reference under Miri.
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers are indexed together; iterators would hide which is which"
)]

use crate::isa::Kernel;
use crate::lines::{LINE, Line, MAX_TILE_ROWS, Tile};

/// The instruction set of the compilation target's baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Portable;

impl Kernel for Portable {
    const TILE_ROWS: usize = MAX_TILE_ROWS;
    const TILE_LINES: usize = 1;

    #[inline(always)]
    fn multiply(self, rows: usize, a: &[Line], b: &[Line], fresh: bool, sums: &mut Tile) {
        for r in 0..rows {
            let mut acc = if fresh { Line::ZERO } else { sums[r][0] };
            for (a, b) in a.iter().zip(b) {
                let left = a.0[r];
                for (acc, right) in acc.0.iter_mut().zip(&b.0) {
                    *acc += left * right;
                }
            }
            sums[r][0] = acc;
        }
    }

    #[inline(always)]
    fn transpose(self, block: &[Line; 16], step: usize, out: &mut [Line]) {
        for j in 0..LINE {
            let line = &mut out[j * step];
            for i in 0..LINE {
                line.0[i] = block[i].0[j];
            }
        }
    }
}
