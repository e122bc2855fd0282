//! Claims about the built-in digits.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use catvae_data::{ImageSet, digits, digits_with};

#[test]
fn a_seed_keeps_its_images() {
    let dataset = digits_with(0, 100, 10);
    // The same on every machine and for ever: a change here is value-breaking.
    assert_eq!(
        dataset.train.checksum(),
        "7b78d41c1a7298e91c630dc488330662587beed61002db1b6c04ce72f3310789"
    );
    assert_eq!(
        dataset.test.checksum(),
        "8c94684c5406d5b7a77e3a201c3fad09b9d0657c6f0f8953ac63b7e51fc19d76"
    );
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let checksum_with = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| digits_with(5, 300, 1).train.checksum())
    };
    assert_eq!(checksum_with(1), checksum_with(7));
}

#[test]
fn the_dataset_has_the_shape_of_mnist() {
    let dataset = digits(1);
    assert_eq!(dataset.name, "digits");
    assert_eq!((dataset.train.len(), dataset.test.len()), (60_000, 10_000));
    assert_eq!((dataset.train.rows(), dataset.train.cols()), (28, 28));
    // Each count is binomial with n = 60,000 and p = 0.1: standard deviation 73.5, and 5 of them
    // for ten counts is alpha = 6e-6.
    for label in 0..10 {
        let count = dataset.train.labels().unwrap().iter().filter(|&&l| l == label).count();
        assert!(count.abs_diff(6_000) < 368, "{count} images of {label}");
    }
    assert!(dataset.train.labels().unwrap().iter().all(|&label| label < 10));
}

#[test]
fn seeds_and_sets_share_no_image() {
    let (one, other) = (digits_with(1, 500, 500), digits_with(2, 500, 500));
    let mut images: Vec<&[u8]> = [&one.train, &one.test, &other.train, &other.test]
        .into_iter()
        .flat_map(|set| (0..set.len()).map(|index| set.image(index)))
        .collect();
    images.sort_unstable();
    images.dedup();
    assert_eq!(images.len(), 2_000);
}

#[test]
fn digits_are_centred_by_their_mass() {
    let set = digits_with(4, 2_000, 0).train;
    for index in 0..set.len() {
        let (mut mass, mut x, mut y) = (0.0, 0.0, 0.0);
        for (pixel, &ink) in set.image(index).iter().enumerate() {
            let ink = f64::from(ink);
            mass += ink;
            x += ink * ((pixel % 28) as f64 + 0.5);
            y += ink * ((pixel / 28) as f64 + 0.5);
        }
        let (x, y) = (x / mass, y / mass);
        // The hand centres the pen's way; where strokes cross, ink counts once, which moves the
        // pixels' centre by a pixel or two.
        assert!((x - 14.0).abs() < 2.0 && (y - 14.0).abs() < 2.0, "image {index}: {x}, {y}");
    }
}

#[test]
fn digits_have_about_as_much_ink_as_mnist() {
    // MNIST's training set: mean 0.1307, 19.1 % of pixels not blank, 7.4 % nearly full.
    let set = digits_with(0, 5_000, 0).train;
    let share = |is_counted: fn(u8) -> bool| {
        let count = set.images().iter().filter(|&&pixel| is_counted(pixel)).count();
        count as f64 / set.images().len() as f64
    };
    let sum: f64 = set.images().iter().map(|&pixel| f64::from(pixel) / 255.0).sum();
    let mean = sum / set.images().len() as f64;
    assert!((0.12..0.14).contains(&mean), "mean {mean}");
    let inked = share(|pixel| pixel > 0);
    assert!((0.17..0.21).contains(&inked), "inked {inked}");
    let full = share(|pixel| pixel >= 250);
    assert!((0.06..0.09).contains(&full), "full {full}");
}

#[test]
fn classes_vary_as_in_mnist_and_can_be_told_apart() {
    let dataset = digits_with(0, 3_000, 500);
    let means: Vec<Vec<f32>> = (0..10).map(|label| class_mean(&dataset.train, label)).collect();
    let distance = |image: &[u8], mean: &[f32]| -> f32 {
        image.iter().zip(mean).map(|(&a, b)| (f32::from(a) / 255.0 - b).powi(2)).sum()
    };
    // MNIST's images lie at a mean squared distance of 22 (ones) to 51 (twos) from the mean of
    // their class; the sum over its classes is 421.
    let mut spread = 0.0;
    for (label, mean) in means.iter().enumerate() {
        let members: Vec<usize> = members(&dataset.train, label as u8);
        let sum: f32 = members.iter().map(|&i| distance(dataset.train.image(i), mean)).sum();
        spread += sum / members.len() as f32;
    }
    assert!((340.0..460.0).contains(&spread), "spread {spread}");

    // The nearest class mean is right for 82 % of MNIST. Guessing would be right for 10 %.
    let n_right = (0..dataset.test.len())
        .filter(|&i| {
            let nearest = (0..10usize).min_by(|&a, &b| {
                let image = dataset.test.image(i);
                distance(image, &means[a]).total_cmp(&distance(image, &means[b]))
            });
            nearest == Some(usize::from(dataset.test.labels().unwrap()[i]))
        })
        .count();
    assert!((325..475).contains(&n_right), "{n_right} of 500");
}

fn members(set: &ImageSet, label: u8) -> Vec<usize> {
    (0..set.len()).filter(|&index| set.labels().unwrap()[index] == label).collect()
}

fn class_mean(set: &ImageSet, label: u8) -> Vec<f32> {
    let members = members(set, label);
    let mut mean = vec![0.0; set.pixels_per_image()];
    for &index in &members {
        for (sum, &pixel) in mean.iter_mut().zip(set.image(index)) {
            *sum += f32::from(pixel) / 255.0 / members.len() as f32;
        }
    }
    mean
}
