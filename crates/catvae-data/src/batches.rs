//! The batches of an epoch, made ahead of the training step on another thread.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use crate::random::{self, Purpose};
use crate::{Binarization, ImageSet};

/// How a set is cut into batches.
///
/// The order of an epoch is a function of `shuffle_seed` and the epoch alone, and the values of
/// an image of the [`Binarization`], the epoch and the image's index: batch sizes and the batch
/// where an epoch is entered change neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Images in a batch; the last may hold fewer.
    pub batch_size: NonZeroUsize,
    /// Seed of a fresh order in every epoch; `None` keeps the order of the set.
    pub shuffle_seed: Option<u64>,
    /// How bytes become values.
    pub binarization: Binarization,
}

/// Some images of a set as values in [0, 1].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// `(len, pixels)`, row major.
    pub images: Vec<f32>,
    /// The number of images.
    pub len: usize,
    /// The place of each image in the set.
    pub indices: Vec<u32>,
    /// The label of each image; empty where the set has no labels.
    pub labels: Vec<u8>,
}

impl Batches {
    /// The number of batches that an epoch over `set` has.
    pub fn n_batches(&self, set: &ImageSet) -> usize {
        set.len().div_ceil(self.batch_size.get())
    }

    /// The batches of `epoch` from `start_batch` on: with 0 all of them, past the last none.
    ///
    /// A thread makes them ahead of their use, at most two at a time.
    pub fn epoch(&self, set: &ImageSet, epoch: u64, start_batch: usize) -> EpochBatches {
        let maker = BatchMaker {
            batches: *self,
            order: self.order(set, epoch),
            set: set.clone(),
            epoch,
            next_batch: start_batch,
            n_batches: self.n_batches(set),
        };
        EpochBatches::start(maker)
    }

    fn order(&self, set: &ImageSet, epoch: u64) -> Vec<u32> {
        // `ImageSet` holds at most `u32::MAX` images.
        let mut order: Vec<u32> = (0..set.len() as u32).collect();
        if let Some(seed) = self.shuffle_seed {
            random::shuffle(&mut random::stream(seed, Purpose::Shuffle, epoch), &mut order);
        }
        order
    }
}

/// The batches of one epoch, in order. Dropping it early ends its thread.
#[derive(Debug)]
pub struct EpochBatches {
    source: Source,
}

impl EpochBatches {
    /// Gives a used batch back, so that a later one is built in its memory.
    pub fn recycle(&mut self, batch: Batch) {
        match &mut self.source {
            Source::Thread { used, .. } => {
                // The thread may have made its last batch: then there is nothing to reuse it for.
                let _ = used.send(batch);
            }
            Source::Here { spare, .. } => *spare = batch,
        }
    }

    fn start(maker: BatchMaker) -> Self {
        let (ready_sender, ready) = sync_channel(N_READY);
        let (used, used_receiver) = channel();
        let mut worker = maker.clone();
        let thread = thread::Builder::new()
            .name("batches".to_owned())
            .spawn(move || worker.run(&ready_sender, &used_receiver));
        let source = match thread {
            Ok(thread) => Source::Thread { ready: Some(ready), used, thread: Some(thread) },
            // No more threads to be had: slower, but the same batches.
            Err(_) => Source::Here { maker, spare: Batch::default() },
        };
        Self { source }
    }
}

impl Iterator for EpochBatches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        match &mut self.source {
            Source::Thread { ready, .. } => ready.as_ref()?.recv().ok(),
            Source::Here { maker, spare } => maker.make(std::mem::take(spare)),
        }
    }
}

impl Drop for EpochBatches {
    fn drop(&mut self) {
        if let Source::Thread { ready, thread, .. } = &mut self.source {
            // Without a receiver the thread's next send fails and it ends.
            drop(ready.take());
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// Batches that wait ready; with the one in use and the one being made, four are in memory.
const N_READY: usize = 2;

#[derive(Debug)]
enum Source {
    Thread { ready: Option<Receiver<Batch>>, used: Sender<Batch>, thread: Option<JoinHandle<()>> },
    Here { maker: BatchMaker, spare: Batch },
}

#[derive(Clone, Debug)]
struct BatchMaker {
    batches: Batches,
    /// The place in the set of each image of the epoch.
    order: Vec<u32>,
    set: ImageSet,
    epoch: u64,
    next_batch: usize,
    n_batches: usize,
}

impl BatchMaker {
    fn run(&mut self, ready: &SyncSender<Batch>, used: &Receiver<Batch>) {
        while let Some(batch) = self.make(used.try_recv().unwrap_or_default()) {
            if ready.send(batch).is_err() {
                return;
            }
        }
    }

    /// The next batch, in the memory of `batch`; none after the last.
    fn make(&mut self, mut batch: Batch) -> Option<Batch> {
        if self.next_batch >= self.n_batches {
            return None;
        }
        let batch_size = self.batches.batch_size.get();
        let start = self.next_batch * batch_size;
        let end = (start + batch_size).min(self.order.len());
        self.next_batch += 1;

        batch.images.clear();
        batch.indices.clear();
        batch.indices.extend_from_slice(&self.order[start..end]);
        batch.images.reserve_exact(batch.indices.len() * self.set.pixels_per_image());
        for &index in &batch.indices {
            let pixels = self.set.image(index as usize);
            self.batches.binarization.extend(&mut batch.images, pixels, self.epoch, index);
        }
        batch.len = batch.indices.len();
        batch.labels.clear();
        if let Some(labels) = self.set.labels() {
            batch.labels.extend(batch.indices.iter().map(|&index| labels[index as usize]));
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits_with;

    #[test]
    fn batches_made_without_a_thread_are_the_same() {
        let set = digits_with(1, 50, 0).train;
        let batches = Batches {
            batch_size: NonZeroUsize::new(8).unwrap(),
            shuffle_seed: Some(1),
            binarization: Binarization::Dynamic { seed: 2 },
        };
        let maker = BatchMaker {
            batches,
            order: batches.order(&set, 3),
            set: set.clone(),
            epoch: 3,
            next_batch: 1,
            n_batches: batches.n_batches(&set),
        };
        let mut here = EpochBatches { source: Source::Here { maker, spare: Batch::default() } };
        let mut threaded = batches.epoch(&set, 3, 1);
        let mut n_batches = 0;
        while let Some(batch) = here.next() {
            assert_eq!(Some(&batch), threaded.next().as_ref());
            here.recycle(batch);
            n_batches += 1;
        }
        assert_eq!(n_batches, 6);
        assert_eq!(threaded.next(), None);
    }
}
