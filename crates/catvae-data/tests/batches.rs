//! Claims about the order, the content and the memory of batches.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::num::NonZeroUsize;

use catvae_data::{Batch, Batches, Binarization, ImageSet, digits_with};
use proptest::prelude::*;

fn batches(batch_size: usize) -> Batches {
    Batches {
        batch_size: NonZeroUsize::new(batch_size).unwrap(),
        shuffle_seed: Some(3),
        binarization: Binarization::Dynamic { seed: 5 },
    }
}

/// Images of two pixels.
fn set(n_images: usize) -> ImageSet {
    let images = (0..2 * n_images).map(|i| (i * 89) as u8).collect();
    ImageSet::new(images, vec![0; n_images], 1, 2).unwrap()
}

fn indices(batches: impl Iterator<Item = Batch>) -> Vec<u32> {
    batches.flat_map(|batch| batch.indices).collect()
}

#[test]
fn every_image_comes_once_in_an_epoch() {
    let mut order = indices(batches(7).epoch(&set(50), 0, 0));
    assert!(!order.is_sorted());
    order.sort_unstable();
    assert_eq!(order, Vec::from_iter(0..50));
}

#[test]
fn batches_hold_the_images_their_indices_name() {
    let set = digits_with(1, 40, 0).train;
    let settings = Batches { binarization: Binarization::Grey, ..batches(16) };
    for batch in settings.epoch(&set, 2, 0) {
        assert_eq!((batch.indices.len(), batch.images.len()), (batch.len, batch.len * 784));
        for (values, &index) in batch.images.chunks(784).zip(&batch.indices) {
            let pixels = set.image(index as usize);
            assert!(values.iter().zip(pixels).all(|(v, &p)| *v == f32::from(p) / 255.0));
        }
    }
}

#[test]
fn shuffling_differs_between_epochs_and_seeds() {
    let order = |shuffle_seed, epoch| {
        indices(Batches { shuffle_seed, ..batches(10) }.epoch(&set(100), epoch, 0))
    };
    assert_eq!(order(Some(1), 4), order(Some(1), 4));
    assert_ne!(order(Some(1), 4), order(Some(1), 5));
    assert_ne!(order(Some(1), 4), order(Some(2), 4));
}

#[test]
fn without_a_seed_the_order_is_that_of_the_set() {
    let settings = Batches { shuffle_seed: None, ..batches(10) };
    assert_eq!(indices(settings.epoch(&set(35), 8, 0)), Vec::from_iter(0..35));
}

#[test]
fn a_seed_keeps_its_order() {
    let order = indices(batches(4).epoch(&set(12), 1, 0));
    // A change here is value-breaking: every seeded run sees other batches.
    assert_eq!(order, [7, 5, 8, 4, 10, 11, 3, 0, 2, 1, 9, 6]);
}

#[test]
fn the_last_batch_is_short() {
    let lens = |n_images| -> Vec<usize> {
        let set = set(n_images);
        let lens: Vec<usize> = batches(10).epoch(&set, 0, 0).map(|batch| batch.len).collect();
        assert_eq!(lens.len(), batches(10).n_batches(&set));
        lens
    };
    assert_eq!(lens(25), [10, 10, 5]);
    assert_eq!(lens(20), [10, 10]);
    assert_eq!(lens(3), [3]);
    assert_eq!(lens(0), [0; 0]);
}

#[test]
fn batches_carry_the_labels_that_there_are() {
    let set = digits_with(1, 40, 0).train;
    let labels = set.labels().unwrap();
    let mut epoch = batches(16).epoch(&set, 2, 0);
    while let Some(batch) = epoch.next() {
        let expected: Vec<u8> = batch.indices.iter().map(|&i| labels[i as usize]).collect();
        assert_eq!(batch.labels, expected);
        epoch.recycle(batch);
    }
    let without = ImageSet::new(set.images().to_vec(), None, 28, 28).unwrap();
    for (batch, labelled) in batches(16).epoch(&without, 2, 0).zip(batches(16).epoch(&set, 2, 0)) {
        assert_eq!(batch, Batch { labels: Vec::new(), ..labelled });
    }
}

#[test]
fn an_epoch_entered_past_its_end_is_empty() {
    for start_batch in [4, 5, usize::MAX] {
        assert_eq!(batches(10).epoch(&set(40), 0, start_batch).count(), 0);
    }
}

#[test]
fn an_epoch_left_early_ends_its_thread() {
    // Dropping waits for the thread, so a thread that did not end would hang the test.
    let set = set(100_000);
    for n_used in 0..5 {
        let mut epoch = batches(10).epoch(&set, 0, 0);
        assert_eq!(epoch.by_ref().take(n_used).count(), n_used);
        drop(epoch);
    }
}

#[test]
fn recycled_batches_lend_their_memory_to_later_ones() {
    // A buffer far larger than any batch needs is known again by its capacity.
    let set = set(1_000);
    let mut epoch = batches(10).epoch(&set, 0, 0);
    let batch = epoch.next().unwrap();
    epoch.recycle(Batch { images: Vec::with_capacity(1 << 16), ..batch });
    let n_roomy = epoch.filter(|batch| batch.images.capacity() >= 1 << 16).count();
    assert_eq!(n_roomy, 1);
}

#[test]
fn recycling_a_batch_of_another_size_does_no_harm() {
    let set = set(30);
    let expected: Vec<Batch> = batches(10).epoch(&set, 0, 0).collect();
    let mut epoch = batches(10).epoch(&set, 0, 0);
    let mut found = Vec::new();
    while let Some(batch) = epoch.next() {
        found.push(batch);
        epoch.recycle(Batch {
            images: vec![f32::NAN; 1_000],
            len: 7,
            indices: vec![9; 3],
            labels: vec![1; 5],
        });
    }
    assert_eq!(found, expected);
}

proptest! {
    #[test]
    fn neither_batch_size_nor_start_changes_what_an_image_is(
        n_images in 1usize..60,
        batch_size in 1usize..20,
        skipped in 0usize..10,
        epoch in 0u64..3,
    ) {
        let set = set(n_images);
        let flatten = |epoch: &mut dyn Iterator<Item = Batch>| {
            let (mut images, mut indices) = (Vec::new(), Vec::new());
            for batch in epoch {
                images.extend(batch.images);
                indices.extend(batch.indices);
            }
            (images, indices)
        };
        let (images, indices) = flatten(&mut batches(1).epoch(&set, epoch, 0));
        let n_skipped = (skipped * batch_size).min(n_images);
        let (late_images, late_indices) =
            flatten(&mut batches(batch_size).epoch(&set, epoch, skipped));
        prop_assert_eq!(&late_images[..], &images[2 * n_skipped..]);
        prop_assert_eq!(&late_indices[..], &indices[n_skipped..]);
    }
}
