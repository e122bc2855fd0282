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

/// Up to 16 values as lanes, zeros behind them.
#[inline(always)]
pub(crate) fn lanes_of(values: &[f32]) -> [f32; LINE] {
    if let Ok(full) = <&[f32; LINE]>::try_from(values) {
        *full
    } else {
        let mut lanes = [0.0; LINE];
        lanes[..values.len()].copy_from_slice(values);
        lanes
    }
}

/// Writes as many lanes as `out` has room for.
#[inline(always)]
pub(crate) fn store_lanes(out: &mut [f32], lanes: &[f32; LINE]) {
    if let Ok(full) = <&mut [f32; LINE]>::try_from(&mut *out) {
        *full = *lanes;
    } else {
        out.copy_from_slice(&lanes[..out.len()]);
    }
}
