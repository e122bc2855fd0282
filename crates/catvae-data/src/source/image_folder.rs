//! PNG and JPEG files, each an image: `DIR/*.png`, or `DIR/CLASS/*.png` with a class for each
//! subfolder, or either of them below `DIR/train` and `DIR/test`. A single file is an image too.
//!
//! Images come in the order of their files' names, classes are numbered in the order of theirs, and hidden files are
//! passed over. Colour becomes grey by the `image` crate's rule, the luma of Rec. 709
//! (0.2126 R + 0.7152 G + 0.0722 B of the stored values, rounded); transparency and rotation marks are ignored.

use std::ffi::OsString;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;

use super::{Images, Source};
use crate::idx::check_plausible;
use crate::{Error, FileDefect, ImageSet, Result, file};

/// Folders of PNG and JPEG files.
pub(super) struct ImageFolder;

impl Source for ImageFolder {
    fn usage(&self) -> &'static str {
        "the path of a folder of PNG or JPEG files of one size, with or without `train` and `test`, \
         with or without a subfolder for each class"
    }

    fn at_path(&self, path: &Path) -> Option<Result<Images>> {
        if path.is_dir() {
            return load_folder(path).transpose();
        }
        let is_image = path.is_file() && extension_in(path, &READ);
        is_image.then(|| load_set(&[Found::new(path, None)?], &[]).map(Images::Whole))
    }
}

/// What is wrong with an image file or a folder of them.
#[derive(Debug, thiserror::Error)]
enum ImageDefect {
    #[error("cannot be read as PNG or JPEG: {0}")]
    Undecodable(String),
    #[error("a format that is not read here; convert it to PNG or JPEG, or move it away")]
    OtherFormat,
    #[error("{0} bytes, more than an image file here may have ({MAX_FILE})")]
    LongFile(u64),
    #[error("{0}x{1} pixels, more than an image here may have ({MAX_PIXELS})")]
    ManyPixels(usize, usize),
    #[error("{found:?} pixels (rows, columns), but {} has {expected:?}; all must have one size", other.display())]
    OtherSize { found: (usize, usize), expected: (usize, usize), other: PathBuf },
    #[error(
        "there are images here and in the subfolder {0:?}; classes need a subfolder for each image"
    )]
    Mixed(OsString),
    #[error("{0} classes; at most 256 can be told apart")]
    ManyClasses(usize),
    #[error("holds no PNG or JPEG files")]
    Empty,
    #[error("there is no folder `{0}` beside the other one of `train` and `test`")]
    OneSet(&'static str),
}

impl ImageDefect {
    fn at(self, path: &Path) -> Error {
        FileDefect::at(path)(self.into())
    }
}

impl From<ImageDefect> for FileDefect {
    fn from(defect: ImageDefect) -> Self {
        Self::Source(Box::new(defect))
    }
}

const MAX_FILE: u64 = 64 << 20;
const MAX_PIXELS: usize = 1 << 24;
/// What a decoder may take: 16-bit colour with transparency of that many pixels, and some more.
const MAX_MEMORY: u64 = 256 << 20;

const READ: [&str; 3] = ["png", "jpg", "jpeg"];
/// Names that promise an image: to pass over such a file would lose data without a word.
const NOT_READ: [&str; 11] =
    ["avif", "bmp", "gif", "heic", "pbm", "pgm", "pnm", "ppm", "tif", "tiff", "webp"];

fn extension_in(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| known.contains(&extension.as_str()))
}

/// An image file that was found, not yet read.
struct Found {
    path: PathBuf,
    len: u64,
    class: Option<OsString>,
}

impl Found {
    fn new(path: &Path, class: Option<OsString>) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::io(path))?;
        if !metadata.is_file() {
            return Err(FileDefect::at(path)(FileDefect::NotAFile));
        }
        match metadata.len() {
            len @ 0..=MAX_FILE => Ok(Self { path: path.to_owned(), len, class }),
            len => Err(ImageDefect::LongFile(len).at(path)),
        }
    }
}

