//! Writes IDX files.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{IdxKind, has_gzip_suffix};
use crate::file::replace_file;
use crate::{Error, FileDefect, ImageSet, Result};

/// Writes the images of `set`; as gzip when the name ends in `.gz`.
///
/// The file appears complete or not at all.
///
/// # Errors
/// [`FileDefect::Io`]; [`FileDefect::TooLarge`] when a dimension does not fit IDX's 32 bits.
pub fn write_idx_images(path: &Path, set: &ImageSet) -> Result<()> {
    write(path, IdxKind::Images, &[set.len(), set.rows(), set.cols()], set.images())
}

/// Writes labels; as gzip when the name ends in `.gz`.
///
/// # Errors
/// As [`write_idx_images`].
pub fn write_idx_labels(path: &Path, labels: &[u8]) -> Result<()> {
    write(path, IdxKind::Labels, &[labels.len()], labels)
}

fn write(path: &Path, kind: IdxKind, dims: &[usize], elements: &[u8]) -> Result<()> {
    let mut header = kind.magic().to_be_bytes().to_vec();
    for &dim in dims {
        let Ok(dim) = u32::try_from(dim) else {
            let dims = dims.iter().map(|&dim| u32::try_from(dim).unwrap_or(u32::MAX)).collect();
            return Err(FileDefect::at(path)(FileDefect::TooLarge { dims }));
        };
        header.extend_from_slice(&dim.to_be_bytes());
    }
    replace_file(path, |file| {
        if !has_gzip_suffix(path) {
            return file.write_all(&header).and_then(|()| file.write_all(elements));
        }
        let mut encoder = GzEncoder::new(file, Compression::default());
        encoder.write_all(&header)?;
        encoder.write_all(elements)?;
        encoder.finish().map(drop)
    })
    .map_err(Error::io(path))
}
