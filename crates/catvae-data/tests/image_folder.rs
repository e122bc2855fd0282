//! Claims about folders of PNG and JPEG files.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::fs;
use std::path::Path;

use catvae_data::{AtMost, ImageSet, Images, load, load_images};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{GrayImage, ImageFormat, Rgb, RgbImage, RgbaImage};
use tempfile::TempDir;

/// Writes an image of 2 rows and 3 columns with the first pixel `first`.
fn write(dir: &TempDir, name: &str, first: u8) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixels = vec![first, 50, 100, 150, 200, 250];
    GrayImage::from_raw(3, 2, pixels).unwrap().save_with_format(path, ImageFormat::Png).unwrap();
}

fn folder(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in names.iter().enumerate() {
        write(&dir, name, i as u8);
    }
    dir
}

fn whole(dir: &TempDir) -> ImageSet {
    match load_images(dir.path()).unwrap() {
        Images::Whole(set) => set,
        split => panic!("{split:?}"),
    }
}

/// Which of the folder's images these are.
fn numbers(set: &ImageSet) -> Vec<u8> {
    assert_eq!((set.rows(), set.cols()), (2, 3));
    set.images().chunks(6).map(|image| image[0]).collect()
}

fn message(path: &Path) -> String {
    load_images(path).unwrap_err().to_string()
}

#[test]
fn images_come_in_the_order_of_their_names_without_labels() {
    let dir = folder(&["b.png", "a.PNG", "c.png", ".hidden.png"]);
    fs::write(dir.path().join("notes.txt"), "no image").unwrap();
    let set = whole(&dir);
    assert_eq!((numbers(&set), set.labels()), (vec![1, 0, 2], None));
    assert_eq!(set.image(0), [1, 50, 100, 150, 200, 250]);
}

#[test]
fn subfolders_are_classes_numbered_by_name() {
    let dir = folder(&["zebra/1.png", "ant/2.png", "ant/1.png"]);
    fs::create_dir(dir.path().join("empty")).unwrap();
    let set = whole(&dir);
    assert_eq!((numbers(&set), set.labels()), (vec![2, 1, 0], Some(&[0, 0, 1][..])));
}

#[test]
fn train_and_test_number_their_classes_together() {
    let dir = folder(&["train/b/1.png", "train/c/1.png", "test/a/1.png", "test/c/1.png"]);
    let Images::Split { train, test } = load_images(dir.path()).unwrap() else { panic!() };
    assert_eq!((numbers(&train), train.labels()), (vec![0, 1], Some(&[1, 2][..])));
    assert_eq!((numbers(&test), test.labels()), (vec![2, 3], Some(&[0, 2][..])));
    fs::remove_dir_all(dir.path().join("test")).unwrap();
    assert!(message(dir.path()).contains("no folder `test`"), "{}", message(dir.path()));
}

#[test]
fn one_set_is_divided_where_training_asks_for_two() {
    let names: Vec<String> = (0..14).map(|i| format!("{i:02}.png")).collect();
    let dir = folder(&Vec::from_iter(names.iter().map(String::as_str)));
    let path = dir.path().to_str().unwrap();
    let dataset = load(path, None, AtMost::default()).unwrap();
    assert_eq!((dataset.train.len(), dataset.test.len()), (12, 2));
    let mut all = [numbers(&dataset.train), numbers(&dataset.test)].concat();
    all.sort_unstable();
    assert_eq!(all, Vec::from_iter(0..14));
}

#[test]
fn a_single_file_is_one_image() {
    let dir = folder(&["a.png"]);
    let Images::Whole(set) = load_images(&dir.path().join("a.png")).unwrap() else { panic!() };
    assert_eq!(numbers(&set), [0]);
}

