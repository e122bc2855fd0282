//! What can go wrong in building or running the model.

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of the model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A size of the configuration is too small to mean anything.
    #[error("{field} must be at least {minimum}, but is {value}")]
    TooSmall {
        /// Name of the field in the configuration file.
        field: &'static str,
        /// Smallest legal value.
        minimum: usize,
        /// The value given.
        value: usize,
    },
    /// A size would not fit into an addressable amount of memory.
    #[error("{of} has more than 2^31 values: make the sizes of the model smaller")]
    TooLarge {
        /// What has.
        of: &'static str,
    },
    /// A convolution halves rows and columns, and these cannot be halved so often.
    #[error(
        "images of {} x {} pixels cannot be halved {times} times: give the network fewer channels, \
         or images whose sides 2^{times} divides", image_shape[0], image_shape[1]
    )]
    NotHalvable {
        /// Rows and columns of the images.
        image_shape: [usize; 2],
        /// The number of convolutions.
        times: usize,
    },
    /// A subset of no item, or of all, leaves nothing to choose.
    #[error("model.code: a subset has from 1 to n - 1 of its n items, but k is {k} and n is {n}")]
    SubsetSize {
        /// Items of a subset.
        k: usize,
        /// Items to choose from.
        n: usize,
    },
    /// A number is not one that a code can have there.
    #[error("codes[{row}, {column}] is {value}, but must be {must}")]
    CodeNumber {
        /// The code.
        row: usize,
        /// The place in it.
        column: usize,
        /// The number.
        value: i64,
        /// What it must be.
        must: String,
    },
    /// An input tensor has another shape than the configuration says.
    #[error("{what} must have the shape {expected}, but has {actual:?}")]
    ShapeMismatch {
        /// Which tensor.
        what: &'static str,
        /// The shape wanted, axes by name.
        expected: String,
        /// The shape found.
        actual: Vec<usize>,
    },
    /// A state dict lacks a parameter.
    #[error("the checkpoint has no tensor {name}, which a model with this configuration needs")]
    MissingTensor {
        /// State-dict name.
        name: String,
    },
    /// A state dict holds tensors that the model does not have.
    #[error("the checkpoint holds tensors that a model with this configuration does not have: {}", names.join(", "))]
    UnexpectedTensors {
        /// State-dict names, sorted.
        names: Vec<String>,
    },
    /// A tensor of a state dict has another shape than the configuration says.
    #[error(
        "the checkpoint's tensor {name} has the shape {actual:?}, but the configuration makes it {expected:?}: \
         was the run trained with other sizes?"
    )]
    WrongParameterShape {
        /// State-dict name.
        name: String,
        /// Shape from the configuration.
        expected: Vec<usize>,
        /// Shape in the checkpoint.
        actual: Vec<usize>,
    },
    /// A tensor of a state dict has another element type than f32.
    #[error("the checkpoint's tensor {name} holds {actual}, but parameters are F32")]
    WrongParameterType {
        /// State-dict name.
        name: String,
        /// Its element type.
        actual: String,
    },
    /// Sampling failed.
    #[error(transparent)]
    Sampling(#[from] gumbel_core::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
