//! Claims about image sets: checked construction, subsets, class balance, checksums.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use catvae_data::{Error, ImageSet, digits_with};

fn four_images() -> ImageSet {
    ImageSet::new((0..24).collect(), vec![3, 1, 3, 0], 2, 3).unwrap()
}

#[test]
fn images_and_labels_are_where_they_were_put() {
    let set = four_images();
    assert_eq!((set.len(), set.rows(), set.cols(), set.pixels_per_image()), (4, 2, 3, 6));
    assert_eq!(set.image(1), [6, 7, 8, 9, 10, 11]);
    assert_eq!(set.label(1), 1);
    assert!(!set.is_empty());
}

#[test]
fn a_wrong_number_of_pixels_is_refused() {
    let error = ImageSet::new(vec![0; 23], vec![0; 4], 2, 3).unwrap_err();
    assert!(matches!(error, Error::PixelCount { n_labels: 4, rows: 2, cols: 3, n_bytes: 23 }));
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
fn a_subset_holds_the_chosen_images_in_the_chosen_order() {
    let subset = four_images().subset(&[3, 0, 3]).unwrap();
    assert_eq!(subset.labels(), [0, 3, 0]);
    assert_eq!(subset.image(0), subset.image(2));
    assert_eq!(subset.image(1), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_subset_past_the_end_names_the_index() {
    let error = four_images().subset(&[0, 4, 9]).unwrap_err();
    assert!(matches!(error, Error::IndexOutOfRange { index: 4, len: 4 }));
}

#[test]
fn take_cuts_after_n_images_and_never_fails() {
    let set = four_images();
    assert_eq!(set.take(2), set.subset(&[0, 1]).unwrap());
    assert_eq!(set.take(9), set);
    assert!(set.take(0).is_empty());
}

#[test]
fn a_balanced_set_has_as_many_images_of_every_class() {
    let set = digits_with(3, 400, 0).train;
    let balanced = set.class_balanced(20, 1).unwrap();
    assert_eq!(balanced.len(), 200);
    for label in 0..10 {
        assert_eq!(balanced.labels().iter().filter(|&&l| l == label).count(), 20);
    }
    assert_eq!(balanced, set.class_balanced(20, 1).unwrap());
    assert_ne!(balanced, set.class_balanced(20, 2).unwrap());
}

#[test]
fn balancing_draws_without_replacement() {
    let set = digits_with(3, 400, 0).train;
    let balanced = set.class_balanced(25, 1).unwrap();
    let mut images: Vec<&[u8]> = (0..balanced.len()).map(|index| balanced.image(index)).collect();
    images.sort_unstable();
    images.dedup();
    assert_eq!(images.len(), 250);
}

#[test]
fn every_image_of_a_class_is_drawn_equally_often() {
    // 8 images of one class, 3 drawn, 4,000 times: each is drawn 1,500 times in the mean with a
    // variance of 4,000 * 3/8 * 5/8. Four standard deviations for eight counts: alpha = 5e-4.
    let set = ImageSet::new((0..8).collect(), vec![0; 8], 1, 1).unwrap();
    let mut counts = [0i32; 8];
    for seed in 0..4_000 {
        for &pixel in set.class_balanced(3, seed).unwrap().images() {
            counts[usize::from(pixel)] += 1;
        }
    }
    let sd = (4_000.0f64 * 3.0 / 8.0 * 5.0 / 8.0).sqrt();
    assert!(counts.iter().all(|&n| f64::from((n - 1_500).abs()) < 4.0 * sd), "{counts:?}");
}

#[test]
fn a_class_that_is_too_small_is_named() {
    let error = four_images().class_balanced(2, 0).unwrap_err();
    assert!(matches!(error, Error::ClassTooSmall { label: 0, available: 1, requested: 2 }));
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
