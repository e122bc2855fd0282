//! Lines of sixteen values, the unit of packing and of tiles.

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

/// Scratch memory that starts on a cache line, so that packed lines never straddle two.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    values: Vec<f32>,
}

impl Buffer {
    /// At least `len` values, left as they were; grows if need be and never shrinks.
    pub(crate) fn get(&mut self, len: usize) -> &mut [f32] {
        if self.values.len() < len + LINE {
            self.values.resize(len + LINE, 0.0);
        }
        let start = self.values.as_ptr().align_offset(align_of::<Line>()).min(LINE);
        &mut self.values[start..]
    }
}
