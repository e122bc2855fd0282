//! `catvae compare`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use catvae_train::EpochMetrics;
use serde_json::json;

use crate::args::CompareArgs;
use crate::plot::{self, Band};
use crate::progress::print_line;
use crate::runs::{Listed, csv_number, csv_text, differing, read_all};
use crate::tune::statistics::mean;

const SEED: &str = "training.seed";

/// Runs that differ by their seeds only.
struct Group<'a> {
    label: String,
    runs: Vec<&'a Listed>,
}

type Column = (&'static str, fn(&Listed) -> Option<f64>);
const COLUMNS: [Column; 5] = [
    ("train", |run| run.metrics.last().map(|m| m.train_neg_elbo)),
    ("train_unrelaxed", |run| run.metrics.last()?.train_neg_elbo_unrelaxed),
    ("gap", |run| run.metrics.last()?.gap()),
    ("best_validation", |run| run.best()?.validation_neg_elbo),
    ("best_test", |run| run.best()?.test_neg_elbo),
];

pub(crate) fn compare(args: &CompareArgs) -> Result<ExitCode> {
    let mut runs = read_all(&args.places)?;
    runs.sort_by(|a, b| a.objective().total_cmp(&b.objective()));
    let mut keys = differing(&runs);
    keys.retain(|&key| key != SEED);
    let mut groups: Vec<Group> = Vec::new();
    for run in &runs {
        let label: Vec<_> = keys
            .iter()
            .filter_map(|&key| Some(format!("{key}={}", run.settings.get(key)?)))
            .collect();
        let label = if label.is_empty() { "all".to_owned() } else { label.join(" ") };
        match groups.iter_mut().find(|group| group.label == label) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { label, runs: vec![run] }),
        }
    }
    let best = |group: &Group| mean(&group.runs.iter().map(|r| r.objective()).collect::<Vec<_>>());
    groups.sort_by(|a, b| best(a).total_cmp(&best(b)));
    match (args.json, args.csv) {
        (true, _) => groups.iter().for_each(|group| print_line(&object(group).to_string())),
        (_, true) => print_csv(&groups),
        _ => print_table(&groups),
    }
    if let Some(path) = &args.out {
        let bands: Vec<Band> = groups.iter().map(band).collect();
        plot::draw_comparison(&bands, path)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Group<'_> {
    fn numbers(&self, of: fn(&Listed) -> Option<f64>) -> Vec<f64> {
        self.runs.iter().filter_map(|run| of(run)).collect()
    }
}

/// The standard deviation of a sample, with n − 1; none of fewer than two.
fn sd(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers);
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    (numbers.len() > 1).then(|| (squares / (numbers.len() - 1) as f64).sqrt())
}

fn print_table(groups: &[Group]) {
    let width = groups.iter().map(|group| group.label.len()).max().unwrap_or(0);
    let is_shown =
        |column: &&Column| groups.iter().any(|group| !group.numbers(column.1).is_empty());
    let columns: Vec<&Column> = COLUMNS.iter().filter(is_shown).collect();
    let head: String =
        columns.iter().map(|c| format!("   {:>15}", c.0.replace('_', " "))).collect();
    print_line(&format!("{:width$}   seeds{head}", ""));
    for group in groups {
        let cells: String = columns
            .iter()
            .map(|column| {
                let numbers = group.numbers(column.1);
                let text = match (numbers.len(), sd(&numbers)) {
                    (0, _) => "-".to_owned(),
                    (_, Some(sd)) => format!("{:.2} ± {sd:.2}", mean(&numbers)),
                    (_, None) => format!("{:.2}", mean(&numbers)),
                };
                format!("   {text:>15}")
            })
            .collect();
        print_line(&format!("{:width$}   {:>5}{cells}", group.label, group.runs.len()));
    }
    print_line(
        "\nNegative ELBO per image in nats, mean ± standard deviation over seeds; the best first.",
    );
}

fn print_csv(groups: &[Group]) {
    let columns: String = COLUMNS.iter().map(|c| format!(",{}", c.0)).collect();
    print_line(&format!("group,run,seed{columns}"));
    for group in groups {
        for run in &group.runs {
            let cells: String =
                COLUMNS.iter().map(|c| format!(",{}", csv_number((c.1)(run)))).collect();
            let (label, path) = (csv_text(&group.label), csv_text(&run.path.display().to_string()));
            print_line(&format!("{label},{path},{}{cells}", run.config.training.seed));
        }
    }
}

fn object(group: &Group) -> serde_json::Value {
    let columns: BTreeMap<_, _> = COLUMNS
        .iter()
        .map(|&(name, of)| {
            let numbers = group.numbers(of);
            let mean = (!numbers.is_empty()).then(|| mean(&numbers));
            (name, json!({ "mean": mean, "sd": sd(&numbers), "n": numbers.len() }))
        })
        .collect();
    let runs: Vec<_> = group
        .runs
        .iter()
        .map(|run| json!({ "run": run.path, "seed": run.config.training.seed, "last": run.metrics.last() }))
        .collect();
    json!({ "group": group.label, "columns": columns, "runs": runs })
}

/// What the best epoch is chosen by, over epochs: mean and standard deviation of the runs that have the epoch.
fn band(group: &Group) -> Band {
    let n_epochs = group.runs.iter().filter_map(|run| run.metrics.last()).map(|m| m.epoch).max();
    let at = |epoch: usize| {
        let of_run = |run: &&Listed| {
            run.metrics.iter().find(|m| m.epoch == epoch).and_then(EpochMetrics::chosen_by)
        };
        let numbers: Vec<f64> = group.runs.iter().filter_map(of_run).collect();
        (!numbers.is_empty()).then(|| (epoch as f64, mean(&numbers), sd(&numbers).unwrap_or(0.0)))
    };
    let points = (1..=n_epochs.unwrap_or(0)).filter_map(at).collect();
    Band { name: group.label.clone(), points }
}
