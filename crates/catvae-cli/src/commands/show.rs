//! `catvae show`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use catvae_train::{EpochMetrics, TrainConfig};
use serde_json::json;

use crate::args::ShowArgs;
use crate::explorer::settings_of;
use crate::progress::{print_line, quoted};
use crate::run::locate;
use crate::runs::Listed;

pub(crate) fn show(args: &ShowArgs) -> Result<ExitCode> {
    let (path, _) = locate(&args.run, Default::default())?;
    let run = Listed::read(&path)?;
    let defaults: BTreeMap<_, _> = settings_of(&TrainConfig::default())?.into_iter().collect();
    let changed: BTreeMap<_, _> =
        run.settings.iter().filter(|(key, value)| defaults.get(*key) != Some(value)).collect();
    let bytes = size_of(&path);
    let (last, best) = (run.metrics.last(), run.best());
    if args.json {
        let object = json!({
            "run": path, "epochs": run.config.training.epochs, "changed": changed, "last": last, "best": best,
            "chosen_on": run.chosen_on().name(), "gap": last.and_then(EpochMetrics::gap), "bytes": bytes,
        });
        print_line(&object.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let done = last.map_or(0, |m| m.epoch);
    print_line(&format!(
        "{}: {}, epoch {done} of {}, {:.1} MB",
        path.display(),
        run.config.data.dataset,
        run.config.training.epochs,
        bytes as f64 / 1e6
    ));
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
