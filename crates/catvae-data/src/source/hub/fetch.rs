//! MNIST and Fashion-MNIST from the Hugging Face hub, through `candle-datasets`.
//!
//! The hub's cache comes first (`$HF_HUB_CACHE`, else `$HF_HOME/hub`, else
//! `~/.cache/huggingface/hub`); only what is missing there is fetched from the network.
//!
//! `candle-datasets` trusts what it reads: it reserves as much memory as a file promises, skips
//! rows that it cannot read and panics on an image that it cannot decode. So each file is read
//! and checked here first. A panic that comes all the same is returned as
//! [`Error::HubLoad`] in programs that unwind.

use std::fs::File;
use std::panic::{self, UnwindSafe};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use candle_datasets::vision;
use hf_hub::{HFClientSync, HFError};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use crate::{Dataset, Error, ImageSet, Result};

/// MNIST as the hub's `ylecun/mnist` has it.
///
/// Not to be called from within an asynchronous runtime: the hub's client blocks.
///
/// # Errors
/// [`Error::HubUnavailable`], [`Error::HubFile`], [`Error::HubLoad`].
pub fn mnist() -> Result<Dataset> {
    load(&Source {
        dataset: "mnist",
        owner: "ylecun",
        repository: "mnist",
        files: ["mnist/train/0000.parquet", "mnist/test/0000.parquet"],
        load: vision::mnist::load,
    })
}

/// Fashion-MNIST as the hub's `zalando-datasets/fashion_mnist` has it.
///
/// Not to be called from within an asynchronous runtime: the hub's client blocks.
///
/// # Errors
/// As [`mnist`].
pub fn fashion_mnist() -> Result<Dataset> {
    load(&Source {
        dataset: "fashion-mnist",
        owner: "zalando-datasets",
        repository: "fashion_mnist",
        files: ["fashion_mnist/train/0000.parquet", "fashion_mnist/test/0000.parquet"],
        load: vision::fashion_mnist::load,
    })
}

/// Where `candle-datasets` looks for a dataset, and its function that loads it.
struct Source {
    dataset: &'static str,
    owner: &'static str,
    repository: &'static str,
    files: [&'static str; 2],
    load: fn() -> candle_core::Result<vision::Dataset>,
}

/// The revision of every hub dataset that holds it as parquet files.
const PARQUET_REVISION: &str = "refs/convert/parquet";
/// `candle-datasets` takes images of this size only.
const SIZE: usize = 28;

fn load(source: &Source) -> Result<Dataset> {
    let dataset = source.dataset;
    catching_panics(dataset, || {
        for path in cached_files(source)? {
            check_file(&path)?;
        }
        let loaded = (source.load)()
            .map_err(|error| Error::HubLoad { dataset, message: error.to_string() })?;
        Ok(Dataset {
            name: dataset.to_owned(),
            train: image_set(dataset, &loaded.train_images, &loaded.train_labels)?,
            validation: None,
            test: image_set(dataset, &loaded.test_images, &loaded.test_labels)?,
        })
    })
}

fn catching_panics(
    dataset: &'static str,
    load: impl FnOnce() -> Result<Dataset> + UnwindSafe,
) -> Result<Dataset> {
    panic::catch_unwind(load).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Error::HubLoad { dataset, message: format!("it panicked: {text}") })
    })
}

/// The files in the hub's cache, fetched where they are missing: as `candle-datasets` does it.
fn cached_files(source: &Source) -> Result<Vec<PathBuf>> {
    let dataset = source.dataset;
    let unavailable =
        |error: HFError| Error::HubUnavailable { dataset, message: error.to_string() };
    let client = HFClientSync::new().map_err(unavailable)?;
    let repository = client.dataset(source.owner, source.repository);
    source
        .files
        .iter()
        .map(|file| {
            let download = repository.download_file().filename(*file).revision(PARQUET_REVISION);
            match download.clone().local_files_only(true).send() {
                Err(HFError::LocalEntryNotFound { .. }) => download.send(),
                cached => cached,
            }
            .map_err(unavailable)
        })
        .collect()
}

/// Makes sure that every row holds one image of 28x28 pixels and one label of a byte.
fn check_file(path: &Path) -> Result<()> {
    let defect = |message: String| Error::HubFile { path: path.to_owned(), message };
    let file = File::open(path).map_err(Error::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(|error| defect(error.to_string()))?;
    let promised = reader.metadata().file_metadata().num_rows();
    let rows = reader.get_row_iter(None).map_err(|error| defect(error.to_string()))?;
    let mut n_rows = 0;
    for row in rows {
        row.map_err(|error| error.to_string())
            .and_then(|row| check_row(&row))
            .map_err(|message| defect(format!("row {n_rows}: {message}")))?;
        n_rows += 1;
    }
    if n_rows == 0 || n_rows != promised {
        return Err(defect(format!("{n_rows} rows where its footer promises {promised}")));
    }
    Ok(())
}

fn check_row(row: &Row) -> std::result::Result<(), String> {
    let (mut n_images, mut n_labels) = (0, 0);
    for (_, column) in row.get_column_iter() {
        match column {
            Field::Group(image) => {
                for (_, part) in image.get_column_iter() {
                    let Field::Bytes(bytes) = part else { continue };
                    let image = image::load_from_memory(bytes.data())
                        .map_err(|error| format!("the image cannot be decoded ({error})"))?;
                    let size = (image.width() as usize, image.height() as usize);
                    if size != (SIZE, SIZE) {
                        return Err(format!("an image of {}x{} pixels, not 28x28", size.0, size.1));
                    }
                    n_images += 1;
                }
            }
            Field::Long(label) => {
                if u8::try_from(*label).is_err() {
                    return Err(format!("label {label} is not within 0 to 255"));
                }
                n_labels += 1;
            }
            _ => {}
        }
    }
    if (n_images, n_labels) != (1, 1) {
        return Err(format!("{n_images} images and {n_labels} labels, not one of each"));
    }
    Ok(())
}

/// Takes images `(n, 784)` of values in [0, 1] back to bytes, with their labels `(n,)`.
fn image_set(dataset: &'static str, images: &Tensor, labels: &Tensor) -> Result<ImageSet> {
    let to_bytes = || -> candle_core::Result<_> {
        let images = images.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        Ok((images, labels.to_dtype(DType::U8)?.to_vec1::<u8>()?))
    };
    let (images, labels) =
        to_bytes().map_err(|error| Error::HubLoad { dataset, message: error.to_string() })?;
    // Each value is byte / 255 rounded to f32, so rounding finds the byte again.
    let images = images.iter().map(|value| (value * 255.0).round() as u8).collect();
    ImageSet::new(images, labels, SIZE, SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        // With and without arguments: the two kinds of payload that `panic!` makes.
        let row = std::hint::black_box(3);
        for error in [
            catching_panics("mnist", || panic!("in row 3")).unwrap_err(),
            catching_panics("mnist", || panic!("in row {row}")).unwrap_err(),
        ] {
            let Error::HubLoad { message, .. } = &error else { panic!("{error}") };
            assert_eq!(message, "it panicked: in row 3");
        }
    }
}
