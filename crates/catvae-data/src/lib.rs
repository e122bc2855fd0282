//! Images for the categorical VAE: IDX files, built-in digits, binarisation, seeded batches.
//!
//! Reading order: an [`ImageSet`] holds images and labels; a [`Dataset`] is two of them. One comes
//! from the program itself ([`digits`]), from files ([`locate`], then [`load_folder`]), or, with
//! the `hub` feature, through `candle-datasets`. [`Batches`] turns a set into the batches of an
//! epoch. What a trained model makes of images is kept and read by [`codes`].
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
//!     drop_last: false,
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
mod image_set;

mod digits;

mod idx;
mod idx_write;

mod folder;
mod locate;

mod binarization;

mod batches;

pub mod codes;

mod random;

#[cfg(feature = "hub")]
pub mod hub;

pub use batches::{Batch, Batches, EpochBatches};
pub use binarization::{Binarization, ParseBinarizationError};
pub use digits::{digits, digits_with};
pub use error::{Error, Result};
pub use folder::load_folder;
pub use idx::{Idx, IdxKind, parse_idx, read_idx};
pub use idx_write::{write_folder, write_idx_images, write_idx_labels};
pub use image_set::{Dataset, ImageSet};
pub use locate::{DATA_DIR_VARIABLE, locate};
