//! `catvae show`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use catvae_train::{EpochMetrics, RunDir, TrainConfig};
use serde_json::{Value, json};

use crate::args::ShowArgs;
use crate::explorer::settings_of;
use crate::progress::{print_line, quoted};
use crate::run::locate;
use crate::runs::Listed;

pub(crate) fn show(args: &ShowArgs) -> Result<ExitCode> {
    let (path, _) = locate(&args.run, Default::default())?;
    let run = Listed::read(&path)?;
    if args.json {
        print_line(&object(&run)?.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let changed = changed(&run)?;
    let (last, best) = (run.metrics.last(), run.best());
    let done = last.map_or(0, |m| m.epoch);
    print_line(&format!(
        "{}: {}, epoch {done} of {}, {:.1} MB",
        path.display(),
        run.config.data.dataset,
        run.config.training.epochs,
        size_of(&path) as f64 / 1e6
    ));
    if let Some(note) = note(&run) {
        print_line(note);
    }
    print_line("\nSettings other than the defaults:");
    if changed.is_empty() {
        print_line("  none");
    }
    let width = changed.keys().map(|key| key.len()).max().unwrap_or(0);
    for (key, value) in &changed {
        print_line(&format!("  {key:width$}  {value}"));
    }
    print_line("\nNegative ELBO per image in nats:");
    if let Some(m) = last {
        print_line(&format!("  last, epoch {:<6} {}", m.epoch, objectives(m)));
    }
    if let Some(m) = best {
        let part = run.chosen_on().name();
        print_line(&format!(
            "  best, epoch {:<6} {}; chosen on the {part} images",
            m.epoch,
            objectives(m)
        ));
    }
    if let Some(gap) = last.and_then(EpochMetrics::gap) {
        print_line(&format!("  gap of the relaxation {gap:.2}"));
    }
    print_line("\nNext:");
    let name = quoted(&path);
    if done < run.config.training.epochs {
        print_line(&format!("  catvae train --resume --out {name}"));
    }
    print_line(&format!("  catvae evaluate {name} --importance-samples 100"));
    print_line(&format!("  catvae explore {name}"));
    Ok(ExitCode::SUCCESS)
}

/// All of it as JSON.
pub(crate) fn object(run: &Listed) -> Result<Value> {
    let last = run.metrics.last();
    let checkpoints = RunDir::new(&run.path).checkpoints();
    let best = run.config.training.keep_best.then(|| run.path.join("checkpoints/best"));
    Ok(json!({
        "run": run.path,
        "note": note(run),
        "epochs": run.config.training.epochs,
        "changed": changed(run)?,
        "last": last,
        "best": run.best(),
        "chosen_on": run.chosen_on().name(),
        "gap": last.and_then(EpochMetrics::gap),
        "checkpoint": checkpoints.list()?.first().map(|(_, path)| path),
        "best_checkpoint": best.filter(|path| path.is_dir()),
        "bytes": size_of(&run.path),
    }))
}

/// The settings other than the defaults.
fn changed(run: &Listed) -> Result<BTreeMap<&str, &str>> {
    let defaults: BTreeMap<_, _> = settings_of(&TrainConfig::default())?.into_iter().collect();
    let changed = run.settings.iter().filter(|(key, value)| defaults.get(*key) != Some(value));
    Ok(changed.map(|(key, value)| (key.as_str(), value.as_str())).collect())
}

fn note(run: &Listed) -> Option<&str> {
    run.config.provenance.as_ref()?.note.as_deref()
}

fn objectives(m: &EpochMetrics) -> String {
    let parts = [
        ("train relaxed", Some(m.train_neg_elbo)),
        ("unrelaxed", m.train_neg_elbo_unrelaxed),
        ("validation", m.validation_neg_elbo),
        ("test", m.test_neg_elbo),
    ];
    let shown = parts.iter().filter_map(|(name, x)| Some(format!("{name} {:.2}", (*x)?)));
    shown.collect::<Vec<_>>().join(", ")
}

/// Bytes of the files in a folder; what cannot be read counts nothing.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size_of(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |found| found.len()),
            _ => 0,
        })
        .sum()
}
