//! The blocked matrix product behind the linear layer: packing, tiles, threads.
//!
//! `C[rows, columns] = A · B` with both operands read through [`Operand`], so that one driver serves
//! the forward product, the input gradient and the weight gradient. The sums of a tile are handed to
//! a [`Sink`] while they are in the first-level cache; the sink adds the bias, applies the activation
//! or adds to what is there.
//!
//! Threads split the output, never the summed dimension, and every sum runs over the depth in one
//! order: results do not depend on the number of threads or on the tile an element falls in.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::bf16::Precision;
use crate::isa::{Isa, Kernel, Side, Task};
use crate::lines::{Buffer, EMPTY_TILE, LINE, Tile};
use crate::pack::{DepthAxis, Operand};

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

/// Depth of one block: 32 columns of the right side then take 40 KiB of the first-level cache at most.
const DEPTH_BLOCK: usize = 320;

/// Values that a block of rows of the left side, or the right side of a short sum, may take when
/// packed: 512 KiB, half of a second-level cache.
const PACKED: usize = 1 << 17;

/// Computes every part, in parallel where there is more than one.
pub(crate) fn multiply<S: Sink>(
    isa: Isa,
    left: Operand<'_>,
    right: Operand<'_>,
    (depth, precision): (usize, Precision),
    parts: Vec<Part<S>>,
) {
    let run = |part: Part<S>| {
        isa.dispatch(Product { left, right, depth, precision, part });
    };
    if parts.len() == 1 {
        parts.into_iter().for_each(run);
    } else {
        parts.into_par_iter().with_max_len(1).for_each(run);
    }
}

/// Computes one part on this thread, within a task.
#[inline(always)]
pub(crate) fn multiply_part<K: Kernel, S: Sink>(
    kernel: K,
    left: Operand<'_>,
    right: Operand<'_>,
    depth: usize,
    part: Part<S>,
) {
    Product { left, right, depth, precision: Precision::F32, part }.run(kernel);
}

/// Scratch of one thread: packed operands and partial sums, kept between products.
#[derive(Default)]
struct Scratch {
    left: Buffer,
    right: Buffer,
    tiles: Vec<Tile>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

struct Product<'a, S> {
    left: Operand<'a>,
    right: Operand<'a>,
    depth: usize,
    precision: Precision,
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

impl<'a, S: Sink> Product<'a, S> {
    #[inline(always)]
    fn run_with<K: Kernel>(mut self, kernel: K, scratch: &mut Scratch) {
        if self.depth == 0 {
            return self.empty_sums(kernel);
        }
        let rows = self.part.rows.clone();
        // At least eight tiles to a block, however deep: each block packs the right side again.
        let tiles_per_block = (PACKED / (self.steps() * LINE)).max(8);
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
        let depth = self.steps();
        if self.packs(self.left) {
            let strips = scratch.left.get(tiles.n * depth * LINE).chunks_exact_mut(depth * LINE);
            for (t, strip) in strips.enumerate().take(tiles.n) {
                let rows = tiles.get(t);
                self.pack(kernel, self.left, (rows.start, rows.len()), (0, depth), strip);
            }
        }
        let n_right = self.part.columns.len().next_multiple_of(LINE) * depth;
        if depth <= DEPTH_BLOCK && n_right <= PACKED {
            self.row_by_row(kernel, &tiles, scratch);
        } else {
            self.column_by_column(kernel, &tiles, scratch);
        }
    }

    /// A short sum: the tiles follow the rows of the output, so that what the sink reads and writes
    /// lies in a few long streams.
    #[inline(always)]
    fn row_by_row<K: Kernel>(&mut self, kernel: K, tiles: &Tiles, scratch: &mut Scratch) {
        let depth = self.steps();
        let columns = self.part.columns.clone();
        let panels = || columns.clone().step_by(K::TILE_LINES * LINE);
        let panel_width = |first: usize| (columns.end - first).min(K::TILE_LINES * LINE);
        let place = |first: usize| (first - columns.start) * depth;
        let packed = scratch.right.get(columns.len().next_multiple_of(LINE) * depth);
        for first in panels() {
            let width = panel_width(first);
            if self.right_direct(first, width, 0).is_none() {
                let packed = &mut packed[place(first)..];
                self.pack(kernel, self.right, (first, width), (0, depth), packed);
            }
        }
        let left = scratch.left.get(0);
        let mut sums = EMPTY_TILE;
        for t in 0..tiles.n {
            let rows = tiles.get(t);
            let a = self.left_direct(rows.start, 0);
            let a = a.unwrap_or_else(|| Side { values: &left[t * depth * LINE..], stride: LINE });
            for first in panels() {
                let width = panel_width(first);
                let b = match self.right_direct(first, width, 0) {
                    Some(direct) => direct,
                    None => Side {
                        values: &packed[place(first)..],
                        stride: width.next_multiple_of(LINE),
                    },
                };
                let shape = (rows.len(), width.div_ceil(LINE), depth);
                self.multiply(kernel, shape, a, b, true, &mut sums);
                self.part.sink.take(kernel, rows.clone(), first, width, &sums);
            }
        }
    }

