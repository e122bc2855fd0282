//! What can go wrong with images, each defect its own variant with the file's name and the remedy.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::codes::CodesDefect;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A defect of image data or of the files that hold it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written, or holds something else than is needed.
    #[error("{}: {defect}", printable(path))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        defect: FileDefect,
    },

    /// A file holds no codes that can be used.
    #[error("cannot read codes from {}: {defect}", printable(path))]
    Codes {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        defect: CodesDefect,
    },

    /// One of the files of MNIST's layout is not in the folder.
    #[error(
        "{}: no {} here, nor the same with `.gz`; MNIST's layout has images of both sets, \
         and labels of both or of neither",
        printable(dir),
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
        "{} holds {n_images} images but {} holds {n_labels} labels; \
         the two belong to different sets",
        printable(images_path),
        printable(labels_path)
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
        "{}: training images are {train_rows}x{train_cols} pixels but \
         test images {test_rows}x{test_cols}; both must have one size",
        printable(dataset)
    )]
    SizeMismatch {
        /// The dataset.
        dataset: String,
        /// Rows of a training image.
        train_rows: usize,
        /// Columns of a training image.
        train_cols: usize,
        /// Rows of a test image.
        test_rows: usize,
        /// Columns of a test image.
        test_cols: usize,
    },

    /// No source has the dataset.
    #[error(
        "no dataset `{}`: no images in {}; a dataset is one of: {}",
        printable(name),
        places.iter().map(printable).collect::<Vec<_>>().join(", "),
        known.join(", ")
    )]
    DatasetNotFound {
        /// The dataset's name.
        name: String,
        /// The files and folders looked at, in that order.
        places: Vec<PathBuf>,
        /// What every source says that it reads.
        known: Vec<&'static str>,
    },

    /// A single image cannot be divided into training and test images.
    #[error(
        "{}: {n_images} image(s) are too few to be divided into training and test images; \
         at least 2 are needed",
        printable(dataset)
    )]
    TooFewToSplit {
        /// The dataset.
        dataset: String,
        /// How many images it has.
        n_images: usize,
    },

    /// All training images were asked for as validation images.
    #[error(
        "{}: {n_images} validation images cannot be taken out of {n_train} training images; take fewer",
        printable(dataset)
    )]
    TooFewToHoldOut {
        /// The dataset.
        dataset: String,
        /// How many validation images were asked for.
        n_images: usize,
        /// How many training images there are.
        n_train: usize,
    },

    /// The pixel bytes make no whole number of images, or another number than there are labels.
    #[error(
        "{n_bytes} bytes are not {} images of {rows}x{cols} pixels",
        n_labels.map_or("whole".to_owned(), |n| n.to_string())
    )]
    PixelCount {
        /// The number of labels, where there are labels.
        n_labels: Option<usize>,
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

    /// A dataset of the hub that no code here knows.
    #[error("the hub's `{}` is not known here; known are: {}", printable(name), known.join(", "))]
    UnknownHubDataset {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },

    /// The program was built without the feature `hub`.
    #[error("`hub:{dataset}` needs a build with the feature `hub`")]
    BuiltWithoutHub {
        /// The dataset.
        dataset: &'static str,
    },

    /// The hub gave no file: not in its cache and not to be had from the network.
    #[error("{dataset} from the Hugging Face hub: {message}; check the network")]
    HubUnavailable {
        /// The dataset.
        dataset: &'static str,
        /// What the hub's client said.
        message: String,
    },

    /// A file from the hub is not the table of images it should be.
    #[error("{}: {message}; delete this file and load the dataset again", printable(path))]
    HubFile {
        /// The file in the hub's cache.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// `candle-datasets` failed or panicked on files that had passed every check.
    #[error("{dataset} through candle-datasets: {message}; take its files instead")]
    HubLoad {
        /// The dataset.
        dataset: &'static str,
        /// What `candle-datasets` said.
        message: String,
    },
}

/// What is wrong with one file or folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileDefect {
    /// The operating system refused to open, read or write it.
    #[error(transparent)]
    Io(#[from] io::Error),

    /// The path names a folder, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,

    /// Something that only the files of one kind of source can have.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),

    /// The file has no bytes.
    #[error("the file is empty; fetch it again")]
    Empty,

    /// A file named `.gz` does not start as gzip does.
    #[error(
        "the name says gzip but the content is not; \
         if the file is uncompressed, take `.gz` off its name, otherwise fetch it again"
    )]
    NotGzip,

    /// A file without `.gz` in its name starts as gzip does.
    #[error("the content is gzip but the name lacks `.gz`; add it to the name")]
    GzipWithoutSuffix,

    /// The gzip stream is damaged or is followed by other bytes.
    #[error("damaged gzip stream or bytes after its end ({0}); fetch the file again")]
    CorruptGzip(io::Error),

    /// The gzip stream ends before its last block.
    #[error("the gzip stream is cut off; fetch the file again")]
    TruncatedGzip,

    /// The file promises far more pixels than a file of this size can honestly hold.
    #[error(
        "{compressed} compressed bytes claim to hold {promised} bytes of images, \
         which no real images do; decompress them yourself if you trust them"
    )]
    ImplausibleCompression {
        /// The length of the file, or of all files of a folder.
        compressed: u64,
        /// The uncompressed length that is promised.
        promised: u64,
    },

    /// The file ends within its header.
    #[error("ends after {found} of the {expected} bytes of an IDX header; fetch the file again")]
    TruncatedHeader {
        /// The bytes that the header needs.
        expected: u64,
        /// The bytes that are there.
        found: u64,
    },

    /// The first two bytes are not zero, so this is no IDX file.
    #[error("not an IDX file: it starts with {found:#010x}, expected {expected:#010x}")]
    WrongMagic {
        /// The first four bytes, big endian.
        found: u32,
        /// The magic number of such a file.
        expected: u32,
    },

    /// The elements are not unsigned bytes.
    #[error(
        "IDX element type {found:#04x}, but images and labels are unsigned bytes (0x08); \
         convert the file"
    )]
    WrongElementType {
        /// The third byte of the magic number.
        found: u8,
    },

    /// The file has another number of dimensions; most often images and labels were swapped.
    #[error(
        "{found} dimensions where {expected} are needed \
         (images have 3, labels 1); are image and label files swapped?"
    )]
    WrongRank {
        /// The number of dimensions the header gives.
        found: u8,
        /// The number of dimensions needed.
        expected: u8,
    },

    /// A dimension is zero.
    #[error("the header gives dimensions {dims:?}; none may be zero")]
    ZeroDimension {
        /// Count, then rows and columns for images.
        dims: Vec<u32>,
    },

    /// The dimensions multiply to more bytes than memory can address.
    #[error("the header gives dimensions {dims:?}, more bytes than memory can hold")]
    TooLarge {
        /// Count, then rows and columns for images.
        dims: Vec<u32>,
    },

    /// The file has fewer bytes than its header promises.
    #[error(
        "{found} bytes where the header promises {expected}; the file was cut off, fetch it again"
    )]
    Truncated {
        /// The uncompressed length that the header promises, itself included.
        expected: u64,
        /// The uncompressed length.
        found: u64,
    },

    /// The file goes on after the bytes its header promises.
    #[error("goes on after the {expected} bytes its header promises; fetch it again")]
    TrailingBytes {
        /// The uncompressed length that the header promises, itself included.
        expected: u64,
    },
}

impl FileDefect {
    /// The error of the file at `path`, for `map_err`.
    pub(crate) fn at(path: &Path) -> impl Fn(Self) -> Error {
        |defect| Error::File { path: path.to_owned(), defect }
    }
}

impl Error {
    /// The operating system's error with the file at `path`, for `map_err`.
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        |error| FileDefect::at(path)(error.into())
    }
}

/// Text for a message: characters that a terminal would obey are escaped.
pub(crate) fn printable(text: impl AsRef<OsStr>) -> String {
    let mut shown = String::new();
    for c in text.as_ref().to_string_lossy().chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}
