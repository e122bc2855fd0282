//! Discrete codes as NumPy's `.npz`: a zip archive with one `.npy` file per array.
//!
//! What is read may come from anywhere: sizes are compared with what is really there before
//! anything is allocated for them.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::DeflateDecoder;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::grid::write_file;

/// An array of whole numbers, row by row.
pub(crate) struct Array {
    pub(crate) name: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<i64>,
}

/// Writes arrays as `numpy.savez` does, as int64.
pub(crate) fn write(path: &Path, arrays: &[Array]) -> Result<()> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for array in arrays {
        archive.start_file(format!("{}.npy", array.name), stored)?;
        archive.write_all(&npy_header(&array.shape))?;
        let bytes: Vec<u8> = array.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        archive.write_all(&bytes)?;
    }
    write_file(path, archive.finish()?.get_ref())
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
/// numbers of any width.
pub(crate) fn read_codes(path: &Path, n_latents: usize, limit: usize) -> Result<Vec<i64>> {
    let open = || -> Result<Vec<i64>> {
        let file = BufReader::new(File::open(path)?);
        let mut archive =
            ZipArchive::new(file).context("it is not an .npz file (a zip archive)")?;
        read_member(&mut archive, n_latents, limit)
    };
    open().with_context(|| format!("cannot read codes from {}", path.display()))
}

fn read_member<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    n_latents: usize,
    limit: usize,
) -> Result<Vec<i64>> {
    let index = archive.index_for_name("codes.npy").with_context(|| {
        let names: Vec<_> = archive.file_names().filter_map(Result::ok).collect();
        format!("it has no array `codes`, only: {}", names.join(", "))
    })?;
    let compressed = is_deflated(archive, index)?;
    if compressed {
        // numpy.savez_compressed.
        let member = archive.by_index_raw(index)?;
        read_npy(DeflateDecoder::new(member), n_latents, limit)
    } else {
        read_npy(archive.by_index(index)?, n_latents, limit)
    }
}

fn is_deflated<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize) -> Result<bool> {
    let method = archive.by_index_raw(index)?.compression();
    // zip is built without its own decompressors, so deflate has no name there.
    match format!("{method:?}").as_str() {
        "Stored" => Ok(false),
        "Deflated" | "Unsupported(8)" => Ok(true),
        other => bail!(
            "its array `codes` is packed as {other}; numpy.savez and savez_compressed can be read"
        ),
    }
}

fn read_npy(mut bytes: impl Read, n_latents: usize, limit: usize) -> Result<Vec<i64>> {
    let header = read_npy_header(&mut bytes).context("its array `codes` is not in .npy format")?;
    let (n_codes, width) = match header.shape[..] {
        [n_codes, width] => (n_codes, width),
        _ => bail!("its array `codes` has {} axes, not (n, {n_latents})", header.shape.len()),
    };
    ensure!(
        width == n_latents,
        "its array `codes` is ({n_codes}, {width}), but the run's codes have {n_latents} latents"
    );
    let n_read = n_codes.min(limit);
    let mut row = vec![0_u8; n_latents * header.kind.size];
    let mut codes = Vec::new();
    for i in 0..n_read {
        bytes
            .read_exact(&mut row)
            .with_context(|| format!("its array `codes` ends in row {i} of {n_codes}"))?;
        codes.extend(row.chunks_exact(header.kind.size).map(|b| header.kind.decode(b)));
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
    ensure!(&start[..6] == b"\x93NUMPY", "the magic bytes are missing");
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
        version => bail!("version {version} is not known"),
    };
    ensure!(length <= 1 << 16, "a header of {length} bytes is too long");
    let mut text = vec![0_u8; length as usize];
    bytes.read_exact(&mut text)?;
    parse_npy_header(std::str::from_utf8(&text)?)
}

/// Parses `{'descr': '<i8', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_npy_header(text: &str) -> Result<Header> {
    let after = |key: &str| {
        let found = text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        found.with_context(|| format!("the header has no {key}"))
    };
    let descr = after("descr")?.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
    let kind = descr.and_then(Kind::parse).with_context(|| {
        format!("the type {} is not one of whole numbers", descr.unwrap_or("?"))
    })?;
    ensure!(
        after("fortran_order")?.starts_with("False"),
        "it is in Fortran order: save numpy.ascontiguousarray(codes)"
    );
    let shape = after("shape")?.strip_prefix('(').and_then(|rest| rest.split(')').next());
    let shape = shape.context("the header's shape is no tuple")?;
    let axes = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    let shape = axes.map(str::parse).collect::<Result<Vec<usize>, _>>();
    Ok(Header { kind, shape: shape.context("the header's shape has an axis that is no number")? })
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
        write(&path, &[codes(3, 4), labels]).unwrap();
        assert_eq!(read_codes(&path, 4, 100).unwrap(), (0..12).collect::<Vec<i64>>());
        assert_eq!(read_codes(&path, 4, 2).unwrap(), (0..8).collect::<Vec<i64>>());
    }

    #[test]
    fn wrong_shapes_and_foreign_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.npz");
        write(&path, &[codes(3, 4)]).unwrap();
        let error = |latents| format!("{:#}", read_codes(&path, latents, 9).unwrap_err());
        assert!(error(5).contains("(3, 4), but the run's codes have 5 latents"), "{}", error(5));
        std::fs::write(&path, b"not a zip").unwrap();
        assert!(error(4).contains("it is not an .npz file"), "{}", error(4));
        let other = Array { name: "labels", ..codes(3, 4) };
        write(&path, &[other]).unwrap();
        assert!(error(4).contains("no array `codes`, only: labels.npy"), "{}", error(4));
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_allocates_nothing() {
        let mut bytes = npy_header(&[usize::MAX / 8, 4]);
        bytes.extend([0; 40]);
        let error = read_npy(&bytes[..], 4, usize::MAX).unwrap_err();
        assert!(format!("{error:#}").contains("ends in row 1"), "{error:#}");
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
