//! Claims about validation images: always the same ones, none of them trained on.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::collections::HashSet;

use catvae_data::{Error, digits_with};

#[test]
fn validation_images_are_taken_out_of_the_training_images() {
    let whole = digits_with(0, 70, 5);
    let mut divided = whole.clone();
    divided.hold_out(20).unwrap();
    let validation = divided.validation.clone().unwrap();
    assert_eq!((divided.train.len(), validation.len(), divided.test.len()), (50, 20, 5));
    assert_eq!(divided.test, whole.test);
    // Together they are the whole, each part in its order.
    let images = |set: &catvae_data::ImageSet| -> Vec<Vec<u8>> {
        (0..set.len()).map(|i| set.image(i).to_vec()).collect()
    };
    let drawn: HashSet<_> = images(&validation).into_iter().collect();
    let (held_out, kept): (Vec<_>, Vec<_>) =
        images(&whole.train).into_iter().partition(|image| drawn.contains(image));
    assert_eq!((held_out, kept), (images(&validation), images(&divided.train)));
    // Not the last or the first ones: a folder is often sorted by class.
    assert_ne!(validation, whole.train.take(20));
    assert_ne!(validation.image(0), whole.train.image(50));
    // The choice is part of what seeded runs promise.
    assert_eq!(validation.checksum()[..16], *"f364b229bc02cfae");

    let mut again = whole.clone();
    again.hold_out(20).unwrap();
    assert_eq!(again.validation, divided.validation);
}

#[test]
fn something_must_be_left_to_train_on() {
    let mut dataset = digits_with(0, 20, 5);
    let error = dataset.hold_out(20).unwrap_err();
    assert!(matches!(error, Error::TooFewToHoldOut { n_images: 20, n_train: 20, .. }));
    assert_eq!((dataset.train.len(), dataset.validation.is_none()), (20, true));
    dataset.hold_out(19).unwrap();
    assert_eq!(dataset.train.len(), 1);
}