/// `None` where there is no image file.
fn load_folder(dir: &Path) -> Result<Option<Images>> {
    let sets = [("train", "test"), ("test", "train")];
    for (set, other) in sets.map(|(set, other)| (dir.join(set), other)) {
        if set.is_dir() && !dir.join(other).is_dir() && !find(&set)?.is_empty() {
            return Err(ImageDefect::OneSet(other).at(dir));
        }
    }
    if !dir.join("train").is_dir() {
        let found = find(dir)?;
        let classes = classes(dir, &[&found])?;
        return (!found.is_empty())
            .then(|| load_set(&found, &classes).map(Images::Whole))
            .transpose();
    }
    let [train, test] = [find(&dir.join("train"))?, find(&dir.join("test"))?];
    match (train.is_empty(), test.is_empty()) {
        (true, true) => return Ok(None),
        (true, false) => return Err(ImageDefect::Empty.at(&dir.join("train"))),
        (false, true) => return Err(ImageDefect::Empty.at(&dir.join("test"))),
        (false, false) => (),
    }
    // A class has one number in both sets.
    let classes = classes(dir, &[&train, &test])?;
    let [train, test] = [load_set(&train, &classes)?, load_set(&test, &classes)?];
    Ok(Some(Images::Split { train, test }))
}

fn classes(dir: &Path, sets: &[&[Found]]) -> Result<Vec<OsString>> {
    let mut classes: Vec<_> =
        sets.iter().copied().flatten().filter_map(|found| found.class.clone()).collect();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() > 256 {
        return Err(ImageDefect::ManyClasses(classes.len()).at(dir));
    }
    Ok(classes)
}

/// The image files of a folder, or those of its subfolders, class after class.
fn find(dir: &Path) -> Result<Vec<Found>> {
    let (images, folders) = list(dir)?;
    let mut found: Vec<_> =
        images.iter().map(|path| Found::new(path, None)).collect::<Result<_>>()?;
    for folder in folders {
        let class = folder.file_name().unwrap_or_default();
        let (members, _) = list(&folder)?;
        if !images.is_empty() && !members.is_empty() {
            return Err(ImageDefect::Mixed(class.to_owned()).at(dir));
        }
        for path in members {
            found.push(Found::new(&path, Some(class.to_owned()))?);
        }
    }
    Ok(found)
}

/// The image files and the subfolders, each in the order of their names.
fn list(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<_> =
        entries.map_err(Error::io(dir))?.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| {
        !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    });
    paths.sort_unstable();
    let (folders, mut files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    if let Some(path) = files.iter().find(|path| extension_in(path, &NOT_READ)) {
        return Err(ImageDefect::OtherFormat.at(path));
    }
    files.retain(|path| extension_in(path, &READ));
    Ok((files, folders))
}

fn load_set(found: &[Found], classes: &[OsString]) -> Result<ImageSet> {
    let Some(first) = found.first() else {
        return ImageSet::new(Vec::new(), None, 1, 1);
    };
    let size = size(&open(&first.path)?);
    let n_pixels = size.0 * size.1;
    if n_pixels > MAX_PIXELS {
        return Err(ImageDefect::ManyPixels(size.0, size.1).at(&first.path));
    }
    let promised = n_pixels as u64 * found.len() as u64;
    check_plausible(promised, found.iter().map(|found| found.len).sum())
        .map_err(FileDefect::at(first.path.parent().unwrap_or(&first.path)))?;
    let mut images = vec![0; n_pixels * found.len()];
    let read: Vec<Result<()>> = images
        .par_chunks_exact_mut(n_pixels)
        .zip(found)
        .map(|(image, Found { path, .. })| {
            let decoder = open(path)?;
            if self::size(&decoder) != size {
                let (found, other) = (self::size(&decoder), first.path.clone());
                return Err(ImageDefect::OtherSize { found, expected: size, other }.at(path));
            }
            let decoded = DynamicImage::from_decoder(decoder).map_err(undecodable(path))?;
            image.copy_from_slice(decoded.into_luma8().as_raw());
            Ok(())
        })
        .collect();
    // Of several defects always the first one, however many threads there are.
    read.into_iter().collect::<Result<()>>()?;
    let labels = found.iter().map(|found| {
        let class = found.class.as_ref()?;
        classes.binary_search(class).ok().map(|label| label as u8)
    });
    ImageSet::new(images, labels.collect::<Option<Vec<u8>>>(), size.0, size.1)
}

/// Rows and columns.
fn size(decoder: &impl ImageDecoder) -> (usize, usize) {
    let (width, height) = decoder.dimensions();
    (height as usize, width as usize)
}

fn open(path: &Path) -> Result<impl ImageDecoder> {
    let (file, _) = file::open(path).map_err(FileDefect::at(path))?;
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
    let mut reader = reader.map_err(Error::io(path))?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(ImageDefect::Undecodable("its bytes are neither".to_owned()).at(path));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    reader.into_decoder().map_err(undecodable(path))
}

fn undecodable(path: &Path) -> impl Fn(image::ImageError) -> Error {
    |error| ImageDefect::Undecodable(error.to_string()).at(path)
}