    /// A long sum: a block of the right side stays in the first-level cache while all tiles of the
    /// rows use it.
    #[inline(always)]
    fn column_by_column<K: Kernel>(&mut self, kernel: K, tiles: &Tiles, scratch: &mut Scratch) {
        let depth = self.steps();
        let n_depth_blocks = depth.div_ceil(DEPTH_BLOCK);
        if scratch.tiles.len() < tiles.n {
            scratch.tiles.resize(tiles.n, EMPTY_TILE);
        }
        let left = scratch.left.get(0);
        let columns = self.part.columns.clone();
        for first in columns.clone().step_by(K::TILE_LINES * LINE) {
            let width = (columns.end - first).min(K::TILE_LINES * LINE);
            for d in 0..n_depth_blocks {
                let bound = |d: usize| depth * d / n_depth_blocks;
                let (from, len) = (bound(d), bound(d + 1) - bound(d));
                let b = match self.right_direct(first, width, from) {
                    Some(direct) => direct,
                    None => {
                        let packed = scratch.right.get(K::TILE_LINES * LINE * DEPTH_BLOCK);
                        self.pack(kernel, self.right, (first, width), (from, len), packed)
                    }
                };
                for t in 0..tiles.n {
                    let rows = tiles.get(t);
                    let a = self.left_direct(rows.start, from).unwrap_or_else(|| Side {
                        values: &left[(t * depth + from) * LINE..],
                        stride: LINE,
                    });
                    let sums = &mut scratch.tiles[t];
                    let shape = (rows.len(), width.div_ceil(LINE), len);
                    self.multiply(kernel, shape, a, b, d == 0, sums);
                    if d + 1 == n_depth_blocks {
                        self.part.sink.take(kernel, rows, first, width, sums);
                    }
                }
            }
        }
    }

    /// Steps of the sum: products, or pairs of them.
    #[inline(always)]
    fn steps(&self) -> usize {
        self.precision.steps(self.depth)
    }

    /// Whether a side must be packed wherever it is read.
    #[inline(always)]
    fn packs(&self, side: Operand<'_>) -> bool {
        side.axis == DepthAxis::Columns || self.precision == Precision::Bf16
    }

    #[inline(always)]
    fn left_direct(&self, first: usize, from: usize) -> Option<Side<'a>> {
        if self.packs(self.left) { None } else { self.left.direct(first, from) }
    }

    /// The right side as it lies, where a panel of `width` columns needs no padding.
    #[inline(always)]
    fn right_direct(&self, first: usize, width: usize, from: usize) -> Option<Side<'a>> {
        let padded = !width.is_multiple_of(LINE);
        if padded || self.packs(self.right) { None } else { self.right.direct(first, from) }
    }

    #[inline(always)]
    fn pack<'o, K: Kernel>(
        &self,
        kernel: K,
        side: Operand<'_>,
        strip: (usize, usize),
        (from, steps): (usize, usize),
        out: &'o mut [f32],
    ) -> Side<'o> {
        match self.precision {
            Precision::F32 => side.pack(kernel, strip, (from, steps), out),
            Precision::Bf16 => side.pack_pairs(kernel, strip, (from, steps), self.depth, out),
        }
    }

    #[inline(always)]
    fn multiply<K: Kernel>(
        &self,
        kernel: K,
        shape: (usize, usize, usize),
        a: Side<'_>,
        b: Side<'_>,
        fresh: bool,
        sums: &mut Tile,
    ) {
        match self.precision {
            Precision::F32 => kernel.multiply(shape, a, b, fresh, sums),
            Precision::Bf16 => kernel.multiply_pairs(shape, a, b, fresh, sums),
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
