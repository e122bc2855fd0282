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

/// Lines of the right side that are packed at once for a short sum: 448 KiB.
const RIGHT_LINES: usize = 7168;

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
        let tiles = Tiles { n: rows.len().div_ceil(K::TILE_ROWS), rows };
        grow(&mut scratch.left, tiles.n * self.depth, Line::ZERO);
        for t in 0..tiles.n {
            let rows = tiles.get(t);
            let strip = &mut scratch.left[t * self.depth..(t + 1) * self.depth];
            self.left.pack(kernel, rows.start, rows.len(), 0, strip);
        }
        let n_right = self.part.columns.len().div_ceil(LINE) * self.depth;
        if self.depth <= DEPTH_BLOCK && n_right <= RIGHT_LINES {
            self.row_by_row(kernel, &tiles, scratch);
        } else {
            self.column_by_column(kernel, &tiles, scratch);
        }
    }

    /// A short sum: the right side is packed once, and the tiles follow the rows of the output, so
    /// that what the sink reads and writes lies in a few long streams.
    #[inline(always)]
    fn row_by_row<K: Kernel>(&mut self, kernel: K, tiles: &Tiles, scratch: &mut Scratch) {
        let depth = self.depth;
        let columns = self.part.columns.clone();
        grow(&mut scratch.right, columns.len().div_ceil(LINE) * depth, Line::ZERO);
        let panels = || columns.clone().step_by(K::TILE_LINES * LINE);
        let panel_lines = |width: usize| width.div_ceil(LINE) * depth;
        let panel_width = |first: usize| (columns.end - first).min(K::TILE_LINES * LINE);
        let mut rest = &mut scratch.right[..];
        for first in panels() {
            let width = panel_width(first);
            let (panel, later) = rest.split_at_mut(panel_lines(width));
            self.right.pack(kernel, first, width, 0, panel);
            rest = later;
        }
        let mut sums = EMPTY_TILE;
        for t in 0..tiles.n {
            let rows = tiles.get(t);
            let strip = &scratch.left[t * depth..(t + 1) * depth];
            let mut rest = &scratch.right[..];
            for first in panels() {
                let width = panel_width(first);
                let (panel, later) = rest.split_at(panel_lines(width));
                kernel.multiply(rows.len(), strip, panel, true, &mut sums);
                self.part.sink.take(kernel, rows.clone(), first, width, &sums);
                rest = later;
            }
        }
    }

    /// A long sum: a block of the right side is packed into the first-level cache and used by all
    /// tiles of the rows.
    #[inline(always)]
    fn column_by_column<K: Kernel>(&mut self, kernel: K, tiles: &Tiles, scratch: &mut Scratch) {
        let depth = self.depth;
        let n_depth_blocks = depth.div_ceil(DEPTH_BLOCK);
        grow(&mut scratch.right, K::TILE_LINES * DEPTH_BLOCK, Line::ZERO);
        grow(&mut scratch.tiles, tiles.n, EMPTY_TILE);
        let columns = self.part.columns.clone();
        for first in columns.clone().step_by(K::TILE_LINES * LINE) {
            let width = (columns.end - first).min(K::TILE_LINES * LINE);
            for d in 0..n_depth_blocks {
                let bound = |d: usize| depth * d / n_depth_blocks;
                let (from, to) = (bound(d), bound(d + 1));
                let panel = &mut scratch.right[..width.div_ceil(LINE) * (to - from)];
                self.right.pack(kernel, first, width, from, panel);
                for t in 0..tiles.n {
                    let rows = tiles.get(t);
                    let strip = &scratch.left[t * depth + from..t * depth + to];
                    let sums = &mut scratch.tiles[t];
                    kernel.multiply(rows.len(), strip, panel, d == 0, sums);
                    if d + 1 == n_depth_blocks {
                        self.part.sink.take(kernel, rows, first, width, sums);
                    }
                }
            }
        }
    }
}

/// Rows cut into tiles of nearly equal height.
struct Tiles {
    n: usize,
    rows: Range<usize>,
}

impl Tiles {
    #[inline(always)]
    fn get(&self, t: usize) -> Range<usize> {
        let bound = |t: usize| self.rows.start + self.rows.len() * t / self.n;
        bound(t)..bound(t + 1)
    }
}

/// Lengthens the buffer if need be; it keeps its size for the products to come.
fn grow<T: Copy>(buffer: &mut Vec<T>, len: usize, fill: T) {
    if buffer.len() < len {
        buffer.resize(len, fill);
    }
}
