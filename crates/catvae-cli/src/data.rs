//! From a dataset's name to its images.

use std::path::Path;

use anyhow::{Result, ensure};
use catvae_data::{Dataset, digits_with, load_folder, locate};
use catvae_train::DataSettings;

/// The name of the built-in ones.
const DIGITS: &str = "digits";

/// Seed of the built-in digits: everyone has the same ones.
const DIGITS_SEED: u64 = 0;

/// Training and test images, as many as MNIST has.
const N_DIGITS: (usize, usize) = (60_000, 10_000);

/// Takes the dataset from a folder that a flag names. The built-in digits lie in none.
pub(crate) fn set_folder(settings: &mut DataSettings, folder: Option<&Path>) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    ensure!(
        settings.dataset != DIGITS,
        "the dataset `digits` is drawn by the program and lies in no folder: leave out --data-dir, or name \
         the dataset that {} holds with --dataset",
        folder.display()
    );
    settings.data_dir = Some(folder.to_owned());
    Ok(())
}

/// Draws or loads the dataset.
pub(crate) fn load(settings: &DataSettings) -> Result<Dataset> {
    if settings.dataset == DIGITS {
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
