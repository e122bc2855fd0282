//! A cell: a run folder, what is to be trained into it, and how far that has come.

use anyhow::Result;
use catvae_data::Dataset;
use catvae_train::{EpochMetrics, RunDir, TrainConfig, write_atomically};

/// A run to be trained for `config.training.epochs` epochs: begun where the folder holds none, gone on with where it has
/// fewer, as a finished run does that is asked for more.
pub(crate) struct Cell {
    /// What it is called in messages.
    pub(crate) name: String,
    pub(crate) run: RunDir,
    pub(crate) config: TrainConfig,
    /// The images, bound to `config`.
    pub(crate) dataset: Dataset,
}

/// How a cell stands when the workers are through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All its epochs are done.
    Finished,
    /// Its objective or gradient was not finite: it comes no further, however often it is tried.
    Diverged,
    /// An error, which was told.
    Failed,
    /// A signal came; its checkpoint goes on exactly there.
    Stopped,
    /// Another process trains it.
    Elsewhere,
}

impl Cell {
    /// [`End::Finished`] or [`End::Diverged`], as far as the folder tells; nothing where there is something to train.
    pub(crate) fn end(&self) -> Result<Option<End>> {
        end_of(&self.run, self.config.training.epochs)
    }

    /// Makes sure that the folder holds no run with other settings.
    pub(crate) fn check_folder(&self) -> Result<()> {
        if self.run.holds_run() {
            self.config.check_resumes(&self.run.read_config()?, self.run.path())?;
        }
        Ok(())
    }

    /// Keeps in the folder that the run diverged, and why.
    pub(crate) fn mark_diverged(&self, why: &str) -> Result<()> {
        Ok(write_atomically(&self.run.path().join(DIVERGED), format!("{why}\n").as_bytes())?)
    }
}

/// Says that a run diverged; what it holds is the error.
const DIVERGED: &str = "diverged.txt";

/// How a run stands that is to have `epochs` epochs.
pub(crate) fn end_of(run: &RunDir, epochs: usize) -> Result<Option<End>> {
    if run.path().join(DIVERGED).is_file() {
        return Ok(Some(End::Diverged));
    }
    let Some(last) = epoch_of(run, epochs)? else { return Ok(None) };
    // An epoch's line comes before its checkpoint, and a process may have ended between the two.
    let newest = run.checkpoints().list()?.first().map(|(step, _)| *step);
    Ok((newest >= Some(last.step)).then_some(End::Finished))
}

/// The numbers of an epoch, counted from 1, where it is done.
pub(crate) fn epoch_of(run: &RunDir, epoch: usize) -> Result<Option<EpochMetrics>> {
    // Damage is told and mended by the worker that goes on with the run.
    let metrics = run.metrics().read().unwrap_or_default();
    Ok(metrics.into_iter().find(|metrics| metrics.epoch == epoch))
}
