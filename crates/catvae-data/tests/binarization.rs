//! Claims about binarisation.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::num::NonZeroUsize;

use catvae_data::{Batches, Binarization, ImageSet};

fn values(set: &ImageSet, binarization: Binarization, epoch: u64) -> Vec<f32> {
    let batch_size = NonZeroUsize::new(7).unwrap();
    let batches = Batches { batch_size, shuffle_seed: None, binarization };
    batches.epoch(set, epoch, 0).flat_map(|batch| batch.images).collect()
}

/// `n_images` of 10x10 pixels, all of one grey level.
fn flat(n_images: usize, level: u8) -> ImageSet {
    ImageSet::new(vec![level; n_images * 100], vec![0; n_images], 10, 10).unwrap()
}

/// Every grey level once.
fn ramp() -> ImageSet {
    ImageSet::new((0..=255).collect(), vec![0], 16, 16).unwrap()
}

#[test]
fn grey_is_the_byte_over_255() {
    let expected: Vec<f32> = (0..=255u8).map(|byte| f32::from(byte) / 255.0).collect();
    assert_eq!(values(&ramp(), Binarization::Grey, 3), expected);
}

#[test]
fn the_threshold_is_one_half() {
    let expected: Vec<f32> =
        (0..=255u8).map(|byte| if f32::from(byte) / 255.0 >= 0.5 { 1.0 } else { 0.0 }).collect();
    assert_eq!(values(&ramp(), Binarization::Threshold, 3), expected);
}

#[test]
fn draws_are_ones_as_often_as_the_pixel_is_grey() {
    // A million draws each, normal approximation; |z| < 4.42 is alpha = 1e-5 for each of ten.
    let set_of = |level| flat(10_000, level);
    for (level, seed) in [(1, 0), (51, 1), (127, 2), (200, 3), (254, 4)] {
        for binarization in [Binarization::Static { seed }, Binarization::Dynamic { seed }] {
            let drawn = values(&set_of(level), binarization, 5);
            assert!(drawn.iter().all(|&value| value == 0.0 || value == 1.0));
            let n_ones = drawn.iter().filter(|&&value| value == 1.0).count() as f64;
            let p = f64::from(level) / 255.0;
            let z = (n_ones - 1e6 * p) / (1e6 * p * (1.0 - p)).sqrt();
            assert!(z.abs() < 4.42, "{binarization} at {level}: z = {z}");
        }
    }
}

#[test]
fn background_is_never_drawn_and_full_ink_always() {
    for binarization in [Binarization::Static { seed: 1 }, Binarization::Dynamic { seed: 1 }] {
        assert!(values(&flat(1_000, 0), binarization, 0).iter().all(|&value| value == 0.0));
        assert!(values(&flat(1_000, 255), binarization, 0).iter().all(|&value| value == 1.0));
    }
}

#[test]
fn static_draws_stay_and_dynamic_draws_change_with_the_epoch() {
    let set = flat(3, 128);
    let fixed = Binarization::Static { seed: 9 };
    assert_eq!(values(&set, fixed, 0), values(&set, fixed, 1));
    let fresh = Binarization::Dynamic { seed: 9 };
    assert_eq!(values(&set, fresh, 1), values(&set, fresh, 1));
    assert_ne!(values(&set, fresh, 0), values(&set, fresh, 1));
    assert_ne!(values(&set, fixed, 0), values(&set, fresh, 0));
}

#[test]
fn seeds_images_and_epochs_draw_independently() {
    // At p = 1/2 two independent rows of 100,000 agree in half their places: z below 4.42.
    let set = flat(2_000, 128);
    let agreement = |a: &[f32], b: &[f32]| {
        let n = a.len() as f64;
        let p = 128.0 / 255.0;
        let p = p * p + (1.0 - p) * (1.0 - p);
        let n_same = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64;
        (n_same - n * p) / (n * p * (1.0 - p)).sqrt()
    };
    let drawn = values(&set, Binarization::Dynamic { seed: 1 }, 0);
    let other_epoch = values(&set, Binarization::Dynamic { seed: 1 }, 1);
    let other_seed = values(&set, Binarization::Dynamic { seed: 2 }, 0);
    let (first_half, second_half) = drawn.split_at(100_000);
    for z in [
        agreement(&drawn, &other_epoch),
        agreement(&drawn, &other_seed),
        agreement(first_half, second_half),
    ] {
        assert!(z.abs() < 4.42, "z = {z}");
    }
}

#[test]
fn a_seed_keeps_its_draws() {
    let bits = |binarization, epoch| -> String {
        let drawn = values(&flat(2, 100), binarization, epoch);
        drawn[90..122].iter().map(|&value| if value == 1.0 { '1' } else { '0' }).collect()
    };
    // A change here is value-breaking.
    assert_eq!(bits(Binarization::Dynamic { seed: 1 }, 2), "10110010000100001101010100010010");
    assert_eq!(bits(Binarization::Static { seed: 1 }, 2), "10011010000010010000010001000000");
}

#[test]
fn names_read_back_as_they_are_written() {
    for (binarization, name) in [
        (Binarization::Grey, "grey"),
        (Binarization::Threshold, "threshold"),
        (Binarization::Static { seed: 3 }, "static:3"),
        (Binarization::Dynamic { seed: u64::MAX }, "dynamic:18446744073709551615"),
    ] {
        assert_eq!(binarization.to_string(), name);
        assert_eq!(name.parse(), Ok(binarization));
        let json = serde_json::to_string(&binarization).unwrap();
        assert_eq!(json, format!("\"{name}\""));
        assert_eq!(serde_json::from_str::<Binarization>(&json).unwrap(), binarization);
    }
    assert_eq!("dynamic".parse(), Ok(Binarization::Dynamic { seed: 0 }));
}

#[test]
fn unknown_names_are_refused_with_the_known_ones() {
    for text in ["", "gray", "grey:1", "static:", "static:x", "dynamic:-1", "Static:1"] {
        let message = text.parse::<Binarization>().unwrap_err().to_string();
        assert!(message.contains("grey, threshold, static[:SEED], dynamic[:SEED]"), "{message}");
    }
    assert!(serde_json::from_str::<Binarization>("\"noise\"").is_err());
}
