//! Runs as far as their folders tell, for the commands that show several.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use catvae_train::{EpochMetrics, RunDir, TrainConfig};

use crate::args::Part;
use crate::explorer::settings_of;
use crate::progress::warn;
use crate::run::chosen_on;

/// What the configuration and the metrics of a run say.
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    pub(crate) config: TrainConfig,
    /// Settings by section and field, without those that are no choice of the run's.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) metrics: Vec<EpochMetrics>,
}

impl Listed {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let run = RunDir::new(path);
        let config: TrainConfig = run.read_config()?;
        let mut settings: BTreeMap<_, _> = settings_of(&config)?.into_iter().collect();
        // Where the data and the program came from is no choice of the run's; epochs have a column.
        let elsewhere = ["data.data_dir", "training.epochs"];
        settings
            .retain(|key, _| !key.starts_with("provenance.") && !elsewhere.contains(&key.as_str()));
        let metrics = run.metrics().read()?;
        Ok(Self { path: path.to_owned(), config, settings, metrics })
    }

    /// The epoch that `checkpoints/best` is of.
    pub(crate) fn best(&self) -> Option<&EpochMetrics> {
        let objective = |m: &EpochMetrics| m.chosen_by().unwrap_or(f64::INFINITY);
        let evaluated = self.metrics.iter().filter(|m| m.chosen_by().is_some());
        evaluated.min_by(|a, b| objective(a).total_cmp(&objective(b)))
    }

    /// The images that it is chosen on.
    pub(crate) fn chosen_on(&self) -> Part {
        chosen_on(&self.config)
    }

    /// What runs are sorted by: the test objective of the best epoch, or what that was chosen by; infinite where
    /// nothing was evaluated.
    pub(crate) fn objective(&self) -> f64 {
        let best = self.best();
        best.and_then(|m| m.test_neg_elbo.or(m.chosen_by())).unwrap_or(f64::INFINITY)
    }
}

/// The runs at and in `places`; one that cannot be read is passed over with a warning.
///
/// # Errors
/// A place without runs.
pub(crate) fn read_all(places: &[PathBuf]) -> Result<Vec<Listed>> {
    let mut paths = Vec::new();
    for place in places {
        let before = paths.len();
        find(place, 2, &mut paths).with_context(|| format!("cannot read {}", place.display()))?;
        if paths.len() == before {
            bail!("{} holds no run: train one with `catvae train`", place.display());
        }
    }
    let mut runs = Vec::new();
    for path in paths {
        match Listed::read(&path) {
            Ok(run) => runs.push(run),
            Err(error) => warn(&format!("warning: {}: {error:#}", path.display())),
        }
    }
    Ok(runs)
}

/// The run folders in a folder, in order of their names; `depth` more levels down.
fn find(place: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if RunDir::new(place).holds_run() {
        found.push(place.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let mut inside: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            inside.push(entry.path());
        }
    }
    inside.sort();
    inside.iter().try_for_each(|path| find(path, depth - 1, found))
}

/// The settings that are not the same in all runs.
pub(crate) fn differing(runs: &[Listed]) -> Vec<&str> {
    let mut keys: Vec<&str> = runs.iter().flat_map(|r| r.settings.keys()).map(|k| &**k).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|&key| runs.iter().any(|r| r.settings.get(key) != runs[0].settings.get(key)));
    keys
}

/// A number in a column of a table.
pub(crate) fn cell(width: usize, x: Option<f64>) -> String {
    match x {
        Some(x) => format!("{x:>width$.2}"),
        None => format!("{:>width$}", "-"),
    }
}

/// A field of comma-separated values.
pub(crate) fn csv_text(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A number in comma-separated values; nothing where there is none.
pub(crate) fn csv_number(x: Option<f64>) -> String {
    x.map_or(String::new(), |x| x.to_string())
}
