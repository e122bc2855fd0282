//! How many epochs fit into the time that a person has.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use catvae_train::write_atomically;
use serde_json::json;

/// The part of the time that is planned for; the rest is for what runs slower than the first ones.
const PLANNED: f64 = 0.9;

/// The time that a tuning may take, and the epochs that were found to fit into it. The plan is kept in a file, so that the
/// same command again makes the same runs.
pub(crate) struct Budget {
    most: Duration,
    started: Instant,
    file: PathBuf,
}

/// What is still to be run: in all `n_runs` runs of the planned number of epochs, less `epochs_done` that are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    pub(crate) n_runs: usize,
    pub(crate) epochs_done: usize,
    pub(crate) n_workers: usize,
}

impl Budget {
    /// Beginning now. `file` is where the plan is kept.
    pub(crate) fn new(most: Duration, file: PathBuf) -> Self {
        Self { most, started: Instant::now(), file }
    }

    /// The epochs of an earlier plan for the same time.
    pub(crate) fn planned(&self) -> Option<usize> {
        let plan: serde_json::Value = serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        let same = plan["max_seconds"].as_f64() == Some(self.most.as_secs_f64());
        same.then(|| plan["epochs"].as_u64()).flatten().map(|epochs| epochs as usize)
    }

    /// The most epochs, up to `most`, that fit into what is left where a run takes `seconds` for an epoch.
    ///
    /// # Errors
    /// Not even one fits: how much time one needs.
    pub(crate) fn epochs(&self, most: usize, seconds: f64, ahead: Ahead) -> Result<usize> {
        let spent = self.started.elapsed().as_secs_f64();
        let left = self.most.as_secs_f64() * PLANNED - spent;
        let epochs = fitting(most, left, seconds, ahead);
        let needed = (spent + seconds_of(1, seconds, ahead)) / PLANNED / 60.0;
        let runs = ahead.n_runs;
        epochs.with_context(|| {
            format!(
                "one epoch of each of {runs} runs needs {needed:.1} minutes here: give --max-time {:.0}m (what is trained is kept), fewer \
                 --temperatures or --seeds, or --train-images N",
                needed.ceil()
            )
        })
    }

    /// Keeps the plan.
    pub(crate) fn keep(&self, epochs: usize, seconds: f64) -> Result<()> {
        let plan = json!({
            "max_seconds": self.most.as_secs_f64(), "epochs": epochs, "seconds_per_epoch": seconds,
        });
        Ok(write_atomically(&self.file, format!("{plan}\n").as_bytes())?)
    }
}

/// Seconds until all of them have `epochs` epochs, `seconds` each: workers take runs in turn.
fn seconds_of(epochs: usize, seconds: f64, ahead: Ahead) -> f64 {
    let epochs_ahead = (ahead.n_runs * epochs).saturating_sub(ahead.epochs_done);
    seconds * epochs_ahead as f64 / ahead.n_workers.max(1) as f64
}

fn fitting(most: usize, left: f64, seconds: f64, ahead: Ahead) -> Option<usize> {
    (1..=most).rev().find(|&epochs| seconds_of(epochs, seconds, ahead) <= left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_epochs_as_fit_are_planned_and_the_plan_is_kept_for_its_time() {
        // Forty-one runs of 5 s an epoch on two workers, of which 21 have one epoch.
        let ahead = Ahead { n_runs: 41, epochs_done: 21, n_workers: 2 };
        assert_eq!(seconds_of(5, 5.0, ahead), 460.0);
        assert_eq!(fitting(10, 460.0, 5.0, ahead), Some(5));
        assert_eq!(fitting(10, 459.0, 5.0, ahead), Some(4));
        assert_eq!(fitting(3, 1e9, 5.0, ahead), Some(3));
        assert_eq!(fitting(10, 49.0, 5.0, ahead), None);

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.json");
        let budget = |seconds| Budget::new(Duration::from_secs(seconds), file.clone());
        assert_eq!(budget(600).planned(), None);
        budget(600).keep(5, 5.0).unwrap();
        assert_eq!(budget(600).planned(), Some(5));
        assert_eq!(budget(900).planned(), None);
        let error = budget(50).epochs(10, 5.0, ahead).unwrap_err().to_string();
        assert!(error.contains("--max-time 1m") && error.contains("41 runs"), "{error}");
        assert_eq!(budget(600).epochs(10, 5.0, ahead).unwrap(), 5);
    }
}
