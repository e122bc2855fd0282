//! Packed operands: sixteen values to a cache line, lines in the order in which a kernel reads them.

/// Sixteen values on a cache line of their own.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line(pub(crate) [f32; 16]);

impl Line {
    pub(crate) const ZERO: Line = Line([0.0; 16]);
}

/// Values in a line.
pub(crate) const LINE: usize = 16;

/// Rows in the tallest tile of any instruction set.
pub(crate) const MAX_TILE_ROWS: usize = 14;

/// The sums of one tile: up to 14 rows of up to 32 columns.
pub(crate) type Tile = [[Line; 2]; MAX_TILE_ROWS];

/// A tile of zeros.
pub(crate) const EMPTY_TILE: Tile = [[Line::ZERO; 2]; MAX_TILE_ROWS];
