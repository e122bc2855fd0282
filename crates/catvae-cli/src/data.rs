//! From a dataset's name to its images.

use anyhow::Result;
use catvae_data::{Dataset, digits_with, load_folder, locate};
use catvae_train::DataSettings;

/// Seed of the built-in digits: everyone has the same ones.
const DIGITS_SEED: u64 = 0;

/// Training and test images, as many as MNIST has.
const N_DIGITS: (usize, usize) = (60_000, 10_000);

/// Draws or loads the dataset.
pub(crate) fn load(settings: &DataSettings) -> Result<Dataset> {
    if settings.dataset == "digits" {
        // Only those asked for are drawn: the first ones are the same however many follow.
        let n_train = settings.n_train.unwrap_or(N_DIGITS.0).min(N_DIGITS.0);
        let n_test = settings.n_test.unwrap_or(N_DIGITS.1).min(N_DIGITS.1);
        return Ok(digits_with(DIGITS_SEED, n_train, n_test));
    }
    let folder = locate(&settings.dataset, settings.data_dir.as_deref())?;
    let mut dataset = load_folder(&folder)?;
    dataset.name.clone_from(&settings.dataset);
    Ok(dataset)
}
