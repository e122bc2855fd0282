//! The blocked matrix product behind the linear layer: packing, tiles, threads.
//!
//! `C[rows, columns] = A · B` with both operands read through [`Operand`], so that one driver serves
//! the forward product, the input gradient and the weight gradient. The sums of a tile are handed to
//! a [`Sink`] while they are in the first-level cache; the sink adds the bias, applies the activation
//! or takes the optimiser's step.
//!
//! Threads split the output, never the summed dimension, and every sum runs over the depth in one
//! order: results do not depend on the number of threads or on the tile an element falls in.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::isa::{Isa, Kernel, Task};
use crate::lines::{EMPTY_TILE, LINE, Line, Tile};
use crate::pack::Operand;

/// Takes the finished sums of one part of the output.
pub(crate) trait Sink: Send {
    /// `sums` holds the columns `column..column + width` of `rows`, counted in the whole output.
    fn take<K: Kernel>(
        &mut self,
        kernel: K,
        rows: Range<usize>,
        column: usize,
        width: usize,
        sums: &Tile,
    );
}

/// A part of the output and the sink that owns it.
pub(crate) struct Part<S> {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    pub(crate) sink: S,
}

/// Depth of one block: 32 columns of `b` then take 40 KiB of the first-level cache at most.
const DEPTH_BLOCK: usize = 320;

/// Lines of packed `a` that one block of rows may take: 512 KiB, half of a second-level cache.
const LEFT_LINES: usize = 8192;

/// Computes every part, in parallel where there is more than one.
pub(crate) fn multiply<S: Sink>(
    isa: Isa,
    left: Operand<'_>,
    right: Operand<'_>,
    depth: usize,
    parts: Vec<Part<S>>,
) {
    let run = |part: Part<S>| {
        isa.dispatch(Product { left, right, depth, part });
    };
    if parts.len() == 1 {
        parts.into_iter().for_each(run);
    } else {
        parts.into_par_iter().with_max_len(1).for_each(run);
    }
}

/// Scratch of one thread: packed operands and partial sums, kept between products.
#[derive(Default)]
struct Scratch {
    left: Vec<Line>,
    right: Vec<Line>,
    tiles: Vec<Tile>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { left: Vec::new(), right: Vec::new(), tiles: Vec::new() })
    };
}

struct Product<'a, S> {
    left: Operand<'a>,
    right: Operand<'a>,
    depth: usize,
    part: Part<S>,
}

impl<S: Sink> Task for Product<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        // Taken out rather than borrowed: a closure would not be compiled for the instruction set.
        let mut scratch = SCRATCH.take();
        self.run_with(kernel, &mut scratch);
        SCRATCH.set(scratch);
    }
}

impl<S: Sink> Product<'_, S> {
    #[inline(always)]
    fn run_with<K: Kernel>(mut self, kernel: K, scratch: &mut Scratch) {
        if self.depth == 0 {
            return self.empty_sums(kernel);
        }
        let rows = self.part.rows.clone();
        // At least eight tiles to a block, however deep: each block packs the right side again.
        let tiles_per_block = (LEFT_LINES / self.depth).max(8);
        let n_tiles = rows.len().div_ceil(K::TILE_ROWS);
        let n_blocks = n_tiles.div_ceil(tiles_per_block);
        for block in 0..n_blocks {
            let bound = |i: usize| rows.start + rows.len() * i / n_blocks;
            self.block(kernel, bound(block)..bound(block + 1), scratch);
        }
    }

    /// Sums over nothing are zero, and the sink still takes them.
    fn empty_sums<K: Kernel>(&mut self, kernel: K) {
        let Part { rows, columns, sink } = &mut self.part;
        for row in rows.clone() {
            for first in columns.clone().step_by(LINE) {
                let width = (columns.end - first).min(LINE);
                sink.take(kernel, row..row + 1, first, width, &EMPTY_TILE);
            }
        }
    }

    /// All columns of a block of rows.
    #[inline(always)]
    fn block<K: Kernel>(&mut self, kernel: K, rows: Range<usize>, scratch: &mut Scratch) {
        let depth = self.depth;
        let n_tiles = rows.len().div_ceil(K::TILE_ROWS);
        let tile_start = |t: usize| rows.start + rows.len() * t / n_tiles;
        let Scratch { left, right, tiles } = scratch;
        grow(left, n_tiles * depth, Line::ZERO);
        grow(right, K::TILE_LINES * DEPTH_BLOCK.min(depth), Line::ZERO);
        let n_depth_blocks = depth.div_ceil(DEPTH_BLOCK);
        // One block of the depth needs a single tile at a time; more keep all of them until the last.
        let n_live = if n_depth_blocks == 1 { 1 } else { n_tiles };
        grow(tiles, n_live, EMPTY_TILE);

        for t in 0..n_tiles {
            let (start, end) = (tile_start(t), tile_start(t + 1));
            let strip = &mut left[t * depth..(t + 1) * depth];
            self.left.pack(kernel, start, end - start, 0, strip);
        }

        let depth_range = |d: usize| depth * d / n_depth_blocks..depth * (d + 1) / n_depth_blocks;
        let columns = self.part.columns.clone();
        let panel = |first: usize| first..(first + K::TILE_LINES * LINE).min(columns.end);
        for first in columns.clone().step_by(K::TILE_LINES * LINE) {
            let width = panel(first).len();
            let n_lines = width.div_ceil(LINE);
            for d in 0..n_depth_blocks {
                let Range { start: from, end: to } = depth_range(d);
                let last = d + 1 == n_depth_blocks;
                let packed = &mut right[..n_lines * (to - from)];
                self.right.pack(kernel, first, width, from, packed);
                for t in 0..n_tiles {
                    let (start, end) = (tile_start(t), tile_start(t + 1));
                    let strip = &left[t * depth + from..t * depth + to];
                    let sums = &mut tiles[if n_live == 1 { 0 } else { t }];
                    kernel.multiply(end - start, strip, packed, d == 0, sums);
                    if last {
                        self.part.sink.take(kernel, start..end, first, width, sums);
                    }
                }
            }
        }
    }
}

/// Lengthens the buffer if need be; it keeps its size for the products to come.
fn grow<T: Copy>(buffer: &mut Vec<T>, len: usize, fill: T) {
    if buffer.len() < len {
        buffer.resize(len, fill);
    }
}
