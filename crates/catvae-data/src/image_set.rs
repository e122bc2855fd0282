//! Grey images of one size with their labels.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::random::{self, Purpose};
use crate::{Error, Result};

/// Training and test images of one dataset.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The name, such as `digits` or `mnist`.
    pub name: String,
    /// The images to train on.
    pub train: ImageSet,
    /// The images held out.
    pub test: ImageSet,
}

/// Images of `rows` x `cols` bytes (0 is background, 255 full ink) with one label each.
///
/// Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// Vectors as they were handed over: a slice behind the counter would be a copy of all pixels.
    images: Arc<Vec<u8>>,
    labels: Arc<Vec<u8>>,
    rows: usize,
    cols: usize,
}

impl ImageSet {
    /// Takes `labels.len()` images, image after image, each row after row.
    ///
    /// # Errors
    /// [`Error::NoPixels`] when `rows` or `cols` is zero, [`Error::PixelCount`] when `images` does
    /// not hold `labels.len() * rows * cols` bytes, [`Error::TooManyImages`] past `u32::MAX`.
    pub fn new(images: Vec<u8>, labels: Vec<u8>, rows: usize, cols: usize) -> Result<Self> {
        if rows == 0 || cols == 0 {
            return Err(Error::NoPixels { rows, cols });
        }
        if u32::try_from(labels.len()).is_err() {
            return Err(Error::TooManyImages { n_images: labels.len() });
        }
        let n_bytes = rows.checked_mul(cols).and_then(|n| n.checked_mul(labels.len()));
        if n_bytes != Some(images.len()) {
            let (n_labels, n_bytes) = (labels.len(), images.len());
            return Err(Error::PixelCount { n_labels, rows, cols, n_bytes });
        }
        Ok(Self { images: Arc::new(images), labels: Arc::new(labels), rows, cols })
    }

    /// Images whose counts the caller has made fit each other.
    pub(crate) fn from_parts(images: Vec<u8>, labels: Vec<u8>, rows: usize, cols: usize) -> Self {
        debug_assert_eq!(images.len(), labels.len() * rows * cols);
        Self { images: Arc::new(images), labels: Arc::new(labels), rows, cols }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether the set holds no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Rows of an image.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of an image.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows times columns.
    pub fn pixels_per_image(&self) -> usize {
        self.rows * self.cols
    }

    /// The pixels of image `index`, row after row.
    ///
    /// # Panics
    /// When `index` is not below [`ImageSet::len`], as indexing a slice does.
    pub fn image(&self, index: usize) -> &[u8] {
        let n_pixels = self.pixels_per_image();
        &self.images[index * n_pixels..(index + 1) * n_pixels]
    }

    /// The label of image `index`.
    ///
    /// # Panics
    /// When `index` is not below [`ImageSet::len`], as indexing a slice does.
    pub fn label(&self, index: usize) -> u8 {
        self.labels[index]
    }

    /// All pixels, image after image.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// All labels.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The images at `indices`, in that order; an index may occur twice.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`] names the first index past the last image.
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        if let Some(&index) = indices.iter().find(|&&index| index >= self.len()) {
            return Err(Error::IndexOutOfRange { index, len: self.len() });
        }
        let mut images = Vec::with_capacity(indices.len() * self.pixels_per_image());
        for &index in indices {
            images.extend_from_slice(self.image(index));
        }
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Self::new(images, labels, self.rows, self.cols)
    }

    /// The first `n` images, or all of them when there are fewer.
    #[must_use]
    pub fn take(&self, n: usize) -> Self {
        if n >= self.len() {
            return self.clone();
        }
        Self {
            images: Arc::new(self.images[..n * self.pixels_per_image()].to_vec()),
            labels: Arc::new(self.labels[..n].to_vec()),
            rows: self.rows,
            cols: self.cols,
        }
    }

    /// Draws `n_per_class` images of every label that occurs, without replacement.
    ///
    /// The images keep the order they have in this set. The same `seed` draws the same images.
    ///
    /// # Errors
    /// [`Error::ClassTooSmall`] when a class holds fewer images.
    pub fn class_balanced(&self, n_per_class: usize, seed: u64) -> Result<Self> {
        let mut chosen = Vec::new();
        for label in 0..=u8::MAX {
            let mut members: Vec<usize> =
                (0..self.len()).filter(|&index| self.labels[index] == label).collect();
            if members.is_empty() {
                continue;
            }
            if members.len() < n_per_class {
                let available = members.len();
                return Err(Error::ClassTooSmall { label, available, requested: n_per_class });
            }
            let mut rng = random::stream(seed, Purpose::ClassBalance, u64::from(label));
            random::shuffle(&mut rng, &mut members);
            chosen.extend_from_slice(&members[..n_per_class]);
        }
        chosen.sort_unstable();
        self.subset(&chosen)
    }

    /// SHA-256 in hexadecimal over the dimensions (count, rows, columns as 64-bit little endian),
    /// the pixels and the labels. Two sets are equal exactly when their checksums are.
    pub fn checksum(&self) -> String {
        let mut hasher = Sha256::new();
        for dim in [self.len(), self.rows, self.cols] {
            hasher.update((dim as u64).to_le_bytes());
        }
        hasher.update(&*self.images);
        hasher.update(&*self.labels);
        let mut hex = String::with_capacity(64);
        for byte in hasher.finalize() {
            // Writing into a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}
