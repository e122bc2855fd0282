//! The errors of this crate. Each carries the value that was refused and says how to mend it.

use candle_core::DType;

/// What a function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a sample, a density or a temperature could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The temperature is zero, negative, NaN, or beyond 1e-30 and 1e30.
    #[error(
        "temperature must be > 0 (between 1e-30 and 1e30), but is {}; for the limit of 0 take an exact sample",
        shown(*value)
    )]
    InvalidTemperature {
        /// The value that was given.
        value: f64,
    },
    /// A field of a [`TemperatureSchedule`](crate::TemperatureSchedule) is out of its range.
    #[error("temperature schedule: `{field}` must be {must}, but is {}", shown(*value))]
    InvalidSchedule {
        /// The field's name.
        field: &'static str,
        /// The value that was given.
        value: f64,
        /// The range it must lie in.
        must: &'static str,
    },
    /// A logit is NaN or `+inf`.
    #[error(
        "logits must be < inf and not NaN, but the one at {index:?} is {value}; -inf masks a class"
    )]
    InvalidLogit {
        /// The logit that was given.
        value: f64,
        /// Its index in the tensor of logits.
        index: Vec<usize>,
    },
    /// Every class of a row is masked: there is nothing to draw.
    #[error(
        "every class of row {row:?} is masked (-inf along dimension {dim}); allow at least one class in each row"
    )]
    AllMasked {
        /// The row's index: its coordinates in all dimensions but `dim`.
        row: Vec<usize>,
        /// The dimension of the classes.
        dim: usize,
    },
    /// A probability is negative, above one where that is impossible, infinite or NaN.
    #[error("probabilities must be {must}, but the one at {index:?} is {value}")]
    InvalidProbability {
        /// The probability that was given.
        value: f64,
        /// Its index in the tensor of probabilities.
        index: Vec<usize>,
        /// The range it must lie in.
        must: &'static str,
    },
    /// A value is no possible outcome of the distribution.
    #[error("{what}: {value} at {index:?} is outside the support, which is {support}")]
    OutsideSupport {
        /// The function that was called.
        what: &'static str,
        /// The value that was given.
        value: f64,
        /// Its index in the tensor of values.
        index: Vec<usize>,
        /// The set of possible values.
        support: &'static str,
    },
    /// A parameter other than the temperature is out of its range.
    #[error("{name} must be {must}, but is {}", shown(*value))]
    InvalidParameter {
        /// The parameter's name.
        name: &'static str,
        /// The value that was given.
        value: f64,
        /// The range it must lie in.
        must: &'static str,
    },
    /// The distribution does not have what was asked of it.
    #[error(
        "{distribution} has no `{what}` in closed form; take another distribution, or estimate it from samples"
    )]
    Undefined {
        /// The distribution's name.
        distribution: &'static str,
        /// The function that was called.
        what: &'static str,
    },
    /// Two tensors do not fit together.
    #[error("{what} has shape {got:?}, expected {expected:?}")]
    ShapeMismatch {
        /// The tensor that does not fit.
        what: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shape it must have, or must broadcast to.
        expected: Vec<usize>,
    },
    /// A tensor has the wrong number of dimensions.
    #[error("{what} has shape {got:?}, expected {expected}")]
    UnexpectedShape {
        /// The tensor.
        what: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// Its dimensions, by name.
        expected: &'static str,
    },
    /// The estimator is not made for codes of this structure.
    #[error(
        "{estimator} takes {takes}, not {structure}; rloo, straight-through and st-gumbel-softmax take every structure"
    )]
    UnsupportedStructure {
        /// The estimator's name.
        estimator: &'static str,
        /// The structure's name.
        structure: &'static str,
        /// What it takes instead.
        takes: &'static str,
    },
    /// An evaluation lacks the loss's gradient at a point that wants it.
    #[error(
        "the loss's gradient at a point is missing (loss of shape {shape:?}); give it where `wants_gradient` is set"
    )]
    MissingGradient {
        /// The shape of the loss.
        shape: Vec<usize>,
    },
    /// The estimator needs the loss itself, not the gradient at one sample.
    #[error("{estimator} works on values of the loss; call `Estimator::objective` instead")]
    NotPathwise {
        /// The estimator's name.
        estimator: &'static str,
    },
    /// A tensor needs a dimension of classes and has none, or has it empty.
    #[error(
        "{what} has shape {shape:?}, but needs a dimension of classes with at least {min} of them"
    )]
    TooFewClasses {
        /// The tensor or argument.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// The smallest number of classes that makes sense.
        min: usize,
    },
    /// An index of a class is not below the number of classes.
    #[error("class index {index} is out of range for {n_classes} classes")]
    IndexOutOfRange {
        /// The index that was given.
        index: i64,
        /// The number of classes.
        n_classes: usize,
    },
    /// The number type is not one this function computes with.
    #[error("{what} has dtype {dtype:?}, expected {expected}; convert it with `to_dtype`")]
    UnsupportedDType {
        /// The tensor or argument.
        what: &'static str,
        /// Its dtype.
        dtype: DType,
        /// The dtypes that are accepted.
        expected: &'static str,
    },
    /// A row allows fewer items than are to be chosen.
    #[error(
        "row {row} allows {allowed} items, too few to choose {k}; lower k, or allow more items"
    )]
    SubsetSize {
        /// How many items are to be chosen.
        k: usize,
        /// How many items have logits above `-inf`.
        allowed: usize,
        /// The row's position in the batch.
        row: usize,
    },
    /// Masks (`-inf`) leave a row without any structure.
    #[error("row {row} has no {what}: masks leave {index} out of reach; allow more of its entries")]
    NoStructure {
        /// What there is none of.
        what: &'static str,
        /// The row's position in the batch.
        row: usize,
        /// The first node or step that nothing leads to.
        index: usize,
    },
    /// A length is zero, or beyond the dimension that it is a length of.
    #[error("the length of row {row} must be 1 to {max}, but is {length}")]
    LengthOutOfRange {
        /// The length that was given.
        length: usize,
        /// The largest that fits.
        max: usize,
        /// The row's position in the batch.
        row: usize,
    },
    /// The work would grow beyond all measure.
    #[error("{what}: {size}, more than the limit of {limit}; take a smaller problem, or samples")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        size: f64,
        /// The most that is computed.
        limit: usize,
    },
    /// An iteration that was to reach a tolerance has not.
    #[error(
        "the residual is {residual} after {iterations} iterations, above the tolerance of {tolerance}; allow more of either"
    )]
    NotConverged {
        /// What was left.
        residual: f64,
        /// What was asked for.
        tolerance: f64,
        /// How many iterations were made.
        iterations: usize,
    },
    /// candle refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl From<Error> for candle_core::Error {
    /// Unwraps what came from candle and boxes the rest, so that a [`candle_core::Module`] may use `?`.
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(inner) => inner,
            other => candle_core::Error::wrap(other),
        }
    }
}

/// A number as one writes it: with a power of ten where it is tiny or huge.
fn shown(value: f64) -> String {
    let size = value.abs();
    if size.is_finite() && size != 0.0 && !(1e-6..1e15).contains(&size) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_messages_are_short() {
        let cases =
            [(0.0, "0"), (-1.5, "-1.5"), (5e-324, "5e-324"), (1e30, "1e30"), (f64::NAN, "NaN")];
        for (value, expected) in cases {
            assert!(
                Error::InvalidTemperature { value }
                    .to_string()
                    .contains(&format!("is {expected};"))
            );
        }
    }
}
