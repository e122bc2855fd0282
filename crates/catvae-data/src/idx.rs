//! Reads IDX files (MNIST's format), raw or gzip, and trusts none of their bytes.
//!
//! Format: two zero bytes, the element type (0x08 is unsigned byte), the number of dimensions,
//! each dimension as a 32-bit big-endian number, then the elements, last dimension fastest.
//! <http://yann.lecun.com/exdb/mnist/>

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::{Error, Result};

/// What an IDX file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdxKind {
    /// Three dimensions: count, rows, columns.
    Images,
    /// One dimension: count.
    Labels,
}

/// The content of an IDX file of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Count, then rows and columns for images; none is zero.
    pub dims: Vec<usize>,
    /// As many bytes as the dimensions multiply to.
    pub data: Vec<u8>,
}

/// Reads the file at `path`, as gzip when its name ends in `.gz`.
///
/// The header is checked before anything is allocated for the elements, and memory grows no
/// faster than bytes arrive: a small file that promises much costs nothing.
///
/// # Errors
/// One variant of [`Error`] for each defect; all name the file.
pub fn read_idx(path: &Path, kind: IdxKind) -> Result<Idx> {
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    // Asked before opening, since opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(io_error)?.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(io_error)?;
    let file_len = file.metadata().map_err(io_error)?.len();
    parse(BufReader::new(file), file_len, path, kind)
}

/// Parses the bytes of a file that would lie at `path`, exactly as [`read_idx`] does.
///
/// # Errors
/// As [`read_idx`].
pub fn parse_idx(bytes: &[u8], path: &Path, kind: IdxKind) -> Result<Idx> {
    parse(bytes, bytes.len() as u64, path, kind)
}

impl IdxKind {
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Images => 3,
            Self::Labels => 1,
        }
    }

    /// The first four bytes of such a file.
    pub(crate) fn magic(self) -> u32 {
        u32::from_be_bytes([0, 0, UNSIGNED_BYTE, self.rank()])
    }

    fn header_len(self) -> u64 {
        4 + 4 * u64::from(self.rank())
    }
}

pub(crate) fn has_gzip_suffix(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

const UNSIGNED_BYTE: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Below this uncompressed length no ratio is suspicious: blank images compress very well.
const ALWAYS_PLAUSIBLE: u64 = 16 << 20;
/// MNIST shrinks to a fifth and binarised MNIST to a twentieth; deflate itself ends at 1032.
const MAX_PLAUSIBLE_RATIO: u64 = 200;

fn parse(mut reader: impl BufRead, file_len: u64, path: &Path, kind: IdxKind) -> Result<Idx> {
    if file_len == 0 {
        return Err(Error::EmptyFile { path: path.to_owned() });
    }
    let start = reader.fill_buf().map_err(|e| read_error(path, false, e))?;
    let starts_as_gzip = start.starts_with(&GZIP_MAGIC);
    let is_gzip = has_gzip_suffix(path);
    match (is_gzip, starts_as_gzip) {
        (true, false) => Err(Error::NotGzip { path: path.to_owned() }),
        (false, true) => Err(Error::GzipWithoutSuffix { path: path.to_owned() }),
        (true, true) => {
            let mut reader = MultiGzDecoder::new(reader);
            let header = Header::read(&mut reader, path, kind, true)?;
            if header.file_len > ALWAYS_PLAUSIBLE
                && header.file_len / MAX_PLAUSIBLE_RATIO > file_len
            {
                return Err(Error::ImplausibleCompression {
                    path: path.to_owned(),
                    compressed: file_len,
                    promised: header.file_len,
                });
            }
            header.read_elements(reader, path, true)
        }
        (false, false) => {
            let header = Header::read(&mut reader, path, kind, false)?;
            header.check_len(file_len, path)?;
            header.read_elements(reader, path, false)
        }
    }
}

struct Header {
    dims: Vec<usize>,
    /// What the dimensions multiply to.
    n_elements: usize,
    /// Header and elements, uncompressed.
    file_len: u64,
}

impl Header {
    fn read(reader: &mut impl Read, path: &Path, kind: IdxKind, is_gzip: bool) -> Result<Self> {
        let mut bytes = Vec::new();
        reader
            .take(kind.header_len())
            .read_to_end(&mut bytes)
            .map_err(|e| read_error(path, is_gzip, e))?;
        let path = path.to_owned();
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let truncated = |path| Error::TruncatedHeader {
            path,
            expected: kind.header_len(),
            found: bytes.len() as u64,
        };
        // The magic number is judged before the header's length: a label file read as images may
        // be shorter than an image header, and what is wrong with it is its kind.
        let Some((&magic, dims)) = words.split_first() else {
            return Err(truncated(path));
        };
        let [zero_a, zero_b, element_type, rank] = magic.to_be_bytes();
        if (zero_a, zero_b) != (0, 0) {
            return Err(Error::WrongMagic { path, found: magic, expected: kind.magic() });
        }
        if element_type != UNSIGNED_BYTE {
            return Err(Error::WrongElementType { path, found: element_type });
        }
        if rank != kind.rank() {
            return Err(Error::WrongRank { path, found: rank, expected: kind.rank() });
        }
        if (bytes.len() as u64) < kind.header_len() {
            return Err(truncated(path));
        }
        if dims.contains(&0) {
            return Err(Error::ZeroDimension { path, dims: dims.to_vec() });
        }
        // Three 32-bit factors overflow 64 bits, never 128.
        let n_elements: u128 = dims.iter().map(|&dim| u128::from(dim)).product();
        let Ok(n_elements) = isize::try_from(n_elements) else {
            return Err(Error::TooLarge { path, dims: dims.to_vec() });
        };
        let n_elements = n_elements.unsigned_abs();
        Ok(Self {
            dims: dims.iter().map(|&dim| dim as usize).collect(),
            n_elements,
            file_len: n_elements as u64 + kind.header_len(),
        })
    }

    fn check_len(&self, found: u64, path: &Path) -> Result<()> {
        let expected = self.file_len;
        match found.cmp(&expected) {
            std::cmp::Ordering::Less => {
                Err(Error::Truncated { path: path.to_owned(), expected, found })
            }
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => {
                Err(Error::TrailingBytes { path: path.to_owned(), expected })
            }
        }
    }

    /// Reads the elements and makes sure that nothing follows them.
    fn read_elements(self, reader: impl Read, path: &Path, is_gzip: bool) -> Result<Idx> {
        let mut data = Vec::new();
        // One byte more than promised: it shows what is too long, and asking for it lets the
        // gzip reader reach the end of its stream and compare the checksum there.
        reader
            .take(self.n_elements as u64 + 1)
            .read_to_end(&mut data)
            .map_err(|e| read_error(path, is_gzip, e))?;
        let header_len = self.file_len - self.n_elements as u64;
        self.check_len(header_len + data.len() as u64, path)?;
        data.shrink_to_fit();
        Ok(Idx { dims: self.dims, data })
    }
}

fn read_error(path: &Path, is_gzip: bool, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::UnexpectedEof if is_gzip => Error::TruncatedGzip { path },
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if is_gzip => {
            Error::CorruptGzip { path, source }
        }
        _ => Error::Io { path, source },
    }
}
