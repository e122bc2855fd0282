//! A small data file for tests: pseudo-random labels in the shape of the real ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::catalogue::{Checksum, DataFile};

const N_LABELS: u32 = 60_000;

/// The unpacked file. The labels do not compress to nothing, so that a download has a middle to break in.
pub(super) fn labels() -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 1];
    bytes.extend(N_LABELS.to_be_bytes());
    let mut state = 1_u32;
    bytes.extend((0..N_LABELS).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    bytes
}

pub(super) fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Described by the checksum of what is inside, as MNIST is.
pub(super) fn labels_file() -> DataFile {
    described_by(Checksum::Content(sha256(&labels())))
}

/// Described by the checksum of the `.gz`, as Fashion-MNIST is.
pub(super) fn labels_file_by_gzip(level: u32) -> DataFile {
    described_by(Checksum::Gzip(sha256(&gzip(&labels(), level))))
}

fn described_by(checksum: Checksum) -> DataFile {
    DataFile { name: "train-labels-idx1-ubyte", dims: &[N_LABELS], checksum }
}

fn sha256(bytes: &[u8]) -> &'static str {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    hex.leak()
}
