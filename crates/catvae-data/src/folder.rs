//! A folder in MNIST's layout: four IDX files, images and labels of the training and test sets.

use std::path::{Path, PathBuf};

use crate::idx::{IdxKind, read_idx};
use crate::{Dataset, Error, ImageSet, Result};

/// Loads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte` from `dir`: MNIST, Fashion-MNIST or one's own images of any one size.
///
/// Each file may be raw or end in `.gz` (raw wins when both are there), and a `.` may stand for
/// the `-` before `idx`. The dataset is named after the folder.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::CountMismatch`], [`Error::SizeMismatch`], and whatever is
/// wrong with one of the files; each names what it speaks of.
pub fn load_folder(dir: &Path) -> Result<Dataset> {
    let train = load_set(dir, TRAIN_STEMS)?;
    let test = load_set(dir, TEST_STEMS)?;
    if (train.rows(), train.cols()) != (test.rows(), test.cols()) {
        return Err(Error::SizeMismatch {
            dir: dir.to_owned(),
            train_rows: train.rows(),
            train_cols: train.cols(),
            test_rows: test.rows(),
            test_cols: test.cols(),
        });
    }
    let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned();
    Ok(Dataset { name, train, test })
}

/// The first parts of the names of the two files of a set.
#[derive(Clone, Copy)]
pub(crate) struct Stems {
    pub(crate) images: &'static str,
    pub(crate) labels: &'static str,
}

pub(crate) const TRAIN_STEMS: Stems = Stems { images: "train-images", labels: "train-labels" };
pub(crate) const TEST_STEMS: Stems = Stems { images: "t10k-images", labels: "t10k-labels" };

/// Whether at least one of the four files lies in `dir`.
pub(crate) fn holds_any_file(dir: &Path) -> bool {
    [TRAIN_STEMS, TEST_STEMS].iter().any(|stems| {
        find_file(dir, stems.images, IdxKind::Images).is_ok()
            || find_file(dir, stems.labels, IdxKind::Labels).is_ok()
    })
}

fn load_set(dir: &Path, stems: Stems) -> Result<ImageSet> {
    let images_path = find_file(dir, stems.images, IdxKind::Images)?;
    let labels_path = find_file(dir, stems.labels, IdxKind::Labels)?;
    // The small file first: a mismatch is then found before much is read.
    let labels = read_idx(&labels_path, IdxKind::Labels)?;
    let images = read_idx(&images_path, IdxKind::Images)?;
    let &[n_images, rows, cols] = images.dims.as_slice() else {
        let found = images.dims.len() as u8;
        let expected = IdxKind::Images.rank();
        return Err(Error::WrongRank { path: images_path, found, expected });
    };
    let n_labels = labels.data.len();
    if n_images != n_labels {
        return Err(Error::CountMismatch { images_path, n_images, labels_path, n_labels });
    }
    ImageSet::new(images.data, labels.data, rows, cols)
}

fn find_file(dir: &Path, stem: &str, kind: IdxKind) -> Result<PathBuf> {
    let rank = kind.rank();
    let names = [format!("{stem}-idx{rank}-ubyte"), format!("{stem}.idx{rank}-ubyte")];
    for suffix in ["", ".gz"] {
        for name in &names {
            let path = dir.join(format!("{name}{suffix}"));
            if path.exists() {
                return Ok(path);
            }
        }
    }
    Err(Error::MissingFile { dir: dir.to_owned(), names: names.to_vec() })
}