#[test]
fn colour_becomes_the_luma_of_rec_709_and_transparency_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let colours: [[u32; 3]; 6] =
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3], [10, 20, 30], [0; 3]];
    let pixels = colours.concat().iter().map(|&v| v as u8).collect();
    let rgb = RgbImage::from_raw(3, 2, pixels).unwrap();
    rgb.save(dir.path().join("a.png")).unwrap();
    let rgba = RgbaImage::from_fn(3, 2, |x, y| {
        let Rgb([r, g, b]) = *rgb.get_pixel(x, y);
        image::Rgba([r, g, b, 0])
    });
    rgba.save(dir.path().join("b.png")).unwrap();
    let expected: Vec<u8> = colours
        .iter()
        .map(|[r, g, b]| ((2126 * r + 7152 * g + 722 * b + 5_000) / 10_000) as u8)
        .collect();
    let set = whole(&dir);
    assert_eq!((set.image(0), set.image(1)), (&expected[..], &expected[..]));
}

#[test]
fn a_jpeg_is_read_as_nearly_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let image = GrayImage::from_fn(16, 8, |x, y| image::Luma([(x * 10 + y * 5) as u8]));
    image.save(dir.path().join("a.jpeg")).unwrap();
    let set = whole(&dir);
    assert_eq!((set.rows(), set.cols()), (8, 16));
    // Quality 75, as `image` writes it, on a slope.
    assert!(set.images().iter().zip(image.as_raw()).all(|(a, b)| a.abs_diff(*b) < 10));
}

#[test]
fn another_size_is_refused_with_both_files_and_both_sizes() {
    let dir = folder(&["a.png", "b.png"]);
    GrayImage::new(4, 2).save(dir.path().join("c.png")).unwrap();
    let message = message(dir.path());
    for part in ["c.png", "(2, 4)", "a.png", "(2, 3)"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (name, bytes, part) in [
        ("z.png", &b"no image"[..], "its bytes are neither"),
        ("z.png", b"\x89PNG\r\n\x1a\n cut", "cannot be read as PNG or JPEG"),
        ("z.jpg", b"\xff\xd8\xff\xe0", "cannot be read as PNG or JPEG"),
        ("z.png", b"", "its bytes are neither"),
        ("z.webp", b"RIFF", "convert it"),
    ] {
        let dir = folder(&["a.png"]);
        fs::write(dir.path().join(name), bytes).unwrap();
        let message = message(dir.path());
        assert!(message.contains(name) && message.contains(part), "{message}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_an_error_or_the_same_image() {
    let dir = folder(&["a.png"]);
    let path = dir.path().join("a.png");
    let expected = whole(&dir);
    let bytes = fs::read(&path).unwrap();
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        if let Ok(Images::Whole(set)) = load_images(&path) {
            assert_eq!(set, expected, "{len} bytes");
        }
    }
}

#[test]
fn images_beside_classes_are_refused() {
    let dir = folder(&["a.png", "class/b.png"]);
    assert!(message(dir.path()).contains("\"class\""), "{}", message(dir.path()));
}

#[test]
fn a_picture_of_far_more_pixels_than_bytes_is_refused_before_it_is_decoded() {
    let dir = tempfile::tempdir().unwrap();
    GrayImage::new(5000, 5000).save(dir.path().join("a.png")).unwrap();
    assert!(message(dir.path()).contains("5000x5000 pixels, more"), "{}", message(dir.path()));
    // Each is small enough, but not all of them together.
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("a.png")).unwrap();
    GrayImage::new(4000, 4000)
        .write_with_encoder(PngEncoder::new_with_quality(
            file,
            CompressionType::Best,
            FilterType::NoFilter,
        ))
        .unwrap();
    fs::copy(dir.path().join("a.png"), dir.path().join("b.png")).unwrap();
    assert!(message(dir.path()).contains("compressed bytes claim to hold 32000000"));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let dir = folder(&["a.png"]);
    let path = dir.path().join("b.png");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(message(dir.path()).contains("not a regular file"), "{}", message(dir.path()));
}
