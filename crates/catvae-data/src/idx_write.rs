//! Writes IDX files, for those who train on images of their own.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::folder::{TEST_STEMS, TRAIN_STEMS};
use crate::idx::{IdxKind, has_gzip_suffix};
use crate::{Dataset, Error, ImageSet, Result};

/// Writes the four files of MNIST's layout, uncompressed, into `dir`, which is made if missing.
/// [`load_folder`](crate::load_folder) reads them back.
///
/// # Errors
/// [`Error::Io`].
pub fn write_folder(dir: &Path, dataset: &Dataset) -> Result<()> {
    fs::create_dir_all(dir).map_err(|source| Error::Io { path: dir.to_owned(), source })?;
    for (stems, set) in [(TRAIN_STEMS, &dataset.train), (TEST_STEMS, &dataset.test)] {
        write_idx_images(&dir.join(format!("{}-idx3-ubyte", stems.images)), set)?;
        write_idx_labels(&dir.join(format!("{}-idx1-ubyte", stems.labels)), set)?;
    }
    Ok(())
}

/// Writes the images of `set`; as gzip when the name ends in `.gz`.
///
/// The file appears complete or not at all: it is written beside `path` and renamed.
///
/// # Errors
/// [`Error::Io`]; [`Error::TooLarge`] when a dimension does not fit IDX's 32 bits.
pub fn write_idx_images(path: &Path, set: &ImageSet) -> Result<()> {
    write_idx(path, IdxKind::Images, &[set.len(), set.rows(), set.cols()], set.images())
}

/// Writes the labels of `set`; as gzip when the name ends in `.gz`.
///
/// # Errors
/// As [`write_idx_images`].
pub fn write_idx_labels(path: &Path, set: &ImageSet) -> Result<()> {
    write_idx(path, IdxKind::Labels, &[set.len()], set.labels())
}

fn write_idx(path: &Path, kind: IdxKind, dims: &[usize], elements: &[u8]) -> Result<()> {
    let mut header = kind.magic().to_be_bytes().to_vec();
    for &dim in dims {
        let Ok(dim) = u32::try_from(dim) else {
            let dims = dims.iter().map(|&dim| u32::try_from(dim).unwrap_or(u32::MAX)).collect();
            return Err(Error::TooLarge { path: path.to_owned(), dims });
        };
        header.extend_from_slice(&dim.to_be_bytes());
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_synced(&partial, has_gzip_suffix(path), &[&header, elements])
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        // What is left of a failed write is of no use; the error that matters is the first.
        let _ = fs::remove_file(&partial);
        Error::Io { path: path.to_owned(), source }
    })
}

fn write_synced(path: &Path, gzip: bool, parts: &[&[u8]]) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    if gzip {
        let mut encoder = GzEncoder::new(&mut writer, Compression::default());
        parts.iter().try_for_each(|part| encoder.write_all(part))?;
        encoder.finish()?;
    } else {
        parts.iter().try_for_each(|part| writer.write_all(part))?;
    }
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
