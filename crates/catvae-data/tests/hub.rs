//! Claims about the Hugging Face hub as a source, on small caches made here and without a network.

#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use catvae_data::{AtMost, Error, ImageSet, digits_with, hub, load};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// Set in the child process that makes a claim.
const IS_CHILD: &str = "CATVAE_TEST_HUB_CHILD";

/// Makes `claim` in a child process whose hub cache `prepare` has filled: the hub's client reads
/// the environment, which a process with other tests on its threads must not change.
fn with_cache(test_name: &str, prepare: impl FnOnce(&Path), claim: impl FnOnce()) {
    if std::env::var_os(IS_CHILD).is_some() {
        return claim();
    }
    let cache = tempfile::tempdir().unwrap();
    prepare(cache.path());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test_name, "--nocapture"])
        .env(IS_CHILD, "1")
        .env("HF_HUB_CACHE", cache.path())
        .env("HF_HOME", cache.path())
        // Nothing listens here: whatever is not in the cache cannot be had.
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

const MNIST: [&str; 3] = ["datasets--ylecun--mnist", "mnist/train", "mnist/test"];
const FASHION: [&str; 3] =
    ["datasets--zalando-datasets--fashion_mnist", "fashion_mnist/train", "fashion_mnist/test"];

/// The training file of a dataset in a cache, in the layout of the hub's own tools.
fn training_file(cache: &Path, [repository, train, _]: [&str; 3]) -> PathBuf {
    cache.join(repository).join("snapshots").join("0123abcd").join(train).join("0000.parquet")
}

/// A cache that holds `train` and `test`, each image as the bytes of a PNG file.
fn fill(cache: &Path, names: [&str; 3], train: &[(Vec<u8>, i64)], test: &[(Vec<u8>, i64)]) {
    let [repository, train_dir, test_dir] = names;
    let reference = cache.join(repository).join("refs/refs/convert");
    fs::create_dir_all(&reference).unwrap();
    fs::write(reference.join("parquet"), "0123abcd").unwrap();
    for (dir, rows) in [(train_dir, train), (test_dir, test)] {
        let dir = cache.join(repository).join("snapshots").join("0123abcd").join(dir);
        fs::create_dir_all(&dir).unwrap();
        write_parquet(&dir.join("0000.parquet"), rows);
    }
}

/// A file with the columns that the hub's image datasets have.
fn write_parquet(path: &Path, rows: &[(Vec<u8>, i64)]) {
    let schema = "message schema {
        optional group image { optional binary bytes; optional binary path (UTF8); }
        optional int64 label;
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();

    // A definition level is the number of optional ancestors that are there, itself included.
    let images: Vec<ByteArray> = rows.iter().map(|(png, _)| png.clone().into()).collect();
    let mut column = group.next_column().unwrap().unwrap();
    let levels = vec![2; rows.len()];
    column.typed::<ByteArrayType>().write_batch(&images, Some(&levels), None).unwrap();
    column.close().unwrap();

    let mut column = group.next_column().unwrap().unwrap();
    let levels = vec![1; rows.len()];
    column.typed::<ByteArrayType>().write_batch(&[], Some(&levels), None).unwrap();
    column.close().unwrap();

    let labels: Vec<i64> = rows.iter().map(|&(_, label)| label).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
    column.close().unwrap();

    group.close().unwrap();
    writer.close().unwrap();
}

fn png(pixels: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::GrayImage::from_raw(width, height, pixels.to_vec())
        .unwrap()
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

fn rows(set: &ImageSet) -> Vec<(Vec<u8>, i64)> {
    let labels = set.labels().unwrap();
    (0..set.len()).map(|i| (png(set.image(i), 28, 28), i64::from(labels[i]))).collect()
}

/// A cache of few digits whose training rows `damage` has changed.
fn fill_damaged(cache: &Path, damage: impl FnOnce(&mut Vec<(Vec<u8>, i64)>)) {
    let dataset = digits_with(1, 12, 5);
    let mut train = rows(&dataset.train);
    damage(&mut train);
    fill(cache, MNIST, &train, &rows(&dataset.test));
}

/// The message of the error that MNIST's training file causes.
fn training_file_error() -> String {
    let error = hub::mnist().unwrap_err();
    let Error::HubFile { path, message } = error else { panic!("{error}") };
    let cache = std::env::var_os("HF_HUB_CACHE").unwrap();
    assert_eq!(path, training_file(Path::new(&cache), MNIST));
    message
}

#[test]
fn a_cached_dataset_loads_without_a_network() {
    let dataset = digits_with(1, 12, 5);
    with_cache(
        "a_cached_dataset_loads_without_a_network",
        |cache| {
            fill(cache, MNIST, &rows(&dataset.train), &rows(&dataset.test));
            fill(cache, FASHION, &rows(&dataset.test), &rows(&dataset.train));
        },
        || {
            let mnist = hub::mnist().unwrap();
            assert_eq!(mnist.name, "mnist");
            assert_eq!((&mnist.train, &mnist.test), (&dataset.train, &dataset.test));
            let fashion = hub::fashion_mnist().unwrap();
            assert_eq!(fashion.name, "fashion-mnist");
            assert_eq!((&fashion.train, &fashion.test), (&dataset.test, &dataset.train));
            let by_name = load("hub:mnist", None, AtMost::default()).unwrap();
            assert_eq!((by_name.name.as_str(), by_name.train), ("mnist", dataset.train.clone()));
        },
    );
}

#[test]
fn what_is_neither_cached_nor_on_the_network_is_an_error() {
    with_cache(
        "what_is_neither_cached_nor_on_the_network_is_an_error",
        |_| {},
        || {
            let error = hub::mnist().unwrap_err();
            assert!(matches!(error, Error::HubUnavailable { dataset: "mnist", .. }), "{error}");
        },
    );
}

#[test]
fn an_image_that_cannot_be_decoded_is_an_error_with_its_row() {
    with_cache(
        "an_image_that_cannot_be_decoded_is_an_error_with_its_row",
        |cache| fill_damaged(cache, |train| train[7].0.truncate(40)),
        || assert!(training_file_error().starts_with("row 7: the image cannot be decoded")),
    );
}

#[test]
fn an_image_of_another_size_is_an_error_with_its_row() {
    with_cache(
        "an_image_of_another_size_is_an_error_with_its_row",
        // As many pixels as 28x28 has, so that only its size gives it away.
        |cache| fill_damaged(cache, |train| train[3].0 = png(&[0; 784], 56, 14)),
        || assert_eq!(training_file_error(), "row 3: an image of 56x14 pixels, not 28x28"),
    );
}

#[test]
fn a_label_that_is_no_byte_is_an_error_with_its_row() {
    with_cache(
        "a_label_that_is_no_byte_is_an_error_with_its_row",
        |cache| fill_damaged(cache, |train| train[0].1 = 256),
        || assert_eq!(training_file_error(), "row 0: label 256 is not within 0 to 255"),
    );
}

#[test]
fn a_file_without_rows_is_an_error() {
    with_cache(
        "a_file_without_rows_is_an_error",
        |cache| fill_damaged(cache, Vec::clear),
        || assert_eq!(training_file_error(), "0 rows where its footer promises 0"),
    );
}

#[test]
fn a_file_cut_off_is_an_error() {
    with_cache(
        "a_file_cut_off_is_an_error",
        |cache| {
            fill_damaged(cache, |_| {});
            let path = training_file(cache, MNIST);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        },
        || assert!(!training_file_error().is_empty()),
    );
}
