//! Opening the model of a run folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use catvae_data::ImageSet;
use catvae_model::CategoricalVae;
use catvae_train::{RunDir, TrainConfig};

use crate::args::{CheckpointName, Part, RunArgs};
use crate::data;
use crate::progress::warn;

/// A trained model with the configuration of its run.
pub(crate) struct OpenRun {
    /// The run folder.
    pub(crate) path: PathBuf,
    pub(crate) config: TrainConfig,
    pub(crate) model: CategoricalVae,
    /// Whether it is the best one, and not the newest.
    pub(crate) is_best: bool,
    /// The folder of its checkpoint.
    pub(crate) checkpoint: PathBuf,
    /// Steps that the model was trained for.
    pub(crate) step: u64,
}

impl OpenRun {
    /// Loads the checkpoint asked for; the newest one is the newest that is whole.
    pub(crate) fn open(path: &Path, which: CheckpointName, device: &Device) -> Result<Self> {
        let (path, which) = locate(path, which)?;
        let run = RunDir::new(&path);
        let config = run.read_config()?;
        let checkpoints = run.checkpoints();
        let checkpoint = match which {
            CheckpointName::Newest => {
                checkpoints
                    .load_newest_model(&config.model, device, |e| warn(&format!("warning: {e}")))?
            }
            CheckpointName::Best => checkpoints.load_best(&config.model, device)?,
        };
        let step = checkpoint.position.step;
        let is_best = which == CheckpointName::Best;
        let (model, checkpoint) = (checkpoint.model, checkpoint.path);
        Ok(Self { path, config, model, is_best, checkpoint, step })
    }

    /// Where a result goes: where a flag says, or into the run folder.
    pub(crate) fn out(&self, given: Option<&Path>, name: &str) -> PathBuf {
        given.map_or_else(|| self.path.join(name), Path::to_owned)
    }

    /// What the run is called in titles.
    pub(crate) fn name(&self) -> String {
        folder_name(&self.path)
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
            Part::Validation => dataset.validation.context(
                "the run has no validation images: it was trained without --validation-images",
            )?,
            Part::Test => dataset.test,
        })
    }
}

/// The last name of a folder's path.
pub(crate) fn folder_name(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    absolute.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

/// The images that a run's best checkpoint is chosen on.
pub(crate) fn chosen_on(config: &TrainConfig) -> Part {
    match config.data.n_validation {
        Some(_) => Part::Validation,
        None => Part::Test,
    }
}

/// The run folder that a path lies in, and its best checkpoint where the path is that.
pub(crate) fn locate(path: &Path, which: CheckpointName) -> Result<(PathBuf, CheckpointName)> {
    let is_run = |folder: &&Path| folder.join("config.toml").is_file();
    // As deep as a file of a checkpoint lies.
    let Some(run) = path.ancestors().take(4).find(is_run) else {
        return Ok((path.to_owned(), which));
    };
    let mut inside = path.strip_prefix(run).unwrap_or(path).iter();
    let which = match (inside.next(), inside.next()) {
        (Some(folder), Some(name)) if folder == "checkpoints" && name == "best" => {
            CheckpointName::Best
        }
        (Some(folder), Some(_)) if folder == "checkpoints" => bail!(
            "{} is one of the checkpoints of {}: name the run, and --checkpoint newest or best",
            path.display(),
            run.display()
        ),
        _ => which,
    };
    Ok((run.to_owned(), which))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_run_leads_to_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        std::fs::create_dir_all(run.join("checkpoints/best")).unwrap();
        std::fs::write(run.join("config.toml"), "").unwrap();
        for (inside, which) in [
            ("", CheckpointName::Newest),
            ("config.toml", CheckpointName::Newest),
            ("checkpoints", CheckpointName::Newest),
            ("checkpoints/best", CheckpointName::Best),
            ("checkpoints/best/model.safetensors", CheckpointName::Best),
        ] {
            let found = locate(&run.join(inside), CheckpointName::Newest).unwrap();
            assert_eq!(found, (run.clone(), which), "{inside}");
        }
        let other = locate(&run.join("checkpoints/step-000000001"), CheckpointName::Newest);
        assert!(other.unwrap_err().to_string().contains("--checkpoint newest or best"));
        // What is no run is named as it was given.
        assert_eq!(locate(dir.path(), CheckpointName::Newest).unwrap().0, dir.path());
    }
}
