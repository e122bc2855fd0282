//! The claim that a header's promise costs no memory. Alone in its binary: it reads the peak of
//! the whole process.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::Path;

use catvae_data::{IdxKind, parse_idx};
use flate2::{Compression, write::GzEncoder};

/// The most address space the process ever had, in KiB. Unlike resident memory it also counts
/// what was reserved and never touched.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The gzip of `header` and then `n_zeros` zeros, made without holding them.
fn gzip(header: &[u8], n_zeros: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(header).unwrap();
    for _ in 0..n_zeros >> 10 {
        encoder.write_all(&[0; 1 << 10]).unwrap();
    }
    encoder.finish().unwrap()
}

fn header(n_images: u32) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    bytes.extend([n_images, 1, 1].iter().flat_map(|dim| dim.to_be_bytes()));
    bytes
}

#[test]
fn a_promise_of_two_billion_images_allocates_nothing() {
    let images = |bytes: &[u8]| parse_idx(bytes, Path::new("a"), IdxKind::Images).unwrap_err();
    let gzipped = |bytes: &[u8]| parse_idx(bytes, Path::new("a.gz"), IdxKind::Images).unwrap_err();
    // 64 MiB of zeros in 64 KiB, with an honest header.
    let bomb = gzip(&header(64 << 20), 64 << 20);
    // Whatever inflating takes in any case is allocated before the peak is read.
    gzipped(&gzip(&header(1), 0));
    let before = peak_kib();
    // 2^31, a promise too large to be inflated, and one that is: all without the images.
    for n_images in [1 << 31, 300 << 20, 15 << 20] {
        images(&header(n_images));
        gzipped(&gzip(&header(n_images), 0));
    }
    gzipped(&bomb);
    let grown = peak_kib() - before;
    assert!(grown < 4 << 10, "grew by {grown} KiB");
}
