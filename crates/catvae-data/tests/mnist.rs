//! The real MNIST, where it is at hand: its bytes are the published ones.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::path::{Path, PathBuf};

use catvae_data::{DATA_DIR_VARIABLE, IdxKind, load_folder, read_idx};
use sha2::{Digest, Sha256};

/// `$CATVAE_DATA_DIR/mnist`, or the folder shared beside the workspace.
fn mnist_dir() -> Option<PathBuf> {
    let variable = std::env::var_os(DATA_DIR_VARIABLE).map(|dir| Path::new(&dir).join("mnist"));
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/mnist");
    let found = variable.into_iter().chain([PathBuf::from(shared)]).find(|dir| dir.is_dir());
    if found.is_none() {
        eprintln!("SKIPPED: no MNIST in ${DATA_DIR_VARIABLE}/mnist, nothing was compared");
    }
    found
}

/// SHA-256 of the uncompressed file, rebuilt from what was read of it.
fn sha256(path: &Path, kind: IdxKind) -> String {
    let idx = read_idx(path, kind).unwrap();
    let mut hasher = Sha256::new();
    hasher.update([0, 0, 8, idx.dims.len() as u8]);
    for &dim in &idx.dims {
        hasher.update((dim as u32).to_be_bytes());
    }
    hasher.update(&idx.data);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn mnist_reads_as_the_published_bytes() {
    let Some(dir) = mnist_dir() else { return };
    for (stem, kind, expected) in [
        (
            "train-images-idx3-ubyte",
            IdxKind::Images,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            "train-labels-idx1-ubyte",
            IdxKind::Labels,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            "t10k-images-idx3-ubyte",
            IdxKind::Images,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        (
            "t10k-labels-idx1-ubyte",
            IdxKind::Labels,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ] {
        let raw = dir.join(stem);
        let path = if raw.is_file() { raw } else { dir.join(format!("{stem}.gz")) };
        assert_eq!(sha256(&path, kind), expected, "{}", path.display());
    }
}

#[test]
fn mnist_loads_as_sixty_and_ten_thousand_images() {
    let Some(dir) = mnist_dir() else { return };
    let dataset = load_folder(&dir).unwrap();
    assert_eq!(dataset.name, "mnist");
    assert_eq!((dataset.train.len(), dataset.test.len()), (60_000, 10_000));
    assert_eq!((dataset.train.rows(), dataset.test.cols()), (28, 28));
    assert_eq!(dataset.train.labels().unwrap()[..5], [5, 0, 4, 1, 9]);
}
