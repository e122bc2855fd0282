//! Claims about image sets: checked construction, optional labels, checksums.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use catvae_data::{Error, ImageSet};

fn four_images() -> ImageSet {
    ImageSet::new((0..24).collect(), vec![3, 1, 3, 0], 2, 3).unwrap()
}

#[test]
fn images_and_labels_are_where_they_were_put() {
    let set = four_images();
    assert_eq!((set.len(), set.rows(), set.cols(), set.pixels_per_image()), (4, 2, 3, 6));
    assert_eq!(set.image(1), [6, 7, 8, 9, 10, 11]);
    assert_eq!(set.labels(), Some(&[3, 1, 3, 0][..]));
    assert!(!set.is_empty());
}

#[test]
fn a_wrong_number_of_pixels_is_refused() {
    let error = ImageSet::new(vec![0; 23], vec![0; 4], 2, 3).unwrap_err();
    assert!(matches!(
        error,
        Error::PixelCount { n_labels: Some(4), rows: 2, cols: 3, n_bytes: 23 }
    ));
    assert_eq!(error.to_string(), "23 bytes are not 4 images of 2x3 pixels");
    let error = ImageSet::new(vec![0; 23], None, 2, 3).unwrap_err();
    assert_eq!(error.to_string(), "23 bytes are not whole images of 2x3 pixels");
    // A product that overflows is a wrong number too.
    let error = ImageSet::new(vec![0; 4], vec![0; 4], usize::MAX, 2).unwrap_err();
    assert!(matches!(error, Error::PixelCount { .. }));
}

#[test]
fn images_without_pixels_are_refused() {
    let error = ImageSet::new(vec![], vec![1], 0, 3).unwrap_err();
    assert!(matches!(error, Error::NoPixels { rows: 0, cols: 3 }));
}

#[test]
fn images_need_no_labels() {
    let set = ImageSet::new((0..24).collect(), None, 2, 3).unwrap();
    assert_eq!((set.len(), set.labels(), set.take(1).labels()), (4, None, None));
    assert_ne!(set.checksum(), four_images().checksum());
}

#[test]
fn take_cuts_after_n_images_and_never_fails() {
    let set = four_images();
    assert_eq!(set.take(2), ImageSet::new((0..12).collect(), vec![3, 1], 2, 3).unwrap());
    assert_eq!(set.take(9), set);
    assert!(set.take(0).is_empty());
}

#[test]
fn the_checksum_sees_pixels_labels_and_shape() {
    let checksum = |images: &[u8], labels: &[u8], rows, cols| {
        ImageSet::new(images.to_vec(), labels.to_vec(), rows, cols).unwrap().checksum()
    };
    let base = checksum(&[1, 2, 3, 4], &[7], 2, 2);
    // From Python: hashlib.sha256(struct.pack("<3Q", 1, 2, 2) + bytes([1, 2, 3, 4, 7])).
    assert_eq!(base, "f27a939dc0b179fa2b1443c420004432deed24b38de8812334f1c3ee442d34c1");
    assert_ne!(base, checksum(&[1, 2, 3, 5], &[7], 2, 2));
    assert_ne!(base, checksum(&[1, 2, 3, 4], &[8], 2, 2));
    assert_ne!(base, checksum(&[1, 2, 3, 4], &[7], 1, 4));
}
