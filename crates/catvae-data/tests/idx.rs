//! Claims about IDX files: what is written reads back, and every defect has an error of its own.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use catvae_data::{
    Error, FileDefect, IdxKind, ImageSet, parse_idx, read_idx, write_idx_images, write_idx_labels,
};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

/// Two images of 2x3 pixels.
const IMAGES: [u8; 28] =
    [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const LABELS: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 7, 1];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_error(bytes: &[u8]) -> FileDefect {
    defect(bytes, "some-images", IdxKind::Images)
}

fn gzip_error(bytes: &[u8]) -> FileDefect {
    defect(bytes, "some-images.gz", IdxKind::Images)
}

fn defect(bytes: &[u8], name: &str, kind: IdxKind) -> FileDefect {
    match parse_idx(bytes, Path::new(name), kind) {
        Err(Error::File { path, defect }) if path == Path::new(name) => defect,
        other => panic!("{other:?}"),
    }
}

/// `IMAGES` with the byte at `at` replaced.
fn with_byte(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = IMAGES.to_vec();
    bytes[at] = byte;
    bytes
}

fn header(dims: [u32; 3]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes
}

#[test]
fn raw_and_gzip_files_hold_the_same_images() {
    let raw = parse_idx(&IMAGES, Path::new("a"), IdxKind::Images).unwrap();
    assert_eq!(raw.dims, [2, 2, 3]);
    assert_eq!(raw.data, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(parse_idx(&gzip(&IMAGES), Path::new("a.GZ"), IdxKind::Images).unwrap(), raw);
    let labels = parse_idx(&LABELS, Path::new("a"), IdxKind::Labels).unwrap();
    assert_eq!((labels.dims.as_slice(), labels.data.as_slice()), (&[2][..], &[7, 1][..]));
}

#[test]
fn a_gzip_file_of_several_members_is_one_stream() {
    let mut bytes = gzip(&IMAGES[..20]);
    bytes.extend(gzip(&IMAGES[20..]));
    let idx = parse_idx(&bytes, Path::new("a.gz"), IdxKind::Images).unwrap();
    assert_eq!(idx.data, IMAGES[16..]);
}

#[test]
fn an_empty_file_is_called_empty() {
    assert!(matches!(raw_error(&[]), FileDefect::Empty));
    assert!(matches!(gzip_error(&[]), FileDefect::Empty));
}

#[test]
fn a_header_cut_off_is_told_from_cut_off_images() {
    assert!(matches!(
        raw_error(&IMAGES[..3]),
        FileDefect::TruncatedHeader { expected: 16, found: 3, .. }
    ));
    assert!(matches!(
        raw_error(&IMAGES[..15]),
        FileDefect::TruncatedHeader { expected: 16, found: 15, .. }
    ));
    assert!(matches!(
        raw_error(&IMAGES[..27]),
        FileDefect::Truncated { expected: 28, found: 27, .. }
    ));
    assert!(matches!(
        gzip_error(&gzip(&IMAGES[..15])),
        FileDefect::TruncatedHeader { expected: 16, found: 15, .. }
    ));
    assert!(matches!(
        gzip_error(&gzip(&IMAGES[..27])),
        FileDefect::Truncated { expected: 28, found: 27, .. }
    ));
}

#[test]
fn bytes_after_the_images_are_refused() {
    let longer = [&IMAGES[..], &[0]].concat();
    assert!(matches!(raw_error(&longer), FileDefect::TrailingBytes { expected: 28, .. }));
    assert!(matches!(gzip_error(&gzip(&longer)), FileDefect::TrailingBytes { expected: 28, .. }));
}

#[test]
fn bytes_after_the_gzip_stream_are_refused() {
    let longer = [&gzip(&IMAGES)[..], b"more"].concat();
    assert!(matches!(gzip_error(&longer), FileDefect::CorruptGzip(_)));
    let longer = [&gzip(&IMAGES)[..], b"much more than a gzip header is long"].concat();
    assert!(matches!(gzip_error(&longer), FileDefect::CorruptGzip(_)));
}

#[test]
fn empty_gzip_members_are_refused_wherever_they_stand() {
    let (images, empty) = (gzip(&IMAGES), gzip(&[]));
    for bytes in [[&images[..], &empty].concat(), [&empty[..], &images].concat()] {
        let error = gzip_error(&bytes);
        assert!(matches!(&error, FileDefect::CorruptGzip(_)), "{error}");
        assert!(error.to_string().contains("a member without bytes"), "{error}");
    }
}

#[test]
fn a_wrong_magic_number_is_shown() {
    let error = raw_error(&with_byte(0, 0x89));
    assert!(matches!(error, FileDefect::WrongMagic { found: 0x8900_0803, expected: 0x803, .. }));
    assert_eq!(
        error.to_string(),
        "not an IDX file: it starts with 0x89000803, expected 0x00000803"
    );
}

#[test]
fn elements_that_are_not_bytes_are_refused() {
    assert!(matches!(
        raw_error(&with_byte(2, 0x0d)),
        FileDefect::WrongElementType { found: 0x0d, .. }
    ));
}

#[test]
fn swapped_image_and_label_files_are_recognised() {
    assert!(matches!(raw_error(&LABELS), FileDefect::WrongRank { found: 1, expected: 3, .. }));
    let error = defect(&IMAGES, "labels", IdxKind::Labels);
    assert!(matches!(error, FileDefect::WrongRank { found: 3, expected: 1, .. }));
}

#[test]
fn a_zero_dimension_is_refused() {
    for at in [7, 11, 15] {
        let FileDefect::ZeroDimension { dims, .. } = raw_error(&with_byte(at, 0)) else {
            panic!("byte {at}");
        };
        assert!(dims.contains(&0));
    }
}

#[test]
fn dimensions_that_no_memory_holds_are_refused() {
    let error = raw_error(&header([u32::MAX; 3]));
    assert!(matches!(error, FileDefect::TooLarge { dims, .. } if dims == [u32::MAX; 3]));
}

#[test]
fn a_file_that_promises_more_than_it_has_is_cut_off() {
    let error = raw_error(&header([1 << 31, 28, 28]));
    assert!(matches!(error, FileDefect::Truncated { found: 16, .. }));
}

#[test]
fn a_gzip_file_that_promises_the_implausible_is_refused_unread() {
    // Were it inflated, the missing elements would be reported instead.
    let error = gzip_error(&gzip(&header([1 << 31, 28, 28])));
    assert!(matches!(
        error,
        FileDefect::ImplausibleCompression { promised, .. } if promised == 16 + (784 << 31)
    ));
}

#[test]
fn the_suffix_and_the_content_must_agree_on_gzip() {
    assert!(matches!(gzip_error(&IMAGES), FileDefect::NotGzip));
    assert!(matches!(raw_error(&gzip(&IMAGES)), FileDefect::GzipWithoutSuffix));
}

#[test]
fn a_gzip_stream_cut_off_anywhere_is_an_error() {
    let bytes = gzip(&IMAGES);
    for len in 2..bytes.len() {
        let error = gzip_error(&bytes[..len]);
        assert!(matches!(error, FileDefect::TruncatedGzip), "{len} bytes: {error}");
    }
}

#[test]
fn a_flipped_bit_in_gzip_data_is_found_by_the_checksum() {
    let bytes = gzip(&IMAGES);
    // From the first byte of compressed data to the end of checksum and length.
    for at in 10..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        gzip_error(&damaged);
    }
}

