//! `catvae tune`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use catvae_train::{TrainConfig, write_atomically};
use serde_json::{Value, json};

use crate::args::{DeviceName, TuneArgs};
use crate::commands::train;
use crate::data::Datasets;
use crate::plot;
use crate::progress::{print_line, quoted, warn};
use crate::signals::Signals;
use crate::sweep::Crew;
use crate::sweep::rank;
use crate::tune::budget::Budget;
use crate::tune::candidates::{Candidate, candidates};
use crate::tune::report::{Findings, interval_json, shown};
use crate::tune::rungs::{Bench, epochs_of};
use crate::tune::statistics::{ALPHA, interval};

/// One of so many training images is for validation: 5,000 of MNIST's 60,000.
const VALIDATION_SHARE: usize = 12;
/// Exact samples of each validation image, so that their noise is small beside that of seeds.
const DRAWS: usize = 4;
const CONFIRMATION_SEEDS: usize = 3;

pub(crate) fn tune(args: &TuneArgs, threads: Option<NonZeroUsize>) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    ensure!(!args.train.resumes(), "the same command goes on by itself: leave out --resume");
    let device = args.train.device.as_str();
    let mut datasets = Datasets::default();
    let (mut whole, _) =
        train::resolve(&args.train, train::starting_point(&args.train)?, &mut datasets)?;
    let default = Candidate::of(&whole)?;
    let all =
        candidates(default, whole.estimator, &args.temperatures, &args.backward_temperatures)?;
    let n_validation = whole.data.n_validation.take();
    whole.provenance = None;
    whole.check()?;
    let whole_dataset = datasets.bind(&mut whole, false, device)?;
    let whole = as_trial(whole);
    let mut tuned = TrainConfig { provenance: None, ..whole.clone() };
    let share = (whole_dataset.train.len() / VALIDATION_SHARE).max(1);
    tuned.data.n_validation = n_validation.or(Some(share));
    (tuned.training.test, tuned.training.unrelaxed) = (false, true);
    if tuned.training.eval_draws == 1 {
        tuned.training.eval_draws = DRAWS;
    }
    let dataset = datasets.bind(&mut tuned, false, device)?;
    for candidate in &all {
        candidate.apply(&tuned).check()?;
    }

    let out = args.train.out.clone().unwrap_or_else(|| PathBuf::from("runs/tune"));
    let n_threads = threads.map_or(1, usize::from);
    let cores = available_parallelism().map_or(1, usize::from);
    let n_workers = match (args.workers, args.train.device) {
        (Some(n), _) => n.get(),
        (None, DeviceName::Cpu) => {
            let variable = |name: &str| std::env::var(name).ok();
            (rank::n_workers(&variable, cores) / n_threads).max(1)
        }
        (None, _) => 1,
    };
    let crew =
        Crew { n_workers, n_threads, device: args.train.device.open()?, events: false, first: 0 };
    let bench =
        Bench { out: &out, config: &tuned, dataset: &dataset, crew: &crew, signals: &signals };
    let stopped = || {
        warn("stopped; every run is saved, and the same command goes on");
        Ok(signals.exit_code().map_or(ExitCode::FAILURE, ExitCode::from))
    };
    let n_seeds = args.seeds.get();
    let epochs = match args.max_time {
        None => epochs_of(tuned.training.epochs),
        Some(most) => {
            let budget = Budget::new(most, out.join("plan.json"));
            let planned = bench.plan(&all, n_seeds, 2 * CONFIRMATION_SEEDS, &budget)?;
            let Some(planned) = planned else { return stopped() };
            planned
        }
    };
    let Some(rungs) = bench.climb(all, n_seeds, &epochs)? else { return stopped() };
    let findings = Findings::new(rungs, default, tuned.estimator.samples_are_exact())
        .context("there is nothing to choose from")?;

    let bench = Bench { config: &whole, dataset: &whole_dataset, ..bench };
    warn("confirmation on the test images, with fresh seeds and all training images");
    let first = whole.training.seed.saturating_add(n_seeds as u64);
    let n_epochs = epochs.last().copied().unwrap_or(whole.training.epochs);
    let seeds: Vec<u64> = (first..).take(CONFIRMATION_SEEDS).collect();
    let mut pair = vec![findings.chosen()];
    pair.extend((findings.chosen() != default).then_some(default));
    let Some(confirmed) = bench.run(&pair, &seeds, n_epochs, "confirm,")? else {
        return stopped();
    };
    let (sentence, confirmation) = confirmation(&findings, &confirmed.numbers(|m| m.test_neg_elbo));

    findings.warnings().iter().for_each(|text| warn(&format!("warning: {text}")));
    let json = findings.json(confirmation);
    write(&out, &findings, &whole, &json)?;
    if args.json {
        print_line(&json.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    findings.table().iter().for_each(|line| print_line(line));
    print_line("");
    findings.sentences().iter().for_each(|line| print_line(line));
    print_line(&sentence);
    let best = out.join("best.toml");
    print_line(&format!("Next: catvae train --config {}", quoted(&best)));
    Ok(ExitCode::SUCCESS)
}

/// Settings of trials, which nobody goes back to: few checkpoints, numbers where they are needed.
fn as_trial(mut config: TrainConfig) -> TrainConfig {
    let training = &mut config.training;
    (training.keep_checkpoints, training.keep_best, training.checkpoint_every) = (1, false, 0);
    training.test = true;
    training.eval_every = 0;
    config
}

/// The test objective of the choice against the default's, for people and as JSON.
fn confirmation(findings: &Findings, scores: &[Vec<f64>]) -> (String, Value) {
    let of_chosen = interval(&scores[0], ALPHA);
    let head = format!(
        "Confirmed on the test images with {CONFIRMATION_SEEDS} fresh seeds: {} nats",
        shown(of_chosen)
    );
    let Some(of_default) = scores.get(1) else {
        let json = json!({ "chosen": interval_json(of_chosen), "difference": null });
        return (format!("{head}; it is the default."), json);
    };
    let differences: Vec<f64> = scores[0].iter().zip(of_default).map(|(a, b)| a - b).collect();
    let difference = interval(&differences, ALPHA);
    let verdict = match (difference.excludes_zero(), difference.mean < 0.0) {
        (false, _) => "the two are tied",
        (true, true) => "it is better",
        (true, false) => "it is worse: keep the default",
    };
    let sentence =
        format!("{head}, {} against {}: {verdict}.", shown(difference), findings.default.shown());
    let json = json!({
        "chosen": interval_json(of_chosen),
        "default": interval_json(interval(of_default, ALPHA)),
        "difference": interval_json(difference),
        "test_neg_elbo": scores,
    });
    (sentence, json)
}

fn write(out: &Path, findings: &Findings, whole: &TrainConfig, json: &Value) -> Result<()> {
    let defaults = catvae_train::TrainingSettings::default();
    let mut best = findings.chosen().apply(whole);
    best.provenance = None;
    // As a run that is kept, and not as a trial.
    best.training.keep_checkpoints = defaults.keep_checkpoints;
    (best.training.keep_best, best.training.eval_every) = (defaults.keep_best, defaults.eval_every);
    let sentences = findings.sentences();
    let head: String = sentences.iter().map(|line| format!("# {line}\n")).collect();
    let text = format!("# Written by catvae tune.\n{head}\n{}", best.to_toml()?);
    write_atomically(&out.join("best.toml"), text.as_bytes())?;
    let json = serde_json::to_string_pretty(json)?;
    write_atomically(&out.join("tune.json"), format!("{json}\n").as_bytes())?;
    plot::draw_tuning(findings, &out.join("tune.png"))
}
