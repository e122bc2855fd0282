//! Claims about folders in MNIST's layout.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::fs;
use std::path::Path;

use catvae_data::{
    Dataset, Error, FileDefect, ImageSet, Images, digits_with, load_folder, load_images,
    write_folder, write_idx_images, write_idx_labels,
};

fn set(n_images: usize, rows: usize, cols: usize) -> ImageSet {
    let images = (0..n_images * rows * cols).map(|i| i as u8).collect();
    ImageSet::new(images, labels(n_images), rows, cols).unwrap()
}

fn labels(n: usize) -> Vec<u8> {
    (0..n).map(|i| i as u8 * 20).collect()
}

fn written(dir: &Path) -> Dataset {
    let dataset = Dataset {
        name: "own".to_owned(),
        train: set(6, 3, 5),
        validation: None,
        test: set(2, 3, 5),
    };
    write_folder(dir, &dataset).unwrap();
    dataset
}

#[test]
fn a_written_folder_reads_back_under_its_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let digits = digits_with(2, 30, 10);
    write_folder(&dir.path().join("mine"), &digits).unwrap();
    let read = load_folder(&dir.path().join("mine")).unwrap();
    assert_eq!(read.name, "mine");
    assert_eq!((read.train, read.test), (digits.train, digits.test));
}

#[test]
fn sizes_other_than_28x28_and_labels_above_9_are_fine() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = written(dir.path());
    let read = load_folder(dir.path()).unwrap();
    assert_eq!((read.train.rows(), read.train.cols()), (3, 5));
    assert_eq!(read.train.labels(), Some(&[0, 20, 40, 60, 80, 100][..]));
    assert_eq!(read.test, dataset.test);
}

#[test]
fn dots_before_idx_and_gzip_are_accepted_for_each_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name);
    write_idx_images(&path("train-images.idx3-ubyte"), &set(6, 3, 5)).unwrap();
    write_idx_labels(&path("train-labels.idx1-ubyte.gz"), &labels(6)).unwrap();
    write_idx_images(&path("t10k-images-idx3-ubyte.gz"), &set(2, 3, 5)).unwrap();
    write_idx_labels(&path("t10k-labels-idx1-ubyte"), &labels(2)).unwrap();
    let read = load_folder(dir.path()).unwrap();
    assert_eq!((read.train, read.test), (set(6, 3, 5), set(2, 3, 5)));
}

#[test]
fn a_missing_file_is_named_with_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    fs::remove_file(dir.path().join("t10k-labels-idx1-ubyte")).unwrap();
    let error = load_folder(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::MissingFile { dir: named, .. } if named == dir.path()));
    let message = error.to_string();
    assert!(message.contains("t10k-labels-idx1-ubyte or t10k-labels.idx1-ubyte"), "{message}");
}

#[test]
fn images_and_labels_of_different_counts_are_refused_with_both_names() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    write_idx_labels(&dir.path().join("train-labels-idx1-ubyte"), &labels(5)).unwrap();
    let error = load_folder(dir.path()).unwrap_err();
    assert!(matches!(error, Error::CountMismatch { n_images: 6, n_labels: 5, .. }));
    let message = error.to_string();
    assert!(message.contains("train-images") && message.contains("train-labels"), "{message}");
}

#[test]
fn training_and_test_images_of_different_sizes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    write_idx_images(&dir.path().join("t10k-images-idx3-ubyte"), &set(2, 5, 3)).unwrap();
    let error = load_folder(dir.path()).unwrap_err();
    assert!(matches!(
        error,
        Error::SizeMismatch { train_rows: 3, train_cols: 5, test_rows: 5, test_cols: 3, .. }
    ));
}

#[test]
fn a_defect_is_reported_with_the_path_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let path = dir.path().join("t10k-images-idx3-ubyte");
    fs::write(&path, b"\0\0\x08\x03").unwrap();
    let error = load_folder(dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::File { path: named, defect: FileDefect::TruncatedHeader { .. } }
        if *named == path)
    );
    assert!(error.to_string().contains(path.to_str().unwrap()));
}

#[test]
fn both_files_of_labels_may_be_absent() {
    let dir = tempfile::tempdir().unwrap();
    let written = written(dir.path());
    for set in ["train", "t10k"] {
        fs::remove_file(dir.path().join(format!("{set}-labels-idx1-ubyte"))).unwrap();
    }
    let read = load_folder(dir.path()).unwrap();
    assert_eq!((read.train.labels(), read.test.labels()), (None, None));
    assert_eq!(read.train.images(), written.train.images());
    let again = tempfile::tempdir().unwrap();
    write_folder(again.path(), &read).unwrap();
    assert_eq!(fs::read_dir(again.path()).unwrap().count(), 2);
}

#[test]
fn a_single_file_of_images_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["some.gz", "some"] {
        write_idx_images(&dir.path().join(name), &set(4, 3, 5)).unwrap();
        let Images::Whole(read) = load_images(&dir.path().join(name)).unwrap() else { panic!() };
        assert_eq!((read.images(), read.labels()), (set(4, 3, 5).images(), None));
    }
}

#[test]
fn what_holds_no_images_is_named_with_what_would() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, "no image").unwrap();
    for path in [path, dir.path().join("gone")] {
        let error = load_images(&path).unwrap_err();
        assert!(matches!(error, Error::DatasetNotFound { .. }));
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert!(message.contains("a folder in MNIST's format"), "{message}");
    }
}
