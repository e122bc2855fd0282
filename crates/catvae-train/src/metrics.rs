//! One object per epoch, and the file that they are kept in.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{open_regular, sync_dir, with_suffix, write_atomically};
use crate::error::io;
use crate::{Error, Result};

/// What is known of an epoch. All objectives are means over images, in nats; `train_*` are running
/// means over the epoch, `validation_*` and `test_*` are unrelaxed. What was not computed is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Counted from 1.
    pub epoch: usize,
    /// Steps since the start of the run.
    pub step: u64,
    /// τ of the epoch's last step.
    pub temperature: f64,
    /// Step size of the optimiser.
    pub learning_rate: f64,
    /// Relaxed objective: what was trained on.
    pub train_neg_elbo: f64,
    /// Its cross-entropy.
    pub train_bce: f64,
    /// Its KL.
    pub train_kl: f64,
    /// Unrelaxed objective on the same batches.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub train_neg_elbo_unrelaxed: Option<f64>,
    /// Unrelaxed objective on the validation images.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validation_neg_elbo: Option<f64>,
    /// Its cross-entropy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validation_bce: Option<f64>,
    /// Its KL.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validation_kl: Option<f64>,
    /// Unrelaxed objective on the test images.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test_neg_elbo: Option<f64>,
    /// Its cross-entropy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test_bce: Option<f64>,
    /// Its KL.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test_kl: Option<f64>,
    /// All of training: batching, noise, forward, backward, optimiser, loss read-back; neither
    /// evaluation nor the unrelaxed pass.
    pub train_seconds: f64,
    /// `train_seconds` over steps, in ms.
    pub step_ms: f64,
    /// Training images over `train_seconds`.
    pub images_per_second: f64,
    /// Where this epoch was the best so far and its model became `checkpoints/best`: `validation` or `test`, the images
    /// that say so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub best_on: Option<String>,
}

impl EpochMetrics {
    /// What the best checkpoint is chosen by: the objective on the validation images, and without them on the test
    /// images.
    pub fn chosen_by(&self) -> Option<f64> {
        self.validation_neg_elbo.or(self.test_neg_elbo)
    }

    /// The images of [`Self::chosen_by`].
    fn chosen_on(&self) -> &'static str {
        if self.validation_neg_elbo.is_some() { "validation" } else { "test" }
    }

    /// How much better the relaxed objective looks than the unrelaxed one, on the same batches.
    pub fn gap(&self) -> Option<f64> {
        Some(self.train_neg_elbo_unrelaxed? - self.train_neg_elbo)
    }
}

/// `metrics.jsonl`: valid JSON lines at every moment, one per epoch, in order.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) path: PathBuf,
}

impl Metrics {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Appends a line and flushes it to the disk. A line that cannot be written whole is taken
    /// back.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&self, metrics: &EpochMetrics) -> Result<()> {
        let path = &self.path;
        let line = line_of(path, metrics)?;
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(io("cannot open", path))?;
        let length = file.seek(SeekFrom::End(0)).map_err(io("cannot read", path))?;
        let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // The first error is the one to report; if the file cannot be cut either, the next
            // reader drops the torn line.
            let _ = file.set_len(length);
            return Err(io("cannot write", path)(error));
        }
        match path.parent() {
            Some(parent) if is_new => sync_dir(parent),
            _ => Ok(()),
        }
    }

    /// All epochs in order. A torn last line, left by a crash, is passed over.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::MetricsLine`] for any other line that is no such object.
    pub fn read(&self) -> Result<Vec<EpochMetrics>> {
        self.lines()?.into_iter().map(|(_, line)| line).collect()
    }

    /// Every whole line, as it stands and as it reads.
    fn lines(&self) -> Result<Vec<(Vec<u8>, Result<EpochMetrics>)>> {
        let path = &self.path;
        let file = match open_regular(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io("cannot open", path)(error)),
        };
        let mut lines = Vec::new();
        for (i, bytes) in WholeLines(BufReader::new(file)).enumerate() {
            let bytes = bytes.map_err(io("cannot read", path))?;
            let line = serde_json::from_slice(&bytes).map_err(|error| Error::MetricsLine {
                path: path.clone(),
                line: i + 1,
                message: error.to_string(),
            });
            lines.push((bytes, line));
        }
        Ok(lines)
    }

    /// Keeps a damaged file as `metrics.jsonl.damaged`, and goes on with the lines that can be read. Returns
    /// where the damaged one lies; nothing where there was no damage.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_damage_aside(&self) -> Result<Option<PathBuf>> {
        let lines = self.lines()?;
        if lines.iter().all(|(_, line)| line.is_ok()) {
            return Ok(None);
        }
        let aside = with_suffix(&self.path, ".damaged");
        std::fs::copy(&self.path, &aside).map_err(io("cannot write", &aside))?;
        self.keep(lines.into_iter().filter(|(_, line)| line.is_ok()))?;
        Ok(Some(aside))
    }

    /// Replaces the file by some of its lines, as they stand: a newer version may have written more than is read.
    fn keep(&self, lines: impl Iterator<Item = (Vec<u8>, Result<EpochMetrics>)>) -> Result<()> {
        let kept: Vec<_> = lines.map(|(bytes, _)| bytes).collect();
        write_atomically(&self.path, &kept.concat())
    }

    /// Where no epoch before this one is as good, the images that say so.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn best_on(&self, metrics: &EpochMetrics) -> Result<Option<String>> {
        let Some(here) = metrics.chosen_by() else { return Ok(None) };
        let epochs = self.read()?;
        let mut before = epochs.iter().filter(|m| m.epoch < metrics.epoch);
        let is_best = before.all(|m| m.chosen_by().is_none_or(|earlier| here < earlier));
        Ok(is_best.then(|| metrics.chosen_on().to_owned()))
    }

    /// Keeps the epochs that were complete at `step`: a run resumed there writes the later ones
    /// again.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Io`].
    pub fn truncate_after(&self, step: u64) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        self.read()?;
        let up_to_here = |line: &Result<EpochMetrics>| line.as_ref().is_ok_and(|m| m.step <= step);
        self.keep(self.lines()?.into_iter().filter(|(_, line)| up_to_here(line)))
    }
}