#[test]
fn a_name_cannot_command_a_terminal() {
    let error = read_idx(Path::new("\u{1b}]0;title\u{7}"), IdxKind::Images).unwrap_err();
    assert!(error.to_string().starts_with("\\u{1b}]0;title\\u{7}: "), "{error}");
}

#[test]
fn missing_files_and_folders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nothing");
    let error = read_idx(&missing, IdxKind::Images).unwrap_err();
    assert!(matches!(&error, Error::File { path, defect: FileDefect::Io(_) } if *path == missing));
    assert!(error.to_string().starts_with(missing.to_str().unwrap()));
    let error = read_idx(dir.path(), IdxKind::Images).unwrap_err();
    assert!(matches!(error, Error::File { defect: FileDefect::NotAFile, .. }));
}

#[test]
fn writing_leaves_the_named_file_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let set = ImageSet::new(vec![9; 12], vec![1, 2], 2, 3).unwrap();
    write_idx_images(&dir.path().join("images.gz"), &set).unwrap();
    write_idx_labels(&dir.path().join("labels"), &[1, 2]).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["images.gz", "labels"]);
    assert_eq!(fs::read(dir.path().join("labels")).unwrap(), [0, 0, 8, 1, 0, 0, 0, 2, 1, 2]);
}

#[test]
fn writing_into_a_missing_folder_is_an_error_that_names_the_file() {
    let path = tempfile::tempdir().unwrap().path().join("gone").join("labels");
    let error = write_idx_labels(&path, &[1]).unwrap_err();
    assert!(matches!(error, Error::File { path: named, .. } if named == path));
}

