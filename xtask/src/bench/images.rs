//! The images that both sides train on: MNIST where it is found, else images of the same size and blackness.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const N_IMAGES: u32 = 60_000;
const SIDE: u32 = 28;

/// An IDX file of training images; drawn ones are removed when this is dropped.
pub(super) struct Images {
    path: PathBuf,
    are_drawn: bool,
}

impl Images {
    /// MNIST's training images in `folder` or its `mnist`, raw or gzip, or drawn ones when there are none.
    ///
    /// # Errors
    /// When drawn images cannot be written.
    pub(super) fn find_or_draw(folder: &Path) -> Result<Self> {
        let names = ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"];
        let folders = [folder.to_owned(), folder.join("mnist")];
        let mut found = folders.iter().flat_map(|folder| names.map(|name| folder.join(name)));
        if let Some(path) = found.find(|path| path.is_file()) {
            return Ok(Self { path, are_drawn: false });
        }
        eprintln!(
            "no MNIST in {}; drawing images instead (cargo xtask download mnist)",
            folder.display()
        );
        let path = std::env::temp_dir().join(format!("xtask-images-{}", std::process::id()));
        let cannot_write = || format!("cannot write {}", path.display());
        let file = File::create_new(&path).with_context(cannot_write)?;
        let images = Self { path: path.clone(), are_drawn: true };
        draw(&file).with_context(cannot_write)?;
        Ok(images)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn description(&self) -> &'static str {
        if self.are_drawn { "on drawn images" } else { "on MNIST" }
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        if self.are_drawn {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Bright squares at pseudo-random places: like MNIST four fifths black, and something to learn.
fn draw(file: &File) -> std::io::Result<()> {
    let mut writer = BufWriter::new(file);
    writer.write_all(&[0, 0, 8, 3])?;
    for dim in [N_IMAGES, SIDE, SIDE] {
        writer.write_all(&dim.to_be_bytes())?;
    }
    let mut state = 1_u32;
    let mut below = |bound: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % bound
    };
    for _ in 0..N_IMAGES {
        let (top, left, grey) = (below(SIDE - 12), below(SIDE - 12), 128 + below(128) as u8);
        let inside =
            |row, column| (top..top + 12).contains(&row) && (left..left + 12).contains(&column);
        for row in 0..SIDE {
            let pixels: Vec<u8> =
                (0..SIDE).map(|column| if inside(row, column) { grey } else { 0 }).collect();
            writer.write_all(&pixels)?;
        }
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_images_are_a_whole_idx_file_four_fifths_black() {
        let folder = tempfile::tempdir().unwrap();
        let images = Images::find_or_draw(folder.path()).unwrap();
        let bytes = std::fs::read(images.path()).unwrap();
        assert_eq!(bytes.len(), 16 + 60_000 * 784);
        assert_eq!(bytes[..16], [0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28]);
        let n_black = bytes[16..].iter().filter(|&&pixel| pixel == 0).count();
        assert_eq!(n_black, 60_000 * (784 - 144));
        assert_ne!(bytes[16..800], bytes[800..1584], "the first two images are the same");
        let path = images.path().to_owned();
        drop(images);
        assert!(!path.exists());
    }

    #[test]
    fn mnist_is_taken_where_it_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train-images-idx3-ubyte.gz");
        std::fs::write(&path, b"").unwrap();
        assert_eq!(Images::find_or_draw(folder.path()).unwrap().path(), path);
    }
}
