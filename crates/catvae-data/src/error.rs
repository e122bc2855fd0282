//! What can go wrong with images, each defect its own variant with the file's name and the remedy.

use std::io;
use std::path::PathBuf;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A defect of image data or of the files that hold it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open, read or write a file.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The path names a folder, a pipe or a device.
    #[error("{path}: not a regular file; an IDX file is needed here")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },

    /// The file has no bytes.
    #[error("{path}: the file is empty; fetch it again")]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },

    /// A file named `.gz` does not start as gzip does.
    #[error(
        "{path}: the name says gzip but the content is not; \
         if the file is uncompressed, take `.gz` off its name, otherwise fetch it again"
    )]
    NotGzip {
        /// The file.
        path: PathBuf,
    },

    /// A file without `.gz` in its name starts as gzip does.
    #[error("{path}: the content is gzip but the name lacks `.gz`; add it to the name")]
    GzipWithoutSuffix {
        /// The file.
        path: PathBuf,
    },

    /// The gzip stream is damaged or is followed by other bytes.
    #[error("{path}: damaged gzip stream or bytes after its end ({source}); fetch the file again")]
    CorruptGzip {
        /// The file.
        path: PathBuf,
        /// What the decompressor said.
        source: io::Error,
    },

    /// The gzip stream ends before its last block.
    #[error("{path}: the gzip stream is cut off; fetch the file again")]
    TruncatedGzip {
        /// The file.
        path: PathBuf,
    },

    /// The header asks for far more than a file of this size can honestly hold.
    #[error(
        "{path}: {compressed} compressed bytes claim to hold {promised} bytes of images, \
         which no real image file does; decompress it yourself if you trust it"
    )]
    ImplausibleCompression {
        /// The file.
        path: PathBuf,
        /// The length of the file.
        compressed: u64,
        /// The uncompressed length its IDX header promises.
        promised: u64,
    },

    /// The file ends within its header.
    #[error(
        "{path}: ends after {found} of the {expected} bytes of an IDX header; fetch the file again"
    )]
    TruncatedHeader {
        /// The file.
        path: PathBuf,
        /// The bytes that the header needs.
        expected: u64,
        /// The bytes that are there.
        found: u64,
    },

    /// The first two bytes are not zero, so this is no IDX file.
    #[error("{path}: not an IDX file: it starts with {found:#010x}, expected {expected:#010x}")]
    WrongMagic {
        /// The file.
        path: PathBuf,
        /// The first four bytes, big endian.
        found: u32,
        /// The magic number of such a file.
        expected: u32,
    },

    /// The elements are not unsigned bytes.
    #[error(
        "{path}: IDX element type {found:#04x}, but images and labels are unsigned bytes (0x08); \
         convert the file"
    )]
    WrongElementType {
        /// The file.
        path: PathBuf,
        /// The third byte of the magic number.
        found: u8,
    },

    /// The file has another number of dimensions; most often images and labels were swapped.
    #[error(
        "{path}: {found} dimensions where {expected} are needed \
         (images have 3, labels 1); are image and label files swapped?"
    )]
    WrongRank {
        /// The file.
        path: PathBuf,
        /// The number of dimensions the header gives.
        found: u8,
        /// The number of dimensions needed.
        expected: u8,
    },

    /// A dimension is zero.
    #[error("{path}: the header gives dimensions {dims:?}; none may be zero")]
    ZeroDimension {
        /// The file.
        path: PathBuf,
        /// Count, then rows and columns for images.
        dims: Vec<u32>,
    },

    /// The dimensions multiply to more bytes than memory can address.
    #[error("{path}: the header gives dimensions {dims:?}, more bytes than memory can hold")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Count, then rows and columns for images.
        dims: Vec<u32>,
    },

    /// The file has fewer bytes than its header promises.
    #[error(
        "{path}: {found} bytes where the header promises {expected}; \
         the file was cut off, fetch it again"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The uncompressed length that the header promises, itself included.
        expected: u64,
        /// The uncompressed length.
        found: u64,
    },

    /// The file goes on after the bytes its header promises.
    #[error("{path}: goes on after the {expected} bytes its header promises; fetch it again")]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// The uncompressed length that the header promises, itself included.
        expected: u64,
    },

    /// One of the four files is not in the folder.
    #[error(
        "{}: no {} here, nor the same with `.gz`; the four files of MNIST's layout are needed",
        dir.display(),
        names.join(" or ")
    )]
    MissingFile {
        /// The folder.
        dir: PathBuf,
        /// The names looked for, each also with `.gz`.
        names: Vec<String>,
    },

    /// An image file and its label file hold different counts.
    #[error(
        "{images_path} holds {n_images} images but {labels_path} holds {n_labels} labels; \
         the two belong to different sets"
    )]
    CountMismatch {
        /// The file of images.
        images_path: PathBuf,
        /// How many images it holds.
        n_images: usize,
        /// The file of labels.
        labels_path: PathBuf,
        /// How many labels it holds.
        n_labels: usize,
    },

    /// Training and test images differ in size.
    #[error(
        "{dir}: training images are {train_rows}x{train_cols} pixels but \
         test images {test_rows}x{test_cols}; both must have one size"
    )]
    SizeMismatch {
        /// The folder.
        dir: PathBuf,
        /// Rows of a training image.
        train_rows: usize,
        /// Columns of a training image.
        train_cols: usize,
        /// Rows of a test image.
        test_rows: usize,
        /// Columns of a test image.
        test_cols: usize,
    },

    /// The dataset was found nowhere.
    #[error(
        "no files of `{name}` in {}; fetch them with `cargo xtask download {name}` \
         or name their folder with --data-dir",
        list_places(places)
    )]
    DatasetNotFound {
        /// The dataset's name.
        name: String,
        /// The folders looked in, in that order.
        places: Vec<PathBuf>,
    },

    /// The number of pixel bytes is not labels times rows times columns.
    #[error(
        "{n_labels} images of {rows}x{cols} pixels need {n_labels} * {rows} * {cols} bytes, \
         but {n_bytes} were given"
    )]
    PixelCount {
        /// The number of labels, and so of images.
        n_labels: usize,
        /// Rows of an image.
        rows: usize,
        /// Columns of an image.
        cols: usize,
        /// The bytes given.
        n_bytes: usize,
    },

    /// An image would have no pixels.
    #[error("images of {rows}x{cols} pixels have no pixels; both must be at least 1")]
    NoPixels {
        /// Rows of an image.
        rows: usize,
        /// Columns of an image.
        cols: usize,
    },

    /// A set holds at most `u32::MAX` images.
    #[error("{n_images} images are too many for one set; at most {} fit", u32::MAX)]
    TooManyImages {
        /// The number given.
        n_images: usize,
    },

    /// An index lies past the last image.
    #[error("no image {index}: the set holds {len}")]
    IndexOutOfRange {
        /// The index.
        index: usize,
        /// The number of images in the set.
        len: usize,
    },

    /// The hub gave no file: not in its cache and not to be had from the network.
    #[cfg(feature = "hub")]
    #[error(
        "{dataset} from the Hugging Face hub: {message}; check the network, or use \
         `cargo xtask download {dataset}` and --data-dir"
    )]
    HubUnavailable {
        /// The dataset.
        dataset: &'static str,
        /// What the hub's client said.
        message: String,
    },

    /// A file from the hub is not the table of images it should be.
    #[cfg(feature = "hub")]
    #[error("{path}: {message}; delete this file and load the dataset again")]
    HubFile {
        /// The file in the hub's cache.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// `candle-datasets` failed or panicked on files that had passed every check.
    #[cfg(feature = "hub")]
    #[error(
        "{dataset} through candle-datasets: {message}; use \
         `cargo xtask download {dataset}` and --data-dir instead"
    )]
    HubLoad {
        /// The dataset.
        dataset: &'static str,
        /// What `candle-datasets` said.
        message: String,
    },

    /// A class holds too few images to draw from.
    #[error("class {label} holds {available} images, fewer than the {requested} asked for")]
    ClassTooSmall {
        /// The class.
        label: u8,
        /// How many images it has.
        available: usize,
        /// How many were asked for.
        requested: usize,
    },
}

fn list_places(places: &[PathBuf]) -> String {
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    places.join(", ")
}
