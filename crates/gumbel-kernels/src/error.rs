//! The one error of this crate: a slice whose length does not fit the shape it was given with.

/// A slice does not hold as many values as the shape of the operation asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{operand}` holds {actual} values, but the shape needs {expected}; pass a slice of exactly {expected}"
)]
pub struct LengthError {
    /// The name of the argument.
    pub operand: &'static str,
    /// How many values the shape asks for.
    pub expected: usize,
    /// How many values the slice holds.
    pub actual: usize,
}

/// `Ok` when `actual == expected`.
pub(crate) fn check_len(
    operand: &'static str,
    actual: usize,
    expected: usize,
) -> Result<(), LengthError> {
    if actual == expected { Ok(()) } else { Err(LengthError { operand, expected, actual }) }
}
