//! From a dataset's name, or a path, to images.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use catvae_data::{AtMost, Dataset, Error, ImageSet, Images, load_images};
use catvae_train::{DataSettings, TrainConfig};

use crate::args::Part;

/// Takes the dataset from a folder that a flag names. What the program draws or fetches lies in none.
pub(crate) fn set_folder(settings: &mut DataSettings, folder: Option<&Path>) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    let name = &settings.dataset;
    ensure!(
        name != "digits" && !name.starts_with("hub:"),
        "the dataset `{name}` lies in no folder: leave out --data-dir, or name the dataset that {} holds \
         with --dataset",
        folder.display()
    );
    settings.data_dir = Some(folder.to_owned());
    Ok(())
}

/// Draws, fetches or loads the dataset.
pub(crate) fn load(settings: &DataSettings) -> Result<Dataset> {
    let at_most = AtMost { n_train: settings.n_train, n_test: settings.n_test };
    let name = &settings.dataset;
    let loaded = catvae_data::load(name, settings.data_dir.as_deref(), at_most);
    let hint = match &loaded {
        Err(Error::DatasetNotFound { .. }) if let Some(known) = meant(name) => {
            let name = if known == name { "" } else { &format!("did you mean {known}? ") };
            format!(
                "{name}fetch {known} with `catvae download {known}`, or name its folder with --data-dir"
            )
        }
        Err(Error::BuiltWithoutHub { .. }) => "build with `--features hub`".to_owned(),
        _ => return Ok(loaded?),
    };
    loaded.context(hint)
}

/// The datasets of several runs, each loaded once.
#[derive(Default)]
pub(crate) struct Datasets(Vec<(TrainConfig, Dataset)>);

impl Datasets {
    /// Loads the dataset of `config` and binds the two; where `takes_shape`, the model is for images of its size.
    pub(crate) fn bind(
        &mut self,
        config: &mut TrainConfig,
        takes_shape: bool,
        device: &str,
    ) -> Result<Dataset> {
        let known = self.0.iter().find(|(known, _)| {
            known.data == config.data
                && (takes_shape || known.model.image_shape == config.model.image_shape)
                && config.provenance.is_none()
        });
        if let Some((known, dataset)) = known {
            config.model.image_shape = known.model.image_shape;
            config.provenance.clone_from(&known.provenance);
            return Ok(dataset.clone());
        }
        let dataset = load(&config.data)?;
        if takes_shape {
            config.model.image_shape = [dataset.train.rows(), dataset.train.cols()];
        }
        let dataset = config.bind_data(dataset, device)?;
        self.0.push((config.clone(), dataset.clone()));
        Ok(dataset)
    }
}

/// The data sets that can be downloaded.
const DOWNLOADED: [&str; 3] = ["mnist", "fashion-mnist", "kmnist"];

/// Training images of each of them, and of the digits that the program draws; all are of 28x28 pixels, as a fresh
/// configuration has it.
pub(crate) const N_TRAIN: usize = 60_000;

/// Whether the number and size of the images are known from the dataset's name.
pub(crate) fn is_known_without_loading(settings: &DataSettings) -> bool {
    let mut known = DOWNLOADED.into_iter().chain(["digits"]);
    settings.data_dir.is_none() && known.any(|name| name == settings.dataset)
}

/// The data set that a name with at most two wrong letters means.
fn meant(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let near = DOWNLOADED.into_iter().map(|known| (distance(&name, known), known)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// Letters to insert, remove or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// A known name in capitals, where nothing has it as its own name, is that data set.
pub(crate) fn fold_case(settings: &mut DataSettings) {
    let known = DOWNLOADED.into_iter().chain(["digits"]);
    let found = known.into_iter().find(|known| settings.dataset.eq_ignore_ascii_case(known));
    if let Some(known) = found.filter(|_| !Path::new(&settings.dataset).exists()) {
        settings.dataset = known.to_owned();
    }
}

/// Images that the model has not seen, of the size it was trained on; `part` chooses where they are divided.
pub(crate) fn load_unseen(path: &Path, part: Part, [rows, cols]: [usize; 2]) -> Result<ImageSet> {
    let images = match (load_images(path)?, part) {
        (_, Part::Validation) => bail!(
            "{} has no validation images: those of the run are meant without --images",
            path.display()
        ),
        (Images::Whole(images), _) => images,
        (Images::Split { train, .. }, Part::Train) => train,
        (Images::Split { test, .. }, Part::Test) => test,
    };
    ensure!(
        (images.rows(), images.cols()) == (rows, cols),
        "{}: images of {}x{} pixels, but this model was trained on {rows}x{cols}; \
         resize them, or train a model on them (catvae train --dataset)",
        path.display(),
        images.rows(),
        images.cols()
    );
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_understood() {
        let cases = [("minst", "mnist"), ("MNIST", "mnist"), ("fashion_mnist", "fashion-mnist")];
        for (typed, known) in cases.into_iter().chain([("kmnst", "kmnist")]) {
            assert_eq!(meant(typed), Some(known));
        }
        assert_eq!([meant("cats"), meant("")], [None, None]);
    }
}
