//! Discrete codes as NumPy's `.npz`: a zip archive with one `.npy` file per array.
//!
//! What is read may come from anywhere: sizes are compared with what is really there before
//! anything is allocated for them.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// An array of whole numbers, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// Its name in the archive, without `.npy`.
    pub name: &'static str,
    /// Its axes.
    pub shape: Vec<usize>,
    /// As many values as the axes multiply to.
    pub values: Vec<i64>,
}

/// A file of codes that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read codes from {}: {defect}", path.display())]
pub struct CodesError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub defect: CodesDefect,
}

/// What is wrong with a file of codes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodesDefect {
    /// The operating system refused to open or read it, or its packed bytes are damaged.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no zip archive.
    #[error("it is not an .npz file (a zip archive): {0}")]
    NotZip(ZipError),
    /// The entry of the archive that holds the array is damaged.
    #[error("its array `codes` cannot be unpacked: {0}")]
    Member(ZipError),
    /// The archive holds other arrays.
    #[error("it has no array `codes`, only: {}", found.join(", "))]
    NoCodes {
        /// What it holds.
        found: Vec<String>,
    },
    /// The array is compressed in a way that NumPy never uses.
    #[error("its array `codes` is packed as {0}; numpy.savez and savez_compressed can be read")]
    Packing(String),
    /// The array is not in `.npy` format, or not of whole numbers row by row.
    #[error("its array `codes` is not in a .npy format that can be read: {0}")]
    Npy(String),
    /// The array has another number of axes than two.
    #[error("its array `codes` has {n_axes} axes, not (n, {n_latents})")]
    Axes {
        /// How many it has.
        n_axes: usize,
        /// Latents of the model.
        n_latents: usize,
    },
    /// The array has rows of another length.
    #[error(
        "its array `codes` is ({n_codes}, {width}), but the run's codes have {n_latents} latents"
    )]
    Width {
        /// Rows.
        n_codes: usize,
        /// Columns.
        width: usize,
        /// Latents of the model.
        n_latents: usize,
    },
    /// There are fewer rows than promised.
    #[error("its array `codes` ends in row {row} of {n_codes}: {source}")]
    Truncated {
        /// The first row that is not whole, from 0.
        row: usize,
        /// Rows promised.
        n_codes: usize,
        /// The reader's words.
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, CodesDefect>;

/// The bytes of an `.npz` file as `numpy.savez` writes it, all arrays as int64.
///
/// # Errors
/// More bytes than a zip archive can hold.
pub fn npz_bytes(arrays: &[Array]) -> io::Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for array in arrays {
        archive.start_file(format!("{}.npy", array.name), stored)?;
        archive.write_all(&npy_header(&array.shape))?;
        let bytes: Vec<u8> = array.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        archive.write_all(&bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Magic, version 1.0, and the header padded to a multiple of 64 bytes.
fn npy_header(shape: &[usize]) -> Vec<u8> {
    let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut text =
        format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    while !(PREFIX + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

/// Bytes before the text of a version 1.0 header.
const PREFIX: usize = 10;

/// Reads at most the first `limit` rows of the array `codes`, which must be `(n, n_latents)` whole
/// numbers of any width. Whether they are categories of the model is for the caller to check.
///
/// # Errors
/// [`CodesError`] with the first defect.
pub fn read_codes(
    path: &Path,
    n_latents: usize,
    limit: usize,
) -> std::result::Result<Vec<i64>, CodesError> {
    File::open(path)
        .map_err(CodesDefect::Io)
        .and_then(|file| parse_codes(BufReader::new(file), n_latents, limit))
        .map_err(|defect| CodesError { path: path.to_owned(), defect })
}

/// Parses the bytes of such a file, exactly as [`read_codes`] does.
///
/// # Errors
/// The first defect.
pub fn parse_codes(file: impl Read + Seek, n_latents: usize, limit: usize) -> Result<Vec<i64>> {
    let mut archive = ZipArchive::new(file).map_err(CodesDefect::NotZip)?;
    let index = archive.index_for_name("codes.npy").ok_or_else(|| CodesDefect::NoCodes {
        found: archive.file_names().filter_map(|name| name.ok().map(Into::into)).collect(),
    })?;
    let method = archive.by_index_raw(index).map_err(CodesDefect::Member)?.compression();
    // zip is built without its own decompressors, so deflate has no name there.
    match format!("{method:?}").as_str() {
        "Stored" => {
            let member = archive.by_index(index).map_err(CodesDefect::Member)?;
            read_npy(member, n_latents, limit)
        }
        // numpy.savez_compressed.
        "Deflated" | "Unsupported(8)" => {
            let member = archive.by_index_raw(index).map_err(CodesDefect::Member)?;
            read_npy(DeflateDecoder::new(member), n_latents, limit)
        }
        other => Err(CodesDefect::Packing(other.to_owned())),
    }
}

fn read_npy(mut bytes: impl Read, n_latents: usize, limit: usize) -> Result<Vec<i64>> {
    let header = read_npy_header(&mut bytes)?;
    let [n_codes, width] = header.shape[..] else {
        return Err(CodesDefect::Axes { n_axes: header.shape.len(), n_latents });
    };
    if width != n_latents {
        return Err(CodesDefect::Width { n_codes, width, n_latents });
    }
    let mut line = vec![0_u8; n_latents * header.kind.size];
    let mut codes = Vec::new();
    for row in 0..n_codes.min(limit) {
        bytes.read_exact(&mut line).map_err(|source| CodesDefect::Truncated {
            row,
            n_codes,
            source,
        })?;
        codes.extend(line.chunks_exact(header.kind.size).map(|b| header.kind.decode(b)));
    }
    Ok(codes)
}

#[derive(Debug, PartialEq)]
struct Header {
    kind: Kind,
    shape: Vec<usize>,
}

/// A type of whole numbers, little-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    size: usize,
    signed: bool,
}

impl Kind {
    fn parse(descr: &str) -> Option<Self> {
        let mut chars = descr.chars();
        let order = chars.next()?;
        let signed = match chars.next()? {
            'i' => true,
            'u' => false,
            _ => return None,
        };
        let size = chars.as_str().parse().ok().filter(|size| [1, 2, 4, 8].contains(size))?;
        (order == '<' || (order == '|' && size == 1)).then_some(Self { size, signed })
    }

    fn decode(self, bytes: &[u8]) -> i64 {
        let mut wide = [0_u8; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let value = i64::from_le_bytes(wide);
        // An unsigned number of 64 bits beyond i64 comes out negative: no legal category either.
        let unused = 64 - 8 * self.size as u32;
        if self.signed { value << unused >> unused } else { value }
    }
}

fn read_npy_header(bytes: &mut impl Read) -> Result<Header> {
    let mut start = [0_u8; 8];
    bytes.read_exact(&mut start)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(npy("the magic bytes are missing"));
    }
    let length = match start[6] {
        1 => {
            let mut length = [0_u8; 2];
            bytes.read_exact(&mut length)?;
            u32::from(u16::from_le_bytes(length))
        }
        2 | 3 => {
            let mut length = [0_u8; 4];
            bytes.read_exact(&mut length)?;
            u32::from_le_bytes(length)
        }
        version => return Err(npy(format!("version {version} is not known"))),
    };
    if length > MAX_HEADER {
        return Err(npy(format!("a header of {length} bytes is too long")));
    }
    let mut text = vec![0_u8; length as usize];
    bytes.read_exact(&mut text)?;
    let text = std::str::from_utf8(&text).map_err(|e| npy(format!("its header: {e}")))?;
    parse_npy_header(text)
}

/// NumPy's own headers have 128 bytes.
const MAX_HEADER: u32 = 1 << 16;

fn npy(message: impl Into<String>) -> CodesDefect {
    CodesDefect::Npy(message.into())
}

/// Parses `{'descr': '<i8', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_npy_header(text: &str) -> Result<Header> {
    let after = |key: &str| {
        let found = text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        found.ok_or_else(|| npy(format!("the header has no {key}")))
    };
    let descr = after("descr")?.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
    let kind = descr.and_then(Kind::parse).ok_or_else(|| {
        npy(format!("the type {} is not one of whole numbers", descr.unwrap_or("?")))
    })?;
    if !after("fortran_order")?.starts_with("False") {
        return Err(npy("it is in Fortran order: save numpy.ascontiguousarray(codes)"));
    }
    let shape = after("shape")?.strip_prefix('(').and_then(|rest| rest.split(')').next());
    let shape = shape.ok_or_else(|| npy("the header's shape is no tuple"))?;
    let axes = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    let shape = axes.map(str::parse).collect::<std::result::Result<Vec<usize>, _>>();
    let shape = shape.map_err(|_| npy("the header's shape has an axis that is no number"))?;
    Ok(Header { kind, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(n: usize, latents: usize) -> Array {
        let values = (0..(n * latents) as i64).collect();
        Array { name: "codes", shape: vec![n, latents], values }
    }

    #[test]
    fn codes_survive_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.npz");
        let labels = Array { name: "labels", shape: vec![3], values: vec![7, 8, 9] };
        std::fs::write(&path, npz_bytes(&[codes(3, 4), labels]).unwrap()).unwrap();
        assert_eq!(read_codes(&path, 4, 100).unwrap(), (0..12).collect::<Vec<i64>>());
        assert_eq!(read_codes(&path, 4, 2).unwrap(), (0..8).collect::<Vec<i64>>());
    }

    #[test]
    fn wrong_shapes_and_foreign_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.npz");
        std::fs::write(&path, npz_bytes(&[codes(3, 4)]).unwrap()).unwrap();
        let error = |latents| read_codes(&path, latents, 9).unwrap_err().to_string();
        assert!(error(5).contains("(3, 4), but the run's codes have 5 latents"), "{}", error(5));
        std::fs::write(&path, b"not a zip").unwrap();
        assert!(error(4).contains("it is not an .npz file"), "{}", error(4));
        let other = Array { name: "labels", ..codes(3, 4) };
        std::fs::write(&path, npz_bytes(&[other]).unwrap()).unwrap();
        assert!(error(4).contains("no array `codes`, only: labels.npy"), "{}", error(4));
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_allocates_nothing() {
        let mut bytes = npy_header(&[usize::MAX / 8, 4]);
        bytes.extend([0; 40]);
        let error = read_npy(&bytes[..], 4, usize::MAX).unwrap_err();
        assert!(error.to_string().contains("ends in row 1"), "{error}");
    }

    #[test]
    fn every_whole_number_type_is_read_and_others_are_refused() {
        for (descr, bytes, expected) in [
            ("|u1", vec![200], 200),
            ("|i1", vec![0xff], -1),
            ("<u2", vec![0, 1], 256),
            ("<i4", vec![0xfe, 0xff, 0xff, 0xff], -2),
            ("<i8", vec![5, 0, 0, 0, 0, 0, 0, 0], 5),
        ] {
            assert_eq!(Kind::parse(descr).unwrap().decode(&bytes), expected, "{descr}");
        }
        for descr in ["<f4", ">i4", "<i3", "|i8", "", "O"] {
            assert_eq!(Kind::parse(descr), None, "{descr}");
        }
    }
}
