//! Reads IDX files (MNIST's format), raw or gzip, and trusts none of their bytes.
//!
//! Format: two zero bytes, the element type (0x08 is unsigned byte), the number of dimensions,
//! each dimension as a 32-bit big-endian number, then the elements, last dimension fastest.
//! <http://yann.lecun.com/exdb/mnist/>

mod gzip;
mod write;

use std::cmp::Ordering;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use self::gzip::Members;
pub use self::write::{write_idx_images, write_idx_labels};
use crate::{FileDefect, Result, file};

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
/// [`Error::File`](crate::Error::File) with one variant of [`FileDefect`] for each defect.
pub fn read_idx(path: &Path, kind: IdxKind) -> Result<Idx> {
    file::open(path)
        .and_then(|(file, len)| parse(BufReader::new(file), len, has_gzip_suffix(path), kind))
        .map_err(FileDefect::at(path))
}

/// Parses the bytes of a file that would lie at `path`, exactly as [`read_idx`] does.
///
/// # Errors
/// As [`read_idx`].
pub fn parse_idx(bytes: &[u8], path: &Path, kind: IdxKind) -> Result<Idx> {
    parse(bytes, bytes.len() as u64, has_gzip_suffix(path), kind).map_err(FileDefect::at(path))
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

fn parse(
    mut reader: impl BufRead,
    file_len: u64,
    is_gzip: bool,
    kind: IdxKind,
) -> Result<Idx, FileDefect> {
    if file_len == 0 {
        return Err(FileDefect::Empty);
    }
    let starts_as_gzip = reader.fill_buf()?.starts_with(&GZIP_MAGIC);
    match (is_gzip, starts_as_gzip) {
        (true, false) => Err(FileDefect::NotGzip),
        (false, true) => Err(FileDefect::GzipWithoutSuffix),
        (true, true) => parse_gzip(reader, file_len, kind).map_err(|defect| match defect {
            FileDefect::Io(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof => FileDefect::TruncatedGzip,
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    FileDefect::CorruptGzip(error)
                }
                _ => FileDefect::Io(error),
            },
            defect => defect,
        }),
        (false, false) => {
            let header = Header::read(&mut reader, kind)?;
            header.check_len(file_len)?;
            header.read_elements(reader)
        }
    }
}

fn parse_gzip(reader: impl BufRead, compressed: u64, kind: IdxKind) -> Result<Idx, FileDefect> {
    let mut reader = Members::new(reader);
    let header = Header::read(&mut reader, kind)?;
    check_plausible(header.file_len, compressed)?;
    header.read_elements(reader)
}

/// Refuses `promised` bytes of pixels in a compressed file, or in several, that can hardly hold them.
pub(crate) fn check_plausible(promised: u64, compressed: u64) -> Result<(), FileDefect> {
    if promised > ALWAYS_PLAUSIBLE && promised / MAX_PLAUSIBLE_RATIO > compressed {
        return Err(FileDefect::ImplausibleCompression { compressed, promised });
    }
    Ok(())
}

struct Header {
    dims: Vec<usize>,
    /// What the dimensions multiply to.
    n_elements: usize,
    /// Header and elements, uncompressed.
    file_len: u64,
}

impl Header {
    fn read(reader: &mut impl Read, kind: IdxKind) -> Result<Self, FileDefect> {
        let mut bytes = Vec::new();
        reader.take(kind.header_len()).read_to_end(&mut bytes)?;
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let (expected, found) = (kind.header_len(), bytes.len() as u64);
        let truncated = FileDefect::TruncatedHeader { expected, found };
        // The magic number is judged before the header's length: a label file read as images may
        // be shorter than an image header, and what is wrong with it is its kind.
        let Some((&magic, dims)) = words.split_first() else {
            return Err(truncated);
        };
        let [zero_a, zero_b, element_type, rank] = magic.to_be_bytes();
        if (zero_a, zero_b) != (0, 0) {
            return Err(FileDefect::WrongMagic { found: magic, expected: kind.magic() });
        }
        if element_type != UNSIGNED_BYTE {
            return Err(FileDefect::WrongElementType { found: element_type });
        }
        if rank != kind.rank() {
            return Err(FileDefect::WrongRank { found: rank, expected: kind.rank() });
        }
        if found < expected {
            return Err(truncated);
        }
        if dims.contains(&0) {
            return Err(FileDefect::ZeroDimension { dims: dims.to_vec() });
        }
        // Three 32-bit factors overflow 64 bits, never 128.
        let n_elements: u128 = dims.iter().map(|&dim| u128::from(dim)).product();
        let Ok(n_elements) = isize::try_from(n_elements) else {
            return Err(FileDefect::TooLarge { dims: dims.to_vec() });
        };
        let n_elements = n_elements.unsigned_abs();
        Ok(Self {
            dims: dims.iter().map(|&dim| dim as usize).collect(),
            n_elements,
            file_len: n_elements as u64 + kind.header_len(),
        })
    }

    fn check_len(&self, found: u64) -> Result<(), FileDefect> {
        let expected = self.file_len;
        match found.cmp(&expected) {
            Ordering::Less => Err(FileDefect::Truncated { expected, found }),
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(FileDefect::TrailingBytes { expected }),
        }
    }

    /// Reads the elements and makes sure that nothing follows them.
    fn read_elements(self, reader: impl Read) -> Result<Idx, FileDefect> {
        let mut data = Vec::new();
        // One byte more than promised: it shows what is too long, and asking for it lets the
        // gzip reader reach the end of its stream and compare the checksum there.
        reader.take(self.n_elements as u64 + 1).read_to_end(&mut data)?;
        let header_len = self.file_len - self.n_elements as u64;
        self.check_len(header_len + data.len() as u64)?;
        data.shrink_to_fit();
        Ok(Idx { dims: self.dims, data })
    }
}
