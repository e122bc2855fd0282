//! Handwritten-looking digits, drawn by the program itself: no file, no network.
//!
//! An image is made as a person makes one: choose a way to write the digit ([`alphabet`]), write
//! it with one's own slant, proportions and unsteadiness ([`hand`]), and let the pen leave ink
//! ([`ink`]). Size and place follow MNIST: the digit fits a box of 20x20 pixels and its centre of
//! mass lies in the middle of 28x28.

mod alphabet;
mod hand;
mod ink;

use rayon::prelude::*;

use self::ink::{COLS, N_PIXELS, ROWS};
use super::{AtMost, Images, Source};
use crate::random::{self, Purpose};
use crate::{Dataset, ImageSet, Result};

/// The dataset `digits`.
pub(super) struct Digits;

impl Source for Digits {
    fn usage(&self) -> &'static str {
        "`digits` (drawn by the program)"
    }

    fn by_name(&self, name: &str, at_most: AtMost) -> Option<Result<Images>> {
        // Only those asked for are drawn: the first ones are the same however many follow.
        let n_train = at_most.n_train.unwrap_or(N_TRAIN).min(N_TRAIN);
        let n_test = at_most.n_test.unwrap_or(N_TEST).min(N_TEST);
        (name == "digits").then(|| {
            let Dataset { train, test, .. } = digits_with(SEED, n_train, n_test);
            Ok(Images::Split { train, test })
        })
    }
}

/// Everyone has the same digits.
const SEED: u64 = 0;
const N_TRAIN: usize = 60_000;
const N_TEST: usize = 10_000;

/// 60,000 training and 10,000 test images of 28x28 pixels in ten classes: MNIST's shape.
///
/// Every image has a random stream of its own, so that a seed gives the same bytes with any
/// number of threads; and only arithmetic that IEEE 754 fixes to the bit is used, so that it gives
/// them on every machine.
pub fn digits(seed: u64) -> Dataset {
    digits_with(seed, N_TRAIN, N_TEST)
}

/// The first `n_train` and `n_test` images of [`digits`]; no set grows past `u32::MAX`.
///
/// # Example
/// ```
/// let few = catvae_data::digits_with(1, 20, 5);
/// let more = catvae_data::digits_with(1, 30, 10);
/// assert_eq!(few.train, more.train.take(20));
/// assert_eq!(few.test, more.test.take(5));
/// ```
pub fn digits_with(seed: u64, n_train: usize, n_test: usize) -> Dataset {
    // Test images come from streams that no training image reaches, whatever the sizes.
    const FIRST_TEST_STREAM: u64 = 1 << 32;
    Dataset {
        name: "digits".to_owned(),
        train: draw_set(seed, 0, n_train),
        validation: None,
        test: draw_set(seed, FIRST_TEST_STREAM, n_test),
    }
}

fn draw_set(seed: u64, first_stream: u64, n_images: usize) -> ImageSet {
    // A set holds no more, and the next stream would be the first of the test images.
    let n_images = n_images.min(u32::MAX as usize);
    let mut images = vec![0; n_images * N_PIXELS];
    let mut labels = vec![0; n_images];
    images.par_chunks_exact_mut(N_PIXELS).zip(labels.par_iter_mut()).enumerate().for_each(
        |(index, (image, label))| {
            let mut rng = random::stream(seed, Purpose::Digits, first_stream + index as u64);
            *label = random::index_below(&mut rng, alphabet::N_CLASSES) as u8;
            let strokes = hand::write(&mut rng, usize::from(*label));
            ink::draw(&strokes, image);
        },
    );
    ImageSet::from_parts(images, Some(labels), ROWS, COLS)
}
