//! Images as bytes, from an IDX file.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::Error;

pub(crate) struct Images {
    pub(crate) pixels: Vec<u8>,
    pub(crate) n_images: usize,
    pub(crate) n_pixels: usize,
}

impl Images {
    /// Reads a file of unsigned bytes in three dimensions, raw or gzip.
    pub(crate) fn read(path: &str) -> Result<Self, Error> {
        let raw = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let bytes = if raw.starts_with(&[0x1f, 0x8b]) {
            let mut bytes = Vec::new();
            MultiGzDecoder::new(raw.as_slice()).read_to_end(&mut bytes)?;
            bytes
        } else {
            raw
        };
        let Some((&[0, 0, 8, 3], sizes)) = bytes.split_first_chunk() else {
            return Err(format!("{path} is no IDX file of images").into());
        };
        let size = |i: usize| -> Option<usize> {
            let bytes = sizes.get(4 * i..4 * i + 4)?;
            usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
        };
        let (Some(n_images), Some(rows), Some(columns)) = (size(0), size(1), size(2)) else {
            return Err(format!("{path} ends in its header").into());
        };
        let pixels = sizes[12..].to_vec();
        if pixels.len() != n_images * rows * columns {
            return Err(format!("{path} has {} pixels", pixels.len()).into());
        }
        Ok(Self { pixels, n_images, n_pixels: rows * columns })
    }
}