/// What a parse may do with any bytes: fail, or give what the header says.
fn parse_is_sound(bytes: &[u8]) {
    for name in ["bytes", "bytes.gz"] {
        for kind in [IdxKind::Images, IdxKind::Labels] {
            if let Ok(idx) = parse_idx(bytes, Path::new(name), kind) {
                assert_eq!(idx.dims.iter().product::<usize>(), idx.data.len());
                assert!(!idx.data.is_empty());
            }
        }
    }
}

/// The files that `tests/corpus/idx.py` writes.
fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/idx");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_corpus_is_accepted_and_refused_as_its_names_say() {
    let files = corpus();
    assert!(files.len() >= 20, "the seed corpus is missing");
    for (path, bytes) in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_labels = name.split(['-', '.']).nth(1) == Some("labels");
        let kind = if is_labels { IdxKind::Labels } else { IdxKind::Images };
        let parsed = parse_idx(&bytes, &path, kind);
        assert_eq!(parsed.is_ok(), name.starts_with("good"), "{name}: {parsed:?}");
    }
}

#[test]
fn no_cut_and_no_flipped_byte_of_the_corpus_breaks_the_parser() {
    for (_, bytes) in corpus() {
        for len in 0..=bytes.len() {
            parse_is_sound(&bytes[..len]);
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                parse_is_sound(&damaged);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_set_reads_back_as_it_was_written(
        (rows, cols, labels) in (1usize..6, 1usize..6, prop::collection::vec(any::<u8>(), 1..20)),
        seed in any::<u8>(),
        suffix in prop::sample::select(vec!["", ".gz"]),
    ) {
        let images: Vec<u8> = (0..labels.len() * rows * cols)
            .map(|i| (i as u8).wrapping_mul(37).wrapping_add(seed))
            .collect();
        let set = ImageSet::new(images.clone(), labels.clone(), rows, cols).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(format!("{name}{suffix}"));
        write_idx_images(&path("images"), &set).unwrap();
        write_idx_labels(&path("labels"), &labels).unwrap();
        let read = read_idx(&path("images"), IdxKind::Images).unwrap();
        prop_assert_eq!(read.dims, [labels.len(), rows, cols]);
        prop_assert_eq!(read.data, images);
        let read = read_idx(&path("labels"), IdxKind::Labels).unwrap();
        prop_assert_eq!(read.data, labels);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse_is_sound(&bytes);
    }

    #[test]
    fn any_header_is_parsed_or_refused(
        dims in prop::array::uniform3(prop_oneof![0u32..5, any::<u32>()]),
        n_elements in 0usize..100,
    ) {
        let mut bytes = header(dims);
        bytes.resize(16 + n_elements, 1);
        parse_is_sound(&bytes);
        parse_is_sound(&gzip(&bytes));
    }
}
