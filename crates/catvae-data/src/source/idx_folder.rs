//! MNIST's format: a folder with four IDX files, or one IDX file of images.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Images, Source};
use crate::idx::{IdxKind, read_idx, write_idx_images, write_idx_labels};
use crate::{Dataset, Error, ImageSet, Result, file};

/// Folders in MNIST's format and single IDX files.
pub(super) struct IdxFolder;

impl Source for IdxFolder {
    fn usage(&self) -> &'static str {
        "the name or path of a folder in MNIST's format or of an IDX file of images"
    }

    fn at_path(&self, path: &Path) -> Option<Result<Images>> {
        if holds_any_file(path) {
            return Some(load_sets(path).map(|[train, test]| Images::Split { train, test }));
        }
        is_idx_file(path).then(|| load_set(path, None).map(Images::Whole))
    }
}

/// Loads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte` from `dir`: MNIST, Fashion-MNIST or images of any one size. The files
/// of labels may both be absent.
///
/// Each file may be raw or end in `.gz` (raw wins when both are there), and a `.` may stand for
/// the `-` before `idx`. The dataset is named after the folder.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::CountMismatch`], [`Error::SizeMismatch`], and whatever is
/// wrong with one of the files; each names what it speaks of.
pub fn load_folder(dir: &Path) -> Result<Dataset> {
    let [train, test] = load_sets(dir)?;
    let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
    Images::Split { train, test }.into_dataset(&name)
}

/// Writes the files of MNIST's layout, uncompressed, into `dir`, which is made if missing.
/// [`load_folder`] reads them back.
///
/// # Errors
/// [`Error::File`].
pub fn write_folder(dir: &Path, dataset: &Dataset) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    for (name, set) in [(TRAIN, &dataset.train), (TEST, &dataset.test)] {
        write_idx_images(&dir.join(format!("{name}-images-idx3-ubyte")), set)?;
        if let Some(labels) = set.labels() {
            write_idx_labels(&dir.join(format!("{name}-labels-idx1-ubyte")), labels)?;
        }
    }
    Ok(())
}

/// The first parts of the names of the files of a set.
const TRAIN: &str = "train";
const TEST: &str = "t10k";

/// Whether at least one of the four files lies in `dir`.
fn holds_any_file(dir: &Path) -> bool {
    [TRAIN, TEST].iter().any(|set| {
        find(dir, set, IdxKind::Images).is_ok() || find(dir, set, IdxKind::Labels).is_ok()
    })
}

fn is_idx_file(path: &Path) -> bool {
    let start = file::open(path).and_then(|(file, _)| file::start::<3>(file));
    // Two zeros and the type of bytes, or gzip's magic and deflate.
    matches!(start, Ok([0, 0, _] | [0x1f, 0x8b, 0x08]))
}

fn load_sets(dir: &Path) -> Result<[ImageSet; 2]> {
    let labels = [TRAIN, TEST].map(|set| find(dir, set, IdxKind::Labels));
    let [train_labels, test_labels] = match labels {
        [Err(_), Err(_)] => [None, None],
        [train, test] => [Some(train?), Some(test?)],
    };
    Ok([
        load_set(&find(dir, TRAIN, IdxKind::Images)?, train_labels.as_deref())?,
        load_set(&find(dir, TEST, IdxKind::Images)?, test_labels.as_deref())?,
    ])
}

fn load_set(images_path: &Path, labels_path: Option<&Path>) -> Result<ImageSet> {
    // The small file first: a mismatch is then found before much is read.
    let labels = labels_path.map(|path| read_idx(path, IdxKind::Labels)).transpose()?;
    let images = read_idx(images_path, IdxKind::Images)?;
    // `read_idx` has made sure of three dimensions.
    let (n_images, rows, cols) = (images.dims[0], images.dims[1], images.dims[2]);
    if let (Some(labels), Some(labels_path)) = (&labels, labels_path)
        && labels.data.len() != n_images
    {
        return Err(Error::CountMismatch {
            images_path: images_path.to_owned(),
            n_images,
            labels_path: labels_path.to_owned(),
            n_labels: labels.data.len(),
        });
    }
    ImageSet::new(images.data, labels.map(|labels| labels.data), rows, cols)
}

fn find(dir: &Path, set: &str, kind: IdxKind) -> Result<PathBuf> {
    let (what, rank) = match kind {
        IdxKind::Images => ("images", 3),
        IdxKind::Labels => ("labels", 1),
    };
    let names = [format!("{set}-{what}-idx{rank}-ubyte"), format!("{set}-{what}.idx{rank}-ubyte")];
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
