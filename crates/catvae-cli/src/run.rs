//! Opening the model of a run folder.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use catvae_data::ImageSet;
use catvae_model::CategoricalVae;
use catvae_train::{RunDir, TrainConfig};

use crate::args::{CheckpointName, Part, RunArgs};
use crate::data;
use crate::progress::warn;

/// A trained model with the configuration of its run.
pub(crate) struct OpenRun {
    pub(crate) config: TrainConfig,
    pub(crate) model: CategoricalVae,
    /// Steps that the model was trained for.
    pub(crate) step: u64,
}

impl OpenRun {
    /// Loads the checkpoint asked for; the newest one is the newest that is whole.
    pub(crate) fn open(path: &Path, which: CheckpointName, device: &Device) -> Result<Self> {
        let run = RunDir::new(path);
        let config = run.read_config()?;
        let checkpoints = run.checkpoints();
        let checkpoint = match which {
            CheckpointName::Newest => {
                checkpoints
                    .load_newest_model(&config.model, device, |e| warn(&format!("warning: {e}")))?
            }
            CheckpointName::Best => checkpoints.load_best(&config.model, device)?,
        };
        Ok(Self { config, model: checkpoint.model, step: checkpoint.position.step })
    }

    /// Rows and columns of the run's images.
    pub(crate) fn image_shape(&self) -> Result<[usize; 2]> {
        let provenance = self.config.provenance.as_ref();
        let shape = provenance.context("the run's config.toml has no [provenance]")?.image_shape;
        Ok(shape)
    }

    /// Loads the images that a flag names, or those of the run, and checks that they are the same.
    pub(crate) fn images(&mut self, args: &RunArgs, part: Part) -> Result<ImageSet> {
        if let Some(path) = &args.images {
            return data::load_unseen(path, part, self.image_shape()?);
        }
        data::set_folder(&mut self.config.data, args.data_dir.as_deref())?;
        let dataset = data::load(&self.config.data)?;
        let dataset = self.config.bind_data(dataset, args.device.as_str())?;
        Ok(match part {
            Part::Train => dataset.train,
            Part::Test => dataset.test,
        })
    }
}
