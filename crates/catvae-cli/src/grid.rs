//! Images side by side in one PNG.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use catvae_train::write_atomically;
use image::{GrayImage, ImageFormat, Luma};

/// Free pixels around every image, before scaling.
const GAP: u32 = 2;
/// Every pixel becomes a square of this side, so that 28x28 images can be looked at.
const SCALE: u32 = 3;
/// Pixels of a side from which on pictures are not magnified.
const LARGE: u32 = 2048;
/// Grey of the gaps: apart from the images' black, but quiet.
const GAP_GREY: u8 = 48;

/// Equally sized images in rows and columns.
pub(crate) struct Grid {
    picture: GrayImage,
    image_rows: u32,
    image_cols: u32,
}

impl Grid {
    /// An empty grid of `rows` × `cols` places for images of `image_rows` × `image_cols` pixels.
    pub(crate) fn new(
        rows: usize,
        cols: usize,
        [image_rows, image_cols]: [usize; 2],
    ) -> Result<Self> {
        let side = |n: usize, pixels: usize| -> Option<u32> {
            let pitch = u32::try_from(pixels).ok()?.checked_add(GAP)?;
            let total = u32::try_from(n).ok()?.checked_mul(pitch)?.checked_add(GAP)?;
            Some(total).filter(|&side| side <= 1 << 15)
        };
        let (width, height) =
            side(cols, image_cols).zip(side(rows, image_rows)).with_context(|| {
                format!("a grid of {rows} rows and {cols} columns makes too large a picture")
            })?;
        Ok(Self {
            picture: GrayImage::from_pixel(width, height, Luma([GAP_GREY])),
            image_rows: image_rows as u32,
            image_cols: image_cols as u32,
        })
    }

    /// Draws an image of values in [0, 1], row by row, at a place.
    pub(crate) fn put(&mut self, row: usize, col: usize, pixels: &[f32]) {
        let top = GAP + row as u32 * (self.image_rows + GAP);
        let left = GAP + col as u32 * (self.image_cols + GAP);
        for (i, &value) in pixels.iter().enumerate() {
            let (y, x) = (i as u32 / self.image_cols, i as u32 % self.image_cols);
            let grey = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
            self.picture.put_pixel(left + x, top + y, Luma([grey]));
        }
    }

    /// Writes the PNG.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let (width, height) = self.picture.dimensions();
        // Large images can be looked at as they are.
        let scale = if width.max(height) > LARGE { 1 } else { SCALE };
        let scaled = GrayImage::from_fn(width * scale, height * scale, |x, y| {
            *self.picture.get_pixel(x / scale, y / scale)
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        scaled.write_to(&mut bytes, ImageFormat::Png).context("cannot encode the picture")?;
        write_file(path, bytes.get_ref())
    }
}

/// What pictures of images are written as.
pub(crate) const PICTURE: &[&str] = &["png"];
/// What figures are written as.
pub(crate) const FIGURE: &[&str] = &["png", "svg"];

/// Whether the name ends with this extension, in capitals or not.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Makes the folder of a result that was named where it is missing, and refuses a name that promises another format.
pub(crate) fn prepare(path: Option<&Path>, extensions: &[&str]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    if path == Path::new("-") {
        bail!("a result goes into a file; /dev/stdout is the one for standard output");
    }
    if path.extension().is_some() && !extensions.iter().any(|name| has_extension(path, name)) {
        let better = path.with_extension(extensions[0]);
        bail!(
            "{}: what is written there is {}; name it {}",
            path.display(),
            extensions.join(" or "),
            better.display()
        );
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => return Ok(()),
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes a result file in one step. A link is followed, and what is no regular file, such as `/dev/null` or a pipe, is
/// written into: neither is replaced.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    match fs::canonicalize(path) {
        Ok(target) if target.is_file() => Ok(write_atomically(&target, bytes)?),
        // A link into nothing makes the file that it names.
        found if found.is_ok() || is_link => {
            fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => Ok(write_atomically(path, bytes)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_land_at_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/grid.png");
        prepare(Some(&path), PICTURE).unwrap();
        let mut grid = Grid::new(2, 3, [2, 4]).unwrap();
        grid.put(1, 2, &[0.0, 0.25, 0.5, 0.75, 1.0, 2.0, -1.0, 0.0]);
        grid.save(&path).unwrap();
        let picture = image::open(&path).unwrap().to_luma8();
        assert_eq!(picture.dimensions(), ((3 * 6 + 2) * 3, (2 * 4 + 2) * 3));
        let at = |x: u32, y: u32| picture.get_pixel(x * 3 + 1, y * 3 + 1).0[0];
        // Place (1, 2) starts after two images of 4 + 2 columns and one of 2 + 2 rows.
        assert_eq!([at(14, 6), at(15, 6), at(16, 6), at(17, 6)], [0, 64, 128, 191]);
        assert_eq!([at(14, 7), at(15, 7), at(16, 7), at(17, 7)], [255, 255, 0, 0]);
        assert_eq!(at(0, 0), GAP_GREY);
        assert!(!dir.path().join("new/grid.png.incoming").exists());
    }

    #[test]
    fn a_name_that_promises_another_format_is_refused() {
        for name in ["new/a.jpg", "new/a.tar.gz"] {
            let error = prepare(Some(Path::new(name)), FIGURE).unwrap_err().to_string();
            assert!(error.contains("png or svg") && !Path::new("new").exists(), "{error}");
        }
        assert!(prepare(Some(Path::new("-")), PICTURE).is_err());
        for name in ["/dev/null", "a.PNG", "a"] {
            prepare(Some(Path::new(name)), PICTURE).unwrap();
        }
    }

    #[test]
    fn large_images_are_not_magnified() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grid.png");
        Grid::new(1, 2, [3, 1100]).unwrap().save(&path).unwrap();
        assert_eq!(image::image_dimensions(&path).unwrap(), (2206, 7));
    }

    #[test]
    fn a_grid_beyond_reason_is_an_error() {
        assert!(Grid::new(usize::MAX, 8, [28, 28]).is_err());
        assert!(Grid::new(8, 100_000, [28, 28]).is_err());
    }
}
