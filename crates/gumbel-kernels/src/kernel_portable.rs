//! Matrix tiles in plain Rust, for processors without a kernel of their own and as the reference under Miri.
use crate::isa::{Kernel, Side};
use crate::lines::{LINE, Line, MAX_TILE_ROWS, Tile};

/// The instruction set of the compilation target's baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Portable;

impl Kernel for Portable {
    const TILE_ROWS: usize = MAX_TILE_ROWS;
    const TILE_LINES: usize = 1;

    fn spin(self, n: usize) -> usize {
        let mut acc = [0.0f32; 32];
        for _ in 0..n {
            for acc in &mut acc {
                *acc = *acc * 0.75 + 0.25;
            }
        }
        std::hint::black_box(acc);
        n * acc.len() * 2
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
        for (r, sums) in sums.iter_mut().enumerate().take(rows) {
            let mut acc = if fresh { Line::ZERO } else { sums[0] };
            for k in 0..depth {
                let left = a.at(k, rows)[r];
                for (acc, right) in acc.0.iter_mut().zip(b.at(k, LINE)) {
                    *acc += left * right;
                }
            }
            sums[0] = acc;
        }
    }
}
