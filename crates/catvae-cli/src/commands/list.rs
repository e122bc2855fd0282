//! `catvae list`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use catvae_train::{EpochMetrics, RunDir, TrainConfig};
use serde_json::json;
use toml::{Table, Value};

use crate::args::ListArgs;
use crate::progress::{print_line, warn};

/// A run as far as its folder tells.
struct Listed {
    path: PathBuf,
    /// Settings by section and field.
    settings: BTreeMap<String, String>,
    epochs: usize,
    metrics: Vec<EpochMetrics>,
}

impl Listed {
    fn read(path: &Path) -> Result<Self> {
        let run = RunDir::new(path);
        let config: TrainConfig = run.read_config()?;
        let mut settings = BTreeMap::new();
        flatten("", &Table::try_from(&config)?, &mut settings);
        // Where the data and the program came from is no choice of the run's; epochs have a column.
        let elsewhere = ["data.data_dir", "training.epochs"];
        settings
            .retain(|key, _| !key.starts_with("provenance") && !elsewhere.contains(&key.as_str()));
        let metrics = run.metrics().read()?;
        Ok(Self { path: path.to_owned(), settings, epochs: config.training.epochs, metrics })
    }

    /// The best test objective, and its epoch.
    fn best(&self) -> Option<(usize, f64)> {
        let tested = self.metrics.iter().filter_map(|m| Some((m.epoch, m.test_neg_elbo?)));
        tested.min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

pub(crate) fn list(args: &ListArgs) -> Result<ExitCode> {
    let mut paths = Vec::new();
    for place in &args.places {
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
    // The best first; a run that was never tested comes last.
    let objective = |run: &Listed| run.best().map_or(f64::INFINITY, |best| best.1);
    runs.sort_by(|a, b| objective(a).total_cmp(&objective(b)));
    let differing = differing(&runs);
    match (args.json, args.csv) {
        (true, _) => runs.iter().for_each(|run| print_line(&object(run).to_string())),
        (_, true) => print_csv(&runs, &differing),
        _ => print_table(&runs, &differing),
    }
    Ok(ExitCode::SUCCESS)
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

/// Fields of tables in tables as `section.field`.
fn flatten(prefix: &str, table: &Table, into: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(table) => flatten(&format!("{key}."), table, into),
            Value::String(text) => drop(into.insert(key, text.clone())),
            value => drop(into.insert(key, value.to_string())),
        }
    }
}

/// The settings that are not the same in all runs.
fn differing(runs: &[Listed]) -> Vec<&str> {
    let mut keys: Vec<&str> = runs.iter().flat_map(|r| r.settings.keys()).map(|k| &**k).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|&key| runs.iter().any(|r| r.settings.get(key) != runs[0].settings.get(key)));
    keys
}

fn print_table(runs: &[Listed], differing: &[&str]) {
    let width = runs.iter().map(|run| run.path.display().to_string().len()).max().unwrap_or(0);
    print_line(&format!(
        "{:width$}   epochs   train relaxed   unrelaxed        test   best test   settings that differ",
        "run"
    ));
    for run in runs {
        let last = run.metrics.last();
        let number = |width: usize, x: Option<f64>| match x {
            Some(x) => format!("{x:>width$.2}"),
            None => format!("{:>width$}", "-"),
        };
        let settings: Vec<String> = differing
            .iter()
            .filter_map(|&key| Some(format!("{key}={}", run.settings.get(key)?)))
            .collect();
        print_line(&format!(
            "{:width$}   {:>6}   {}   {}   {}   {}   {}",
            run.path.display().to_string(),
            format!("{}/{}", last.map_or(0, |m| m.epoch), run.epochs),
            number(13, last.map(|m| m.train_neg_elbo)),
            number(9, last.and_then(|m| m.train_neg_elbo_unrelaxed)),
            number(9, last.and_then(|m| m.test_neg_elbo)),
            number(9, run.best().map(|best| best.1)),
            settings.join(" ")
        ));
    }
    print_line(
        "\nMeans over images in nats; the best test objective was chosen on the test images.",
    );
}

/// A line for each epoch: what programs that draw curves import.
fn print_csv(runs: &[Listed], differing: &[&str]) {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let settings: String = differing.iter().map(|key| format!(",{}", quoted(key))).collect();
    print_line(&format!(
        "run,epoch,step,temperature,train_neg_elbo,train_neg_elbo_unrelaxed,test_neg_elbo{settings}"
    ));
    for run in runs {
        let values: String = differing
            .iter()
            .map(|&key| format!(",{}", quoted(run.settings.get(key).map_or("", |v| v))))
            .collect();
        let path = quoted(&run.path.display().to_string());
        for m in &run.metrics {
            let or_empty = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
            print_line(&format!(
                "{path},{},{},{},{},{},{}{values}",
                m.epoch,
                m.step,
                m.temperature,
                m.train_neg_elbo,
                or_empty(m.train_neg_elbo_unrelaxed),
                or_empty(m.test_neg_elbo)
            ));
        }
    }
}

fn object(run: &Listed) -> serde_json::Value {
    let best = run
        .best()
        .map(|(epoch, test_neg_elbo)| json!({ "epoch": epoch, "test_neg_elbo": test_neg_elbo }));
    json!({
        "run": run.path, "epochs": run.epochs, "settings": run.settings, "last": run.metrics.last(), "best": best,
    })
}
