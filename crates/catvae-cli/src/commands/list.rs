//! `catvae list`.

use std::process::ExitCode;

use anyhow::Result;
use catvae_train::EpochMetrics;
use serde_json::json;

use crate::args::{ListArgs, Part};
use crate::progress::print_line;
use crate::runs::{Listed, cell, csv_number, csv_text, differing, read_all};

pub(crate) fn list(args: &ListArgs) -> Result<ExitCode> {
    let mut runs = read_all(&args.places)?;
    // The best first; a run that was never evaluated comes last.
    runs.sort_by(|a, b| a.objective().total_cmp(&b.objective()));
    let differing = differing(&runs);
    match (args.json, args.csv) {
        (true, _) => runs.iter().for_each(|run| print_line(&object(run).to_string())),
        (_, true) => print_csv(&runs, &differing),
        _ => print_table(&runs, &differing),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_table(runs: &[Listed], differing: &[&str]) {
    type Column = (&'static str, usize, fn(&Listed) -> Option<f64>);
    let columns: [Column; 5] = [
        ("train relaxed", 13, |run| run.metrics.last().map(|m| m.train_neg_elbo)),
        ("unrelaxed", 9, |run| run.metrics.last()?.train_neg_elbo_unrelaxed),
        ("test", 9, |run| run.metrics.last()?.test_neg_elbo),
        ("best validation", 15, |run| run.best()?.validation_neg_elbo),
        ("best test", 9, |run| run.best()?.test_neg_elbo),
    ];
    let validates = runs.iter().any(|run| run.chosen_on() == Part::Validation);
    let columns = columns.iter().filter(|column| validates || column.0 != "best validation");
    let columns: Vec<_> = columns.collect();
    let width = runs.iter().map(|run| run.path.display().to_string().len()).max().unwrap_or(0);
    let head: String =
        columns.iter().map(|(name, width, _)| format!("   {name:>width$}")).collect();
    print_line(&format!("{:width$}   epochs{head}   settings that differ", "run"));
    for run in runs {
        let cells: String = columns
            .iter()
            .map(|(_, width, pick)| format!("   {}", cell(*width, pick(run))))
            .collect();
        let settings: Vec<String> = differing
            .iter()
            .filter_map(|&key| Some(format!("{key}={}", run.settings.get(key)?)))
            .collect();
        let done = run.metrics.last().map_or(0, |m| m.epoch);
        print_line(&format!(
            "{:width$}   {:>6}{cells}   {}",
            run.path.display().to_string(),
            format!("{done}/{}", run.config.training.epochs),
            settings.join(" ")
        ));
    }
    let on_test = runs.iter().any(|run| run.chosen_on() == Part::Test);
    print_line(match (validates, on_test) {
        (false, _) => "\nMeans over images in nats; the best epoch was chosen on the test images.",
        (true, false) => {
            "\nMeans over images in nats; the best epoch was chosen on the validation images."
        }
        (true, true) => {
            "\nMeans over images in nats; the best epoch was chosen on the validation images, and where there are none \
             on the test images."
        }
    });
}

/// A line for each epoch: what programs that draw curves import.
fn print_csv(runs: &[Listed], differing: &[&str]) {
    let settings: String = differing.iter().map(|key| format!(",{}", csv_text(key))).collect();
    print_line(&format!(
        "run,epoch,step,temperature,train_neg_elbo,train_neg_elbo_unrelaxed,validation_neg_elbo,test_neg_elbo{settings}"
    ));
    for run in runs {
        let values: String = differing
            .iter()
            .map(|&key| format!(",{}", csv_text(run.settings.get(key).map_or("", |v| v))))
            .collect();
        let path = csv_text(&run.path.display().to_string());
        for m in &run.metrics {
            print_line(&format!(
                "{path},{},{},{},{},{},{},{}{values}",
                m.epoch,
                m.step,
                m.temperature,
                m.train_neg_elbo,
                csv_number(m.train_neg_elbo_unrelaxed),
                csv_number(m.validation_neg_elbo),
                csv_number(m.test_neg_elbo)
            ));
        }
    }
}

fn object(run: &Listed) -> serde_json::Value {
    let best = run.best().map(|m: &EpochMetrics| {
        json!({
            "epoch": m.epoch,
            "chosen_on": run.chosen_on().name(),
            "validation_neg_elbo": m.validation_neg_elbo,
            "test_neg_elbo": m.test_neg_elbo,
        })
    });
    json!({
        "run": run.path,
        "epochs": run.config.training.epochs,
        "settings": run.settings,
        "last": run.metrics.last(),
        "best": best,
    })
}
