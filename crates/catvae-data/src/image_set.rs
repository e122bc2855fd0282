//! Grey images of one size, with or without labels.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::file::hex;
use crate::random::{self, Purpose};
use crate::{Error, Result};

/// Training and test images of one dataset, and validation images where some were [held out](Dataset::hold_out).
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The name, such as `digits` or `mnist`.
    pub name: String,
    /// The images to train on.
    pub train: ImageSet,
    /// Images of the training set that are not trained on: what settings and checkpoints are chosen by.
    pub validation: Option<ImageSet>,
    /// The images held out.
    pub test: ImageSet,
}

impl Dataset {
    /// Takes `n_images` out of the training images, for validation. The choice is always the same, so that all runs,
    /// whatever their seeds, are compared on the same images.
    ///
    /// # Errors
    /// [`Error::TooFewToHoldOut`] where nothing would be left to train on.
    pub fn hold_out(&mut self, n_images: usize) -> Result<()> {
        if n_images >= self.train.len() {
            let (dataset, n_train) = (self.name.clone(), self.train.len());
            return Err(Error::TooFewToHoldOut { dataset, n_images, n_train });
        }
        let (validation, train) = self.train.divide(n_images, Purpose::Validation);
        (self.train, self.validation) = (train, Some(validation));
        Ok(())
    }
}

/// Images of `rows` x `cols` bytes (0 is background, 255 full ink), with one label each or none at all.
///
/// Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// Vectors as they were handed over: a slice behind the counter would be a copy of all pixels.
    images: Arc<Vec<u8>>,
    labels: Option<Arc<Vec<u8>>>,
    rows: usize,
    cols: usize,
}

/// Without the pixels, which would fill screens.
impl fmt::Debug for ImageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = if self.labels.is_some() { "with" } else { "without" };
        write!(f, "{} images of {}x{} pixels {labels} labels", self.len(), self.rows, self.cols)
    }
}

impl ImageSet {
    /// Takes images one after another, each row after row, and a label for each or `None`.
    ///
    /// # Errors
    /// [`Error::NoPixels`] when `rows` or `cols` is zero, [`Error::PixelCount`] when `images` is
    /// no whole number of images or another number than `labels`, [`Error::TooManyImages`] past
    /// `u32::MAX`.
    pub fn new(
        images: Vec<u8>,
        labels: impl Into<Option<Vec<u8>>>,
        rows: usize,
        cols: usize,
    ) -> Result<Self> {
        if rows == 0 || cols == 0 {
            return Err(Error::NoPixels { rows, cols });
        }
        let labels = labels.into();
        let (n_labels, n_bytes) = (labels.as_ref().map(Vec::len), images.len());
        let n_pixels = rows.checked_mul(cols).filter(|n| n_bytes.is_multiple_of(*n));
        let n_images = n_pixels.map(|n_pixels| n_bytes / n_pixels);
        let n_images = n_images.filter(|&n| n_labels.is_none_or(|n_labels| n_labels == n));
        match n_images {
            None => Err(Error::PixelCount { n_labels, rows, cols, n_bytes }),
            Some(n_images) if u32::try_from(n_images).is_err() => {
                Err(Error::TooManyImages { n_images })
            }
            Some(_) => Ok(Self::from_parts(images, labels, rows, cols)),
        }
    }

    /// Images whose counts the caller has made fit each other.
    pub(crate) fn from_parts(
        images: Vec<u8>,
        labels: Option<Vec<u8>>,
        rows: usize,
        cols: usize,
    ) -> Self {
        Self { images: Arc::new(images), labels: labels.map(Arc::new), rows, cols }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.images.len() / self.pixels_per_image()
    }

    /// Whether the set holds no image.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
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

    /// All pixels, image after image.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// All labels, where the images have labels.
    pub fn labels(&self) -> Option<&[u8]> {
        self.labels.as_ref().map(|labels| labels.as_slice())
    }

    /// The first `n` images, or all of them when there are fewer.
    #[must_use]
    pub fn take(&self, n: usize) -> Self {
        if n >= self.len() {
            return self.clone();
        }
        let images = self.images[..n * self.pixels_per_image()].to_vec();
        let labels = self.labels().map(|labels| labels[..n].to_vec());
        Self::from_parts(images, labels, self.rows, self.cols)
    }

    /// The images at `indices`, each below [`ImageSet::len`], in that order.
    pub(crate) fn subset(&self, indices: &[usize]) -> Self {
        let images = indices.iter().flat_map(|&index| self.image(index)).copied().collect();
        let labels = self.labels().map(|labels| indices.iter().map(|&i| labels[i]).collect());
        Self::from_parts(images, labels, self.rows, self.cols)
    }

    /// Draws `n` images, and returns them and the rest; both keep the order of the set.
    pub(crate) fn divide(&self, n: usize, purpose: Purpose) -> (Self, Self) {
        let mut order: Vec<usize> = (0..self.len()).collect();
        random::shuffle(&mut random::stream(0, purpose, 0), &mut order);
        let (drawn, rest) = order.split_at_mut(n);
        drawn.sort_unstable();
        rest.sort_unstable();
        (self.subset(drawn), self.subset(rest))
    }

    /// SHA-256 in hexadecimal over the dimensions (count, rows, columns as 64-bit little endian),
    /// the pixels and the labels, if any. Two sets are equal exactly when their checksums are.
    pub fn checksum(&self) -> String {
        let mut hasher = Sha256::new();
        for dim in [self.len(), self.rows, self.cols] {
            hasher.update((dim as u64).to_le_bytes());
        }
        hasher.update(&*self.images);
        hasher.update(self.labels().unwrap_or_default());
        hex(&hasher.finalize())
    }
}
