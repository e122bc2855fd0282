//! What the operations over rows share.

use crate::error::{LengthError, check_len};

/// Values in the chunk of rows that one thread takes at a time; a longer row is a chunk of its own.
const CHUNK: usize = 1 << 13;

/// Rows in a chunk: fixed by the shape alone, so that threads change no result.
pub(crate) fn rows_per_chunk(row_len: usize) -> usize {
    (CHUNK / row_len.max(1)).max(1)
}

/// `Ok` when `actual` values make whole rows of `row_len`; rows of no values must be no rows.
pub(crate) fn check_rows(
    operand: &'static str,
    actual: usize,
    row_len: usize,
) -> Result<(), LengthError> {
    let whole = actual.checked_div(row_len).unwrap_or(0) * row_len;
    check_len(operand, actual, whole)
}