/// No line that a run writes is as long. What stands in the place of one need not fit into memory.
const LONGEST_LINE: u64 = 1 << 16;

/// Lines with their ends. A last one without its end was torn by a crash, and is none.
struct WholeLines(BufReader<File>);

impl Iterator for WholeLines {
    type Item = std::io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match self.0.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => Some(Ok(line)),
            // Damage, and what follows the part is read as the next line.
            Ok(n) if n as u64 == LONGEST_LINE => Some(Ok(line)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

fn line_of(path: &Path, metrics: &EpochMetrics) -> Result<String> {
    let mut line = serde_json::to_string(metrics)
        .map_err(|error| io("cannot write", path)(std::io::Error::other(error)))?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize) -> EpochMetrics {
        EpochMetrics {
            epoch,
            step: 600 * epoch as u64,
            temperature: 1.0,
            learning_rate: 1e-3,
            train_neg_elbo: 0.1 + epoch as f64,
            train_bce: 1.0 / 3.0,
            train_kl: 0.2,
            train_neg_elbo_unrelaxed: None,
            validation_neg_elbo: None,
            validation_bce: None,
            validation_kl: None,
            test_neg_elbo: Some(2.0),
            test_bce: Some(1.5),
            test_kl: Some(0.5),
            train_seconds: 1.0,
            step_ms: 1.5,
            images_per_second: 100.0,
            best_on: None,
        }
    }

    #[test]
    fn lines_come_back_bit_for_bit_and_absent_stays_absent() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(dir.path().join("metrics.jsonl"));
        assert_eq!(metrics.read().unwrap(), []);
        metrics.append(&epoch(1)).unwrap();
        metrics.append(&epoch(2)).unwrap();
        assert_eq!(metrics.read().unwrap(), [epoch(1), epoch(2)]);
        let text = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
        assert!(!text.contains("unrelaxed") && !text.contains("null"), "{text}");
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_truncation_removes_later_epochs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let metrics = Metrics::new(&path);
        for i in 1..=3 {
            metrics.append(&epoch(i)).unwrap();
        }
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 20);
        std::fs::write(&path, &text).unwrap();
        assert_eq!(metrics.read().unwrap(), [epoch(1), epoch(2)]);
        metrics.truncate_after(600).unwrap();
        assert_eq!(metrics.read().unwrap(), [epoch(1)]);
        metrics.append(&epoch(2)).unwrap();
        assert_eq!(metrics.read().unwrap(), [epoch(1), epoch(2)]);
    }

    #[test]
    fn what_a_newer_version_wrote_stays_in_the_lines_that_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let metrics = Metrics::new(&path);
        for i in 1..=2 {
            metrics.append(&epoch(i)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap().replace("{", "{\"perplexity\":2.5,");
        std::fs::write(&path, &text).unwrap();
        metrics.truncate_after(600).unwrap();
        let first = text.lines().next().unwrap().to_owned() + "\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    }

    #[test]
    fn a_line_without_end_is_damage_and_read_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let metrics = Metrics::new(&path);
        metrics.append(&epoch(1)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend([b' '; 5 << 16]);
        bytes.push(b'\n');
        std::fs::write(&path, &bytes).unwrap();
        assert!(metrics.read().is_err());
        let aside = metrics.set_damage_aside().unwrap().unwrap();
        assert_eq!(std::fs::read(aside).unwrap(), bytes);
        assert_eq!(metrics.read().unwrap(), [epoch(1)]);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{}\nnot json\n").unwrap();
        let error = Metrics::new(&path).read().unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl line 1: missing field `epoch`"), "{error}");
    }
}
