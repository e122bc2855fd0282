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
        Err(Error::DatasetNotFound { .. })
            if ["mnist", "fashion-mnist"].contains(&name.as_str()) =>
        {
            format!(
                "fetch {name} with `cargo xtask download {name}`, or name its folder with --data-dir"
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
