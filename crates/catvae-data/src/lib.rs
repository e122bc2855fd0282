//! Images for the categorical VAE: where they come from, binarisation, seeded batches.
//!
//! Reading order: an [`ImageSet`] holds images and, where there are any, their labels; a [`Dataset`]
//! is two of them, to train on and to test with. [`load`] finds one by its name or its path, among the kinds of source in
//! `source/`: the program's own [`digits`], files in MNIST's format, the Hugging Face hub (feature `hub`).
//! [`load_images`] reads images that no model has seen. [`Batches`] turns a set into the batches of
//! an epoch. What a trained model makes of images is kept and read by [`codes`].
//!
//! Everything random here is a function of a seed, an epoch and the index of an image: neither
//! threads nor batch sizes nor the point where a run resumed change a single pixel.
//!
//! The crate holds no networks, no training and, without the `hub` feature, no tensors.
//!
//! # Example
//! ```
//! use catvae_data::{Batches, Binarization, digits_with};
//! use std::num::NonZeroUsize;
//!
//! let dataset = digits_with(7, 250, 50);
//! let batches = Batches {
//!     batch_size: NonZeroUsize::new(100).ok_or("a batch holds at least one image")?,
//!     shuffle_seed: Some(7),
//!     binarization: Binarization::Dynamic { seed: 7 },
//! };
//! let mut epoch = batches.epoch(&dataset.train, 0, 0);
//! let mut lens = Vec::new();
//! while let Some(batch) = epoch.next() {
//!     assert_eq!(batch.images.len(), batch.len * 28 * 28);
//!     lens.push(batch.len);
//!     epoch.recycle(batch);
//! }
//! assert_eq!(lens, [100, 100, 50]);
//! # Ok::<(), &str>(())
//! ```

mod error;
mod file;

mod image_set;

mod idx;
mod npy;

mod source;

mod binarization;

mod batches;

pub mod codes;

mod random;

pub use batches::{Batch, Batches, EpochBatches};
pub use binarization::{Binarization, ParseBinarizationError};
pub use error::{Error, FileDefect, Result};
pub use file::{hex, replace_file};
pub use idx::{Idx, IdxKind, parse_idx, read_idx, write_idx_images, write_idx_labels};
pub use image_set::{Dataset, ImageSet};
pub use source::{
    AtMost, DATA_DIR_VARIABLE, Images, digits, digits_with, load, load_folder, load_images,
    write_folder,
};

/// MNIST and Fashion-MNIST from the Hugging Face hub.
#[cfg(feature = "hub")]
pub mod hub {
    pub use crate::source::{fashion_mnist, mnist};
}
