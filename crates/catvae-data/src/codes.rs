//! Discrete codes as NumPy's `.npz`: a zip archive with one `.npy` file per array.
//!
//! What is read may come from anywhere: sizes are compared with what is really there before
//! anything is allocated for them, and the checksum is compared before a code is believed.

use std::io::{self, BufReader, Cursor, Read, Seek, Write};
use std::path::Path;

use flate2::CrcReader;
use flate2::read::DeflateDecoder;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::printable;
use crate::{Error, FileDefect, Result, file, npy};

/// An array, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its name in the archive, without `.npy`.
    pub name: &'static str,
    /// Its axes.
    pub shape: Vec<usize>,
    /// As many values as the axes multiply to.
    pub values: Values,
}

/// The values of an array, by their type in the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// int64.
    I64(Vec<i64>),
    /// float32.
    F32(Vec<f32>),
}

impl Values {
    /// NumPy's name of the type, and the bytes.
    fn encode(&self) -> (&'static str, Vec<u8>) {
        match self {
            Self::I64(values) => ("<i8", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::F32(values) => ("<f4", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        }
    }
}

/// What is wrong with a file of codes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodesDefect {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileDefect),
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
    Packing(CompressionMethod),
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
        "its array `codes` is ({n_codes}, {width}), but the run's codes have {n_latents} numbers"
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
    /// The bytes are not those that were written.
    #[error("its array `codes` is damaged: its length or its checksum is wrong; write it again")]
    Damaged,
}

/// The bytes of an `.npz` file as `numpy.savez` writes it.
///
/// # Errors
/// More bytes than a zip archive can hold.
pub fn npz_bytes(arrays: &[Array]) -> io::Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for array in arrays {
        archive.start_file(format!("{}.npy", array.name), stored)?;
        let (descr, bytes) = array.values.encode();
        archive.write_all(&npy::header_of(descr, &array.shape))?;
        archive.write_all(&bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Reads at most the first `limit` rows of the array `codes`, which must be `(n, n_latents)` whole
/// numbers of any width. Whether they are categories of the model is for the caller to check.
///
/// # Errors
/// [`Error::Codes`] with the first defect.
pub fn read_codes(path: &Path, n_latents: usize, limit: usize) -> Result<Vec<i64>> {
    file::open(path)
        .map_err(CodesDefect::File)
        .and_then(|(file, _)| parse_codes(BufReader::new(file), n_latents, limit))
        .map_err(|defect| Error::Codes { path: path.to_owned(), defect })
}

/// Parses the bytes of such a file, exactly as [`read_codes`] does.
///
/// # Errors
/// The first defect.
pub fn parse_codes(
    file: impl Read + Seek,
    n_latents: usize,
    limit: usize,
) -> Result<Vec<i64>, CodesDefect> {
    let mut archive = ZipArchive::new(file).map_err(CodesDefect::NotZip)?;
    let index = archive.index_for_name("codes.npy").ok_or_else(|| CodesDefect::NoCodes {
        found: archive.file_names().flatten().map(|name| printable(&*name)).collect(),
    })?;
    // Still packed: zip is built without decompressors.
    let member = archive.by_index_raw(index).map_err(CodesDefect::Member)?;
    let (size, checksum) = (member.size(), member.crc32());
    match member.compression() {
        CompressionMethod::Stored => read_member(member, size, checksum, n_latents, limit),
        // numpy.savez_compressed.
        CompressionMethod::DEFLATE => {
            read_member(DeflateDecoder::new(member), size, checksum, n_latents, limit)
        }
        other => Err(CodesDefect::Packing(other)),
    }
}

/// Reads the array to its end, since only there its checksum can be compared, and keeps `limit` rows.
fn read_member(
    bytes: impl Read,
    size: u64,
    checksum: u32,
    n_latents: usize,
    limit: usize,
) -> Result<Vec<i64>, CodesDefect> {
    let mut bytes = CrcReader::new(bytes.take(size.saturating_add(1)));
    let codes = read_npy(&mut bytes, n_latents, limit)?;
    io::copy(&mut bytes, &mut io::sink()).map_err(FileDefect::Io)?;
    // One byte more than there should be was allowed.
    if bytes.get_ref().limit() != 1 || bytes.crc().sum() != checksum {
        return Err(CodesDefect::Damaged);
    }
    Ok(codes)
}

fn read_npy(
    bytes: &mut impl Read,
    n_latents: usize,
    limit: usize,
) -> Result<Vec<i64>, CodesDefect> {
    let header = npy::read_header(bytes).map_err(CodesDefect::Npy)?;
    let [n_codes, width] = header.shape[..] else {
        return Err(CodesDefect::Axes { n_axes: header.shape.len(), n_latents });
    };
    if width != n_latents {
        return Err(CodesDefect::Width { n_codes, width, n_latents });
    }
    let mut line = vec![0_u8; n_latents * header.kind.size];
    let mut codes = Vec::new();
    for row in 0..n_codes.min(limit) {
        let truncated = |source| CodesDefect::Truncated { row, n_codes, source };
        bytes.read_exact(&mut line).map_err(truncated)?;
        codes.extend(line.chunks_exact(header.kind.size).map(|b| header.kind.decode(b)));
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use flate2::write::DeflateEncoder;

    use super::*;

    fn codes(n: usize, latents: usize) -> Array {
        let values = Values::I64((0..(n * latents) as i64).collect());
        Array { name: "codes", shape: vec![n, latents], values }
    }

    #[test]
    fn codes_survive_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.npz");
        let labels = Array { name: "labels", shape: vec![3], values: Values::I64(vec![7, 8, 9]) };
        std::fs::write(&path, npz_bytes(&[codes(3, 4), labels]).unwrap()).unwrap();
        assert_eq!(read_codes(&path, 4, 100).unwrap(), (0..12).collect::<Vec<i64>>());
        assert_eq!(read_codes(&path, 4, 2).unwrap(), (0..8).collect::<Vec<i64>>());
    }

    #[test]
    fn real_numbers_are_written_as_float32() {
        let values = Values::F32(vec![0.25, -1.0]);
        let bytes = npz_bytes(&[Array { name: "posterior", shape: vec![2], values }]).unwrap();
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(has(b"posterior.npy") && has(b"'descr': '<f4'") && has(b"'shape': (2,)"));
        assert!(has(&[0.25_f32.to_le_bytes(), (-1.0_f32).to_le_bytes()].concat()));
    }

    #[test]
    fn wrong_shapes_and_foreign_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.npz");
        std::fs::write(&path, npz_bytes(&[codes(3, 4)]).unwrap()).unwrap();
        let error = |latents| read_codes(&path, latents, 9).unwrap_err().to_string();
        assert!(error(5).contains("(3, 4), but the run's codes have 5 numbers"), "{}", error(5));
        std::fs::write(&path, b"not a zip").unwrap();
        assert!(error(4).contains("it is not an .npz file"), "{}", error(4));
        let other = Array { name: "labels", ..codes(3, 4) };
        std::fs::write(&path, npz_bytes(&[other]).unwrap()).unwrap();
        assert!(error(4).contains("no array `codes`, only: labels.npy"), "{}", error(4));
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_allocates_nothing() {
        let mut bytes = npy::header_of("<i8", &[usize::MAX / 8, 4]);
        bytes.extend([0; 40]);
        let error = read_npy(&mut &bytes[..], 4, usize::MAX).unwrap_err();
        assert!(error.to_string().contains("ends in row 1"), "{error}");
    }

    #[test]
    fn no_flipped_byte_of_an_array_passes_its_checksum_however_it_is_packed() {
        let array = npy::header_of("<i8", &[3, 4]);
        let array = [&array[..], &[0; 96]].concat();
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&array).unwrap();
        let packed = encoder.finish().unwrap();
        let checksum = {
            let mut crc = flate2::Crc::new();
            crc.update(&array);
            crc.sum()
        };
        let size = array.len() as u64;
        // A limit of one row: what is wrong lies behind it too.
        let unpacked = |bytes: &[u8], size| {
            read_member(DeflateDecoder::new(bytes), size, checksum, 4, 1).map_err(|e| e.to_string())
        };
        let stored =
            |bytes: &[u8]| read_member(bytes, size, checksum, 4, 1).map_err(|e| e.to_string());
        assert_eq!(stored(&array), Ok(vec![0; 4]));
        assert_eq!(unpacked(&packed, size), Ok(vec![0; 4]));
        for at in 0..array.len() {
            let mut damaged = array.clone();
            damaged[at] ^= 1;
            assert!(stored(&damaged).is_err(), "byte {at}");
        }
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 1;
            // A bit of padding that the decoder does not look at changes no byte of the array.
            let read = unpacked(&damaged, size);
            assert!(read.is_err() || at + 1 == packed.len(), "byte {at}: {read:?}");
        }
        for size in [size - 1, size + 1, u64::MAX] {
            assert!(unpacked(&packed, size).is_err(), "{size}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused_although_only_its_first_row_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.npz");
        let mut bytes = npz_bytes(&[codes(3, 4)]).unwrap();
        // The last value of the last row.
        let at = bytes.windows(8).position(|window| window == 11_i64.to_le_bytes()).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = read_codes(&path, 4, 1).unwrap_err().to_string();
        assert!(error.contains("its checksum is wrong"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.npz");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = read_codes(&path, 4, 1).unwrap_err().to_string();
        assert!(error.ends_with("not a regular file"), "{error}");
    }
}
