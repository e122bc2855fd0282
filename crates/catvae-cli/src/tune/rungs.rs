//! The runs of a tuning, by rungs: all candidates for a few epochs, and those that may still be the best for more. A run
//! that is promoted goes on from its checkpoint, and is bit for bit the one that went straight through.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use catvae_data::Dataset;
use catvae_train::{EpochMetrics, RunDir, TrainConfig};

use super::budget::{Ahead, Budget};
use super::candidates::Candidate;
use super::statistics::{mean, promoted};
use crate::progress::warn;
use crate::signals::Signals;
use crate::sweep::cell::epoch_of;
use crate::sweep::{Cell, Crew, End, run_cells};

/// Seeds of every rung but the last.
const EARLY_SEEDS: usize = 3;

/// What is run, and who runs it.
pub(crate) struct Bench<'a> {
    pub(crate) out: &'a Path,
    pub(crate) config: &'a TrainConfig,
    /// Bound to `config`.
    pub(crate) dataset: &'a Dataset,
    pub(crate) crew: &'a Crew,
    pub(crate) signals: &'a Signals,
}

/// The numbers of candidates after as many epochs each, with the same seeds.
pub(crate) struct Rung {
    pub(crate) epochs: usize,
    pub(crate) seeds: Vec<u64>,
    pub(crate) candidates: Vec<Candidate>,
    /// `candidates` by `seeds`: `None` is a run that diverged.
    metrics: Vec<Vec<Option<EpochMetrics>>>,
}

impl Rung {
    /// A number of every run, `candidates` by `seeds`; infinite where the run diverged.
    pub(crate) fn numbers(&self, pick: impl Fn(&EpochMetrics) -> Option<f64>) -> Vec<Vec<f64>> {
        let of = |m: &Option<EpochMetrics>| m.as_ref().and_then(&pick).unwrap_or(f64::INFINITY);
        self.metrics.iter().map(|seeds| seeds.iter().map(of).collect()).collect()
    }

    /// The exact objective on the validation images.
    pub(crate) fn scores(&self) -> Vec<Vec<f64>> {
        self.numbers(|m| m.validation_neg_elbo)
    }

    pub(crate) fn place_of(&self, candidate: Candidate) -> Option<usize> {
        self.candidates.iter().position(|&found| found == candidate)
    }
}

/// The epochs of the rungs of a run of `epochs`: a tenth, three tenths, all.
pub(crate) fn epochs_of(epochs: usize) -> Vec<usize> {
    let mut rungs = vec![epochs.div_ceil(10), (3 * epochs).div_ceil(10), epochs];
    rungs.dedup();
    rungs
}

