//! From a dataset's name to its images.

use anyhow::Result;
use catvae_data::{Dataset, digits, load_folder, locate};
use catvae_train::DataSettings;

/// Seed of the built-in digits: everyone has the same ones.
const DIGITS_SEED: u64 = 0;

/// Draws or loads the dataset.
pub(crate) fn load(settings: &DataSettings) -> Result<Dataset> {
    if settings.dataset == "digits" {
        return Ok(digits(DIGITS_SEED));
    }
    let folder = locate(&settings.dataset, settings.data_dir.as_deref())?;
    let mut dataset = load_folder(&folder)?;
    dataset.name.clone_from(&settings.dataset);
    Ok(dataset)
}
