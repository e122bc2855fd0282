//! From a dataset's name to its images.

use anyhow::{Context, Result};
use catvae_data::{AtMost, Dataset, Error};
use catvae_train::DataSettings;

/// Draws or loads the dataset.
pub(crate) fn load(settings: &DataSettings) -> Result<Dataset> {
    let at_most = AtMost { n_train: settings.n_train, n_test: settings.n_test };
    let loaded = catvae_data::load(&settings.dataset, settings.data_dir.as_deref(), at_most);
    let can_be_downloaded = ["mnist", "fashion-mnist"].contains(&settings.dataset.as_str());
    match loaded {
        Err(error @ Error::DatasetNotFound { .. }) if can_be_downloaded => {
            let name = &settings.dataset;
            Err(error).context(format!(
                "{name} is not here: fetch it with `cargo xtask download {name}`, or name its folder with --data-dir"
            ))
        }
        loaded => Ok(loaded?),
    }
}