impl Bench<'_> {
    /// Runs all rungs; `None` where a signal came. Runs that are in their folders are not run again.
    ///
    /// # Errors
    /// A run that failed or is another process's; candidates that have all diverged.
    pub(crate) fn climb(
        &self,
        mut candidates: Vec<Candidate>,
        n_seeds: usize,
        epochs: &[usize],
    ) -> Result<Option<Vec<Rung>>> {
        let first = self.config.training.seed;
        let mut rungs = Vec::new();
        for (i, &epochs_here) in epochs.iter().enumerate() {
            let is_last = i + 1 == epochs.len();
            let n = if is_last { n_seeds } else { n_seeds.min(EARLY_SEEDS) };
            let seeds: Vec<u64> = (first..).take(n).collect();
            warn(&format!(
                "rung {} of {}: {} candidates, {n} seeds, up to epoch {epochs_here}",
                i + 1,
                epochs.len(),
                candidates.len()
            ));
            let Some(rung) = self.run(&candidates, &seeds, epochs_here, "")? else {
                return Ok(None);
            };
            let scores = rung.scores();
            ensure!(
                scores.iter().any(|s| mean(s).is_finite()),
                "every candidate diverged: try a smaller --lr or higher --temperatures"
            );
            if !is_last {
                let stays = promoted(&scores);
                candidates =
                    candidates.into_iter().zip(stays).filter(|c| c.1).map(|c| c.0).collect();
            }
            rungs.push(rung);
        }
        Ok(Some(rungs))
    }

    /// The epochs of the rungs that fit into a budget: all candidates have one epoch first, seed by seed, which tells what
    /// an epoch takes. `None` where a signal came.
    ///
    /// # Errors
    /// As [`Self::climb`]; not even one epoch fits.
    pub(crate) fn plan(
        &self,
        candidates: &[Candidate],
        n_seeds: usize,
        n_confirmations: usize,
        budget: &Budget,
    ) -> Result<Option<Vec<usize>>> {
        let most = self.config.training.epochs;
        let rungs = |epochs: usize| {
            let mut rungs = epochs_of(epochs);
            rungs.insert(0, 1);
            rungs.dedup();
            rungs
        };
        if let Some(epochs) = budget.planned() {
            return Ok(Some(rungs(epochs)));
        }
        let first = self.config.training.seed;
        let seeds: Vec<u64> = (first..).take(n_seeds.min(EARLY_SEEDS)).collect();
        let n_workers = self.crew.n_workers.min(candidates.len());
        let ahead = |n_candidates: usize, n_seeds_done: usize| Ahead {
            n_runs: n_candidates * n_seeds + n_confirmations,
            epochs_done: n_candidates * n_seeds_done,
            n_workers,
        };
        let mut seconds: f64 = 0.0;
        for (i, &seed) in seeds.iter().enumerate() {
            warn(&format!("measuring: {} candidates for one epoch, seed {seed}", candidates.len()));
            let from = Instant::now();
            let Some(rung) = self.run(candidates, &[seed], 1, "")? else { return Ok(None) };
            // Runs that were there already took no time, and say what training took when they were made.
            let trained = from.elapsed().as_secs_f64() * n_workers as f64 / candidates.len() as f64;
            let of_metrics = rung.numbers(|m| Some(m.train_seconds)).concat();
            let known = of_metrics.into_iter().filter(|seconds| seconds.is_finite());
            seconds = known.fold(trained.max(seconds), f64::max);
            budget.epochs(1, seconds, ahead(candidates.len(), i + 1))?;
        }
        let Some(rung) = self.run(candidates, &seeds, 1, "")? else { return Ok(None) };
        let n_left = promoted(&rung.scores()).into_iter().filter(|&stays| stays).count();
        let epochs = budget.epochs(most, seconds, ahead(n_left, seeds.len()))?;
        budget.keep(epochs, seconds)?;
        if epochs < most {
            warn(&format!("{epochs} of {most} epochs fit into the time: {seconds:.1} s each"));
        }
        Ok(Some(rungs(epochs)))
    }

    /// Runs candidates with seeds up to an epoch; `None` where a signal came.
    pub(crate) fn run(
        &self,
        candidates: &[Candidate],
        seeds: &[u64],
        epochs: usize,
        prefix: &str,
    ) -> Result<Option<Rung>> {
        let cell = |candidate: &Candidate, &seed: &u64| {
            let mut config = candidate.apply(self.config);
            (config.training.seed, config.training.epochs) = (seed, epochs);
            let name = format!("{prefix}{},seed={seed}", candidate.name());
            let run = RunDir::new(self.out.join(&name));
            Cell { name, run, config, dataset: self.dataset.clone() }
        };
        // Seed by seed, so that a killed tuning has whole comparisons.
        let cells: Vec<Cell> =
            seeds.iter().flat_map(|seed| candidates.iter().map(move |c| cell(c, seed))).collect();
        let report = run_cells(&cells, self.crew, self.signals)?;
        if self.signals.exit_code().is_some() {
            return Ok(None);
        }
        for (cell, end) in cells.iter().zip(&report.ends) {
            ensure!(
                matches!(end, End::Finished | End::Diverged),
                "{} is not finished: another process trains it, or it failed; the same command goes on",
                cell.run.path().display()
            );
        }
        let found = |candidate: &Candidate| {
            seeds.iter().map(|seed| epoch_of(&cell(candidate, seed).run, epochs)).collect()
        };
        let metrics = candidates.iter().map(found).collect::<Result<_>>()?;
        let (seeds, candidates) = (seeds.to_vec(), candidates.to_vec());
        Ok(Some(Rung { epochs, seeds, candidates, metrics }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_a_tenth_three_tenths_and_all() {
        assert_eq!(epochs_of(10), [1, 3, 10]);
        assert_eq!(epochs_of(1), [1]);
        assert_eq!(epochs_of(4), [1, 2, 4]);
        assert_eq!(epochs_of(160), [16, 48, 160]);
    }
}
